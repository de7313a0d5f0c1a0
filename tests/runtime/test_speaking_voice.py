"""Voices that speak: their bundles say without torch what the networks said, in a stream."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seqgen.audio import io
from seqgen.audio.watermark import watermarked
from seqgen.bundle import Bundle
from seqgen.cli.main import main
from seqgen.errors import SeqgenError
from seqgen.generation.spoken import SpokenDensity
from seqgen.manifest import VoiceManifest
from seqgen.runtime import open_runtime, runnable
from seqgen.runtime.replay import check
from seqgen.runtime.speaker import places, vocoded
from seqgen.runtime.speech import Moment
from seqgen.runtime.voice import Voice
from seqgen.tasks.acoustic.config import AcousticConfig
from seqgen.tasks.acoustic.speaker import NetworkSpeaker
from seqgen.tasks.experiment import Experiment
from serving.cli.__main__ import main as serve
from tests.runtime.speaking import TEXT, speaking
from tests.runtime.voices import export_tiny, tiny_run
from tests.unit.cli_workspace import done, refused


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speaking")
    speaking(folder)
    return folder


def opened(folder: Path, runtime: str = "") -> Voice:
    return Voice(open_runtime(Bundle.open(folder / "voice"), runtime))


def by_torch(folder: Path) -> NetworkSpeaker:
    experiment = Experiment.open(folder / "frames")
    config, (generator, _) = experiment.task().config, experiment.network("generator")
    assert isinstance(config, AcousticConfig)
    assert isinstance(generator, SpokenDensity)
    return NetworkSpeaker(config, generator)


def test_it_proves_itself_through_every_runtime(folder: Path) -> None:
    """The vocoder's golden vectors and those of the networks of its frames."""
    verdicts = check(folder / "voice")
    assert [one.ok for one in verdicts] == [True] * len(runnable(Bundle.open(folder / "voice")))
    manifest = Bundle.open(folder / "voice").require(VoiceManifest)
    assert (manifest.kind, manifest.columns, manifest.frames_ahead, manifest.licence) == ("voice", 6, 3, "CC0")


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_bundle_says_what_its_networks_said(folder: Path, temperature: float) -> None:
    """Frames of torch and of the graphs, of the same noise: durations to the frame, numbers to rounding."""
    frames, expected = (
        np.concatenate(list(speaker.frames(TEXT, temperature, seed=3)))
        for speaker in (opened(folder), by_torch(folder))
    )
    assert frames.shape == expected.shape
    assert np.abs(frames - expected).max() < 1e-3


def test_own_pronunciations_are_in_the_bundle(folder: Path) -> None:
    assert opened(folder).pronouncer.lexicon.find("tea") == [("T", "IY1")]


def test_sentences_are_said_one_after_the_other(folder: Path) -> None:
    """What comes first does not depend on what follows: sound comes before the text ends."""
    voice = opened(folder)
    first, both = (np.concatenate(list(voice.frames(text, 0.5))) for text in ("A tea, tea.", TEXT))
    assert len(first) < len(both)
    assert np.array_equal(first, both[: len(first)])
    sound = np.concatenate(list(voice.speak(TEXT, 0.5)))
    assert len(sound) == 80 * len(both)
    assert np.array_equal(sound, np.concatenate(list(voice.speak(TEXT, 0.5))))
    assert not np.array_equal(sound[: 80 * 5], np.concatenate(list(voice.speak(TEXT, 0.5, seed=1)))[: 80 * 5])
    blocks = voice.speak(TEXT, 0.5)
    assert 0 < len(next(blocks)) < len(sound)


def test_sound_is_the_same_for_any_blocks(folder: Path) -> None:
    """Of frames that come one by one, in pieces or at once; as many samples as the frames stand for."""
    runtime = opened(folder).runtime
    rng = np.random.Generator(np.random.Philox(0))
    frames = rng.normal(-5, 2, (45, 8)).astype(np.float32)
    whole = np.concatenate(list(vocoded(runtime, [frames], 0)))
    assert len(whole) == 45 * 80
    for cut in (np.array_split(frames, 45), [frames[:1], frames[1:40], frames[40:]]):
        assert np.array_equal(np.concatenate(list(vocoded(runtime, cut, 0))), whole)
    assert not list(vocoded(runtime, [], 0))


def test_frames_are_told_their_places(folder: Path) -> None:
    """As the density tells them in training."""
    speaker = by_torch(folder)
    seen = []
    body = speaker.generator.body
    assert body is not None
    hook = body.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    kept = []
    numbers = speaker.numbers
    speaker.numbers = lambda sentence, *rest: kept.append(sentence) or numbers(sentence, *rest)  # type: ignore
    list(speaker.frames("A tea.", 0.0))
    hook.remove()
    told = seen[0][0, : int(kept[0].durations.sum()), -4:].numpy()
    np.testing.assert_allclose(told, places(kept[0]), atol=1e-5)


def test_it_speaks_from_the_command_line(folder: Path, tmp_path: Path) -> None:
    """By `seqgen sample` and by `seqgen-serve say`, the same sound, marked or not; texts that are judged too."""
    done("sample", folder / "voice", "--prompt", TEXT, "--temperature", "0", "-o", tmp_path / "a.wav")
    given = [TEXT, "-o", str(tmp_path / "b.wav"), "--voice", str(folder / "voice")]
    assert serve(["say", "--no-mark", *given]) == 0
    (one, rate), (two, _) = (io.read(tmp_path / name) for name in ("a.wav", "b.wav"))
    assert len(one) > 0
    assert np.array_equal(one, two)
    for choice in ([], ["--mark"]):
        assert serve(["say", *choice, *given]) == 0
        sound = np.concatenate(list(opened(folder).speak(TEXT, 0.0)))
        marked = io.pcm16(watermarked(sound, rate)).astype(np.float32) / 32768
        assert np.array_equal(io.read(tmp_path / "b.wav")[0], marked)
        assert not np.array_equal(one, marked)
    (tmp_path / "lines").write_text("A tea.\n")
    done("eval", folder / "voice", "--texts", tmp_path / "lines", "--audio", tmp_path / "kept",
         "--report", tmp_path / "report.json")  # fmt: skip
    assert [one.name for one in (tmp_path / "kept").iterdir()] == ["0001.spoken.wav"]


def test_it_speaks_without_torch(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from serving.cli.__main__ import main; "
        f"status = main(['say', '-', *sys.argv[1:], '-o', '-', '--raw', '--voice', {str(folder / 'voice')!r}]); "
        "assert 'torch' not in sys.modules; sys.exit(status)"
    )
    voice, given = opened(folder), b"A tea.\n\nTea.\n"
    for options, texts in (([], [given.decode()]), (["--lines"], ["A tea.\n", "Tea.\n"])):
        made = subprocess.run([sys.executable, "-c", code, *options], input=given, capture_output=True, check=False)
        assert made.returncode == 0, made.stderr
        expected = [np.concatenate(list(voice.speak(text, 0.0))) for text in texts]
        assert len(made.stdout) == 2 * sum(map(len, expected))


def test_a_text_that_grows_is_said_alike(folder: Path) -> None:
    """Letter by letter, by the networks and the runtimes that serve; phones last as long as the sound."""
    for name in {*runnable(Bundle.open(folder / "voice"))} - {"torch"}:
        voice, times = opened(folder, name), list[Moment]()
        whole = np.concatenate(list(voice.speak(TEXT, 0.5, tell=times.append)))
        again = list[Moment]()
        assert np.array_equal(np.concatenate(list(voice.speak(list(TEXT), 0.5, tell=again.append))), whole)
        assert times == again
        phones = [one for one in times if one.kind == "phone"]
        assert round(sum(one.duration for one in phones) * 8000) == len(whole)
        assert [one.text for one in times if one.kind == "word"] == ["a", "tea", "tea", "a"]


def test_its_reading_is_measured(folder: Path) -> None:
    row = json.loads(done("bench", folder / "voice", "--seconds", "0.01", "--json").out)
    assert row["words_per_second"] > 0
    row = json.loads(done("bench", folder / "vocoder", "--seconds", "0.01", "--json").out)
    assert "words_per_second" not in row


def test_what_makes_no_voice_is_refused(folder: Path, tmp_path: Path) -> None:
    """A run of prosody, one without a vocoder, a vocoder of other frames, and weights that are the vocoder's."""
    refused("export", folder / "prosody", "--out", tmp_path / "a", named=("frames alone",))
    refused("export", folder / "frames", "--out", tmp_path / "a", "--quantise", "bf16", named=("32 or 8 bits",))
    refused("eval", folder / "voice", named=("no likelihood",))
    text = (folder / "frames.yaml").read_text()
    export_tiny(tmp_path / "other", tiny_run(hop=80))
    for place, why in (("", "without task.vocoder"), (str(tmp_path / "other"), "does not match")):
        (tmp_path / "run.yaml").write_text(text.replace(str(folder / "vocoder"), place))
        assert main(["train", str(tmp_path / "run.yaml"), "--out", str(tmp_path / f"exp{len(place)}"), "--threads", "1",
                     "--set", "train.steps=1"]) == 0  # fmt: skip
        refused("export", tmp_path / f"exp{len(place)}", "--out", tmp_path / "a", named=(why,))
    assert not (tmp_path / "a").exists()


def test_a_damaged_voice_is_refused(folder: Path) -> None:
    """A graph of other weights does not reproduce the golden phones."""
    voice = opened(folder)
    tokens = np.arange(4)
    before = voice.prosody(tokens, np.full((12, voice.manifest.prosody_uniforms), 0.5, np.float32), 0.0)
    assert np.isfinite(before).all()
    place = folder / "voice/frames.onnx"
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 1
    place.write_bytes(bytes(data))
    with pytest.raises(SeqgenError, match=r"frames\.onnx"):
        Bundle.open(folder / "voice")
