"""``seqgen features``: recordings to vectors, in blocks, whole or not at all, and without torch."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqgen.bundle import Bundle
from seqgen.cli import features
from seqgen.cli.main import main
from seqgen.runtime import open_encoder
from seqgen.runtime.encoder import EncoderRuntime
from tests.runtime.encoder_bundles import RATE, export

SAMPLES = 4017


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export(tmp_path_factory.mktemp("features") / "model")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    audio = np.random.Generator(np.random.Philox(3)).uniform(-0.5, 0.5, SAMPLES).astype(np.float32)
    soundfile.write(tmp_path / "in.wav", audio, RATE, subtype="FLOAT")
    return tmp_path / "in.wav"


def run(bundle: Bundle, *arguments: object) -> int:
    return main(["features", "--model", str(bundle.directory), *map(str, arguments)])


def whole(bundle: Bundle, place: Path, layer: str = "context") -> np.ndarray:
    audio, _ = soundfile.read(place, dtype="float32")
    runtime = open_encoder(bundle, "torch")
    frames = len(audio) // runtime.manifest.hop
    return runtime.step(audio[None, : frames * runtime.manifest.hop], runtime.init(1), layer)[0][0]


@pytest.mark.parametrize("layer", ["context", "latent"])
def test_vectors_of_a_recording(bundle: Bundle, recording: Path, monkeypatch: pytest.MonkeyPatch, layer: str) -> None:
    monkeypatch.setattr(features, "_BLOCK", 333)
    out = recording.with_name("out.npy")
    assert run(bundle, recording, "-o", out, "--layer", layer) == 0
    made = np.load(out)
    assert made.dtype == np.float32
    assert len(made) == SAMPLES // 10
    np.testing.assert_allclose(made, whole(bundle, recording, layer), atol=2e-5)


def test_memory_does_not_grow_with_the_recording(
    bundle: Bundle, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    kind = type(open_encoder(bundle))
    plain = kind.step

    def watched(self: EncoderRuntime, audio: np.ndarray, *rest: object) -> object:
        sizes.append(audio.shape[1])
        return plain(self, audio, *rest)

    monkeypatch.setattr(kind, "step", watched)
    assert run(bundle, recording, "-o", recording.with_name("out.npy")) == 0
    assert max(sizes) <= 1000
    assert sum(sizes) == SAMPLES // 10 * 10


def test_another_rate_is_resampled_and_channels_are_averaged(bundle: Bundle, tmp_path: Path) -> None:
    t = np.arange(16000) / 16000
    tone = np.sin(2 * np.pi * 200 * t).astype(np.float32) / 2
    soundfile.write(tmp_path / "twice.wav", np.stack([tone, tone], axis=1), 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "once.wav", tone[::2], 8000, subtype="FLOAT")
    for name in ("twice", "once"):
        assert run(bundle, tmp_path / f"{name}.wav", "-o", tmp_path / f"{name}.npy") == 0
    twice, once = np.load(tmp_path / "twice.npy"), np.load(tmp_path / "once.npy")
    assert twice.shape == once.shape == (800, 7)
    np.testing.assert_allclose(twice[100:700], once[100:700], atol=0.01)


def test_several_recordings_go_to_a_folder(bundle: Bundle, recording: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.flac"
    soundfile.write(other, np.zeros(500), RATE)
    assert run(bundle, recording, other, "-o", tmp_path / "made") == 0
    assert {place.name for place in (tmp_path / "made").iterdir()} == {"in.npy", "other.npy"}
    assert np.load(tmp_path / "made" / "other.npy").shape == (50, 7)


def test_standard_streams(bundle: Bundle, recording: Path) -> None:
    """A fresh process, which also shows that nothing of torch is loaded."""
    program = (
        "import sys\nfrom seqgen.cli.main import main\nstatus = main(sys.argv[1:])\n"
        "heavy = [name for name in ('torch', 'librosa', 'sklearn') if name in sys.modules]\n"
        "sys.exit(status or (f'loaded {heavy}' if heavy else 0))"
    )
    command = [sys.executable, "-c", program, "features", "--model", str(bundle.directory), "-", "-o", "-"]
    done = subprocess.run(command, input=recording.read_bytes(), capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    np.testing.assert_allclose(np.load(io.BytesIO(done.stdout)), whole(bundle, recording), atol=2e-5)


@pytest.mark.parametrize("samples", [1, 9])
def test_a_recording_shorter_than_a_frame_is_refused(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], samples: int
) -> None:
    soundfile.write(tmp_path / "short.wav", np.zeros(samples), RATE)
    assert run(bundle, tmp_path / "short.wav", "-o", tmp_path / "out.npy") == 1
    assert f"{samples} samples at 8000 Hz are shorter than a frame of 10" in capsys.readouterr().err
    assert not (tmp_path / "out.npy").exists()


def test_what_fails_half_way_leaves_the_old_file(
    bundle: Bundle, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audio, _ = soundfile.read(recording, dtype="float32")
    audio[3000] = np.nan
    soundfile.write(recording, audio, RATE, subtype="FLOAT")
    out = recording.with_name("out.npy")
    out.write_bytes(b"old")
    assert run(bundle, recording, "-o", out) == 1
    assert "NaN or infinity at sample 3000" in capsys.readouterr().err
    assert out.read_bytes() == b"old"
    assert sorted(place.name for place in out.parent.iterdir()) == ["in.wav", "out.npy"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("in.wav", "in.wav", "-o", "made"), "2 recordings would become"),
        (("in.wav", "other.wav", "-o", "-"), "2 recordings for -"),
        (("in.wav", "-o", "out.npy", "--layer", "phones"), "no layer 'phones'"),
        (("absent.wav", "-o", "out.npy"), "No such file"),
        (("in.wav", "-o", "absent/out.npy"), "cannot be written"),
        (("in.wav", "-o", "out.npy", "--threads", "0"), "--threads 0"),
        (("in.wav", "-o", "out.npy", "--runtime", "fast"), "unknown encoder runtime 'fast'"),
    ],
)
def test_refusals(
    bundle: Bundle,
    recording: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(recording.parent)
    assert run(bundle, *arguments) == 1
    assert message in capsys.readouterr().err
    assert not Path("out.npy").exists()
