"""Combinators of Streamables; each carries the laws of its parts to the whole."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from math import gcd, lcm
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.spec import StreamSpec
from seqgen.stream.conditioning import Conditioning
from seqgen.stream.contract import Streamable
from seqgen.stream.lazy_interpolation import LazyInterpolation, hats


def _fit(first: StreamSpec, second: StreamSpec) -> None:
    """Refuse neighbours in a Serial that do not belong together."""
    if second.in_dim != first.out_dim:
        raise SeqgenError(
            f"Serial: a layer with {first.out_dim} outputs is followed by one with {second.in_dim} inputs",
            remedy="make neighbouring dimensions equal",
        )
    if second.cond_dim and (first.cond_dim or first.up != first.down):
        raise SeqgenError(
            "Serial: a conditioned layer may only follow unconditioned layers of rate 1",
            remedy="condition the first layer, or wrap the parts in one Streamable",
        )
    if first.latency * second.up % second.down:
        raise SeqgenError(
            f"Serial: a latency of {first.latency} is not whole after a layer that gives {second.up} outputs for "
            f"{second.down} inputs",
            remedy=f"delay so that the latency is a multiple of {second.down}",
        )


def _rate(specs: Sequence[StreamSpec]) -> tuple[int, int]:
    """Outputs of the whole for one smallest block of inputs that every layer accepts."""
    up = down = 1
    for spec in specs:
        block = lcm(down, spec.down * down // gcd(spec.down * down, up))
        up, down = block * up * spec.up // (down * spec.down), block
    return up, down


def _reach(specs: Sequence[StreamSpec], up: int, down: int) -> int | None:
    """Inputs that an output depends on, at the worst place of a block: followed back layer by layer."""
    if any(spec.context is None for spec in specs):
        return None
    farthest = 0
    for output in range(up):
        position = output
        for spec in reversed(specs):
            position = (position // spec.up + 1) * spec.down - (spec.context or 0)
        farthest = max(farthest, (output // up + 1) * down - position)
    return farthest


def _serial(specs: Sequence[StreamSpec]) -> StreamSpec:
    """The whole of several layers as one stream."""
    for first, second in pairwise(specs):
        _fit(first, second)
    up, down = _rate(specs)
    latency, block, cond_every, rate = 0, 1, 1, Fraction(1)
    for spec in specs:
        latency = latency * spec.up // spec.down + spec.latency
        block = lcm(block, (spec.block / rate).numerator)
        cond_every *= spec.cond_every
        rate *= Fraction(spec.up, spec.down)
    return StreamSpec(
        in_dim=specs[0].in_dim,
        out_dim=specs[-1].out_dim,
        cond_dim=max(spec.cond_dim for spec in specs),
        up=up,
        down=down,
        latency=latency,
        context=_reach(specs, up, down),
        cond_every=cond_every,
        vocab_size=specs[0].vocab_size,
        block=block,
    )


class Serial(Streamable[tuple[Any, ...]]):
    """Composition of layers, one after the other: ``y = fn(… f1(x))``. Conditioning goes to the layer that declares
    ``cond_dim``.

    Example:
        >>> Serial(Delay(1, dim=4), Delay(2, dim=4)).spec.context
        4
    """

    def __init__(self, *layers: Streamable[Any]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.spec = _serial([layer.spec for layer in layers])

    def init_state(self, batch: int, memory: Any = None) -> tuple[Any, ...]:
        return tuple(layer.init_state(batch, memory) for layer in self._parts())

    def step(
        self, x: Tensor, state: tuple[Any, ...], cond: Conditioning | None = None
    ) -> tuple[Tensor, tuple[Any, ...]]:
        after = []
        for layer, inner in zip(self._parts(), state, strict=True):
            x, inner = layer.step(x, inner, cond if layer.spec.cond_dim else None)
            after.append(inner)
        return x, tuple(after)

    def advance(self, x: Tensor, state: tuple[Any, ...], cond: Conditioning | None = None) -> tuple[Any, ...]:
        *front, last = self._parts()
        after = []
        for layer, inner in zip(front, state[:-1], strict=True):
            x, inner = layer.step(x, inner, cond if layer.spec.cond_dim else None)
            after.append(inner)
        return (*after, last.advance(x, state[-1], cond if last.spec.cond_dim else None))

    def _parts(self) -> Sequence[Streamable[Any]]:
        return list(self.layers)  # type: ignore[arg-type]


class Delay(Streamable[Tensor]):
    """Delay of n positions, ``y_t = x_{t-n}``, and ``fill`` before the start: teacher forcing is ``Delay(1)`` before
    the body.

    Shapes: ``[B, T, dim] → [B, T, dim]``, or int64 symbols ``[B, T] → [B, T]`` when ``dim`` is 0. The declared latency
    is 0: a delay is part of what the model computes, not time that a listener waits for an answer.
    """

    def __init__(self, steps: int, *, dim: int, fill: float = 0, vocab_size: int = 0) -> None:
        super().__init__()
        if steps < 1:
            raise SeqgenError(f"Delay: got {steps} steps", remedy="delay by at least one")
        self.steps, self.fill = steps, fill
        self.spec = StreamSpec(in_dim=dim, out_dim=dim, context=steps + 1, vocab_size=vocab_size)

    def init_state(self, batch: int, memory: Any = None) -> Tensor:
        if self.spec.in_dim == 0:
            return torch.full((batch, self.steps), int(self.fill), device=self._like.device, dtype=torch.int64)
        return self.zeros(batch, self.steps, self.spec.in_dim) + self.fill

    def step(self, x: Tensor, state: Tensor, cond: Conditioning | None = None) -> tuple[Tensor, Tensor]:
        line = torch.cat([state, x], dim=1)
        return line[:, : x.shape[1]], line[:, x.shape[1] :]


class ResidualState(NamedTuple):
    """State of a residual block: the body's, and the inputs that wait for the body's look-ahead (nothing where it has
    none)."""

    body: Any
    waiting: Any


class Residual(Streamable[ResidualState]):
    """Residual block ``y = x + f(x)``, with ``x`` held back by the latency of ``f`` so that the two answer the same
    position.

    Raises:
        SeqgenError: where ``f`` changes the rate or the dimension.
    """

    def __init__(self, body: Streamable[Any]) -> None:
        super().__init__()
        spec = body.spec
        if spec.in_dim != spec.out_dim or spec.up != spec.down or spec.in_dim == 0:
            raise SeqgenError(
                f"Residual: the body maps {spec.in_dim} to {spec.out_dim} channels at rate {spec.up}/{spec.down}",
                remedy="give a body with equal dimensions and rate 1",
            )
        self.body = body
        self.spec = spec

    def init_state(self, batch: int, memory: Any = None) -> ResidualState:
        ahead = self.spec.latency
        waiting = self.zeros(batch, ahead, self.spec.in_dim) if ahead else ()
        return ResidualState(self.body.init_state(batch, memory), waiting)

    def step(self, x: Tensor, state: ResidualState, cond: Conditioning | None = None) -> tuple[Tensor, ResidualState]:
        y, inner = self.body.step(x, state.body, cond)
        if not self.spec.latency:
            return x + y, ResidualState(inner, ())
        line = torch.cat([state.waiting, x], dim=1)
        length = x.shape[1]
        return line[:, :length] + y, ResidualState(inner, line[:, length:])


class Repeat(Streamable[tuple[()]]):
    """Repetition of each input ``up`` times: ``y_t = x_{t // up}``. Shapes: ``[B, T, dim] → [B, T·up, dim]``."""

    def __init__(self, up: int, *, dim: int) -> None:
        super().__init__()
        self.spec = StreamSpec(in_dim=dim, out_dim=dim, up=up)

    def init_state(self, batch: int, memory: Any = None) -> tuple[()]:
        return ()

    def step(self, x: Tensor, state: tuple[()], cond: Conditioning | None = None) -> tuple[Tensor, tuple[()]]:
        batch, length, dim = x.shape
        return x[:, :, None].expand(batch, length, self.spec.up, dim).reshape(batch, -1, dim), ()


class _Lerp(torch.autograd.Function):
    """Linear interpolation ``y = (1-w)·left + w·right`` for ``up`` weights at once, ``line [B, T + 1, dim] → [B, T, up,
    dim]``.

    Its backward pass is one small product per input, where autograd would write two gradients as large as the output.
    """

    @staticmethod
    def forward(ctx: Any, line: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return torch.lerp(line[:, :-1, None], line[:, 1:, None], weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (weight,) = ctx.saved_tensors
        shares = torch.stack([1 - weight[:, 0], weight[:, 0]])
        parts = torch.matmul(shares, grad)  # [B, T, 2, dim]
        line = torch.nn.functional.pad(parts[:, :, 0], (0, 0, 0, 1))
        line[:, 1:] += parts[:, :, 1]
        return line, None


class Interpolate(Streamable[Tensor]):
    """Linear interpolation between the centres of successive inputs: ``[B, T, dim] → [B, T·up, dim]``.

    Input ``i`` belongs to the middle of outputs ``i·up … (i+1)·up - 1``. When it arrives, the outputs between the
    centre of ``i-1`` and its own can be made: ``y = (1-w)·x_{i-1} + w·x_i`` with
    ``w_j = (up//2 + j - (up-1)/2) / up``; latency ``up - up//2`` outputs.
    """

    def __init__(self, up: int, *, dim: int) -> None:
        super().__init__()
        self.spec = StreamSpec(in_dim=dim, out_dim=dim, up=up, latency=up - up // 2, context=2)
        weight = (torch.arange(up, dtype=torch.float64) + up // 2 - (up - 1) / 2) / up
        self.register_buffer("weight", weight.to(torch.get_default_dtype())[:, None], persistent=False)

    weight: Tensor

    def init_state(self, batch: int, memory: Any = None) -> Tensor:
        return self.zeros(batch, 1, self.spec.in_dim)

    def step(self, x: Tensor, state: Tensor, cond: Conditioning | None = None) -> tuple[Tensor, Tensor]:
        line = torch.cat([state, x], dim=1)
        batch, length, dim = x.shape
        weight = self.weight.to(line.dtype)
        if torch.is_grad_enabled() and line.requires_grad:
            y: Tensor = _Lerp.apply(line, weight)
        else:
            y = torch.lerp(line[:, :-1, None], line[:, 1:, None], weight)
        return y.reshape(batch, length * self.spec.up, dim), line[:, length:]

    def lazy(self, x: Tensor, state: Tensor, start: int, stop: int) -> tuple[LazyInterpolation, Tensor]:
        """Outputs ``start … stop - 1`` of :meth:`step` as a product that has not been multiplied out."""
        line, length = torch.cat([state, x], dim=1), x.shape[1]
        return LazyInterpolation(hats(start, stop, length, self.spec.up, line), line), line[:, length:]

    def advance(self, x: Tensor, state: Tensor, cond: Conditioning | None = None) -> Tensor:
        return torch.cat([state, x], dim=1)[:, x.shape[1] :]


class Fold(Streamable[tuple[()]]):
    """Folding of ``down`` successive inputs side by side: ``[B, T, dim] → [B, T/down, dim·down]``, blocks in whole
    groups."""

    def __init__(self, down: int, *, dim: int) -> None:
        super().__init__()
        self.spec = StreamSpec(in_dim=dim, out_dim=dim * down, down=down, context=down, block=down)

    def init_state(self, batch: int, memory: Any = None) -> tuple[()]:
        return ()

    def step(self, x: Tensor, state: tuple[()], cond: Conditioning | None = None) -> tuple[Tensor, tuple[()]]:
        if x.shape[1] % self.spec.down:
            raise SeqgenError(
                f"Fold: got a block of {x.shape[1]} inputs", remedy=f"give a multiple of {self.spec.down}"
            )
        return x.reshape(x.shape[0], -1, self.spec.out_dim), ()


class Unfold(Streamable[tuple[()]]):
    """The inverse of :class:`Fold`: ``[B, T, dim·up] → [B, T·up, dim]``."""

    def __init__(self, up: int, *, dim: int) -> None:
        super().__init__()
        self.spec = StreamSpec(in_dim=dim * up, out_dim=dim, up=up)

    def init_state(self, batch: int, memory: Any = None) -> tuple[()]:
        return ()

    def step(self, x: Tensor, state: tuple[()], cond: Conditioning | None = None) -> tuple[Tensor, tuple[()]]:
        return x.reshape(x.shape[0], -1, self.spec.out_dim), ()


class ConditionedState(NamedTuple):
    """State of a conditioned body: that of the conditioning network and its own."""

    conditioner: Any
    body: Any


class Conditioned(Streamable[ConditionedState]):
    """A body whose conditioning vectors are computed from slower frames: ``y = body(x, conditioner(frames))``.

    The whole is conditioned on the conditioner's own input, one frame every ``body.cond_every · up`` positions;
    blocks start and end on frames.

    Raises:
        SeqgenError: where dimensions disagree, or where the conditioner looks ahead: a body that must not start
            before its conditioning arrives is aligned by who runs it (see
            :class:`seqgen.generation.autoregressive.AutoRegressive`).
    """

    def __init__(self, conditioner: Streamable[Any], body: Streamable[Any]) -> None:
        super().__init__()
        before, after = conditioner.spec, body.spec
        if before.out_dim != after.cond_dim or before.latency or before.down != 1:
            raise SeqgenError(
                f"Conditioned: the conditioner gives {before.out_dim} channels with latency {before.latency}, "
                f"the body takes {after.cond_dim}",
                remedy="match the channels and use a conditioner without look-ahead",
            )
        self.conditioner, self.body = conditioner, body
        self.spec = StreamSpec(
            in_dim=after.in_dim,
            out_dim=after.out_dim,
            cond_dim=before.in_dim,
            up=after.up,
            down=after.down,
            latency=after.latency,
            context=after.context,
            cond_every=after.cond_every * before.up,
            vocab_size=after.vocab_size,
            block=lcm(after.block, after.cond_every * before.up),
        )

    def init_state(self, batch: int, memory: Any = None) -> ConditionedState:
        return ConditionedState(self.conditioner.init_state(batch), self.body.init_state(batch, memory))

    def step(
        self, x: Tensor, state: ConditionedState, cond: Conditioning | None = None
    ) -> tuple[Tensor, ConditionedState]:
        if cond is None or x.shape[1] != cond.shape[1] * self.spec.cond_every:
            got = 0 if cond is None else cond.shape[1]
            raise SeqgenError(
                f"Conditioned: got {x.shape[1]} inputs with {got} frames",
                remedy=f"give {self.spec.cond_every} inputs to each frame",
            )
        made, conditioner = self.conditioner.step(cond, state.conditioner)
        y, body = self.body.step(x, state.body, made)
        return y, ConditionedState(conditioner, body)
