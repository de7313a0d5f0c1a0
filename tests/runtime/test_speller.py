"""Spellings that a voice reads: a translator of letters into phones inside its bundle, what it reads and what not."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from seqgen.audio import io
from seqgen.bundle import Bundle
from seqgen.cli.main import main
from seqgen.cli.opened import opened as networks_of
from seqgen.errors import SeqgenError
from seqgen.export import spelling
from seqgen.runtime import open_runtime
from seqgen.runtime.replay import check
from seqgen.runtime.speller import FILES, LONGEST, Speller
from seqgen.runtime.voice import SPELLING, SPELLING_GOLDEN, Voice
from seqgen.tasks.acoustic.config import AcousticConfig
from seqgen.tasks.acoustic.speaker import NetworkSpeaker
from seqgen.tasks.contract import Translating
from seqgen.tasks.experiment import Experiment
from seqgen.text.spoken.splitter import spoken
from tests.runtime.speaking import speaking
from tests.runtime.text_bundles import ENCODERS, export_translator, translating
from tests.unit.cli_workspace import done, refused

SOUNDS = {"a": "AE1", "e": "EH1", "m": "M", "o": "OW1", "t": "T"}


def read(word: str) -> tuple[str, ...]:
    """What is learnt: each letter has its phone."""
    return tuple(SOUNDS[letter] for letter in word)


def learn(folder: Path) -> Path:
    """A run that learns it in some seconds."""
    dice = random.Random(0)
    words = ["".join(dice.choice("aemot") for _ in range(dice.randint(2, 9))) for _ in range(600)]
    lines = "".join(f"{word}\t{' '.join(read(word))}\n" for word in dict.fromkeys(words))
    (folder / "pairs.tsv").write_text(lines)
    data = ("--corpus", folder / "pairs.tsv", "--out", folder / "pairs", "--target-tokenizer", "phonemes")
    done("data", "prepare", "pairs", *data)
    block = {"channels": 16, "cycles": 1, "dilations": [1, 2]}
    generator = {
        "name": "encoder-decoder",
        "unfolding": {"factor": 1.2, "offset": 1},
        "encoder": {"name": "bytenet-encoder", "vocab_size": 6, **block},
        "body": {"name": "bytenet", "vocab_size": 7, "outputs": 7, "cond_dim": 32, **block},
    }
    steps = {"steps": 90, "batch_size": 32, "learning_rate": 1e-2, "warmup": 10, "validate_every": 90}
    run = {
        "name": "letters",
        "licence": "CC0",
        "task": {"name": "translation", "data": str(folder / "pairs"), "longest": 12, "decoded": 8},
        "networks": {"generator": generator},
        "train": {**steps, "checkpoint_every": 90},
    }
    (folder / "g2p.yaml").write_text(json.dumps(run))
    assert main(["train", str(folder / "g2p.yaml"), "--out", str(folder / "g2p-run"), "--threads", "1"]) == 0
    return folder / "g2p-run"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of a voice, and the voice with the translator of another run inside."""
    made = tmp_path_factory.mktemp("spelling")
    learn(made)
    done("export", made / "g2p-run", "--out", made / "g2p")
    speaking(made, g2p="g2p-run")
    return made


def opened(folder: Path) -> Voice:
    return Voice(open_runtime(Bundle.open(folder / "voice")))


def test_letters_become_phones_as_they_were_learnt(folder: Path) -> None:
    speller = Speller(Bundle.open(folder / "g2p"))
    words = ["".join(letters) for letters in itertools.product("aemot", repeat=3) if set("aeo").intersection(letters)]
    told = speller(words)
    assert sum(one == read(word) for word, one in zip(words, told, strict=True)) > 0.9 * len(words)
    task, system = networks_of(folder / "g2p-run", objective=False)
    said: list[str] = []
    task.translate(system, [word.encode() for word in words], said.append, Translating(1))
    assert [" ".join(one) for one in told] == "".join(said).split("\n")[:-1]


def test_the_voice_has_all_of_it(folder: Path) -> None:
    """Hashed files, golden words, where it is from; each graph with its weights inside."""
    bundle = Bundle.open(folder / "voice")
    names = {entry.name for entry in bundle.manifest.files}
    assert {*(SPELLING + name for name in FILES), SPELLING_GOLDEN} <= names
    assert bundle.manifest.provenance["g2p_licence"] == "CC0"
    assert len(bundle.manifest.provenance["g2p"]) == 16
    assert all(one.ok for one in check(folder / "voice"))
    words = ["tomato", "mee", "motto"]
    speller = opened(folder).speller
    assert speller is not None
    assert speller(words) == Speller(Bundle.open(folder / "g2p"))(words) == list(map(read, words))


def test_other_phones_of_golden_words_are_no_proof(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Speller, "__call__", lambda _, words: [("T",)] * len(words))
    with pytest.raises(SeqgenError, match="does not reproduce"):
        check(folder / "voice")


def test_what_cannot_be_read_is_left_to_its_letters(folder: Path) -> None:
    voice = opened(folder)
    assert voice.speller is not None
    told = {
        one.word.text: (one.phones, one.origin)
        for clause in spoken("tea, atom, mtt, zeta, MEOT " + "mat" * 100)
        for one in voice.pronouncer.clause(clause)
    }
    assert told["tea"] == (("T", "IY1"), "lexicon")
    assert told["atom"] == (read("atom"), "spelling")
    assert told["mtt"] == (("EH1", "M", "T", "IY1", "T", "IY1"), "letters")
    assert told["zeta"][1] == "letters"
    assert told["mat" * 100][1] == "letters"
    assert voice.speller(["m", "mt", "ma" * LONGEST, "a'", "", "é"]) == [()] * 6
    assert voice.speller._kept.cache_info().maxsize == 1 << 12


def test_threads_share_a_speller(folder: Path) -> None:
    speller = opened(folder).speller
    assert speller is not None
    words = ["".join(letters) for letters in itertools.product("ae", "mt", "ao", "mt")]
    expected = speller(words)
    speller._kept.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        assert all(told == expected for told in pool.map(speller, [words] * 16))


def test_it_says_so_with_and_without_torch(folder: Path, tmp_path: Path) -> None:
    """A word of no lexicon sounds as one whose pronunciation is given, from the bundle and from the run."""
    own, given = "An atom.", "An [atom](/AE1 T OW1 M/)."
    voice, config = opened(folder), Experiment.open(folder / "frames").task().config
    assert isinstance(config, AcousticConfig)
    by_torch = NetworkSpeaker(config, Experiment.open(folder / "frames").network("generator")[0])  # type: ignore
    for speaker in (voice, by_torch):
        one, two = (np.concatenate(list(speaker.frames(text, 0.0))) for text in (own, given))
        assert np.array_equal(one, two)
    code = (
        "import sys; from serving.cli.__main__ import main; "
        f"status = main(['say', {own!r}, '-o', {str(tmp_path / 'a.wav')!r}, '--voice', {str(folder / 'voice')!r}]); "
        "assert 'torch' not in sys.modules; sys.exit(status)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert len(io.read(tmp_path / "a.wav")[0]) == len(np.concatenate(list(voice.speak(own, 0.0))))


def test_what_makes_no_phones_is_refused(folder: Path, tmp_path: Path) -> None:
    """Other targets, another kind of bundle, and none at all."""
    export_translator(tmp_path / "other", translating(ENCODERS["convolutions"]))
    with pytest.raises(SeqgenError, match="makes no phones"):
        spelling.require(Bundle.open(tmp_path / "other"))
    with pytest.raises(SeqgenError, match="do not end"):
        Speller(Bundle.open(tmp_path / "other"))
    with pytest.raises(SeqgenError, match="of the kind 'vocoder'"):
        spelling.require(Bundle.open(folder / "vocoder"))
    done("export", folder / "g2p-run", "--out", tmp_path / "small", "--quantise", "int8", "--engine-only")
    with pytest.raises(SeqgenError, match=r"has no encoder\.onnx; export it without --engine-only"):
        spelling.require(Bundle.open(tmp_path / "small"))
    config = (folder / "frames/config.yaml").read_text()
    (tmp_path / "run.yaml").write_text(config.replace(str(folder / "g2p-run"), str(tmp_path / "none")))
    args = ["--out", str(tmp_path / "exp"), "--threads", "1", "--set", "train.steps=1"]
    assert main(["train", str(tmp_path / "run.yaml"), *args]) == 0
    refused("export", tmp_path / "exp", "--out", tmp_path / "a", named=(str(tmp_path / "none"),))
