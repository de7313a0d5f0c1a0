"""Predictors over densities that PyTorch runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen.compression import machine
from seqgen.compression.coder import Values
from seqgen.compression.contract import Mask, Predictor, State
from seqgen.compression.frequencies import Probabilities
from seqgen.compression.identity import NumericIdentity
from seqgen.compression.units import SampleUnits, TextUnits, Units
from seqgen.distributions.contract import Distribution, full
from seqgen.errors import SeqgenError
from seqgen.generation.contract import Density, Generator
from seqgen.generation.successive import Successive, Transformed
from seqgen.spec import Facts
from seqgen.stream.state import map_leaves
from seqgen.text.tokenizer import tokenizer

_TABLE = 1 << 14  # values that are coded by one table; of more there are two digits, the lower one of 256 values
_DIGIT = 256


class Stepped(Predictor):
    """Predictor over a density without conditioning that tells one element's distribution after the other.

    Args:
        density: whose distribution has finitely many values. digest, label: of its weights.
        transformed: the density behind a bijection whose noise ``density`` is of.

    Raises:
        SeqgenError: for a conditioned density, whose decoder would lack what it is conditioned on, and a distribution
            of real numbers.
    """

    def __init__(self, density: Successive, *, digest: str, label: str, transformed: Transformed | None = None) -> None:
        whole = transformed if transformed is not None else density
        assert isinstance(whole, Density)
        if isinstance(density, Generator) and density.body.spec.cond_dim:
            raise SeqgenError(
                "this model is conditioned on frames, which whoever decompresses does not have",
                remedy="train one without conditioning",
            )
        whole.cpu().eval()
        self._density, self._distribution, self._transformed = density, density.distribution, transformed
        self.radices, self.length = radices(self._distribution), whole.length
        self.identity, self.digest, self.label = identity(whole), digest, label

    def init(self, rows: int) -> State:
        return self._density.init_state(rows)

    def predict(self, state: State) -> tuple[Tensor, State]:
        return self._density.next(state)

    def probabilities(self, params: Tensor, rows: npt.NDArray[np.intp], above: Values, digit: int) -> Probabilities:
        some = full(params[torch.from_numpy(rows)]).double()  # [n, num_params]
        below = math.prod(self.radices[digit + 1 :])
        first = torch.from_numpy(above * self.radices[digit] * below)[:, None]
        index = first + torch.arange(self.radices[digit] + 1) * below  # [n, radix + 1]
        edges = self._distribution.cumulative(some, index.clamp_max(self._distribution.num_values))
        return np.asarray(edges.diff(dim=1).clamp_min(0).numpy(), np.float64)

    def feed(self, state: State, values: Values) -> State:
        return self._density.told(state, self._distribution.values(torch.from_numpy(values)))

    def chosen(self, mask: Mask, state: State, other: State) -> State:
        rows = torch.from_numpy(mask)
        return map_leaves(lambda one, two: torch.where(rows.view(-1, *[1] * (one.dim() - 1)), one, two), state, other)

    def to_noise(self, values: Values) -> Values:
        return self._moved(self._transformed.to_noise, values) if self._transformed is not None else values

    def from_noise(self, noise: Values) -> Values:
        return self._moved(self._transformed.from_noise, noise) if self._transformed is not None else noise

    @staticmethod
    def _moved(move: Callable[[Tensor], Tensor], values: Values) -> Values:
        return np.asarray(move(torch.from_numpy(values)).numpy(), np.int64)

    @contextmanager
    def session(self) -> Iterator[None]:
        with deterministic():
            yield


def radices(distribution: Distribution) -> tuple[int, ...]:
    """Radices of the digits that a distribution's values are coded by.

    Raises:
        SeqgenError: for a distribution of real numbers.
    """
    count = distribution.num_values
    if not count:
        raise SeqgenError(
            f"{type(distribution).__name__} is a density over the real numbers, whose digits never end",
            remedy="train a model over symbols or levels",
        )
    return (count,) if count <= _TABLE else (-(-count // _DIGIT), _DIGIT)


@contextmanager
def deterministic() -> Iterator[None]:
    """One thread, no gradients, and only such kernels of PyTorch as give the same bits each time."""
    threads, before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warning = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warning)
        torch.set_num_threads(threads)


def identity(module: torch.nn.Module) -> NumericIdentity:
    """Identity of PyTorch on this machine, running a module on one thread."""
    kinds = sorted({str(one.dtype).removeprefix("torch.") for one in module.parameters()})
    kernels = machine.instructions(torch.backends.cpu.get_cpu_capability())
    version = f"{torch.__version__}, {machine.numpy_version()}"
    return NumericIdentity("torch", version, kernels, 1, "+".join(kinds))


def predictor(density: Density, *, digest: str, label: str) -> Predictor:
    """The predictor over a trained density.

    Raises:
        SeqgenError: for one that gives no distribution of one element after the other, or not without conditioning.
    """
    if isinstance(density, Successive):
        return Stepped(density, digest=digest, label=label)
    if isinstance(density, Transformed) and isinstance(density.base, Successive) and density.length:
        return Stepped(density.base, digest=digest, label=label, transformed=density)
    raise SeqgenError(
        f"{type(density).__name__} gives no distribution of one element after the other",
        remedy="compress with an autoregressive density over symbols or levels, or a bijection of blocks of symbols",
    )


def units(facts: Facts, values: int) -> Units:
    """Units of files for a model that was trained on data of these facts and has so many values of an element: a
    tokenizer's symbols, or the samples of 16-bit recordings.

    Raises:
        SeqgenError: for other data, of which no file is made.
    """
    if facts.tokenizer is not None:
        return TextUnits(tokenizer(facts.tokenizer))
    if values == 65536 or (values, facts.symbols_per_sample) == (256, 2):
        return SampleUnits(coarse=values == 256)
    raise SeqgenError(
        f"the model knows {values} values of a {facts.unit}, and nothing by which a file becomes such",
        remedy="compress with a model of text (it has a tokenizer), or of 16-bit samples (as bytes16, or 65536 levels)",
    )
