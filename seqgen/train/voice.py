"""What a run exports, streams or makes recordings with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen.audio.codec import Codec
from seqgen.audio.prediction import LinearPrediction
from seqgen.generator import Generator
from seqgen.models.frames import with_speaker
from seqgen.sample import Vocoder


@dataclass(frozen=True)
class Voice:
    """A generator with the way from its elements to audio.

    Attributes:
        generator: what is trained. codec: between waveforms (or their excitation) and its elements.
        prediction: what leaves the excitation, if anything.
        left, right: frames of context before and after a stretch that it is given.
    """

    generator: Generator
    codec: Codec
    prediction: LinearPrediction | None
    left: int
    right: int

    @property
    def vocoder(self) -> Vocoder:
        """The generator as something that streams."""
        return Vocoder(self.generator, self.codec, self.prediction)

    @torch.no_grad()
    def make(self, u: Tensor, features: Tensor, speaker: Tensor, temperature: float = 1.0) -> Tensor:
        """Whole recordings from their features.

        Shapes: ``u [B, elements, draws]``, those of ``generator.ahead`` samples beyond the end included, ``features [B,
        frames + right, M]``, int64 ``speaker [B]`` → audio ``[B, N]`` in [-1, 1), on the CPU.
        """
        net, per = self.generator, self.generator.per_sample
        samples = u.shape[1] // per - net.ahead
        frames = with_speaker(features, speaker, net.speakers)
        missing = max(0, -(-(samples + net.latency) // net.hop) - frames.shape[1])
        # Lanes that are ahead of the end hear more of the last frame.
        frames = torch.cat([frames, frames[:, -1:].expand(-1, missing, -1)], dim=1)
        # The look-ahead's last conditioning is for samples beyond the end, which are dropped.
        spare = max(0, frames.shape[1] * net.hop - net.latency - samples)
        padded = torch.nn.functional.pad(u, (0, 0, 0, spare * per))
        vocoder = self.vocoder
        return vocoder.sample(padded, vocoder.init_state(len(u)), frames, temperature).audio[:, :samples]
