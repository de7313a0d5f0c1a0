"""What a run exports, streams or makes recordings with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seqgen.audio.codec import Codec
from seqgen.audio.prediction import LinearPrediction
from seqgen.errors import SeqgenError
from seqgen.generator import Generator
from seqgen.models.frames import with_speaker
from seqgen.sample import Vocoder
from seqgen.subscale import Subscale


@dataclass(frozen=True)
class Voice:
    """A generator with the way from its elements to audio.

    Attributes:
        generator: what is trained. codec: between waveforms (or their excitation) and its elements.
        prediction: what leaves the excitation, if anything.
        left, right: frames of context before and after a stretch that it is given.
    """

    generator: Generator | Subscale
    codec: Codec
    prediction: LinearPrediction | None
    left: int
    right: int

    @property
    def plain(self) -> Generator:
        """Body and conditioning network of the generator: of its lanes, where it has lanes."""
        return self.generator.plain if isinstance(self.generator, Subscale) else self.generator

    @property
    def vocoder(self) -> Vocoder:
        """The generator as something that streams.

        Raises:
            SeqgenError: for lanes, which are made from whole recordings.
        """
        if isinstance(self.generator, Subscale):
            raise SeqgenError(
                "subscale generation makes whole recordings; it cannot be streamed or exported",
                remedy="use seqgen eval on the experiment, or train with subscale.lanes 1",
            )
        return Vocoder(self.generator, self.codec, self.prediction)

    @torch.no_grad()
    def make(self, u: Tensor, features: Tensor, speaker: Tensor, temperature: float = 1.0) -> Tensor:
        """Whole recordings from their features.

        Shapes: ``u [B, elements, draws]``, ``features [B, frames + right, M]``, int64 ``speaker [B]`` → audio
        ``[B, N]`` in [-1, 1), on the CPU; as many samples as u is for.
        """
        if isinstance(self.generator, Subscale):
            values = self.generator.sample(u, features, speaker, temperature)
            return torch.from_numpy(self.codec.decode(values.cpu().numpy()))
        plain, samples = self.plain, u.shape[1] // self.plain.per_sample
        frames = with_speaker(features, speaker, plain.speakers)
        # The look-ahead's last conditioning is for samples beyond the end, which are dropped.
        spare = max(0, frames.shape[1] * plain.hop - plain.latency - samples)
        padded = torch.nn.functional.pad(u, (0, 0, 0, spare * plain.per_sample))
        vocoder = self.vocoder
        return vocoder.sample(padded, vocoder.init_state(len(u)), frames, temperature).audio[:, :samples]
