"""Bipartite flows of symbols: one half of the positions says how the other is moved, then the other way round.

    z_m = x_m,    z_{1-m} = (µ(x_m) + σ(x_m) · x_{1-m}) mod K

Both directions take one pass of the network for each layer.

Source: Tran et al., arXiv 1905.10347, section 4.2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from seqgen import config as configs
from seqgen import registry
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.flows.contract import Bijector
from seqgen.flows.modular import Modular
from seqgen.models.encoder import Encoder


class Bipartite(nn.Module, Bijector):
    """Flow of symbols whose layers see every second position and move those between, the even and the odd in turn.

    What a layer does not see are vectors of zeros to its network, an encoder; a linear layer makes its columns the
    logits of locations and scales.

    Shapes: one-hots ``[B, D, K]`` both ways.

    Raises:
        SeqgenError: for a scale that cannot be inverted, a network of another alphabet, a block of fewer than two.

    Example:
        >>> net = Component("perceptron", {"vocab_size": 5, "positions": 4})
        >>> Bipartite(Bipartite.Config(vocab_size=5, length=4, net=net)).length
        4
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the flow.

        Attributes:
            vocab_size: K. length: D, positions of a block. net: registered encoder, one for each layer.
            layers: of the flow. scaling, temperature, identity: of the maps (:class:`~seqgen.flows.modular.Modular`).
        """

        vocab_size: int
        length: int
        net: Component
        layers: int = 2
        scaling: Literal["none", "coprime", "free"] = "none"
        temperature: float = 0.1
        identity: float = 0.1

    @classmethod
    def examples(cls) -> Iterable[Bipartite]:
        for vocab_size, layers, scaling in ((5, 1, "none"), (5, 2, "free"), (4, 3, "coprime")):
            sizes = {"vocab_size": vocab_size, "channels": 4, "embedding": 3}
            net = Component("perceptron", {"positions": 3, "hidden": 6, "layers": 1, **sizes})
            yield cls(cls.Config(vocab_size, 3, net, layers=layers, scaling=scaling))  # type: ignore[arg-type]

    def __init__(self, config: Config) -> None:
        super().__init__()
        if config.length < 2 or config.layers < 1:
            raise SeqgenError(
                f"{config.layers} layers over blocks of {config.length}",
                remedy="give one layer and two positions at least",
            )
        self.vocab_size, self.length = config.vocab_size, config.length
        self.map = Modular(config.vocab_size, config.scaling, config.temperature, config.identity)
        self.nets = nn.ModuleList(self._net(config) for _ in range(config.layers))
        self.heads = nn.ModuleList(nn.Linear(net.out_dim, self.map.num_params) for net in self.nets)

    @staticmethod
    def _net(config: Config) -> Encoder:
        net = configs.construct(config.net, registry.MODELS, source="net")
        if not isinstance(net, Encoder) or net.vocab_size != config.vocab_size:
            raise SeqgenError(
                f"a flow over {config.vocab_size} symbols got the network {config.net.name}",
                remedy="give an encoder of the same vocab_size",
            )
        return net

    def forward_and_log_det(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        for layer in reversed(range(len(self.nets))):
            still, given = self._given(z, layer)
            z = torch.where(still, z, self.map.from_noise(z, self.map.parameters(given)))
        return z, z.new_zeros(z.shape[:2])

    def inverse_and_log_det(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        for layer in range(len(self.nets)):
            still, given = self._given(x, layer)
            x = torch.where(still, x, self.map.towards_noise(x, self.map.parameters(given)))
        return x, x.new_zeros(x.shape[:2])

    def _given(self, x: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Mask of the positions that a layer leaves as they are, ``[D, 1]``, and its map's ``[B, D, num_params]``."""
        self.require_length(x)
        still = (torch.arange(self.length, device=x.device) % 2 == layer % 2)[:, None]  # [D, 1]
        lengths = torch.full((len(x),), self.length, device=x.device)
        columns = self.nets[layer](x * still, lengths)  # [B, D, C]
        return still, self.heads[layer](columns)
