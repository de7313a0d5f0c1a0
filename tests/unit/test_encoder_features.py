"""Encoders as transformers of scikit-learn: recordings in, vectors out, in pipelines, copies and pickles."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from seqgen.audio import io
from seqgen.audio.resample import resample
from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.features import EncoderFeatures
from seqgen.runtime import open_encoder
from tests.runtime import encoder_bundles

HOP = 10


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encoder_bundles.export(tmp_path_factory.mktemp("features") / "bundle").directory


def tones(count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Recordings of two kinds, of different lengths."""
    kinds = np.arange(count) % 2
    made = [0.3 * np.sin((0.2 + kind) * np.arange(400 + 7 * number)) for number, kind in enumerate(kinds)]
    return [one.astype(np.float32) for one in made], kinds


def test_a_recording_has_the_mean_of_what_its_frames_hear(bundle: Path) -> None:
    recordings, _ = tones(3)
    runtime = open_encoder(Bundle.open(bundle))
    assert runtime.manifest.hop == HOP
    latency = runtime.manifest.spec.latency
    made, whole = EncoderFeatures(bundle).transform(recordings), EncoderFeatures(bundle, pooled=False)
    assert made.shape == (3, 7)
    for row, frames, audio in zip(made, whole.transform(recordings), recordings, strict=True):
        given = audio[None, : len(audio) // HOP * HOP]
        expected = runtime.step(given, runtime.init(1))[0][0]
        np.testing.assert_array_equal(frames, expected)
        np.testing.assert_allclose(row, expected[latency:].mean(axis=0), rtol=1e-5)
    latent = EncoderFeatures(bundle, layer="latent")
    assert latent.transform(recordings).shape == (3, 20)
    assert latent.get_feature_names_out().tolist() == [f"latent{number}" for number in range(20)]
    assert EncoderFeatures(bundle).transform([]).shape == (0, 7)


def test_files_of_any_rate_are_recordings_too(bundle: Path, tmp_path: Path) -> None:
    (audio, *_), _ = tones(1)
    io.write(tmp_path / "a.wav", audio, 16000)
    read, _ = io.read(tmp_path / "a.wav")
    made = EncoderFeatures(str(bundle)).transform([tmp_path / "a.wav", str(tmp_path / "a.wav")])
    expected = EncoderFeatures(bundle).transform([resample(read, 16000, encoder_bundles.RATE)])
    np.testing.assert_array_equal(made, np.repeat(expected, 2, axis=0))


def test_it_is_a_step_of_a_pipeline_its_copies_and_its_pickles(bundle: Path) -> None:
    recordings, kinds = tones(24)
    pipeline = make_pipeline(EncoderFeatures(bundle), LogisticRegression(C=1e3, max_iter=1000))
    pipeline.fit(recordings[:16], kinds[:16])
    assert pipeline.score(recordings[16:], kinds[16:]) == 1
    told = pipeline.predict_proba(recordings)
    again = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(again.predict_proba(recordings), told)
    copied = clone(pipeline).fit(recordings[:16], kinds[:16])
    np.testing.assert_array_equal(copied.predict_proba(recordings), told)
    step = pipeline[0]
    assert step.extractor is step.extractor, "opened once"
    step.set_params(layer="latent")
    assert step.transform(recordings).shape == (24, 20), "another parameter is another encoder"


# Those that do not make tables of random numbers up, which are no recordings: they are shorter than a hop.
@pytest.mark.parametrize(
    "check",
    [
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_estimator_tags_renamed",
        "check_valid_tag_types",
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_get_params_invariance",
        "check_set_params",
        "check_do_not_raise_errors_in_init_or_set_params",
    ],
)
def test_it_keeps_scikit_learns_rules(bundle: Path, check: str) -> None:
    getattr(estimator_checks, check)("EncoderFeatures", EncoderFeatures(bundle))


def test_what_is_no_recording_is_refused(bundle: Path, tmp_path: Path) -> None:
    features = EncoderFeatures(bundle)
    with pytest.raises(SeqgenError, match="recording 1: 9 samples at 8000 Hz are shorter"):
        features.transform([np.zeros(10), np.zeros(9)])
    with pytest.raises(SeqgenError, match=r"recording 0 has shape \[2, 30\]"):
        features.transform([np.zeros((2, 30))])
    with pytest.raises(SeqgenError, match="no layer 'code'"):
        EncoderFeatures(bundle, layer="code").transform([np.zeros(10)])
    with pytest.raises(SeqgenError, match="no experiment here"):
        EncoderFeatures(tmp_path).transform([np.zeros(10)])


def test_a_bundle_needs_no_torch(bundle: Path) -> None:
    program = (
        "import sys, numpy\nfrom seqgen.features import EncoderFeatures\n"
        "shape = EncoderFeatures(sys.argv[1]).fit_transform([numpy.zeros(100)]).shape\n"
        "print(shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(bundle)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(1, 7) False"
