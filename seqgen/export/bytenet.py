"""A ByteNet as an op of the native engine: embedding, residual blocks, head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from seqgen.export.contract import MOST_SYMBOLS, Matrices, NetworkExporter, Placed
from seqgen.export.network import Network, Op
from seqgen.models.bytenet import ByteNet
from seqgen.nets.normalization import LayerNormalization
from seqgen.nets.residual_blocks import MultiplicativeBlock, RectifiedBlock, ResidualBlock

_COMMON = {"input": "input_norm", "narrow": "narrow", "widen": "widen", "widen_bias": "widen_bias"}
_FORMS: dict[type[ResidualBlock], tuple[str, dict[str, str]]] = {
    RectifiedBlock: ("rectified", {"taps": "taps", "inner": "inner_norm", "output": "output_norm"}),
    MultiplicativeBlock: ("multiplicative", {"taps": "unit.taps", "gates": "unit.norm"}),
}
"""What the engine calls a kind of block, and the names of its parts beside those that all have."""


class ByteNetExporter(NetworkExporter):
    """The decoder, with columns or without."""

    op = "bytenet"
    runs = "ByteNets with layer normalization"
    codecs = ()

    def fits(self, network: ByteNet) -> bool:
        return layered(network) and network.spec.out_dim == network.spec.vocab_size <= MOST_SYMBOLS

    def described(self, placed: Placed, layers: Callable[[], Network]) -> Op:
        body = placed.network
        assert isinstance(body, ByteNet)
        head = {name: f"{placed.at}.{name}" for name in ("head", "head_bias", "out", "out_bias")}
        return {"op": self.op, **stack(body.blocks, placed.at), **head, "start": placed.start}

    def matrices(self, op: Op) -> Matrices:
        """Three of each block, and both of the head."""
        return Matrices({op["head"]: 1, op["out"]: 1, **inside(op)})


def layered(network: nn.Module) -> bool:
    """Test that every normalization is one of layers, whose statistics are the position's own."""
    norms = [part for name, part in network.named_modules() if name.rpartition(".")[2].endswith("norm")]
    return all(isinstance(part, LayerNormalization) for part in norms)


def stack(made: nn.ModuleList, at: str) -> dict[str, Any]:
    """Embedding and blocks of a network whose weights' names begin with ``at``."""
    blocks: list[ResidualBlock] = list(made)  # type: ignore[arg-type]
    form, own = _FORMS[type(blocks[0])]
    described = []
    for index, block in enumerate(blocks):
        names = {}
        for part, name in (_COMMON | own).items():
            place = f"{at}.blocks.{index}.{name}"
            normed = name.endswith("norm")
            names |= {f"{part}_{one}": f"{place}.{one}" for one in ("gain", "bias")} if normed else {part: place}
        described.append({"dilation": block.dilation, **names})
    return {
        "embedding": f"{at}.embedding.weight",
        "form": form,
        "kernel": 1 + blocks[0].reach // blocks[0].dilation,
        "epsilon": blocks[0].input_norm.epsilon,
        "blocks": described,
    }


def inside(op: Op) -> dict[str, int]:
    """Matrices of the blocks."""
    return {block[kind]: 1 for block in op["blocks"] for kind in ("narrow", "taps", "widen")}
