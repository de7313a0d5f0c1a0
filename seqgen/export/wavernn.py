"""A WaveRNN as an op of the native engine: its gates and the two heads of a sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from seqgen.audio.codec import Bytes16
from seqgen.export.contract import Matrices, NetworkExporter, Placed
from seqgen.export.network import Network, Op
from seqgen.models.wavernn import SILENCE, WaveRNN, scale


class WaveRNNExporter(NetworkExporter):
    """The body of a WaveRNN over bytes."""

    op = "wavernn"
    runs = "conditioned WaveRNNs over bytes, of up to 16 lanes"
    codecs = (Bytes16,)

    def fits(self, network: WaveRNN) -> bool:
        return True

    def described(self, placed: Placed, layers: Callable[[], Network]) -> Op:
        body, at = placed.network, placed.at
        assert isinstance(body, WaveRNN)
        heads = [
            {"inner_weight": f"{at}.{inner}.weight", "inner_bias": f"{at}.{inner}.bias",
             "outer_weight": f"{at}.{outer}.weight", "outer_bias": f"{at}.{outer}.bias"}
            for inner, outer in (("o1", "o2"), ("o3", "o4"))
        ]  # fmt: skip
        return {
            "op": self.op,
            "recurrent": f"{at}.recurrent",
            "input": f"{at}.input",
            "inputs": _inputs(body),
            "heads": heads,
            "start": [SILENCE, Bytes16.start],
        }

    def matrices(self, op: Op) -> Matrices:
        """The recurrent matrix and both of each head."""
        kinds = ("inner_weight", "outer_weight")
        return Matrices({op["recurrent"]: 1} | {head[kind]: 1 for head in op["heads"] for kind in kinds})


def _inputs(body: WaveRNN) -> list[list[float]]:
    """``A`` of ``inputs = A [c_{t-1}, f_{t-1}, c_t, 1]``: the body's mixture of scaled bytes."""
    shift = float(scale(torch.zeros(()), body.mix))
    rows: list[Any] = body.mix.double().tolist()
    return [[*row, shift * sum(row)] for row in rows]
