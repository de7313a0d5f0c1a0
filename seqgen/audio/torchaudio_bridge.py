"""Bridge to torchaudio, which no other module imports: batched (GPU) resampling and an independent mel filter bank."""

from __future__ import annotations

from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.spec import FeatureSpec

try:
    from torchaudio import functional  # type: ignore[import-untyped]
except (ImportError, OSError) as error:
    # PyPI's compiled extension links CUDA; torchaudio itself runs without the extension when its file is absent.
    raise SeqgenError(f"torchaudio does not import ({error})", remedy="run `make setup`, which repairs it") from error


def resample(audio: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """Resample a batch ``[..., N]`` on its own device; gives ``[..., ceil(N · to_rate / from_rate)]``.

    A Kaiser-windowed sinc of 64 zero crossings: like the SoX resampler's, its pass band ends near 0.95 of the
    lower Nyquist frequency. Differentiable.

    Example:
        >>> resample(torch.zeros(8, 22050), 22050, 16000).shape
        torch.Size([8, 16000])
    """
    out: Tensor = functional.resample(
        audio,
        from_rate,
        to_rate,
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        resampling_method="sinc_interp_kaiser",
        beta=14.769656459379492,
    )
    return out


def mel_filters(spec: FeatureSpec) -> Tensor:
    """torchaudio's Slaney filter bank for ``spec``: float32 ``[n_fft // 2 + 1, n_mels]``.

    Equal to :func:`seqgen.audio.features.mel_filters` within 2e-7 (torchaudio computes it in float32).
    """
    bank: Tensor = functional.melscale_fbanks(
        spec.n_fft // 2 + 1,
        f_min=spec.fmin,
        f_max=spec.top_frequency,
        n_mels=spec.n_mels,
        sample_rate=spec.sample_rate,
        norm="slaney",
        mel_scale="slaney",
    )
    return bank
