"""A WaveNet in ``program.json``: its stack, the level that its samples are divided by, and its emission."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seqgen.audio.codec import Codec, Float, MuLaw8
from seqgen.emissions.categorical import Categorical
from seqgen.emissions.contract import Emission
from seqgen.emissions.gaussian import Gaussian
from seqgen.emissions.logistic_mixture import LogisticMixture
from seqgen.models.levelled import SPREAD, TYPICAL, Levelled
from seqgen.models.wavenet import WaveNet

MOST_TAPS = 8  # of a dilated convolution and of the first one, in the engine
Op = dict[str, Any]


def _mixture(emission: LogisticMixture) -> Op:
    return {
        "op": "logistic-mixture",
        "mixtures": emission.mixtures,
        "levels": emission.levels,
        "origin": emission.origin,
        "min_log_scale": emission.min_log_scale,
    }


def _gaussian(emission: Gaussian) -> Op:
    return {"op": "gaussian", "origin": emission.origin, "min_log_scale": emission.min_log_scale}


# Of each emission its op and the codec of the elements that it draws.
EMISSIONS: dict[type[Emission], tuple[Callable[[Any], Op], type[Codec]]] = {
    Categorical: (lambda emission: {"op": "categorical", "classes": emission.params}, MuLaw8),
    LogisticMixture: (_mixture, Float),
    Gaussian: (_gaussian, Float),
}
CODECS = {MuLaw8: "mulaw8", Float: "float"}


def runnable(body: Any, emission: Emission, codec: Codec) -> bool:
    """Whether the engine has ops for it: an emission that it knows over what the codec gives, and few taps."""
    inner = body.body if isinstance(body, Levelled) else body
    known = EMISSIONS.get(type(emission))
    return (
        isinstance(inner, WaveNet)
        and known is not None
        and isinstance(codec, known[1])
        and inner.spec.symbols in (0, 256)
        and max(inner.kernel, inner.front.left + 1) <= MOST_TAPS
    )


def ops(body: Any, emission: Emission, codec: Codec) -> list[Op]:
    """The ops behind the interpolation, for what :func:`runnable` holds.

    Example:
        >>> [op["op"] for op in ops(levelled, mixture, Float())]                # doctest: +SKIP
        ['levelled', 'wavenet', 'logistic-mixture', 'float']
    """
    levelled = isinstance(body, Levelled)
    stack = _stack(body.body, "body.body") if levelled else _stack(body, "body")
    stack["start"] = codec.start
    level = [{"op": "levelled", "spread": SPREAD, "typical": TYPICAL}] if levelled else []
    return [*level, stack, EMISSIONS[type(emission)][0](emission), {"op": CODECS[type(codec)]}]


def _stack(body: WaveNet, at: str) -> Op:
    def pair(name: str) -> list[str]:
        return [f"{at}.{name}.weight", f"{at}.{name}.bias"]

    layers = len(body.dilations)
    enters: Op = {"unit": body.unit} if body.embedding is None else {"embedding": f"{at}.embedding.weight"}
    return {
        "op": "wavenet",
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
