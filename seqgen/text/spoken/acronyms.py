"""Acronyms: which capitals are said letter by letter and which are words."""

from __future__ import annotations

import re

from seqgen.text.spoken.characters import START, STOP
from seqgen.text.spoken.clauses import Around, Rule, Said, listed, whole
from seqgen.text.spoken.numbers import cardinal, digits, plural, year

WORDS = listed(
    """
    NASA NATO UNESCO UNICEF AIDS OPEC LASER RADAR SCUBA SONAR NASDAQ FIFA UEFA COVID PIN SIM RAM ROM SARS LAN WAN
    ASCII BIOS CAPTCHA FEMA INTERPOL JPEG JSON NAFTA OSHA PETA SWAT TASER UNIX YAML ZIP GIF ACORN BASIC COBOL
    FORTRAN HIPAA NIMBY YUPPIE SALT START ASEAN BAFTA CERN COP MIDI RAID WASP NORAD ALGOL
    """
)
"""Acronyms that are said as words."""
LETTERS = listed(
    """
    ABC AI ABS ADHD AKA AM API APR ASAP ATM BA BBC BC BCE BMW BLT CBS CCTV CD CE CEO CFO CIA CNN CPR CPU CSS CTO CV
    DIY DJ DNA DVD EEG EKG ER ESP ESPN EST ETA EU EUR EPA FAA FAQ FBI FDA FM FYI GB GBP GDP GMT GPS GPU GOP HD HDMI
    HIV HQ HR HTML HTTP HTTPS IBM ICU ID IEEE IMF IOU IP IPA IPO IQ IRA IRS ISBN ISO ISP IT ITV IVF JFK KFC KGB LA
    LCD LED LSD MBA MC MD MIT MP MRI MS MTV MVP NAACP NBA NBC NFL NGO NHL NHS NSA NY NYC NYU OCD OECD OK PA PC PDF
    PE PHP PM PR PS PST QA RIP RNA RPM RSVP SMS SOS SQL SUV TBA TBD TNT TV UAE UCLA UFO UK UN UPS URL US USA USB USD
    USSR UV VAT VHS VIP VPN WHO WTO WWF WWI WWII XML YMCA UTC AC DC EDT FTP
    """
)
"""Acronyms that are said by their letters although they might be words."""
SHOUTED = frozenset({"AM", "IT", "US", "WHO", "OK", "LED", "ESP", "PIN", "ID", "IRA", "RIP", "UPS"}) - {
    "OK",
    "ID",
    "ESP",
}
"""Those that are words in a sentence of capitals."""
SHORT = listed(
    """
    ACE ACT ADD AGE AGO AH AID AIM AIR ALE ALL AN AND ANT ANY APE ARE ARM ART AS ASH ASK AT ATE AWE AX BAD BAG BAN
    BAR BAT BAY BE BED BEE BEG BET BIG BIN BIT BOB BOW BOX BOY BUG BUN BUS BUT BUY BY BYE CAB CAN CAP CAR CAT COW
    CRY CUP CUT DAD DAY DEN DEW DID DIE DIG DIM DO DOC DOG DOT DRY DUE DUG EAR EAT EGG END EVE EYE FAN FAR FAT FED
    FEE FEW FIG FIN FIT FIX FLY FOG FOR FOX FUN FUR GAP GAS GET GO GOD GOT GUM GUN GUT GUY HA HAD HAM HAS HAT HAY HE
    HEN HER HEY HI HID HIM HIP HIS HIT HO HOP HOT HOW HUG HUT ICE IF ILL IN INK IS ITS IVY JAM JAR JAW JET JOB JOE
    JOY KEY KID KIM KIT LAB LAD LAP LAW LAY LEE LEG LET LID LIE LIP LIT LOG LOT LOW MAD MAN MAP MAT MAX MAY ME MEN
    MET MIX MOB MOM MUD MY NAP NEW NET NO NOD NOR NOT NOW NUT OAK OF OFF OH OIL OLD ON ONE OR OUR OUT OWE OWL OWN
    PAN PAT PAY PEN PET PIE PIG PIT POP POT PUB PUT RAG RAN RAT RAW RAY RED RIB RID RIM ROB ROD ROW RUB RUN SAD SAM
    SAT SAW SAY SEA SEE SET SEX SHE SHY SIN SIR SIT SIX SKY SO SON SUE SUM SUN TAG TAX TEA TED TEN THE TIE TIM TIN
    TIP TO TOE TOM TON TOO TOP TOY TRY TWO UP USE VAN VET VIA WAR WAS WAX WAY WE WED WET WHY WIN WON WOW YES YET YOU
    ZEN ZOO
    """
)
"""Words of up to three letters that are no acronyms."""
_ONSETS = listed(
    """
    BL BR CH CL CR DR DW FL FR GH GL GN GR KN KR PH PL PR PS RH SC SH SK SL SM SN SP SQ ST SW TH TR TW WH WR SCH SCR
    SHR SPL SPR STR THR CHR PHR
    """
)
_CODAS = listed(
    """
    CH CK CT DD FF FT GG GH GHT LB LC LD LF LK LL LM LP LT LTH MB MN MP NC NCH ND NG NGTH NK NN NT NTH NX PH PT RB RC
    RCH RD RF RG RK RL RLD RM RN RP RR RST RT RTH SH SK SM SP SS ST TCH TH TT WD WK WL WN XT ZZ
    """
)
_VOWELS, _CONSONANTS = frozenset("AEIOUY"), "BCDFGHJKLMNPQRSTVWXZ"
_SPECIAL = {"PhD": "P H D", "PhDs": "P H D's",
    "WWII": "world war two",
    "WWI": "world war one", "WiFi": "wi fi", "iOS": "I O S", "IPv": "I P V", "LaTeX": "latex",
            "GHz": "gigahertz", "MHz": "megahertz", "kHz": "kilohertz", "OKed": "O K'd", "pH": "P H"}  # fmt: skip
_PARTS = re.compile(r"[A-Za-z]+|\d+")


def spelt(word: str) -> str:
    """A word as the names of its letters, ``B B C``."""
    return " ".join(word.upper())


def pronounceable(word: str) -> bool:
    """Whether capitals can be said as a word of English.

    Example:
        >>> [pronounceable(one) for one in ("HELLO", "HTML", "XKCD", "STRONG")]
        [True, False, False, True]
    """
    first = next((place for place, one in enumerate(word) if one in _VOWELS), None)
    if first is None or (first > 1 and word[:first] not in _ONSETS):
        return False
    return all(_VOWELS.intersection(word[place : place + 5]) for place in range(len(word) - 4))


def by_letters(word: str, *, capitals: bool = False) -> bool:
    """Whether a word of capitals is said by its letters; ``capitals``: in a sentence of nothing else.

    Example:
        >>> by_letters("BBC"), by_letters("NASA"), by_letters("STOP"), by_letters("XYZ")
        (True, False, False, True)
    """
    if word in WORDS or (capitals and word in SHOUTED):
        return False
    if word in LETTERS:
        return True
    if word in SHORT:
        return False
    if capitals:
        return not pronounceable(word)
    stem = word.removesuffix("S")
    tail = stem[len(stem.rstrip(_CONSONANTS)) :]
    ends = len(tail) < 2 or tail in _CODAS
    return len(word) <= 3 or not pronounceable(word) or not ends


def shouted(text: str) -> bool:
    """Whether all of a text is in capitals that are no acronyms only.

    Example:
        >>> shouted("THE CAT SAT."), shouted("FBI, CIA"), shouted("The CAT")
        (True, False, False)
    """
    if text.upper() != text:
        return False
    found = re.findall(r"[A-Z]{2,}", text)
    return len(found) > 1 and any(one in SHORT or (not by_letters(one) and one not in WORDS) for one in found)


def letters_or_word(word: str, *, capitals: bool = False) -> str:
    """Phrase of letters in any case."""
    if word in _SPECIAL:
        return _SPECIAL[word]
    if len(word) == 1:
        return word.upper()
    return spelt(word) if word.isupper() and by_letters(word, capitals=capitals) else word.lower()


def _capitals(found: re.Match[str], around: Around) -> list[Said] | None:
    """Two capitals or more, with the ending of many or of an owner."""
    word, ending = found[1], found[2] or ""
    if around.capitals and ending in ("'S", "'s"):
        ending = "'s"
    if not by_letters(word, capitals=around.capitals):
        return whole(found, word.lower() + ending.lower())
    return whole(found, spelt(word) + ("'s" if ending else ""))


def _joined(found: re.Match[str], around: Around) -> list[Said] | None:
    """Letters with an ampersand between them, R&D."""
    return whole(found, spelt(found[1]).replace("&", "and") + ("'s" if found[2] else ""))


def _special(found: re.Match[str], around: Around) -> list[Said] | None:
    return whole(found, _SPECIAL[found[0]])


def _mixed(found: re.Match[str], around: Around) -> list[Said] | None:
    """Letters and digits: MP3, H2O, 3D, x86."""
    if found[0].isdecimal() or found[0].isalpha():
        return None
    parts = _PARTS.findall(found[0])
    said = [_code(one) if one.isdecimal() else _letters(one) for one in parts]
    if parts[-1] == "s" and parts[-2].isdecimal():
        said[-2:] = [plural(said[-2])]
    return whole(found, " ".join(said))


def _letters(part: str) -> str:
    """Letters beside figures: up to three capitals are no word."""
    if part.isupper() and len(part) <= 3 and part not in WORDS:
        return spelt(part)
    if part.islower() and len(part) > 1 and not pronounceable(part.upper()):
        return spelt(part)
    return letters_or_word(part)


def _code(number: str) -> str:
    if len(number) > 4 or (number[0] == "0" and len(number) > 1):
        return digits(number)
    return year(int(number)) if len(number) == 4 else cardinal(int(number))


def _letter(found: re.Match[str], around: Around) -> list[Said] | None:
    """One letter: "I" and the article "a" are words; a letter that is many or owns something has its ending."""
    letter, ending = found[1], found[2]
    if ending:
        return whole(found, f"{letter.upper()}'s")
    named = around.before.lower() in (
        "vitamin",
        "plan",
        "grade",
        "letter",
        "hepatitis",
        "group",
        "option",
        "type",
        "section",
    )
    follows = found.string[found.end() : found.end() + 3]
    listing = follows[:1] == ")" or (letter == "A" and re.match(r"[,.:/]|\s[B-Z](?![A-Za-z])", follows))
    later = letter == "A" and around.before and not around.capitals
    road = letter == "I" and re.match(r"-\d", follows)
    word = (letter == "I" and not road) or (letter in "aA" and not (named or listing or later))
    return whole(found, letter.lower() if word else letter.upper())


RULES = (
    Rule(re.compile(START + rf"(?:{'|'.join(sorted(_SPECIAL, key=len, reverse=True))}){STOP}"), _special),
    Rule(re.compile(START + rf"([A-Z]{{1,3}}&[A-Z]{{1,3}})('?s)?{STOP}"), _joined),
    Rule(re.compile(START + rf"([A-Z]{{2,}}+)(s|'[sS])?{STOP}(?!'[A-Za-z])"), _capitals),
    Rule(re.compile(START + r"[A-Za-z0-9]++" + STOP), _mixed),
    Rule(re.compile(START + rf"([A-Za-z])('s)?{STOP}(?!'[a-zA-Z])"), _letter),
)
