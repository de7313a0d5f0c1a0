"""A Parallel WaveNet as an op of the native engine: the stacks of its flows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seqgen.audio.codec import Float
from seqgen.export.contract import Matrices, NetworkExporter, Placed
from seqgen.export.network import Network, Op
from seqgen.export.wavenet import joined, stack, stack_fits, stack_matrices
from seqgen.flows.affine import AffineAutoregressive
from seqgen.models.parallel_wavenet import ParallelWaveNet
from seqgen.models.wavenet import WaveNet
from seqgen.stream.combinators import Serial

# What the engine takes: flows, and the smallest of their floors.
MOST_FLOWS, LEAST_FLOOR = 16, 1e-9


class ParallelWaveNetExporter(NetworkExporter):
    """Flows over real samples."""

    op = "parallel-wavenet"
    runs = "Parallel WaveNets"
    codecs = (Float,)

    def fits(self, network: ParallelWaveNet) -> bool:
        flows: Any = network.flows
        fit = (stack_fits(_network(flow)) and flow.floor >= LEAST_FLOOR for flow in flows)
        return len(flows) <= MOST_FLOWS and all(fit)

    def described(self, placed: Placed, layers: Callable[[], Network]) -> Op:
        def one(index: int, flow: Any) -> Op:
            inside = stack(_network(flow), f"{placed.at}.flows.{index}.net.layers.1")
            return {"shift": flow.bias, "floor": flow.floor, **inside}

        assert isinstance(placed.network, ParallelWaveNet)
        return {"op": self.op, "flows": [one(index, flow) for index, flow in enumerate(placed.network.flows)]}

    def matrices(self, op: Op) -> Matrices:
        return joined([stack_matrices(flow) for flow in op["flows"]])


def _network(flow: Any) -> WaveNet:
    """The network inside a flow."""
    assert isinstance(flow, AffineAutoregressive)
    assert isinstance(flow.net, Serial)
    _, body = flow.net.layers
    assert isinstance(body, WaveNet)
    return body
