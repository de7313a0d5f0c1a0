"""Training against the rounding of int8 weights."""

from __future__ import annotations

from torch import nn

from seqgen.errors import SeqgenError
from seqgen.nets.rounding import Roundable
from seqgen.train.settings import QuantiseConfig


class Quantiser:
    """Makes products and gates of a module's trained networks as the native engine makes them beside int8 weights
    (:mod:`seqgen.nets.rounding`), from some update on.

    The bfloat16 of the conditioning network is too small to matter and stays out. The weights remain real numbers: an
    experiment is evaluated with them, its int8 bundle with the rounded ones.

    Args:
        module: what is trained. config: see :class:`QuantiseConfig`.

    Raises:
        SeqgenError: where nothing in the module can be rounded.

    Example:
        >>> quantiser = Quantiser(objective, QuantiseConfig(precision="int8", after=2000))  # doctest: +SKIP
        >>> quantiser.begin(2000)  # before the 2001st update                               # doctest: +SKIP
        True
    """

    def __init__(self, module: nn.Module, config: QuantiseConfig) -> None:
        self.after = config.after
        self.networks = [
            part
            for part in module.modules()
            if isinstance(part, Roundable) and any(parameter.requires_grad for parameter in part.parameters())
        ]
        if not self.networks:
            raise SeqgenError(
                f"quantise: {type(module).__name__} trains no network that can be rounded to {config.precision}",
                remedy="choose model wavernn, or remove `quantise:`",
            )

    def begin(self, step: int) -> bool:
        """Before the update that follows ``step`` finished ones: whether rounding begins with it."""
        for network in self.networks:
            network.rounded = step >= self.after
        return step == self.after
