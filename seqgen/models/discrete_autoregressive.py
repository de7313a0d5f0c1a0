"""Autoregressive flows of symbols: each symbol is moved by what those before it say.

    z_d = (µ_d(x_<d) + σ_d(x_<d) · x_d) mod K

Symbols are scored in one pass and made one by one. A second layer reads the block from its end, so that every symbol is
moved by those on both sides.

Source: Tran et al., arXiv 1905.10347, section 4.1; the direction in which scores need no inverse scale is that of its
released code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from seqgen import config as configs
from seqgen import registry
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.flows.contract import Bijector
from seqgen.flows.modular import Modular
from seqgen.stream.contract import Streamable


class DiscreteAutoregressive(nn.Module, Bijector):
    """Flow of symbols whose layers read them in order, every second layer from the end.

    A layer's network is a causal model over symbols that gives the logits of a location and a scale; before the first
    symbol it reads zeros.

    Shapes: one-hots ``[B, D, K]`` both ways.

    Raises:
        SeqgenError: for a scale that cannot be inverted, or a network of another alphabet or other outputs.

    Example:
        >>> net = Component("recurrent", {"vocab_size": 5, "outputs": 5, "hidden": 8})
        >>> DiscreteAutoregressive(DiscreteAutoregressive.Config(vocab_size=5, length=4, net=net)).length
        4
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the flow.

        Attributes:
            vocab_size: K. length: D, positions of a block.
            net: registered causal model over K symbols, one for each layer. layers: of the flow.
            scaling, temperature, identity: of the maps (:class:`~seqgen.flows.modular.Modular`).
        """

        vocab_size: int
        length: int
        net: Component
        layers: int = 1
        scaling: Literal["none", "coprime", "free"] = "none"
        temperature: float = 0.1
        identity: float = 0.1

    @classmethod
    def examples(cls) -> Iterable[DiscreteAutoregressive]:
        for vocab_size, outputs, layers, scaling in ((5, 5, 1, "none"), (5, 9, 2, "free"), (4, 6, 3, "coprime")):
            sizes = {"vocab_size": vocab_size, "outputs": outputs, "hidden": 6, "embedding": 3}
            net = Component("recurrent", sizes)
            yield cls(cls.Config(vocab_size, 3, net, layers=layers, scaling=scaling))  # type: ignore[arg-type]

    def __init__(self, config: Config) -> None:
        super().__init__()
        if config.layers < 1 or config.length < 1:
            raise SeqgenError(f"{config.layers} layers over blocks of {config.length}", remedy="give 1 or more")
        self.vocab_size, self.length = config.vocab_size, config.length
        self.map = Modular(config.vocab_size, config.scaling, config.temperature, config.identity)
        self.nets = nn.ModuleList(self._net(config) for _ in range(config.layers))

    def _net(self, config: Config) -> Streamable[Any]:
        net = configs.construct(config.net, registry.MODELS, source="net")
        if not isinstance(net, Streamable):
            raise SeqgenError(f"{config.net.name} is no causal model", remedy="give one that reads symbols in order")
        spec, wanted = net.spec, (0, config.vocab_size, self.map.num_params, 0, 0)
        if (spec.in_dim, spec.vocab_size, spec.out_dim, spec.latency, spec.cond_dim) != wanted:
            raise SeqgenError(
                f"a flow over {config.vocab_size} symbols got a network of {spec}",
                remedy=f"set its vocab_size to {config.vocab_size}, its outputs to {self.map.num_params}",
            )
        return net

    def forward_and_log_det(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.require_length(z)
        for layer in reversed(range(len(self.nets))):
            z = _turned(self._made(_turned(z, layer), self.nets[layer]), layer)
        return z, z.new_zeros(z.shape[:2])

    def inverse_and_log_det(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.require_length(x)
        for layer, net in enumerate(self.nets):
            line = _turned(x, layer)  # [B, D, K]
            before = torch.cat([torch.zeros_like(line[:, :1]), line[:, :-1]], dim=1)
            x = _turned(self.map.towards_noise(line, self.map.parameters(net(before))), layer)
        return x, x.new_zeros(x.shape[:2])

    def _made(self, z: Tensor, net: Any) -> Tensor:
        """Symbols one by one: how ``z_d`` is moved back is known once all symbols before it are."""
        state, x = net.init_state(len(z)), torch.zeros_like(z[:, :1])
        made = []
        for place in range(z.shape[1]):
            logits, state = net.step(x, state)
            x = self.map.from_noise(z[:, place : place + 1], self.map.parameters(logits))
            made.append(x)
        return torch.cat(made, dim=1)


def _turned(x: Tensor, layer: int) -> Tensor:
    """The block from its end, for every second layer."""
    return x.flip(1) if layer % 2 else x
