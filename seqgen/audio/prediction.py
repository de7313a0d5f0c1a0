"""Linear prediction of PCM from the mel features: what is left over is what a model learns and an engine filters back.

A vocoder is given the spectral envelope, as log-mel frames; it need not spend its network on it. Each frame's envelope
fixes an all-pole filter, the model is trained on the prediction error ("excitation"), and whatever noise the model
adds is shaped by the envelope as well, below the spectrum of the speech, where the ear does not find it.

    x̂_t = ⌊(Σ_k c_k x_{t-k} + 2^11) / 2^12⌋,    e_t = x_t - x̂_t,    x_t = clip16(e_t + x̂_t)

Samples and coefficients are whole numbers, so every runtime finds the same ones in any order of summation, and the
excitation is a lossless code of the recording: its likelihood is that of the waveform.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seqgen.audio.features import mel_filters
from seqgen.audio.io import pcm16
from seqgen.errors import SeqgenError
from seqgen.spec import FeatureSpec

UNIT = 1 << 12
"""Coefficients are multiples of 1/UNIT."""
PCM_LOW, PCM_HIGH = -32768, 32767
# A floor 50 dB below the frame's mean power and envelopes smoothed by 40 Hz keep the filters tame: at 16 kHz no
# coefficient of speech exceeds 7, and 8 is what 16 bits hold.
_NOISE_FLOOR = 1e-5
_SMOOTHING_HZ = 40.0
LONGEST = 32


def _envelope_matrix(spec: FeatureSpec) -> npt.NDArray[np.float64]:
    """``[n_mels, bins]``: linear interpolation of band values between the bands' centres of gravity."""
    bank = mel_filters(spec)
    bins = np.arange(len(bank))
    centres = bins @ bank / bank.sum(axis=0)
    return np.stack([np.interp(bins, centres, one) for one in np.eye(spec.n_mels)])


def _autocorrelation_matrix(spec: FeatureSpec, order: int) -> npt.NDArray[np.float64]:
    """``[bins, order + 1]``: power spectrum to windowed autocorrelation, the inverse Fourier transform's real part."""
    bins, lags = np.arange(spec.n_fft // 2 + 1), np.arange(order + 1)
    both_sides = np.full(len(bins), 2.0)
    both_sides[0] = 1
    if spec.n_fft % 2 == 0:
        both_sides[-1] = 1
    matrix = np.cos(2 * np.pi / spec.n_fft * np.outer(bins, lags)) * both_sides[:, None] / spec.n_fft
    matrix *= np.exp(-0.5 * np.square(2 * np.pi * _SMOOTHING_HZ / spec.sample_rate * lags))
    matrix[:, 0] *= 1 + _NOISE_FLOOR
    return np.asarray(matrix, np.float64)


class LinearPrediction(nn.Module):
    """Coefficients from log-mel frames, and the prediction error of PCM under them; float64 throughout.

    ``power = exp(2·(mel - ln Σfilter) @ W)``, ``r = power @ C`` (inverse Fourier transform, lag window, noise floor),
    then Levinson's recursion, rounded to multiples of 1/4096.

    Args:
        spec: the front end. order: number of past samples, 1 to 32; 16 is usual at 16 kHz.

    Raises:
        SeqgenError: for another order.

    Source: Makhoul 1975, "Linear prediction: a tutorial review"; envelope by band energies: Valin & Skoglund 2019,
    "LPCNet: improving neural speech synthesis through linear prediction", section 3.1.

    Example:
        >>> prediction = LinearPrediction(FeatureSpec(16000, 1024, 640, 160, 80), 16)
        >>> prediction.coefficients(torch.zeros(2, 10, 80)).shape
        torch.Size([2, 10, 16])
    """

    def __init__(self, spec: FeatureSpec, order: int) -> None:
        super().__init__()
        if not 1 <= order <= LONGEST:
            raise SeqgenError(f"linear prediction of order {order}", remedy=f"choose 1 to {LONGEST}, or 0 for none")
        self.spec, self.order = spec, order
        constants = {
            "level": np.log(mel_filters(spec).sum(axis=0)),
            "envelope": _envelope_matrix(spec),
            "correlation": _autocorrelation_matrix(spec, order),
        }
        for name, value in constants.items():
            self.register_buffer(name, torch.from_numpy(value))

    level: Tensor
    envelope: Tensor
    correlation: Tensor

    def coefficients(self, mel: Tensor) -> Tensor:
        """``[..., n_mels]`` (nats) → float64 ``[..., order]``, whole numbers: ``c_k`` in units of 1/4096."""
        power = torch.exp(2 * ((mel.double() - self.level) @ self.envelope))
        r = power @ self.correlation
        c = r[..., 1:2] / r[..., 0:1]
        error = r[..., 0:1] * (1 - c * c)
        for order in range(2, self.order + 1):
            known = (c * r[..., 1:order].flip(-1)).sum(dim=-1, keepdim=True)
            reflection = (r[..., order : order + 1] - known) / error
            c = torch.cat([c - reflection * c.flip(-1), reflection], dim=-1)
            error = error * (1 - reflection * reflection)
        return torch.round(c * UNIT).clamp(PCM_LOW, PCM_HIGH)

    def excitation(self, pcm: Tensor, coefficients: Tensor) -> Tensor:
        """Prediction errors of a stretch with ``order`` samples of history in front.

        Shapes: whole numbers ``[B, order + N]``, ``[B, N, order]`` (one set per sample) → float64 ``[B, N]``. Errors
        outside 16 bits, which speech does not have, are clipped.
        """
        history = pcm.double().unfold(1, self.order, 1)[:, :-1].flip(-1)  # [B, N, order], newest first
        return (pcm[:, self.order :].double() - predicted(history, coefficients)).clamp(PCM_LOW, PCM_HIGH)

    def excite(self, audio: npt.NDArray[np.float32], mel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Waveform to excitation waveform, both in [-1, 1): ``[B, order + N]`` and the frames that N samples begin,
        ``[B, F, n_mels] → [B, N]``."""
        frames = self.coefficients(torch.from_numpy(mel)).repeat_interleave(self.spec.hop, dim=1)
        frames = frames[:, : audio.shape[1] - self.order]
        errors = self.excitation(torch.from_numpy(pcm16(audio).astype(np.float64)), frames)
        return (errors / 32768).float().numpy()


def predicted(history: Tensor, coefficients: Tensor) -> Tensor:
    """``⌊(Σ_k c_k x_{t-k} + 2048) / 4096⌋``: float64 ``[..., order]`` twice, newest sample first → ``[...]``.

    Every product and sum is a whole number below 2^53, so float64 is exact.
    """
    total = (history * coefficients).sum(dim=-1)
    return torch.floor((total + UNIT / 2) / UNIT)


def prediction_for(spec: FeatureSpec, order: int, codec: str) -> LinearPrediction | None:
    """Linear prediction that a configuration asks for; ``None`` for order 0.

    Raises:
        SeqgenError: where the codec is not 16-bit PCM.
    """
    if order == 0:
        return None
    if codec not in ("bytes16", "float"):
        raise SeqgenError(
            f"linear prediction works on 16-bit samples, data.codec is '{codec}'",
            remedy="set data.prediction to 0, or data.codec to bytes16 or float",
        )
    return LinearPrediction(spec, order)
