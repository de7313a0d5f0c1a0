"""The encoder of a ByteNet as an op of the native engine: embedding, residual blocks, a product that makes columns."""

from __future__ import annotations

from collections.abc import Callable

from seqgen.export.bytenet import inside, layered, stack
from seqgen.export.contract import MOST_SYMBOLS, Matrices, NetworkExporter, Placed
from seqgen.export.network import Network, Op
from seqgen.models.bytenet_encoder import ByteNetEncoder


class ByteNetEncoderExporter(NetworkExporter):
    """The encoder of a translator."""

    op = "bytenet-encoder"
    runs = "ByteNet encoders"
    codecs = ()

    def fits(self, network: ByteNetEncoder) -> bool:
        return layered(network) and network.vocab_size <= MOST_SYMBOLS

    def described(self, placed: Placed, layers: Callable[[], Network]) -> Op:
        body, at = placed.network, placed.at
        assert isinstance(body, ByteNetEncoder)
        norm = {f"norm_{part}": f"{at}.norm.{part}" for part in ("gain", "bias")}
        return {"op": self.op, **stack(body.blocks, at), **norm, "out": f"{at}.out", "out_bias": f"{at}.out_bias"}

    def matrices(self, op: Op) -> Matrices:
        """Three of each block, and the last one."""
        return Matrices({op["out"]: 1, **inside(op)})
