"""A recurrent language model as an op of the native engine: embedding, gated layers, output layer."""

from __future__ import annotations

from collections.abc import Callable

from seqgen.export.contract import MOST_SYMBOLS, Matrices, NetworkExporter, Placed
from seqgen.export.network import Network, Op
from seqgen.models.recurrent import Recurrent
from seqgen.nets.gru import GRU


class RecurrentExporter(NetworkExporter):
    """Gated recurrent layers over symbols."""

    op = "gru-stack"
    runs = "gated recurrent language models"
    codecs = ()

    def fits(self, network: Recurrent) -> bool:
        gated = all(isinstance(layer, GRU) for layer in network.layers)
        return gated and network.spec.out_dim == network.spec.vocab_size <= MOST_SYMBOLS

    def described(self, placed: Placed, layers: Callable[[], Network]) -> Op:
        at, body = placed.at, placed.network
        assert isinstance(body, Recurrent)
        parts = {"input_weight": "input.weight", "input_bias": "input.bias", "recurrent": "recurrent"}
        stack = [
            {part: f"{at}.layers.{layer}.{name}" for part, name in parts.items()} for layer in range(len(body.layers))
        ]
        return {
            "op": self.op,
            "embedding": f"{at}.embedding.weight",
            "layers": stack,
            "out_weight": f"{at}.out.weight",
            "out_bias": f"{at}.out.bias",
            "start": placed.start,
        }

    def matrices(self, op: Op) -> Matrices:
        """Both of each layer, and that of the output."""
        inside = {layer[kind]: 1 for layer in op["layers"] for kind in ("input_weight", "recurrent")}
        return Matrices({op["out_weight"]: 1, **inside})
