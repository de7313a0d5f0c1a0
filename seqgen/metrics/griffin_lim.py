"""Griffin–Lim phases from mel features: the baseline every vocoder must beat."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.audio import compiled
from seqgen.audio.features import mel_filters
from seqgen.spec import FeatureSpec

ITERATIONS = 60


def griffin_lim(features: npt.NDArray[Any], spec: FeatureSpec, samples: int) -> npt.NDArray[np.float32]:
    """Waveform from log-mel features, without any learning.

    The linear spectrum is the non-negative least-squares solution of ``S @ mel_filters = exp(features)``; its phases
    come from 60 iterations of fast Griffin–Lim (momentum 0.99) from random phases of fixed seed. Deterministic.

    Args:
        features: ``[F, bands]`` by ``spec``, whose pitch is not heeded. samples: length wanted, at most ``F · hop``.

    Returns:
        float32 ``[samples]``, aligned with the recording that the features describe.

    Source: Griffin & Lim 1984; Perraudin et al. 2013, "A fast Griffin-Lim algorithm"; librosa's implementations.
    """
    librosa = compiled.librosa()

    if features.ndim != 2 or features.shape[1] != spec.bands:
        raise ValueError(f"expected [frames, {spec.bands}], got shape {features.shape}")
    if not 0 < samples <= len(features) * spec.hop:
        raise ValueError(f"{len(features)} frames describe at most {len(features) * spec.hop} samples, got {samples}")
    # One frame of silence on either side: librosa centres frame i on sample i·hop, we on the middle of block i.
    edge = np.full((1, spec.n_mels), spec.silence)
    mel = np.exp(np.concatenate([edge, np.asarray(features[:, : spec.n_mels], np.float64), edge]))
    magnitude = librosa.util.nnls(mel_filters(spec).T, mel.T)
    length = (len(features) + 1) * spec.hop
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "n_fft=.* is too large")  # it pads what is shorter than a transform
        audio = librosa.griffinlim(
            magnitude,
            n_iter=ITERATIONS,
            hop_length=spec.hop,
            win_length=spec.window,
            n_fft=spec.n_fft,
            length=length,
            random_state=0,
        )
    start = spec.hop // 2
    return np.asarray(audio[start : start + samples], np.float32)
