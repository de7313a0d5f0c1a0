"""A WaveNet with a context stack as an op of the native engine."""

from __future__ import annotations

from collections.abc import Callable

from seqgen.export.contract import Placed
from seqgen.export.network import Network, Op
from seqgen.export.wavenet import WaveNetExporter, stack, stack_fits
from seqgen.models.wavenet_context import ContextWaveNet

# What the engine takes: elements that a context reads at a time, and channels of each.
MOST_RATE, MOST_CHANNELS = 1 << 12, 1 << 8


class ContextWaveNetExporter(WaveNetExporter):
    """The same op with the layers of the context stack inside."""

    def fits(self, network: ContextWaveNet) -> bool:  # type: ignore[override]
        context = network.context
        return context.down <= MOST_RATE and context.spec.in_dim <= MOST_CHANNELS and stack_fits(network.wavenet)

    def described(self, placed: Placed, layers: Callable[[], Network]) -> Op:
        body, at, inside = placed.network, placed.at, layers()
        assert isinstance(body, ContextWaveNet)
        out = inside.layer(body.context.net, placed.state.context.net, "features")
        embedding = {} if body.embedding is None else {"embedding": f"{at}.embedding.weight"}
        context = {"rate": body.context.down, **embedding, "ops": inside.ops, "out": out}
        return {"op": self.op, **stack(body.wavenet, f"{at}.wavenet"), "context": context, "start": placed.start}
