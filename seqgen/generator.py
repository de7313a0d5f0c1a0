"""Generators: what turns features and uniform numbers into samples, element by element or all at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.flows.affine import AffineStream, logistic
from seqgen.models.frames import FrameConditioner, with_speaker
from seqgen.stream.contract import Streamable

_BLOCK = 4096  # samples of a stretch that a flow makes at once: memory does not grow with the length of an utterance


class GeneratorState(NamedTuple):
    """Everything a running stream is: the conditioning network's state, the last element drawn (() where none is fed
    back), the body's state."""

    conditioner: Any
    previous: Any
    body: Any


class Generator(nn.Module, ABC):
    """A body with the conditioning network that turns frames into its conditioning vectors.

    Args:
        body: what makes elements, or their distributions. conditioner: frames to conditioning vectors, or ``None``.
        per_sample: elements that make one audio sample (2 for interleaved bytes).
        speakers: voices told apart by a one-hot behind the features; 0 for one voice.

    Frames and elements are aligned here: the first ``conditioner.spec.latency`` conditioning vectors of a stream
    are dropped, so the body starts when the look-ahead it needs has arrived.

    Raises:
        SeqgenError: where conditioning network and body do not fit.
    """

    def __init__(
        self, body: Streamable[Any], conditioner: Streamable[Any] | None, *, per_sample: int, speakers: int
    ) -> None:
        super().__init__()
        made = conditioner.spec.out_dim if conditioner is not None else 0
        if made != body.spec.cond_dim:
            raise SeqgenError(
                f"the conditioning network gives {made} channels, the body takes {body.spec.cond_dim}",
                remedy="give a conditioned body a conditioning network of its cond_dim, any other body none",
            )
        self.body, self.conditioner = body, conditioner
        self.per_sample, self.speakers = per_sample, speakers

    @property
    @abstractmethod
    def draws(self) -> int:
        """Uniform numbers that one element takes."""

    @property
    @abstractmethod
    def params(self) -> int:
        """Numbers that describe the distribution of one element."""

    @abstractmethod
    def init_state(self, batch: int) -> GeneratorState:
        """Fresh streams."""

    @abstractmethod
    def step(self, x: Tensor, state: GeneratorState, features: Tensor | None) -> tuple[Tensor, GeneratorState]:
        """Distributions of the elements that follow what is read, continuing a stream.

        Shapes: what the body reads, ``x [B, T + a]`` (or ``[B, T + a, 1]``), T whole audio samples and a the elements
        of ``ahead`` more; ``features [B, F, M + speakers]`` → ``[B, T, params]`` and the state. Frames and samples fit
        as in :meth:`sample`.
        """

    @abstractmethod
    def sample(
        self, u: Tensor, state: GeneratorState, features: Tensor | None, temperature: Tensor | float = 1.0
    ) -> tuple[Tensor, GeneratorState]:
        """The next elements of every stream.

        Shapes: uniforms ``u [B, T + a, draws]``, T whole audio samples and a the elements of ``ahead`` more, which the
        next call is given again; ``features [B, F, M + speakers]`` → elements ``[B, T]`` (int64 or float), the state.
        A fresh stream of F frames can make ``F·hop - latency`` samples; a stream under way makes ``F·hop``. What
        conditioning exceeds T is the look-ahead at the start.

        Raises:
            SeqgenError: where u is not a whole number of samples, or frames and samples do not fit.
        """

    @abstractmethod
    def elements(self, u: Tensor, values: Tensor) -> Tensor:
        """What :meth:`step` must read, ``[B, T]``, to go the way on which ``u`` gave ``values``."""

    @property
    def hop(self) -> int:
        """Conditioning vectors that a frame makes."""
        return self.conditioner.spec.up if self.conditioner is not None else 1

    @property
    def look_ahead(self) -> int:
        """Conditioning vectors that answer no sample: those to wait for before the first one."""
        return self.conditioner.spec.latency if self.conditioner is not None else 0

    @property
    def latency(self) -> int:
        """Audio samples that frames are ahead of what they sound like: the look-ahead, and what is under way."""
        return self.look_ahead

    @property
    def ahead(self) -> int:
        """Audio samples under way beyond the last one given out: noise and elements are given that much further."""
        return 0

    @property
    def lanes(self) -> int:
        """Audio samples made side by side."""
        return 1

    def condition(self, features: Tensor, speaker: Tensor, *, left: int, vectors: int) -> Tensor | None:
        """Conditioning of a stretch of ``vectors`` samples behind ``left`` frames of context, aligned to it.

        Shapes: ``[B, left + frames + look-ahead, M]``, int64 ``[B] → [B, vectors, cond_dim]``.

        Raises:
            SeqgenError: where the features are too short.
        """
        net = self.conditioner
        if net is None:
            return None
        up = net.spec.up
        # Frames whose outputs all lie before the stretch only move the state.
        warm, skip = divmod(left * up + self.look_ahead, up)
        made = (features.shape[1] - warm) * up - skip
        if made < vectors:
            raise self._too_short(features.shape[1], made, vectors)
        frames = with_speaker(features, speaker, self.speakers)
        with torch.autocast(features.device.type, enabled=False):  # at the frame rate full precision costs nothing
            state = net.advance(frames[:, :warm], net.init_state(frames.shape[0]))
            last = warm - (-(skip + vectors) // up)
            return self._vectors(frames[:, warm:last], state, skip, skip + vectors)[0]

    def _vectors(self, frames: Tensor, state: Any, start: int, stop: int) -> tuple[Any, Any]:
        """Vectors ``start … stop - 1`` of those that a block of frames conditions, and the network's state after it."""
        assert self.conditioner is not None
        made, state = self.conditioner.step(frames, state)
        return made[:, start:stop], state

    def _too_short(self, frames: int, made: int, wanted: int) -> SeqgenError:
        up = self.conditioner.spec.up if self.conditioner is not None else 1
        return SeqgenError(
            f"{frames} frames condition {max(0, made)} samples, got {wanted}",
            remedy=f"give {-(-self.look_ahead // up)} frames beyond the end of the audio",
        )

    def _samples(self, elements: int) -> int:
        samples, rest = divmod(elements, self.per_sample)
        if rest:
            raise SeqgenError(f"got {elements} elements", remedy=f"give a multiple of {self.per_sample}, whole samples")
        return samples

    def _stream_conditioning(self, features: Tensor | None, state: Any, samples: int) -> tuple[Tensor | None, Any]:
        if self.conditioner is None:
            return None, state
        if features is None:
            raise SeqgenError("a conditioned generator got no features", remedy="give [B, frames, channels]")
        made = features.shape[1] * self.conditioner.spec.up
        self._require_fit(features.shape[1], made, samples)
        return self._vectors(features, state, made - samples, made)

    def _require_fit(self, frames: int, made: int, samples: int) -> None:
        if not made - self.latency <= samples <= made:
            raise SeqgenError(
                f"{frames} frames do not make {samples} samples",
                remedy=f"ask for {made} samples ({made - self.latency} at the start of a stream)",
            )

    def _device(self) -> torch.device:
        return self.body.zeros(0).device


class Parallel(Generator):
    """A flow from logistic noise: all samples of a stretch at once, ``x = flow(τ · logistic(u) | features)``.

    What the body reads are the elements of the noise, not the samples that it makes, so nothing is fed back; the
    distributions that :meth:`step` gives are ``p(x_t | z_<t) = Logistic(mean, e^log_scale)``, as ``[B, T, 2]``. The
    temperature τ scales the noise. Samples are held in [-1, 1].

    Source: arXiv 1711.10433, section 3.
    """

    body: AffineStream[Any]

    def __init__(self, body: AffineStream[Any], conditioner: Streamable[Any] | None, *, speakers: int = 0) -> None:
        super().__init__(body, conditioner, per_sample=1, speakers=speakers)

    @property
    def draws(self) -> int:
        return 1

    @property
    def params(self) -> int:
        return 2

    def init_state(self, batch: int) -> GeneratorState:
        conditioner = self.conditioner.init_state(batch) if self.conditioner is not None else ()
        return GeneratorState(conditioner, (), self.body.init_state(batch))

    def elements(self, u: Tensor, values: Tensor) -> Tensor:
        return logistic(u)[..., 0]

    def _vectors(self, frames: Tensor, state: Any, start: int, stop: int) -> tuple[Any, Any]:
        net = self.conditioner
        if isinstance(net, FrameConditioner) and stop - start > 1:  # the layers of all flows take thousands of channels
            return net.between(frames, state, start, stop)
        return super()._vectors(frames, state, start, stop)

    def step(self, x: Tensor, state: GeneratorState, features: Tensor | None) -> tuple[Tensor, GeneratorState]:
        return self._in_stretches(self.judge, x if x.dim() == 3 else x[..., None], state, features)

    def sample(
        self, u: Tensor, state: GeneratorState, features: Tensor | None, temperature: Tensor | float = 1.0
    ) -> tuple[Tensor, GeneratorState]:
        def draw(u: Tensor, state: Any, cond: Tensor | None) -> tuple[Tensor, Any]:
            return self.draw(u, state, cond, temperature)

        return self._in_stretches(draw, u, state, features)

    def judge(self, z: Tensor, state: Any, cond: Tensor | None) -> tuple[Tensor, Any]:
        """Means and log-scales of the samples that follow given noise, ``[B, T, 1] → [B, T, 2]``; the body's state."""
        made, state = self.body.affine(z, state, cond)
        return torch.cat(made, dim=-1), state

    def draw(self, u: Tensor, state: Any, cond: Tensor | None, temperature: Tensor | float) -> tuple[Tensor, Any]:
        """Samples from uniforms, ``[B, T, 1] → [B, T]``; the body's state."""
        x, state = self.body.step(temperature * logistic(u), state, cond)
        return x[..., 0].clamp(-1, 1), state

    def _in_stretches(
        self,
        run: Callable[[Tensor, Any, Tensor | None], tuple[Tensor, Any]],
        given: Tensor,
        state: GeneratorState,
        features: Tensor | None,
    ) -> tuple[Tensor, GeneratorState]:
        """``run`` over a block, stretch by stretch."""
        conditioner, body, made = state.conditioner, state.body, []
        for start, stop, first, last in self._stretches(given.shape[1], features):
            frames = None if features is None else features[:, first:last]
            cond, conditioner = self._stream_conditioning(frames, conditioner, stop - start)
            part, body = run(given[:, start:stop], body, cond)
            made.append(part)
        return torch.cat(made, dim=1), GeneratorState(conditioner, (), body)

    def _stretches(self, samples: int, features: Tensor | None) -> Iterator[tuple[int, int, int, int]]:
        """First and last sample, first and last frame of each stretch of a block."""
        net = self.conditioner
        if net is None or features is None:
            for start in range(0, max(samples, 1), _BLOCK):
                yield start, min(start + _BLOCK, samples), 0, 0
            return
        up, frames = net.spec.up, features.shape[1]
        self._require_fit(frames, frames * up, samples)
        ahead, block = frames * up - samples, max(1, _BLOCK // up)
        for first in range(0, max(frames, 1), block):
            last = min(first + block, frames)
            yield max(0, first * up - ahead), max(0, last * up - ahead), first, last
