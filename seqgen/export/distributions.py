"""Distributions as ops of the native engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seqgen.audio.codec import Bytes16, Codec, Float, MuLaw8
from seqgen.distributions.categorical import Categorical
from seqgen.distributions.contract import Distribution
from seqgen.distributions.gaussian import Gaussian
from seqgen.distributions.logistic_mixture import LogisticMixture
from seqgen.export.network import Op

CODECS: dict[type[Codec], str] = {Bytes16: "bytes16", MuLaw8: "mulaw8", Float: "float"}
"""Ops that turn what was drawn into samples."""


def _categorical(given: Categorical) -> Op:
    return {"op": "categorical", "classes": given.num_params}


def _gaussian(given: Gaussian) -> Op | None:
    if given.limit != 1:  # the engine clips what it draws to audio
        return None
    return {"op": "gaussian", "origin": given.origin, "min_log_scale": given.min_log_scale}


def _mixture(given: LogisticMixture) -> Op:
    return {
        "op": "logistic-mixture",
        "mixtures": given.mixtures,
        "levels": given.levels,
        "origin": given.origin,
        "min_log_scale": given.min_log_scale,
    }


# Of each distribution its op, and the codecs of the elements that it draws.
_OPS: dict[type[Distribution], tuple[Callable[[Any], Op | None], tuple[type[Codec], ...]]] = {
    Categorical: (_categorical, (Bytes16, MuLaw8)),
    Gaussian: (_gaussian, (Float,)),
    LogisticMixture: (_mixture, (Float,)),
}


def distribution(given: Distribution, codec: Codec) -> list[Op] | None:
    """The op of a distribution over what the codec gives; None where the engine has none.

    Example:
        >>> distribution(Gaussian(Gaussian.Config()), Float())
        [{'op': 'gaussian', 'origin': 0.0, 'min_log_scale': -9.0}]
    """
    make, codecs = _OPS.get(type(given), (None, ()))
    made = make(given) if make is not None and isinstance(codec, codecs) else None
    return [made] if made is not None else None
