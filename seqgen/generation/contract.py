"""The contracts of what can be scored and sampled: densities over whole sequences, and generators that stream them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from seqgen.distributions.contract import Distribution
from seqgen.errors import SeqgenError
from seqgen.models.frames import FrameConditioner, with_speaker
from seqgen.spec import Alignment
from seqgen.stream.conditioning import Conditioning, Frames
from seqgen.stream.contract import Streamable


class Density(nn.Module, ABC):
    """A probability density over sequences of elements: anything with a likelihood.

    Elements are int64 symbols ``[B, T]`` or real numbers ``[B, T, 1]``; a density that is the base of a flow also
    scores one-hots of symbols ``[B, T, K]``, through which gradients pass. What a sequence is conditioned on is one
    value (for a vocoder :class:`~seqgen.stream.conditioning.Frames`), ``None`` where there is nothing. Everything
    random comes in as uniforms.

    Attributes:
        symbols_per_sample: elements that make one sample of what is modelled (2 for the bytes of 16-bit audio).
        vocab_size: alphabet of an element; 0 where elements are real numbers.
        length: elements that every sequence must have, where it is a block whose probability is known as a whole; 0:
            any number, each element being scored given those before.
    """

    symbols_per_sample: int = 1
    vocab_size: int = 0
    length: int = 0

    @classmethod
    def examples(cls) -> Iterable[DensityExample]:
        """Small densities with sequences that they can score, one for each way that the code can go: what the laws of
        :mod:`seqgen.generation.verify` are run over. A registered class has to say.

        Raises:
            SeqgenError: where it does not.
        """
        raise SeqgenError(f"{cls.__name__} gives no examples", remedy="define examples(), with sequences to score")

    @property
    @abstractmethod
    def num_uniforms(self) -> int:
        """Uniform numbers that one element takes."""

    @abstractmethod
    def log_prob(self, x: Tensor, cond: Any = None) -> Tensor:
        """``ln p(x_t | x_<t, cond)`` of every element in nats, ``[B, T]`` (or ``[B, T, 1]``) ``→ [B, T]``.

        One path with and without gradients; without them memory need not grow with T. The sum over T is the
        log-likelihood of a sequence; of a density of blocks (``length``) the elements' shares of it mean nothing one by
        one.
        """

    @abstractmethod
    def sample(self, u: Tensor, cond: Any = None, temperature: Tensor | float = 1.0) -> Tensor:
        """Whole sequences, a function of the uniforms: ``[B, T, num_uniforms] → [B, T]``."""

    @final
    def require_length(self, elements: int) -> None:
        """Refuse sequences of another length than a density of blocks has.

        Raises:
            SeqgenError: saying both lengths.
        """
        if self.length and elements != self.length:
            raise SeqgenError(
                f"a sequence of {elements} elements, the density is one of blocks of {self.length}",
                remedy=f"give blocks of {self.length}, or set the density's length to {elements}",
            )


class DensityExample(NamedTuple):
    """Example of a density, with sequences to score.

    Attributes:
        density: a small one. x, cond: as :meth:`Density.log_prob` takes them.
        values: every value that an element can take, ``[V]``; ``None`` where they are the real numbers.
    """

    density: Density
    x: Tensor
    cond: Any = None
    values: Tensor | None = None


class GeneratorState(NamedTuple):
    """State of a running stream: the conditioning network's state, the last element drawn (() where none is fed
    back), the body's state."""

    conditioner: Any
    previous: Any
    body: Any


class Generator(Density):
    """A density that is generated as a stream: a body with the conditioning network that turns frames into its
    conditioning vectors.

    Args:
        body: what makes elements, or their distributions. conditioner: frames to conditioning vectors, or ``None``.
        symbols_per_sample: elements that make one audio sample (2 for interleaved bytes).
        speakers: voices told apart by a one-hot behind the features; 0 for one voice.

    Frames and elements are aligned here: the first ``conditioner.spec.latency`` conditioning vectors of a stream
    are dropped, so the body starts when the look-ahead it needs has arrived.

    Attributes:
        block: samples that are worked on at once where gradients do not need all of them, so that memory does not grow
            with T.

    Raises:
        SeqgenError: where conditioning network and body do not fit.
    """

    block: int = 8000

    def __init__(
        self, body: Streamable[Any], conditioner: Streamable[Any] | None, *, symbols_per_sample: int, speakers: int
    ) -> None:
        super().__init__()
        made = conditioner.spec.out_dim if conditioner is not None else 0
        if made != body.spec.cond_dim:
            raise SeqgenError(
                f"the conditioning network gives {made} channels, the body takes {body.spec.cond_dim}",
                remedy="give a conditioned body a conditioning network of its cond_dim, any other body none",
            )
        self.body, self.conditioner = body, conditioner
        self.symbols_per_sample, self.speakers = symbols_per_sample, speakers
        if conditioner is not None and (self.hop % self.stride or self.look_ahead % self.stride):
            raise SeqgenError(
                f"groups of {self.stride} samples do not fill a hop of {self.hop} and a look-ahead of "
                f"{self.look_ahead} samples",
                remedy="choose a hop that is a multiple of twice the group",
            )

    @property
    @abstractmethod
    def num_params(self) -> int:
        """Numbers that describe the distribution of one element."""

    @abstractmethod
    def init_state(self, batch: int, memory: Any = None) -> GeneratorState:
        """Fresh streams."""

    @abstractmethod
    def step(self, x: Tensor, state: GeneratorState, features: Tensor | None) -> tuple[Tensor, GeneratorState]:
        """Distributions of the elements that follow what is read, continuing a stream.

        Shapes: what the body reads, ``x [B, T + a]`` (or ``[B, T + a, 1]``), T whole audio samples and a the elements
        of ``ahead`` more; ``features [B, F, M + speakers]`` → ``[B, T, num_params]`` and the state. Frames and samples
        fit as in :meth:`generate`.
        """

    @abstractmethod
    def generate(
        self, u: Tensor, state: GeneratorState, features: Tensor | None, temperature: Tensor | float = 1.0
    ) -> tuple[Tensor, GeneratorState]:
        """The next elements of every stream.

        Shapes: uniforms ``u [B, T + a, num_uniforms]``, T whole audio samples and a the elements of ``ahead`` more,
        which the next call is given again; ``features [B, F, M + speakers]`` → elements ``[B, T]`` (int64 or float),
        the state. A fresh stream of F frames can make ``F·hop - latency`` samples; a stream under way makes ``F·hop``.
        What conditioning exceeds T is the look-ahead at the start.

        Raises:
            SeqgenError: where u is not a whole number of samples, or frames and samples do not fit.
        """

    @abstractmethod
    def elements(self, u: Tensor, values: Tensor) -> Tensor:
        """Elements that :meth:`step` must read, ``[B, T]``, to go the way on which ``u`` gave ``values``."""

    @abstractmethod
    def judge(self, params: Tensor, reference: Tensor, elements: Tensor) -> dict[str, Tensor]:
        """Judgement of distributions that some runtime made, rounded weights and all.

        Shapes: ``params [B, T, num_params]`` of the runtime and ``reference``, the same of this generator, for
        ``elements [B, T]`` → named amounts of each element, ``[B, T]``: ``nats`` is its surprise at them,
        ``divergence`` how far its distributions lie from the reference.
        """

    @final
    def sample(self, u: Tensor, cond: Frames | None = None, temperature: Tensor | float = 1.0) -> Tensor:
        """Whole sequences from fresh streams.

        Shapes: ``u [B, T + a, num_uniforms]``, a the elements of ``ahead`` samples beyond the end → elements ``[B,
            T]``.
        """
        padded, features, samples = self.aligned(u, cond)
        values, _ = self.generate(padded, self.init_state(len(u)), features, temperature)
        return values[:, : samples * self.symbols_per_sample]

    @final
    def aligned(self, u: Tensor, cond: Frames | None) -> tuple[Tensor, Tensor | None, int]:
        """What :meth:`generate` takes to make whole sequences from fresh streams: uniforms, features, and of what it
        makes the samples that were meant.

        Raises:
            SeqgenError: for frames of before the start, which a fresh stream has not heard.
        """
        if cond is not None and cond.left:
            raise SeqgenError(
                f"{cond.left} frames of context before what is sampled", remedy="give frames from the start on, left=0"
            )
        per, samples = self.symbols_per_sample, u.shape[1] // self.symbols_per_sample - self.ahead
        if cond is None:
            return u, None, samples
        frames = with_speaker(cond.features, cond.speaker, self.speakers)
        missing = max(0, self.alignment.frames(samples) - frames.shape[1])
        # Lanes that are ahead of the end hear more of the last frame.
        frames = torch.cat([frames, frames[:, -1:].expand(-1, missing, -1)], dim=1)
        # The look-ahead's last conditioning is for samples beyond the end, which are dropped.
        spare = max(0, self.alignment.first_samples(frames.shape[1]) - samples)
        return nn.functional.pad(u, (0, 0, 0, spare * per)), frames, samples

    @property
    def stride(self) -> int:
        """Audio samples that one conditioning vector is for; of those that the conditioning network makes one for each,
        the body takes the first of so many."""
        return max(1, self.body.spec.cond_every // self.symbols_per_sample)

    @property
    def hop(self) -> int:
        """Samples that a frame conditions."""
        return self.conditioner.spec.up if self.conditioner is not None else 1

    @property
    def look_ahead(self) -> int:
        """Samples' conditioning that answers no sample: what to wait for before the first one."""
        return self.conditioner.spec.latency if self.conditioner is not None else 0

    @property
    def latency(self) -> int:
        """Audio samples that frames are ahead of what they sound like: the look-ahead, and what is under way."""
        return self.look_ahead

    @property
    def alignment(self) -> Alignment:
        """Frames and samples of a stream."""
        return Alignment(self.hop, self.latency)

    @property
    def left(self) -> int:
        """Frames of context that a stretch needs from before it."""
        return (self.conditioner.spec.context or 1) - 1 if self.conditioner is not None else 0

    @property
    def right(self) -> int:
        """Frames of look-ahead that a stretch needs beyond its end."""
        return Alignment(self.hop, self.look_ahead).look_ahead

    @property
    def ahead(self) -> int:
        """Audio samples under way beyond the last one given out: noise and elements are given that much further."""
        return 0

    @property
    def lanes(self) -> int:
        """Audio samples made side by side."""
        return 1

    def condition(self, cond: Frames | None, vectors: int) -> Conditioning | None:
        """Conditioning of a stretch of so many vectors, aligned to it: ``[B, vectors, cond_dim]``.

        Raises:
            SeqgenError: where the features are too short.
        """
        return next(self.conditioning(cond, [vectors]))

    def conditioning(self, cond: Frames | None, blocks: Sequence[int]) -> Iterator[Conditioning | None]:
        """Conditioning of successive blocks of a stretch; all but the last are whole frames long.

        Raises:
            SeqgenError: where the features are too short for all of them.
        """
        net = self.conditioner
        if net is None or cond is None:
            yield from (None for _ in blocks)
            return
        up = net.spec.up
        # Frames whose outputs all lie before the stretch only move the state.
        position, skip = divmod(cond.left * up + self.look_ahead, up)
        made, wanted = (cond.features.shape[1] - position) * up - skip, sum(blocks) * self.stride
        if made < wanted:
            raise self._too_short(cond.features.shape[1], made, wanted)
        frames = with_speaker(cond.features, cond.speaker, self.speakers)
        with torch.autocast(frames.device.type, enabled=False):  # at the frame rate full precision costs nothing
            state = net.advance(frames[:, :position], net.init_state(frames.shape[0]))
        for index, vectors in enumerate(blocks):
            samples = vectors * self.stride
            last = position - (-(skip + samples) // up)
            with torch.autocast(frames.device.type, enabled=False):
                block, _ = self._vectors(frames[:, position:last], state, skip, skip + samples)
                after = position + samples // up
                if index + 1 < len(blocks):
                    state = net.advance(frames[:, position:after], state)
            position = after
            yield block

    def _vectors(self, frames: Tensor, state: Any, start: int, stop: int) -> tuple[Conditioning, Any]:
        """Vectors for samples ``start … stop - 1`` of those that a block of frames conditions, and the network's state
        after it."""
        net = self.conditioner
        assert net is not None
        if isinstance(net, FrameConditioner) and stop - start > 1 and self._leaves_products():
            lazy, state = net.lazy(frames, state, start, stop)
            return lazy[:, :: self.stride], state
        made, state = net.step(frames, state)
        return made[:, start : stop : self.stride], state

    def _leaves_products(self) -> bool:
        """Test for the vectors of a block to be left as the products that they are, for the body to multiply out."""
        return False

    def _too_short(self, frames: int, made: int, wanted: int) -> SeqgenError:
        return SeqgenError(
            f"{frames} frames condition {max(0, made)} samples, got {wanted}",
            remedy=f"give {self.right} frames beyond the end of the audio",
        )

    def _samples(self, elements: int) -> int:
        samples, rest = divmod(elements, self.symbols_per_sample)
        if rest:
            raise SeqgenError(
                f"got {elements} elements", remedy=f"give a multiple of {self.symbols_per_sample}, whole samples"
            )
        return samples

    def _stream_conditioning(
        self, features: Tensor | None, state: Any, samples: int
    ) -> tuple[Conditioning | None, Any]:
        if self.conditioner is None:
            return None, state
        if features is None:
            raise SeqgenError("a conditioned generator got no features", remedy="give [B, frames, channels]")
        self.alignment.require_fit(features.shape[1], samples)
        made = features.shape[1] * self.hop
        return self._vectors(features, state, made - samples, made)

    def _device(self) -> torch.device:
        return self.body.zeros(0).device


class FeedbackGenerator(Generator):
    """A generator that reads what it drew: every element comes from a distribution given those before.

    Attributes:
        distribution: of one element.
    """

    distribution: Distribution

    @property
    def num_uniforms(self) -> int:
        return self.distribution.num_uniforms

    @property
    def num_params(self) -> int:
        return self.distribution.num_params

    def elements(self, u: Tensor, values: Tensor) -> Tensor:
        return values

    def judge(self, params: Tensor, reference: Tensor, elements: Tensor) -> dict[str, Tensor]:
        return {"nats": -self.distribution.log_prob(params, elements)}
