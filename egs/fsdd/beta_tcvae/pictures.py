"""Spoken digits as pictures of one size: log-mel frames, cut or filled up with silence, with what is known of each.

``python -m egs.fsdd.beta_tcvae.pictures DATA OUT [BANDS] [FRAMES]``: DATA has train/, valid/ and test/. The factors are
the digit, the speaker, and the quarter of the training recordings by pitch that a recording's median pitch lies in; of
recordings in which none is found a fifth.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seqgen.audio import io
from seqgen.audio.features import log_mel
from seqgen.data.directory import DataDir, Utterance
from seqgen.pictures.directory import SPLITS, PictureFacts, PictureSet, write
from seqgen.spec import FeatureSpec

_HOP, _WINDOW, _TRANSFORM, _FLOOR = 0.016, 0.032, 512, 1e-3  # seconds, seconds, samples, magnitude
_LEVELS = 256
_LOUDEST = 2.0  # nats that the highest level stands for; what is louder is cut
_LOWEST, _HIGHEST, _VOICED = 70.0, 350.0, 0.5  # Hz, Hz, share of the power
_UNVOICED = 4
Reals = npt.NDArray[np.float64]


def picture(audio: npt.NDArray[np.float32], spec: FeatureSpec, frames: int) -> npt.NDArray[np.uint8]:
    """Levels ``[1, bands, frames]`` of a recording, the highest band above, from silence to the loudest."""
    found = log_mel(audio, spec)[:frames]
    full = np.pad(found, ((0, frames - len(found)), (0, 0)), constant_values=spec.silence)
    share = ((full - spec.silence) / (_LOUDEST - spec.silence)).clip(0, 1)  # [frames, bands]
    return np.rint((_LEVELS - 1) * share).astype(np.uint8).T[None, ::-1]


def median_pitch(audio: npt.NDArray[np.float32], rate: int) -> float:
    """Median of a recording's pitch in Hz, NaN where it is nowhere voiced: of each window of 64 ms the lag at which its
    autocorrelation is highest, where that is half of its power or more."""
    size = round(0.064 * rate)
    lags = slice(round(rate / _HIGHEST), round(rate / _LOWEST) + 1)
    padded = np.pad(audio.astype(np.float64), (0, max(0, size - len(audio))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[:: size // 4]
    windows = windows - windows.mean(axis=1, keepdims=True)
    found = np.fft.irfft(np.abs(np.fft.rfft(windows, 2 * size)) ** 2)[:, : lags.stop]
    power = np.maximum(found[:, 0], np.finfo(np.float64).tiny)
    share = found[:, lags].max(axis=1) / power
    loud = power > 0.1 * power.max()
    voiced = loud & (share >= _VOICED)
    hz = rate / (lags.start + found[:, lags].argmax(axis=1))
    return float(np.median(hz[voiced])) if voiced.any() else float("nan")


def quarters(pitches: Reals, edges: Reals) -> npt.NDArray[np.int64]:
    """Numbers of the quarters that pitches lie in."""
    return np.where(np.isnan(pitches), _UNVOICED, np.searchsorted(edges, pitches)).astype(np.int64)


def _read(utterance: Utterance) -> npt.NDArray[np.float32]:
    return io.read(utterance.path, start=utterance.start, count=utterance.samples)[0]


def main(words: list[str]) -> None:
    """Write the pictures of all splits."""
    data = {split: DataDir.load(Path(words[0]) / split) for split in SPLITS}
    bands, frames = (int(word) for word in (words[2:4] or ("20", "32")))
    rate = data["train"].sample_rate
    spec = FeatureSpec(rate, _TRANSFORM, round(_WINDOW * rate), round(_HOP * rate), bands, floor=_FLOOR)
    speakers, texts = data["train"].speakers, sorted({one.text for one in data["train"]})
    audio = {
        split: [io.read(one.path, start=one.start, count=one.samples)[0] for one in data[split]] for split in SPLITS
    }
    pitches = {split: np.array([median_pitch(one, rate) for one in audio[split]]) for split in SPLITS}
    edges = np.nanquantile(pitches["train"], [0.25, 0.5, 0.75])
    splits = {}
    for split in SPLITS:
        known = [[texts.index(one.text), speakers.index(one.speaker)] for one in data[split]]
        factors = np.column_stack([known, quarters(pitches[split], edges)])
        x = np.stack([picture(one, spec, frames) for one in audio[split]])
        splits[split] = PictureSet(x, tuple(one.id for one in data[split]), factors=factors)
    write(Path(words[1]), PictureFacts((1, bands, frames), _LEVELS, factors=("digit", "speaker", "pitch")), splits)
    sys.stderr.write(f"{words[1]}: quarters of pitch at {', '.join(f'{edge:.0f}' for edge in edges)} Hz\n")


if __name__ == "__main__":
    main(sys.argv[1:])
