"""Quantization-aware training: training against the rounding of int8 weights."""

from __future__ import annotations

from torch import nn

from seqgen.errors import SeqgenError
from seqgen.nets.quantization import FakeQuantizable
from seqgen.train.settings import QuantizationConfig


class FakeQuantizer:
    """Makes products and gates of a module's trained networks as the native engine makes them beside int8 weights
    (:mod:`seqgen.nets.quantization`), from some update on.

    The bfloat16 of the conditioning network is too small to matter and stays out. The weights remain real numbers: an
    experiment is evaluated with them, its int8 bundle with the rounded ones.

    Args:
        module: what is trained. config: see :class:`QuantizationConfig`.

    Raises:
        SeqgenError: where nothing in the module can be rounded.

    Example:
        >>> quantizer = FakeQuantizer(objective, QuantizationConfig(precision="int8", after=2000))  # doctest: +SKIP
        >>> quantizer.begin(2000)  # before the 2001st update                               # doctest: +SKIP
        True
    """

    def __init__(self, module: nn.Module, config: QuantizationConfig) -> None:
        self.after = config.after
        self.networks = [
            part
            for part in module.modules()
            if isinstance(part, FakeQuantizable) and any(parameter.requires_grad for parameter in part.parameters())
        ]
        if not self.networks:
            raise SeqgenError(
                f"quantization: {type(module).__name__} trains no network that can be rounded to {config.precision}",
                remedy="choose a model that can be, or remove `quantization:`",
            )

    def begin(self, step: int) -> bool:
        """Before the update that follows ``step`` finished ones: whether rounding begins with it."""
        for network in self.networks:
            network.fake_quantized = step >= self.after
        return step == self.after
