"""The log-mel front end as a batched torch module: on the GPU, and differentiable."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqgen.audio.features import hann, mel_filters
from seqgen.errors import SeqgenError
from seqgen.spec import FeatureSpec


class LogMel(nn.Module):
    """Log-mel features of batches, :func:`seqgen.audio.features.log_mel` in the precision of its input.

    Frame ``i`` sees the samples ``[i·hop - pad, (i+1)·hop + pad)``, zero outside the recording:
    ``feature = ln(max(|rfft(hann · x, n_fft)| @ mel_filters, floor))``.

    Shapes: ``[B, N]`` float → ``[B, ceil(N / hop), n_mels]``. A row that is padded with zeros keeps its features.

    The numpy front end computes in float64. In float64 the two agree to 1e-6 (its output is rounded to float32);
    in float32 to 1e-3 of a nat for recorded speech, the largest differences where a band is near the floor.

    Raises:
        SeqgenError: for features with pitch, which the numpy front end alone has.

    Example:
        >>> LogMel(spec)(torch.zeros(2, 1600)).shape
        torch.Size([2, 10, 80])
    """

    hann: Tensor
    filters: Tensor

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__()
        if spec.pitch:
            raise SeqgenError("no torch module computes pitch", remedy="leave features.pitch out, or use log_mel")
        self.spec = spec
        # Constants of the spec, so no part of a checkpoint; kept in float64 and cast to the input's precision.
        self.register_buffer("hann", torch.tensor(hann(spec.window)), persistent=False)
        self.register_buffer("filters", torch.tensor(mel_filters(spec)), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        spec = self.spec
        if audio.dim() != 2:
            raise ValueError(f"expected waveforms [B, N], got shape {tuple(audio.shape)}")
        samples = audio.shape[-1]
        right = spec.frames(samples) * spec.hop - samples + spec.pad
        frames = nn.functional.pad(audio, (spec.pad, right)).unfold(-1, spec.window, spec.hop)  # [B, F, window]
        magnitude = torch.fft.rfft(frames * self.hann.to(audio), n=spec.n_fft, dim=-1).abs()
        mel: Tensor = magnitude @ self.filters.to(audio)
        return mel.clamp_min(spec.floor).log()
