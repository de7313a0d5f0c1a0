"""A WaveNet in ``program.json``: its stack, with a context stack or without, the level that its samples are divided by,
and its distribution. Likewise a Parallel WaveNet: the stacks of its flows, and the noise that they take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seqgen.audio.codec import Codec, Float, MuLaw8
from seqgen.distributions.categorical import Categorical
from seqgen.distributions.contract import Distribution
from seqgen.distributions.gaussian import Gaussian
from seqgen.distributions.logistic_mixture import LogisticMixture
from seqgen.export.network import Network, Op
from seqgen.flows.affine import TRUNCATION, AffineAutoregressive, Composed
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.contract import Generator
from seqgen.generation.gain import SPREAD, TYPICAL, GainFlow, GainNormalized
from seqgen.generation.parallel import Parallel
from seqgen.models.parallel_wavenet import ParallelWaveNet
from seqgen.models.wavenet import WaveNet
from seqgen.models.wavenet_context import ContextWaveNet
from seqgen.stream.combinators import Serial

# What the engine takes: taps of a convolution, units of real samples and their inverses, flows and the smallest of
# their floors, elements that a context reads at a time and channels of each.
MOST_TAPS, LEAST_UNIT, MOST_FLOWS, LEAST_FLOOR, MOST_RATE, MOST_CHANNELS = 8, 1e-6, 16, 1e-9, 1 << 12, 1 << 8


def _mixture(distribution: LogisticMixture) -> Op:
    return {
        "op": "logistic-mixture",
        "mixtures": distribution.mixtures,
        "levels": distribution.levels,
        "origin": distribution.origin,
        "min_log_scale": distribution.min_log_scale,
    }


def _gaussian(distribution: Gaussian) -> Op:
    return {"op": "gaussian", "origin": distribution.origin, "min_log_scale": distribution.min_log_scale}


# Of each distribution its op and the codec of the elements that it draws.
DISTRIBUTIONS: dict[type[Distribution], tuple[Callable[[Any], Op], type[Codec]]] = {
    Categorical: (lambda distribution: {"op": "categorical", "classes": distribution.num_params}, MuLaw8),
    LogisticMixture: (_mixture, Float),
    Gaussian: (_gaussian, Float),
}
CODECS = {MuLaw8: "mulaw8", Float: "float"}


def runnable(generator: Generator, codec: Codec) -> bool:
    """Whether the engine has ops for it: a distribution that it knows over what the codec gives, and few taps."""
    if isinstance(generator, Parallel):
        return isinstance(codec, Float) and _student(generator) is not None
    inner = generator.body.body if isinstance(generator.body, GainNormalized) else generator.body
    if isinstance(inner, ContextWaveNet):
        if inner.context.down > MOST_RATE or inner.context.spec.in_dim > MOST_CHANNELS:
            return False
        inner = inner.wavenet
    known = DISTRIBUTIONS.get(type(generator.distribution)) if isinstance(generator, AutoRegressive) else None
    return isinstance(inner, WaveNet) and known is not None and isinstance(codec, known[1]) and _fits(inner)


def _fits(body: WaveNet) -> bool:
    unit = LEAST_UNIT <= body.unit <= 1 / LEAST_UNIT
    return unit and body.spec.vocab_size in (0, 256) and max(body.kernel, body.front.left + 1) <= MOST_TAPS


def _student(generator: Parallel) -> tuple[str, ParallelWaveNet] | None:
    """The student within, levelled or not, and the name of its weights; None where there is none that can run."""
    body: Any = generator.body
    at = "body"
    if isinstance(body, Composed) and len(body.flows) == 2 and isinstance(body.flows[1], GainFlow):
        body, at = body.flows[0], "body.flows.0"
    if not isinstance(body, ParallelWaveNet) or len(body.flows) > MOST_FLOWS:
        return None
    flows: Any = body.flows
    fit = all(_fits(_network(flow)) and flow.floor >= LEAST_FLOOR for flow in flows)
    return (at, body) if fit else None


def _network(flow: Any) -> WaveNet:
    assert isinstance(flow, AffineAutoregressive)
    assert isinstance(flow.net, Serial)
    _, body = flow.net.layers
    assert isinstance(body, WaveNet)
    return body


def ops(generator: Generator, codec: Codec, state: Any) -> list[Op]:
    """The ops behind the interpolation, for what :func:`runnable` holds; ``state`` is that of one fresh stream.

    Example:
        >>> [op["op"] for op in ops(generator, Float(), state)]         # doctest: +SKIP
        ['levelled', 'wavenet', 'logistic-mixture', 'float']
    """
    if isinstance(generator, Parallel):
        found = _student(generator)
        assert found is not None
        at, student = found
        level, made = _level(student is not generator.body), _flows(student, at)
        return [*level, made, {"op": "logistic", "truncation": TRUNCATION}, {"op": CODECS[type(codec)]}]
    assert isinstance(generator, AutoRegressive)
    body, distribution = generator.body, generator.distribution
    inner, at = (body.body, "body.body") if isinstance(body, GainNormalized) else (body, "body")
    if isinstance(inner, ContextWaveNet):
        context = {"context": _context(inner, at, Network(generator, state), state.body.context.net)}
        stack = _stack(inner.wavenet, f"{at}.wavenet") | context
    else:
        assert isinstance(inner, WaveNet)
        stack = _stack(inner, at)
    stack = {"op": "wavenet", **stack, "start": codec.start}
    return [*_level(inner is not body), stack, DISTRIBUTIONS[type(distribution)][0](distribution), {"op": CODECS[type(codec)]}]


def _level(levelled: bool) -> list[Op]:
    return [{"op": "levelled", "spread": SPREAD, "typical": TYPICAL}] if levelled else []


def _flows(student: ParallelWaveNet, at: str) -> Op:
    def one(index: int, flow: Any) -> Op:
        stack = _stack(_network(flow), f"{at}.flows.{index}.net.layers.1")
        return {"shift": flow.bias, "floor": flow.floor, **stack}

    return {"op": "parallel-wavenet", "flows": [one(index, flow) for index, flow in enumerate(student.flows)]}


def _context(body: ContextWaveNet, at: str, network: Network, state: Any) -> Op:
    out = network.layer(body.context.net, state, "features")
    embedding = {} if body.embedding is None else {"embedding": f"{at}.embedding.weight"}
    return {"rate": body.context.down, **embedding, "ops": network.ops, "out": out}


def _stack(body: WaveNet, at: str) -> Op:
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
