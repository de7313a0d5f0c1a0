"""A WaveNet as an op of the native engine: its stack of dilated layers."""

from __future__ import annotations

from collections.abc import Callable

from seqgen.audio.codec import Float, MuLaw8
from seqgen.export.contract import Matrices, NetworkExporter, Placed
from seqgen.export.network import Network, Op
from seqgen.models.wavenet import WaveNet

# What the engine takes: taps of a convolution, units of real samples and their inverses.
MOST_TAPS, LEAST_UNIT = 8, 1e-6


class WaveNetExporter(NetworkExporter):
    """The body of a WaveNet over µ-law or real samples."""

    op = "wavenet"
    runs = "WaveNets over µ-law, logistic mixtures or Gaussians"
    codecs = (MuLaw8, Float)

    def fits(self, network: WaveNet) -> bool:
        return stack_fits(network)

    def described(self, placed: Placed, layers: Callable[[], Network]) -> Op:
        assert isinstance(placed.network, WaveNet)
        return {"op": self.op, **stack(placed.network, placed.at), "start": placed.start}

    def matrices(self, op: Op) -> Matrices:
        slow = op.get("context", {}).get("ops", [])
        halves = {one["weight"] for one in slow if one["op"] in ("conv", "dense")}
        return joined([stack_matrices(op), Matrices(bfloat16=frozenset(halves))])


def stack_fits(body: WaveNet) -> bool:
    """Whether the engine runs such a stack."""
    unit = LEAST_UNIT <= body.unit <= 1 / LEAST_UNIT
    return unit and body.spec.vocab_size in (0, 256) and max(body.kernel, body.front.left + 1) <= MOST_TAPS


def stack(body: WaveNet, at: str) -> Op:
    """The tensors of a stack, whose names begin with ``at``, and how they are laid out."""

    def pair(name: str) -> list[str]:
        return [f"{at}.{name}.weight", f"{at}.{name}.bias"]

    layers = len(body.dilations)
    enters: Op = {"unit": body.unit} if body.embedding is None else {"embedding": f"{at}.embedding.weight"}
    return {
        "kernel": body.kernel,
        "dilations": list(body.dilations),
        **enters,
        "front_weight": f"{at}.front.weight",
        "front_bias": f"{at}.front.bias",
        "gates": [f"{at}.gates.{layer}.weight" for layer in range(layers)],
        "residuals": [pair(f"residuals.{layer}") for layer in range(len(body.residuals))],
        **({} if body.skip is None else {"skip": pair("skip")}),
        "head": pair("head"),
        "out": pair("out"),
    }


def stack_matrices(stack: Op) -> Matrices:
    """Gates with a peak for each tap of a row; the last two of a stack of real samples have 16 bits."""
    last, pairs = [stack["head"], stack["out"]], [*stack["residuals"], *([stack["skip"]] if "skip" in stack else [])]
    real = "embedding" not in stack
    eighths = dict.fromkeys(stack["gates"], stack["kernel"])
    eighths |= {weight: 1 for weight, _ in (pairs if real else [*pairs, *last])}
    return Matrices(eighths, frozenset(weight for weight, _ in (last if real else [])))


def joined(parts: list[Matrices]) -> Matrices:
    """The matrices of several parts of one op."""
    eighths = {name: count for part in parts for name, count in part.int8.items()}
    return Matrices(eighths, frozenset().union(*(part.bfloat16 for part in parts)))
