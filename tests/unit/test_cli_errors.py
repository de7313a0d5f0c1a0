"""Bad input on the command line: status 1, one line that names the thing and the remedy, nothing damaged or left."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.unit.cli_workspace import CONFIG, contents, done, record, refused


@pytest.fixture
def work(cli_work: Path) -> Path:
    return cli_work


@pytest.fixture
def experiment(work: Path, tmp_path: Path) -> Path:
    """A copy of the trained experiment that a test may damage."""
    return Path(shutil.copytree(work / "exp", tmp_path / "exp"))


@pytest.fixture
def voice(work: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may damage."""
    return Path(shutil.copytree(work / "voice", tmp_path / "voice"))


def flip(path: Path, where: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(where * (len(data) - 1))] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("replace", "by", "named"),
    [
        ("hop: 80", "hoop: 80", ("run.yaml:8: task vocoder: unknown key 'hoop' in 'features'", "did you mean 'hop'?")),
        ("steps: 3", "steps: three", ("run.yaml:15: ", "'train.steps' expected int", "'three'")),
        ("name: tiny\n", "", ("'name' is missing",)),
        ("networks:\n", "network:\n", ("run.yaml:9: ", "unknown key 'network'", "did you mean 'networks'?")),
        ("    body: {name: wavernn, hidden: 16}\n", "", ("run.yaml:10: density autoregressive: 'body' is missing",)),
        ("name: vocoder", "name: vocodr", ("run.yaml:2: unknown task 'vocodr'", "did you mean 'vocoder'?")),
        ("name: autoregressive", "name: wavernm", ("run.yaml: unknown network 'wavernm'", "did you mean 'wavernn'?")),
        ("name: wavernn", "name: wavernm", ("run.yaml:12: unknown model 'wavernm'", "did you mean 'wavernn'")),
        ("name: frames", "name: frame", ("run.yaml:13: unknown conditioner 'frame'", "did you mean 'frames'?")),
        ("  generator:\n", "  generater:\n", ("Likelihood has no network 'generater'", "generator")),
        ("hidden: 16", "hiden: 16", ("run.yaml:12: model wavernn: unknown key 'hiden'", "did you mean 'hidden'?")),
        ("hidden: 16", "hidden: 15", ("hidden is 15", "even")),
        ("sample_rate: 8000", "sample_rate: 16000", ("8000 Hz", "16000 Hz", "data/train", "--sample-rate 16000")),
        ("segment: 160", "segment: 161", ("run.yaml:2: task vocoder: 'segment' is 161", "multiple of the hop (80)")),
        ("data/train", "data/nowhere", ("data/nowhere", "no such data directory", "seqgen data prepare")),
        ("data/valid", "data/nowhere", ("data/nowhere", "no such data directory", "seqgen data prepare")),
        ("batch_size: 2", "batch_size: 0", ("'batch_size' is 0",)),
        ("window: 160", "window: 40", ("hop 80, window 40",)),
        ("blocks: 1", "blocks: -1", ("blocks", "-1")),
        ("segment: 160", "segment: 160\n  valid_utterances: -1", ("valid_utterances", "-1")),
    ],
    ids=lambda value: value[:20].strip() if isinstance(value, str) else "",
)
def test_wrong_configurations(work: Path, tmp_path: Path, replace: str, by: str, named: tuple[str, ...]) -> None:
    text = CONFIG.format(root=work)
    assert replace in text
    (tmp_path / "run.yaml").write_text(text.replace(replace, by, 1))
    refused("train", tmp_path / "run.yaml", "--out", tmp_path / "exp", named=named)
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize(
    "value", ["train.steps=[1", "train.steps=2024-13-45", "networks.generator.body.hidden=[1]", "train.seed=!x 1"]
)
def test_wrong_overrides(work: Path, tmp_path: Path, value: str) -> None:
    refused("train", work / "run.yaml", "--out", tmp_path / "exp", "--set", value)
    assert not (tmp_path / "exp").exists()


def test_missing_files(tmp_path: Path, work: Path) -> None:
    nowhere = tmp_path / "nowhere"
    for words in (
        ("train", nowhere, "--out", tmp_path / "exp"),
        ("eval", nowhere),
        ("export", nowhere, "--out", tmp_path / "voice"),
        ("check", nowhere),
        ("info", nowhere),
        ("bench", nowhere),
        ("sample", nowhere, work / "in/anna/u0.wav", "-o", tmp_path / "o.wav"),
        ("sample", work / "voice", nowhere, "-o", tmp_path / "o.wav", "--speaker", "anna"),
        ("data", "stats", nowhere),
        ("eval", work / "exp", "--data", nowhere),
    ):
        refused(*words, named=(str(nowhere),))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [(), ("--set", "train.steps=9", "networks.generator.body.hidden=24"), ("--resume", "--set", "train.ema=0.9")],
    ids=" ".join,
)
def test_a_refused_run_leaves_the_experiment_as_it_was(experiment: Path, work: Path, words: tuple[str, ...]) -> None:
    before = contents(experiment)
    refused("train", work / "run.yaml", "--out", experiment, *words, named=(str(experiment),), quiet=False)
    assert contents(experiment) == before


@pytest.mark.parametrize(
    "words",
    [("--init-from", "/nowhere"), ("--device", "cuda"), ("--set", "train.precision=16-mixed"), ("--resume",),
     ("--set", "task.features.n_mels=300"), ("--set", "players.referee.repeat=2"),
     ("--set", "players.generator.optimiser=adamm"), ("--set", "sparsity.matrices={nothing: 0.5}"),
     ("--set", "objective=classification"), ("--set", "networks.teacher={name: pretrained, experiment: /nowhere}")],
    ids=" ".join,
)  # fmt: skip
def test_a_run_that_cannot_start_leaves_nothing(work: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("here --device cuda and 16-mixed are no mistakes")
    refused("train", work / "run.yaml", "--out", tmp_path / "exp", *words, quiet=False)
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--speaker", "zoe"), ("zoe", "anna, ben")),
        ((), ("several speakers", "--speaker", "anna, ben")),
        (("--speaker", "anna", "--temperature", "2.5"), ("temperature", "2.5", "0 to 2")),
        (("--speaker", "anna", "--temperature", "nan"), ("temperature", "nan", "0 to 2")),
        (("--speaker", "anna", "--runtime", "onx"), ("unknown runtime 'onx'", "onnx")),
    ],
)
def test_wrong_samples(work: Path, tmp_path: Path, words: tuple[str, ...], named: tuple[str, ...]) -> None:
    given = ("sample", work / "voice", work / "in/anna/u0.wav", "-o", tmp_path / "o.wav")
    refused(*given, *words, named=named)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--temperature", "-3"), ("temperature", "-3")),
        (("--temperature", "nan"), ("temperature", "nan")),
        (("--utterances", "-2"), ("--examples", "-2")),
    ],
)
def test_wrong_evaluations(experiment: Path, words: tuple[str, ...], named: tuple[str, ...]) -> None:
    refused("eval", experiment, *words, named=named)


def test_samples_of_nothing(work: Path) -> None:
    for path in (work / "voice", work / "exp"):
        refused("sample", path, named=("needs a recording", "IN.wav -o OUT.wav"))
        refused("sample", path, work / "in/anna/u0.wav", named=("needs a recording", "IN.wav -o OUT.wav"))
    refused("sample", work / "voice", "--length", "-1", named=("--length -1", "not negative"))


def test_eval_on_other_data(work: Path, tmp_path: Path) -> None:
    whole = ("--valid", 0, "--test", 0)
    record(tmp_path / "zoe", speakers=("zoe",))
    done("data", "prepare", "folder", "--corpus", tmp_path / "zoe", "--out", tmp_path / "z", *whole)
    refused("eval", work / "exp", "--data", tmp_path / "z/train", named=("'zoe'", "anna, ben"), quiet=False)
    words = ("data", "prepare", "folder", "--corpus", work / "in", "--out", tmp_path / "r", *whole)
    done(*words, "--sample-rate", 16000)
    refused("eval", work / "exp", "--data", tmp_path / "r/train", named=("16000 Hz", "8000 Hz"), quiet=False)


@pytest.mark.parametrize(
    "name", ["manifest.json", "weights.safetensors", "loop.onnx", "config.yaml", "golden.safetensors"]
)
def test_a_flipped_bit_in_a_bundle(voice: Path, work: Path, tmp_path: Path, name: str) -> None:
    flip(voice / name)
    for words in (
        ("check", voice, "--json"),
        ("info", voice),
        ("bench", voice),
        ("eval", voice, "--data", work / "data/test"),
        ("sample", voice, work / "in/anna/u0.wav", "-o", tmp_path / "o.wav", "--speaker", "anna"),
    ):
        refused(*words, named=(f"{voice / name}",))
    assert not (tmp_path / "o.wav").exists()


@pytest.mark.parametrize("text", ["", "[]", "null", '{"format": 2}', '{"format": 1}', "{", "\xff", "[" * 100_000])
def test_a_broken_manifest(voice: Path, text: str) -> None:
    (voice / "manifest.json").write_text(text, encoding="latin-1")
    refused("check", voice, named=(str(voice),))


def test_a_bundle_without_one_of_its_files(voice: Path) -> None:
    (voice / "step.onnx").unlink()
    refused("check", voice, named=("step.onnx", "missing"))


def test_what_is_no_bundle(work: Path, tmp_path: Path) -> None:
    for path in (work / "exp", work / "data", work / "run.yaml", work / "in/anna/u0.wav"):
        refused("check", path, named=(str(path), "manifest.json"))
    for path in (work / "data", work / "in/anna/u0.wav"):
        refused("info", path, named=(str(path),))
        refused("eval", path, named=(str(path),))
    refused("export", work / "exp", "--out", work / "data", named=(str(work / "data"), "not a bundle"))


def test_damaged_checkpoints(experiment: Path, tmp_path: Path) -> None:
    files = list(experiment.glob("checkpoints/step-*/model.safetensors"))
    assert files
    for path in files:
        flip(path, 0.9)
    before = contents(experiment)
    refused("eval", experiment, named=("model.safetensors", "sha256"))
    refused("export", experiment, "--out", tmp_path / "voice", named=("model.safetensors", "sha256"))
    refused("train", experiment / "config.yaml", "--out", experiment, "--resume", named=("checkpoint",), quiet=False)
    assert not (tmp_path / "voice").exists()
    assert contents(experiment) == before


def test_damaged_experiment_files(experiment: Path) -> None:
    with (experiment / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 4, "spl')  # the process was killed while it wrote
    done("info", experiment, "--json")
    facts = (experiment / "facts.yaml").read_text()
    (experiment / "facts.yaml").write_bytes(b"\xff\xfe\n")
    refused("eval", experiment, named=("facts.yaml",))
    (experiment / "facts.yaml").write_text(facts.replace("- ben\n", ""))
    refused("eval", experiment, named=(str(experiment),))
    (experiment / "facts.yaml").unlink()
    refused("eval", experiment, named=(f"{experiment}: no experiment here", "facts.yaml is missing"))


def test_presets(work: Path) -> None:
    refused("bench", "--preset", "wavernn-1", named=("unknown preset 'wavernn-1'", "wavernn-512"))
    refused("bench", named=("--preset",))
    refused("bench", "--preset", "wavenet-1x16-int8", "--train", named=("not measured of --preset wavenet-1x16-int8",))
    refused("bench", "--preset", "wavenet-1x16", "--train", "--batch", "8*2", named=("--batch 8*2 is none", "8x1920"))
    refused("bench", "--preset", "wavenet-1x16", "--batch", "8x2", named=("--batch is of training",))
    alone = ("bench", "--preset", "wavenet-30x64-int8", "--runtime", "torch")
    refused(*alone, named=("the native engine alone", "--preset wavenet-30x64 is for every runtime"))
    refused("bench", "--preset", "wavenet-1x16-int8", "--format", "bf16", named=("wavenet-1x16-int8", "--format bf16"))
    lanes = ("bench", "--preset", "wavernn-256-subscale4")
    refused(*lanes, "--runtime", "native", named=("torch alone", "--preset wavernn-256 is for every runtime"))
    refused(*lanes, "--train", named=("--train is not measured of", "known: wavernn-896"))
    for kind in ("wavenet-1x16-int8", "wavernn-256-subscale4"):
        refused("bench", "--preset", kind, "--compare", named=("--compare chooses runtimes and formats itself",))
    refused("bench", "--preset", "wavernn-256", "--compare", "--runtime", "torch", named=("--compare chooses",))
    refused("bench", work / "voice", "--seconds", "0", named=("--seconds",))
    refused("bench", work / "voice", "--train", named=("--preset",))
    refused("bench", work / "voice", "--runtime", "onx", named=("unknown runtime 'onx'",))
    refused("eval", work / "voice", "--runtime", "onx", named=("unknown runtime 'onx'",))
    refused("eval", work / "exp", "--runtime", "onnx", named=("--runtime onnx for an experiment", "export it"))


def test_places_that_cannot_be_written(work: Path, tmp_path: Path) -> None:
    """A path below a file and one that is a file: read-only even to the superuser."""
    (tmp_path / "file").write_text("mine")
    given = ("sample", work / "voice", work / "in/anna/u0.wav", "--speaker", "anna")
    for out in (tmp_path / "file" / "below", tmp_path / "file"):
        refused("train", work / "run.yaml", "--out", out, named=(str(out),), quiet=False)
        refused("export", work / "exp", "--out", out, named=(str(out),))
        refused("data", "prepare", "folder", "--corpus", work / "in", "--out", out, named=(str(out),), quiet=False)
        refused(*given, "-o", out / "o.wav", named=(str(out),))
    refused(*given, "-o", tmp_path / "o.mp3", named=("o.mp3", ".wav, .flac or .ogg"))
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "mine")]


@pytest.mark.parametrize("option", ["--audio", "--report"])
def test_eval_into_a_place_that_cannot_be_written(work: Path, tmp_path: Path, option: str) -> None:
    (tmp_path / "file").write_text("mine")
    words = ("eval", work / "exp", "--utterances", 1, option, tmp_path / "file" / "below")
    refused(*words, named=(str(tmp_path / "file"),), quiet=False)


def test_notes_are_pairs(work: Path, tmp_path: Path) -> None:
    refused("export", work / "exp", "--out", tmp_path / "v", "--note", "hardware", named=("--note", "KEY=VALUE"))
    assert not (tmp_path / "v").exists()
