"""A vocoder: a generator with the way from its elements to audio."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen.audio.codec import Codec
from seqgen.audio.filter_bank import FilterBank
from seqgen.audio.prediction import LinearPrediction
from seqgen.generation.contract import Generator, GeneratorState
from seqgen.nets.synthesis import BandSynthesis, FrameCoefficients, LinearSynthesis
from seqgen.stream.conditioning import Frames


class VocoderState(NamedTuple):
    """State of a vocoder: a :class:`GeneratorState`, and for linear prediction the waiting coefficients and the last
    samples, for bands their last numbers (else ())."""

    conditioner: Any
    previous: Any
    body: Any
    coefficients: Any
    history: Any
    bands: Any = ()

    @property
    def generator(self) -> GeneratorState:
        """The generator's part."""
        return GeneratorState(self.conditioner, self.previous, self.body)


class Drawn(NamedTuple):
    """Audio that a vocoder made: ``audio [B, N]`` in [-1, 1), the generator's elements ``values [B, T]``, the state
    after."""

    audio: Tensor
    values: Tensor
    state: VocoderState


class Vocoder:
    """A generator with the way from its elements to audio: codec, then the sum of bands and the synthesis filter where
    they are configured.

    Args:
        generator: what was trained. codec: elements to PCM. prediction: the filter's source, ``None`` for none.
        bank: of the bands, ``None`` for none.
    """

    def __init__(
        self,
        generator: Generator,
        codec: Codec,
        prediction: LinearPrediction | None,
        bank: FilterBank | None = None,
    ) -> None:
        self.generator, self.codec, self.prediction, self.bank = generator, codec, prediction, bank
        self.sum = None if bank is None else BandSynthesis(bank)
        self.coefficients: FrameCoefficients | None = None
        self.filter: LinearSynthesis | None = None
        if prediction is not None:
            latency, speakers = generator.latency, generator.speakers
            self.coefficients = FrameCoefficients(prediction, speakers=speakers, latency=latency)
            self.filter = LinearSynthesis(prediction.order)

    def init_state(self, batch: int) -> VocoderState:
        """Fresh streams."""
        coefficients = self.coefficients.init_state(batch) if self.coefficients is not None else ()
        history = self.filter.init_state(batch) if self.filter is not None else ()
        bands = self.sum.init_state(batch) if self.sum is not None else ()
        return VocoderState(*self.generator.init_state(batch), coefficients, history, bands)

    def step(self, x: Tensor, state: VocoderState, features: Tensor) -> tuple[Tensor, VocoderState]:
        """Distributions of given elements, continuing a stream; see :meth:`Generator.step`."""
        params, generator = self.generator.step(x, state.generator, features)
        if self.prediction is None and self.bank is None:
            return params, VocoderState(*generator, state.coefficients, state.history)
        return params, self._sound(x, state, generator, features).state

    def generate(self, u: Tensor, state: VocoderState, features: Tensor, temperature: Tensor | float = 1.0) -> Drawn:
        """Draw the next elements of every stream and make them sound; see :meth:`Generator.generate`."""
        values, generator = self.generator.generate(u, state.generator, features, temperature)
        return self._sound(values, state, generator, features)

    @torch.no_grad()
    def make(self, u: Tensor, frames: Frames, temperature: float = 1.0) -> Tensor:
        """Whole recordings from their frames.

        Shapes: ``u [B, elements, num_uniforms]``, those of ``generator.ahead`` samples beyond the end included → audio
        ``[B, N]`` in [-1, 1), on the CPU.
        """
        padded, features, samples = self.generator.aligned(u, frames)
        assert features is not None
        return self.generate(padded, self.init_state(len(u)), features, temperature).audio[:, :samples]

    def elements(self, audio: npt.NDArray[Any], features: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Elements with which a fresh stream sounds like ``audio [B, N]`` over ``features [B, F, M + speakers]``."""
        samples = audio.shape[1]
        whole = samples if self.bank is None else -(-samples // self.bank.bands) * self.bank.bands + self.bank.reach
        audio = np.pad(audio, ((0, 0), (0, whole - samples)))
        if self.prediction is not None:
            hop, order = self.prediction.spec.hop, self.prediction.order
            mel = features[:, : -(-whole // hop), : self.prediction.spec.n_mels]
            missing = -(-whole // hop) - mel.shape[1]
            silence = ((0, 0), (0, missing), (0, 0))
            mel = np.pad(mel, silence, constant_values=self.prediction.spec.silence)
            audio = self.prediction.excite(np.pad(audio, ((0, 0), (order, 0))), mel)
        if self.bank is not None:
            audio = self.bank.analyse(audio)
        return self.codec.encode(audio[:, :samples])

    def _sound(self, values: Tensor, state: VocoderState, generator: GeneratorState, features: Tensor) -> Drawn:
        audio = torch.from_numpy(self.codec.decode(values.reshape(values.shape[0], -1).cpu().numpy()))
        coefficients, history, bands = state.coefficients, state.history, state.bands
        if self.sum is not None:
            summed, bands = self.sum.step(audio[..., None], bands)
            audio = summed[..., 0] if self.filter is not None else summed[..., 0].clamp(-1, 1)
        if self.coefficients is not None and self.filter is not None:
            each, coefficients = self.coefficients.step(features.cpu(), coefficients)
            each = each[:, each.shape[1] - audio.shape[1] :]
            pcm, history = self.filter.step((audio[..., None] * 32768).round(), history, each)
            audio = pcm[..., 0] / 32768
        return Drawn(audio, values, VocoderState(*generator, coefficients, history, bands))
