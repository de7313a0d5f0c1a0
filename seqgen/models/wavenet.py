"""WaveNet (van den Oord et al., "WaveNet: A Generative Model for Raw Audio", arXiv 1609.03499, section 2).

A stack of dilated causal convolutions with gated units turns the elements before ``x_t`` into the parameters of its
distribution. With ``*_d`` a causal convolution of ``kernel`` taps that lie ``d`` positions apart, ``c_t`` conditioning:

    a^0   = W_0 * embed(x_{t-1})                                  section 2.1; embed is x / unit for real x
    z^l   = tanh(W_f *_d a^l + V_f c) ∘ σ(W_g *_d a^l + V_g c)    sections 2.3 and 2.5
    a^l+1 = a^l + W_r z^l                                         section 2.4; the last layer has no W_r
    y     = W_2 relu(W_1 relu(Σ_l W_s z^l))                       section 2.4

The dilation of layer ``l`` is ``2^(l mod dilation_cycle)``. All products with W_s are one: ``Σ_l W_s z^l`` is a matrix
times the z^l side by side. All products with V are the conditioning network's last layer, at the rate of its frames:
section 2.5 projects the up-sampled features in every layer, and a projection of interpolated frames is the
interpolation of projected ones. So a conditioning vector is added to the gates as it comes.

A step of one element needs ``kernel - 1`` old inputs of each layer, not the tree of everything below: the queues of
Le Paine et al., "Fast Wavenet Generation Algorithm", arXiv 1611.09482, here ring buffers inside the state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.nets import dilated_kernel, training_library
from seqgen.nets.dilated_kernel import Stack
from seqgen.nets.gru_kernel import Lines
from seqgen.nets.layers import CausalConv1d
from seqgen.spec import StreamSpec
from seqgen.stream.conditioning import Conditioning, written_out
from seqgen.stream.contract import Streamable
from seqgen.stream.lazy_interpolation import LazyInterpolation

# 2^15 positions are two seconds at 16 kHz; a longer reach is a mistake in a configuration, and a large state.
LONGEST_CYCLE = 16


class WaveNetState(NamedTuple):
    """State of a WaveNet: what its convolutions will look back on.

    Attributes:
        front: the last inputs of the first convolution, ``[B, input_kernel - 1, channels]``, oldest first.
        queues: the last ``(kernel - 1)·d`` inputs of every layer, ``[B, Σ_l (kernel - 1)·d_l, residual_channels]``, one
            ring buffer behind the other: what layer ``l`` read at time ``t`` lies at place ``t mod (kernel - 1)·d_l``
                of its
            ring, so a step replaces one row per layer and moves none.
        time: int64 ``[B]``, positions seen so far; rows of one batch may differ.
    """

    front: Tensor
    queues: Tensor
    time: Tensor


def receptive_field(dilations: tuple[int, ...], *, kernel: int, input_kernel: int) -> int:
    """Positions of the input, the newest included, that one output depends on.

    ``1 + (input_kernel - 1) + Σ_l (kernel - 1)·d_l``

    Source: arXiv 1609.03499, section 2.1 (1024 for one cycle 1, 2, 4, …, 512 of width 2).

    Example:
        >>> receptive_field((1, 2, 4, 8, 16, 32, 64, 128, 256, 512), kernel=2, input_kernel=1)
        1024
    """
    return input_kernel + sum((kernel - 1) * dilation for dilation in dilations)


class WaveNet(Streamable[WaveNetState]):
    """The body of a WaveNet: the element before in, parameters of the next element's distribution out.

    Shapes: int64 ``[B, T]``, or float ``[B, T, 1]`` where ``vocab_size`` is 0 (teacher forcing is ``Delay(1)`` in
        front),
    and, where conditioned, ``cond [B, T, layers·2·gate_channels]`` (of each layer the tanh's part, then the sigmoid's)
    → ``[B, T, outputs]``. A fresh stream starts as if the input of every layer had been zero for ever.

    Raises:
        SeqgenError: for sizes that make no network (see the message), and for missing conditioning or conditioning of
            another length than the input.

    Source: arXiv 1609.03499, section 2; what is read where is said at the top of this file.

    Example:
        >>> net = WaveNet(WaveNet.Config(layers=4, dilation_cycle=2, conditioned=False))
        >>> net(torch.zeros(1, 5, dtype=torch.int64)).shape, net.spec.context
        (torch.Size([1, 5, 256]), 8)
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the body. The paper gives none of the sizes; these are common choices.

        Attributes:
            layers: dilated layers.
            dilation_cycle: layers until the dilation is 1 again (1, 2, 4, …, 2^(dilation_cycle - 1)).
            kernel: taps of a dilated convolution. input_kernel: taps of the first convolution.
            residual_channels, gate_channels, skip_channels: of a, of z, and of the sum over z. Without skip channels
                there are no skip connections: the head reads a^L, and the last layer has a W_r too.
            head_channels: of the layer before the last.
            conditioned: whether the gates take a conditioning vector.
            vocab_size: size of the input alphabet (256 for µ-law); 0 where the input is real numbers.
            unit: amplitude that is one unit of real input. Samples in [-1, 1] are small numbers to fresh weights; 1/16
                is about the amplitude of speech, and learns sooner. Gain-normalized input is of unit size as it is.
            outputs: parameters of the distribution: a logit per symbol, 3 per component of a mixture of logistics, 2
                for a Gaussian.
        """

        layers: int = 20
        dilation_cycle: int = 10
        kernel: int = 2
        input_kernel: int = 2
        residual_channels: int = 64
        gate_channels: int = 64
        skip_channels: int = 128
        head_channels: int = 256
        conditioned: bool = True
        vocab_size: int = 256
        unit: float = 1.0
        outputs: int = 256

    @classmethod
    def examples(cls) -> Iterable[WaveNet]:
        sizes = cls.Config(layers=4, dilation_cycle=3, residual_channels=5, gate_channels=4, skip_channels=6,
                           head_channels=7, vocab_size=6, outputs=6)  # fmt: skip
        real = replace(sizes, vocab_size=0, outputs=2)
        kinds = (
            replace(sizes, conditioned=False),
            replace(sizes, kernel=3, input_kernel=1),
            replace(real, input_kernel=3, outputs=3),
            replace(real, skip_channels=0, unit=0.5),
        )
        return [cls(config) for config in kinds]

    def __init__(self, config: Config) -> None:
        super().__init__()
        _require_sizes(config)
        layers, residual, gate = config.layers, config.residual_channels, config.gate_channels
        self.kernel, self.gate, self.residual, self.unit = config.kernel, gate, residual, config.unit
        self.dilations = tuple(2 ** (layer % config.dilation_cycle) for layer in range(layers))
        self.lengths = tuple((config.kernel - 1) * dilation for dilation in self.dilations)
        self.spec = StreamSpec(
            in_dim=0 if config.vocab_size else 1,
            out_dim=config.outputs,
            cond_dim=layers * 2 * gate if config.conditioned else 0,
            context=receptive_field(self.dilations, kernel=config.kernel, input_kernel=config.input_kernel),
            vocab_size=config.vocab_size,
        )
        self.embedding = nn.Embedding(config.vocab_size, residual) if config.vocab_size else None
        self.front = CausalConv1d(residual if config.vocab_size else 1, residual, kernel=config.input_kernel)
        # Columns: the oldest tap first. Rows: tanh, then sigmoid. A conditioning vector brings its own bias.
        self.gates = nn.ModuleList(
            nn.Linear(config.kernel * residual, 2 * gate, bias=not config.conditioned) for _ in range(layers)
        )
        self.residuals = nn.ModuleList(nn.Linear(gate, residual) for _ in range(layers - bool(config.skip_channels)))
        self.skip = nn.Linear(layers * gate, config.skip_channels) if config.skip_channels else None
        self.head = nn.Linear(config.skip_channels or residual, config.head_channels)
        self.out = nn.Linear(config.head_channels, config.outputs)
        self._initialise()
        self._lay_out_rings()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Weights with which what lies far back is heard as loudly as what lies near.

        An element far back is reached by way of gated units alone, one per layer, so what they lose is lost
        exponentially: with a sigmoid of ½ they halve, hence the 2. A network that starts with less can stay for
        thousands of steps at what the last few elements tell.
        """
        for layer in self.gates:
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        for layer in (*self.residuals, *([] if self.skip is None else [self.skip])):
            nn.init.normal_(layer.weight, std=2 * layer.in_features**-0.5)
        nn.init.kaiming_normal_(self.head.weight, nonlinearity="relu")
        for layer in (*self.gates, *self.residuals, self.skip, self.head):
            if layer is not None and layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def _lay_out_rings(self) -> None:
        """Tables of where things lie in the queues; each column is (first, length, shift), see :meth:`_places`."""
        starts = [sum(self.lengths[:layer]) for layer in range(len(self.lengths))]
        rings = list(zip(starts, self.lengths, strict=True))
        tables = {
            "newest": [(start, length, 0) for start, length in rings],
            "taps": [
                (start, length, length - back * dilation)
                for (start, length), dilation in zip(rings, self.dilations, strict=True)
                for back in range(self.kernel - 1, 0, -1)
            ],
            "every": [(start, length, place) for start, length in rings for place in range(length)],
        }
        for name, columns in tables.items():
            self.register_buffer(name, torch.tensor(columns).t().contiguous(), persistent=False)

    newest: Tensor
    taps: Tensor
    every: Tensor

    def _places(self, table: Tensor, time: Tensor) -> Tensor:
        """Rows of the queues, ``first + (time + shift) mod length`` for each column, as a gather index."""
        first, length, shift = table
        return (first + (time[:, None] + shift) % length)[:, :, None].expand(-1, -1, self.residual)

    def init_state(self, batch: int, memory: Any = None) -> WaveNetState:
        time = torch.zeros(batch, dtype=torch.int64, device=self._like.device)
        return WaveNetState(self.front.init_state(batch), self.zeros(batch, sum(self.lengths), self.residual), time)

    def step(self, x: Tensor, state: WaveNetState, cond: Conditioning | None = None) -> tuple[Tensor, WaveNetState]:
        return self._run(x, state, cond, [])

    @property
    def observed_dims(self) -> tuple[int, ...]:
        """The gated outputs z^l of every layer."""
        return (self.gate,) * len(self.dilations)

    def observe(
        self, x: Tensor, state: WaveNetState, cond: Conditioning | None = None
    ) -> tuple[Tensor, WaveNetState, list[Tensor]]:
        gated: list[Tensor] = []
        y, after = self._run(x, state, cond, gated)
        return y, after, [one[:, None] if one.dim() == 2 else one for one in gated]

    def _run(
        self, x: Tensor, state: WaveNetState, cond: Conditioning | None, gated: list[Tensor]
    ) -> tuple[Tensor, WaveNetState]:
        """A step; the empty list ``gated`` holds every layer's z afterwards, of one element without its place."""
        cond = self._conditioning(x, cond)
        with torch.autocast(x.device.type, enabled=False):  # half precision would drop half of a 16-bit sample
            embedded = x * (1 / self.unit) if self.embedding is None else self.embedding(x)
            entered, front = self.front.step(embedded, state.front)
        if x.shape[1] == 1:
            y, queues = self._element(entered, state, cond, gated)
        else:
            y, queues = self._block(entered, state, cond, gated)
        return y, WaveNetState(front, queues, state.time + x.shape[1])

    def _conditioning(self, x: Tensor, cond: Conditioning | None) -> Conditioning | None:
        dim = self.spec.cond_dim
        if dim == 0:
            return None
        if cond is None:
            raise SeqgenError("wavenet: got no conditioning", remedy=f"give cond [B, {x.shape[1]}, {dim}]")
        if cond.shape[1:] != (x.shape[1], dim):
            raise SeqgenError(
                f"wavenet: {x.shape[1]} elements with conditioning of shape {tuple(cond.shape)}",
                remedy=f"give one vector per element, [B, {x.shape[1]}, {dim}]",
            )
        return cond

    def _element(
        self, a: Tensor, state: WaveNetState, cond: Conditioning | None, gated: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """One element: of each ring ``kernel - 1`` rows are read and the oldest is replaced."""
        old = state.queues.gather(1, self._places(self.taps, state.time))
        rows = old.unflatten(1, (len(self.lengths), self.kernel - 1)).flatten(2).unbind(1)
        entering: list[Tensor] = []

        def taps(layer: int, a: Tensor, *more: Tensor) -> Tensor:
            entering.append(a)
            return torch.cat([rows[layer], a, *more], dim=1)

        y = self._layers(a[:, 0], taps, None if cond is None else written_out(cond)[:, 0], gated)
        entered = torch.stack(entering, dim=1).to(state.queues.dtype)
        return y[:, None], state.queues.scatter(1, self._places(self.newest, state.time), entered)

    def _block(
        self, a: Tensor, state: WaveNetState, cond: Conditioning | None, gated: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Many elements: every layer is one dilated convolution over its history and its new inputs, as a product."""
        length = a.shape[1]
        ordered = state.queues.gather(1, self._places(self.every, state.time))
        later = self._places(self.every, -(state.time + length))
        if dilated_kernel.fits(a, ordered, self.kernel):
            made = self._stack(a, ordered, cond)
            gated += made.z.split(self.gate, dim=2)
            return self._head(made.left if self.skip is None else self.skip(made.z)), made.ahead.gather(1, later)
        histories = ordered.to(a.dtype).split(self.lengths, dim=1)
        kept: list[Tensor] = []

        def taps(layer: int, a: Tensor, *more: Tensor) -> Tensor:
            line, dilation = torch.cat([histories[layer], a], dim=1), self.dilations[layer]
            kept.append(line[:, length:].clone())  # a view would hold the whole line until the last layer
            starts = [tap * dilation for tap in range(self.kernel)]
            return torch.cat([*(line[:, start : start + length] for start in starts), *more], dim=2)

        y = self._layers(a, taps, cond, gated)
        return y, torch.cat(kept, dim=1).to(state.queues.dtype).gather(1, later)

    def _stack(self, a: Tensor, history: Tensor, cond: Conditioning | None) -> Stack:
        """All layers at once, as training runs them on a CPU."""
        half = training_library.half_precision()
        with torch.autocast("cpu", enabled=False):
            given: Tensor | Lines
            if cond is None:
                bias = torch.cat([layer.bias for layer in self.gates])[None]  # [1, L·2G]
                given = Lines(a.new_ones(*a.shape[:2], 1), bias, bias.new_empty(len(a), 0, bias.shape[1]))
            elif isinstance(cond, LazyInterpolation) and not cond.basis.requires_grad:
                line = cond.line.float()  # [B, F, L·2G]
                given = Lines(cond.columns().float(), line.new_empty(0, line.shape[2]), line)
            else:
                given = written_out(cond).float()
            residuals = list(self.residuals)
            return dilated_kernel.dilated_stack(
                a, history, [layer.weight for layer in self.gates], [layer.weight for layer in residuals],
                [layer.bias for layer in residuals], given, dilations=self.dilations, half=half,
            )  # fmt: skip

    def _layers(
        self,
        a: Tensor,
        taps: Callable[..., Tensor],
        cond: Conditioning | None,
        gated: list[Tensor],
    ) -> Tensor:
        """The stack; ``taps(l, a, …)`` is what layer ``l`` reads for each position of its input ``a [..., residual]``,
        and behind it whatever further columns are given.

        The empty list ``gated`` holds every layer's z afterwards.
        """
        added = None if cond is None else cond.split(2 * self.gate, dim=-1)
        for layer, gates in enumerate(self.gates):
            if layer:
                a = a + self.residuals[layer - 1](gated[-1])  # [..., residual_channels]
            part = None if added is None else added[layer]
            if isinstance(part, LazyInterpolation):
                inner = part.product(taps(layer, a, part.columns()), gates.weight)
            else:
                inner = gates(taps(layer, a))
                inner = inner if part is None else inner + part.to(inner.dtype)
            candidate, gate = inner.split(self.gate, dim=-1)  # [..., gate_channels] each
            gated.append(torch.tanh(candidate) * torch.sigmoid(gate))
        return self._head(
            a + self.residuals[-1](gated[-1]) if self.skip is None else self.skip(torch.cat(gated, dim=-1))
        )

    def _head(self, total: Tensor) -> Tensor:
        """Parameters of distributions, from what all layers give together."""
        y: Tensor = self.out(torch.relu(self.head(torch.relu(total))))  # [..., outputs]
        return y


def _require_sizes(config: WaveNet.Config) -> None:
    """Refuse what is no network, naming the option."""
    if not 0 < config.unit < math.inf:
        raise SeqgenError(f"wavenet: unit is {config.unit}", remedy="give a positive amplitude, e.g. 0.0625")
    least = {"kernel": 2, "skip_channels": 0, "vocab_size": 0}
    sizes = ("layers", "dilation_cycle", "kernel", "input_kernel", "residual_channels", "gate_channels",
             "skip_channels", "head_channels", "vocab_size", "outputs")  # fmt: skip
    for name in sizes:
        value = getattr(config, name)
        if value < least.get(name, 1):
            raise SeqgenError(f"wavenet: {name} is {value}", remedy=f"give {least.get(name, 1)} or more")
    cycle = config.dilation_cycle
    if cycle > LONGEST_CYCLE:
        raise SeqgenError(
            f"wavenet: dilation_cycle is {cycle}, the largest dilation would be 2^{cycle - 1}",
            remedy=f"choose at most {LONGEST_CYCLE}, e.g. 10 (dilations 1 to 512)",
        )
