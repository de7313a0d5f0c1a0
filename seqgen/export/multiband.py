"""A multi-band network as an op of the native engine: its recurrence, and the heads of the bands."""

from __future__ import annotations

from collections.abc import Callable

from seqgen.audio.codec import Float
from seqgen.export.contract import Matrices, NetworkExporter, Placed
from seqgen.export.network import Network, Op
from seqgen.models.multiband import CLEAR, UNCLEAR, MultiBand


class MultiBandExporter(NetworkExporter):
    """The body of a multi-band vocoder over real numbers."""

    op = "multiband"
    runs = "multi-band networks of 2 to 16 bands"
    codecs = (Float,)

    def fits(self, network: MultiBand) -> bool:
        return network.bands <= 16

    def described(self, placed: Placed, layers: Callable[[], Network]) -> Op:
        body, at = placed.network, placed.at
        assert isinstance(body, MultiBand)
        config = body.config
        sizes = {"bands": config.bands, "groups": config.groups, "taps": config.taps, "longest": config.longest}
        tensors = {name: f"{at}.{name}" for name in ("recurrent", "input", "lower", "out", "bias")}
        return {"op": self.op, **sizes, **tensors, "cold": list(config.cold), "unclear": UNCLEAR, "clear": CLEAR,
                "inner_weight": f"{at}.inner.weight", "inner_bias": f"{at}.inner.bias"}  # fmt: skip

    def matrices(self, op: Op) -> Matrices:
        """The recurrent matrix, and that of all heads' first layers."""
        return Matrices({op["recurrent"]: 1, op["inner_weight"]: 1})
