"""Translation of text line by line, as a command does it: one line in, one line out."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from seqgen.errors import SeqgenError
from seqgen.tasks.translation.translator import Translator


def translate(translator: Translator, given: Iterable[bytes], say: Callable[[str], object]) -> str:
    """Translate lines; an empty one stays empty, and so does one that is too long, which is told at the end.

    Args:
        given: lines, with their ends or without. say: takes pieces of the output as they are made.

    Returns:
        What was done, and what was odd, in one line.

    Raises:
        SeqgenError: at the end, where lines were too long.
    """
    count, unknown, refused = 0, 0, []
    for count, text in enumerate(given, 1):
        data = text.removesuffix(b"\n").removesuffix(b"\r")
        if data.strip():
            try:
                line = translator.line(data)
            except SeqgenError as error:
                refused.append(f"line {count}: {error.problem}")
            else:
                unknown += line.unknown
                for piece in translator.pieces(line):
                    say(piece.replace("\n", " "))  # one line in, one line out
        say("\n")
    if refused:
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        raise SeqgenError(refused[0] + more, remedy="cut such lines; they were left empty")
    odd = f", {unknown} {translator.source.unit}s of them unknown" if unknown else ""
    return f"{count:,} lines{odd}"
