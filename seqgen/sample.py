"""Generation element by element: a body that reads what it drew, its exact likelihood, and the only sampling loop."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen.audio.codec import Codec
from seqgen.audio.prediction import LinearPrediction
from seqgen.emissions.contract import Emission
from seqgen.errors import SeqgenError
from seqgen.generator import Generator, GeneratorState
from seqgen.models.frames import with_speaker
from seqgen.nets.synthesis import FrameCoefficients, LinearSynthesis
from seqgen.stream.combinators import Delay
from seqgen.stream.contract import Streamable

_BLOCK = 8000  # samples of a stretch that is scored without gradients


class AutoRegressive(Generator):
    """``p(x | frames) = Π_t p(x_t | x_<t, cond_t)``: exact likelihood and sampling by the same ``step``.

    Args:
        body: previous element in, parameters of the next element's distribution out.
        emission: that distribution.
        conditioner: frames to conditioning vectors, or ``None``.
        start: the element before the first one.
        per_sample: elements that make one audio sample (2 for interleaved bytes).
        speakers: voices told apart by a one-hot behind the features; 0 for one voice.

    Frames and elements are aligned as in every :class:`Generator`.
    """

    def __init__(
        self,
        body: Streamable[Any],
        emission: Emission,
        conditioner: Streamable[Any] | None,
        *,
        start: float,
        per_sample: int,
        speakers: int = 0,
    ) -> None:
        super().__init__(body, conditioner, per_sample=per_sample, speakers=speakers)
        if emission.params != body.spec.out_dim:
            raise SeqgenError(
                f"the body gives {body.spec.out_dim} outputs, the emission takes {emission.params}",
                remedy="choose an emission that fits the model",
            )
        if emission.symbols != body.spec.symbols:
            raise SeqgenError(
                f"the body reads {_values(body.spec.symbols)}, the emission draws {_values(emission.symbols)}",
                remedy="choose an emission over what the model reads: a generator feeds itself",
            )
        self.emission, self.start = emission, start
        self.delay = Delay(1, dim=body.spec.in_dim, fill=start, symbols=body.spec.symbols)

    def log_prob(self, x: Tensor, features: Tensor, speaker: Tensor, *, left: int = 0) -> Tensor:
        """``ln p(x_t | x_<t, features)`` in nats for every element, by teacher forcing in one pass.

        Shapes: ``x [B, T]`` (or ``[B, T, 1]``), ``features [B, left + frames + look-ahead, M]``, int64
        ``speaker [B]`` → ``[B, T]``. The first ``left`` frames are context from before ``x``.

        Raises:
            SeqgenError: where the features are too short for ``x``.
        """
        if self.conditioner is not None and not torch.is_grad_enabled():
            return self._log_prob_in_blocks(x, with_speaker(features, speaker, self.speakers), left)
        params = self.distributions(x, features, speaker, left=left)
        return self.emission.log_prob(params, x if x.dim() == 2 else x[..., 0])

    def distributions(self, x: Tensor, features: Tensor, speaker: Tensor, *, left: int = 0) -> Tensor:
        """Parameters of ``p(x_t | x_<t, features)`` for every element at once, differentiable in ``x``.

        Shapes and what is raised: as for :meth:`log_prob`; ``[B, T, emission.params]``.
        """
        vectors = self.body.spec.conditions(0, x.shape[1])[1]
        cond = self.condition(features, speaker, left=left, vectors=vectors)
        made: Tensor = self.body(self.delay(x), cond)  # teacher forcing
        return made

    def _log_prob_in_blocks(self, x: Tensor, frames: Tensor, left: int) -> Tensor:
        """The same, streamed: without gradients nothing of a block is needed later, so memory does not grow with T."""
        net = self.conditioner
        assert net is not None
        up, per, length = net.spec.up, self.per_sample, x.shape[1]
        available = (frames.shape[1] - left) * up - self.latency
        if available * per < length:
            raise self._too_short(frames.shape[1], available, -(-length // per))
        pad = (0, available * per - length) if x.dim() == 2 else (0, 0, 0, available * per - length)
        x = torch.nn.functional.pad(x, pad)
        state = self.init_state(x.shape[0])
        state = state._replace(conditioner=net.advance(frames[:, :left], state.conditioner))
        block = max(1, _BLOCK // up)
        first, made, start, parts = left, -self.latency, 0, []
        while start < length:
            last = min(first + block, frames.shape[1])
            made += (last - first) * up
            if made <= 0:
                state = state._replace(conditioner=net.advance(frames[:, first:last], state.conditioner))
            else:
                piece = x[:, start : made * per]
                params, state = self.step(piece, state, frames[:, first:last])
                parts.append(self.emission.log_prob(params, piece if piece.dim() == 2 else piece[..., 0]))
                start = made * per
            first = last
        return torch.cat(parts, dim=1)[:, :length] if parts else x.new_zeros(x.shape[0], 0, dtype=frames.dtype)

    @property
    def draws(self) -> int:
        return self.emission.draws

    @property
    def params(self) -> int:
        return self.emission.params

    def elements(self, u: Tensor, values: Tensor) -> Tensor:
        return values

    def init_state(self, batch: int) -> GeneratorState:
        spec = self.body.spec
        like = self.body.zeros(batch) if spec.in_dim else torch.zeros(batch, dtype=torch.int64, device=self._device())
        conditioner = self.conditioner.init_state(batch) if self.conditioner is not None else ()
        return GeneratorState(conditioner, like + (self.start if spec.in_dim else int(self.start)),
                              self.body.init_state(batch))  # fmt: skip

    def step(self, x: Tensor, state: GeneratorState, features: Tensor | None) -> tuple[Tensor, GeneratorState]:
        """Distributions of given elements: what :meth:`sample` would draw from."""
        cond, conditioner = self._stream_conditioning(features, state.conditioner, self._samples(x.shape[1]))
        values = x if x.dim() == 2 else x[..., 0]
        line = torch.cat([state.previous[:, None], values], dim=1)
        before = line[:, : x.shape[1]]
        params, body = self.body.step(before[..., None] if self.body.spec.in_dim else before, state.body, cond)
        return params, GeneratorState(conditioner, line[:, -1], body)

    def sample(
        self, u: Tensor, state: GeneratorState, features: Tensor | None, temperature: Tensor | float = 1.0
    ) -> tuple[Tensor, GeneratorState]:
        """Draw the next elements of every stream; the one loop that feeds a model its own output."""
        cond, conditioner = self._stream_conditioning(features, state.conditioner, self._samples(u.shape[1]))
        values, _, body = draw(self.body, self.emission, u, state.previous, state.body, cond, temperature=temperature)
        previous = torch.cat([state.previous[:, None], values], dim=1)[:, -1]
        return values, GeneratorState(conditioner, previous, body)


def draw(
    body: Streamable[Any],
    emission: Emission,
    u: Tensor,
    previous: Tensor,
    state: Any,
    cond: Tensor | None,
    *,
    temperature: Tensor | float,
) -> tuple[Tensor, Tensor, Any]:
    """The loop: each element is drawn from what the body says of the one before, then fed to it.

    Shapes: ``u [B, T, draws]``, the element before ``[B]``, the body's state and conditioning vectors → elements
    ``[B, T]``, their distributions ``[B, T, params]``, and the body's state.
    """
    drawn, told = [], []
    for t in range(u.shape[1]):
        first, last = body.spec.conditions(t, t + 1)
        x = previous[:, None] if body.spec.in_dim == 0 else previous[:, None, None]
        params, state = body.step(x, state, None if cond is None else cond[:, first:last])
        previous = emission.sample(params[:, 0], u[:, t], temperature)
        drawn.append(previous)
        told.append(params)
    if not drawn:
        return previous[:, None][:, :0], body.zeros(len(previous), 0, emission.params), state
    return torch.stack(drawn, dim=1), torch.cat(told, dim=1), state


def _values(symbols: int) -> str:
    return f"{symbols} symbols" if symbols else "real numbers"


class VocoderState(NamedTuple):
    """A :class:`GeneratorState`, and for linear prediction the waiting coefficients and the last samples (else ())."""

    conditioner: Any
    previous: Any
    body: Any
    coefficients: Any
    history: Any

    @property
    def generator(self) -> GeneratorState:
        """The generator's part."""
        return GeneratorState(self.conditioner, self.previous, self.body)


class Drawn(NamedTuple):
    """What a vocoder made: ``audio [B, N]`` in [-1, 1), the generator's elements ``values [B, T]``, the state after."""

    audio: Tensor
    values: Tensor
    state: VocoderState


class Vocoder:
    """A generator with the way from its elements to audio: codec, then the synthesis filter where one is configured.

    Args:
        generator: what was trained. codec: elements to PCM. prediction: the filter's source, ``None`` for none.
    """

    def __init__(self, generator: Generator, codec: Codec, prediction: LinearPrediction | None) -> None:
        self.generator, self.codec, self.prediction = generator, codec, prediction
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
        return VocoderState(*self.generator.init_state(batch), coefficients, history)

    def step(self, x: Tensor, state: VocoderState, features: Tensor) -> tuple[Tensor, VocoderState]:
        """Distributions of given elements, continuing a stream; see :meth:`Generator.step`."""
        params, generator = self.generator.step(x, state.generator, features)
        if self.prediction is None:
            return params, VocoderState(*generator, state.coefficients, state.history)
        return params, self._sound(x, state, generator, features).state

    def sample(self, u: Tensor, state: VocoderState, features: Tensor, temperature: Tensor | float = 1.0) -> Drawn:
        """Draw the next elements of every stream and make them sound; see :meth:`Generator.sample`."""
        values, generator = self.generator.sample(u, state.generator, features, temperature)
        return self._sound(values, state, generator, features)

    def elements(self, audio: npt.NDArray[Any], features: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What a fresh stream must draw to sound like ``audio [B, N]`` over ``features [B, F, M + speakers]``."""
        if self.prediction is not None:
            hop, order = self.prediction.spec.hop, self.prediction.order
            mel = features[:, : -(-audio.shape[1] // hop), : self.prediction.spec.n_mels]
            padded = np.pad(audio, ((0, 0), (order, mel.shape[1] * hop - audio.shape[1])))
            audio = self.prediction.excite(padded, mel)[:, : audio.shape[1]]
        return self.codec.encode(audio)

    def _sound(self, values: Tensor, state: VocoderState, generator: GeneratorState, features: Tensor) -> Drawn:
        audio = torch.from_numpy(self.codec.decode(values.reshape(values.shape[0], -1).cpu().numpy()))
        coefficients, history = state.coefficients, state.history
        if self.coefficients is not None and self.filter is not None:
            each, coefficients = self.coefficients.step(features.cpu(), coefficients)
            each = each[:, each.shape[1] - audio.shape[1] :]
            pcm, history = self.filter.step(audio[..., None] * 32768, history, each)
            audio = pcm[..., 0] / 32768
        return Drawn(audio, values, VocoderState(*generator, coefficients, history))
