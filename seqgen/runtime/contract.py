"""The contracts of runtimes: what a consumer needs to run a bundle, and a vocoder's, whatever executes it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen import noise
from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.manifest import Manifest, VocoderManifest

State = tuple[npt.NDArray[Any], ...]
Floats = npt.NDArray[np.float32]


class BundleRuntime(ABC):
    """Runtime of one bundle of any kind. Numpy in, numpy out; the state is a tuple of arrays, batch first, and is never
    changed.

    Threads: distinct states may be used from distinct threads at the same time.
    """

    manifest: Manifest

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    @cached_property
    def name(self) -> str:
        """Its registered name, looked up once: what other packages add is read from files."""
        return self.manifest.runtimes.name_of(type(self)) or type(self).__name__

    @property
    def isa(self) -> str:
        """Name of the kernels in use, where the runtime says which."""
        return ""

    @property
    def format(self) -> str:
        """Format in which the weights are held."""
        return "float32"

    def __str__(self) -> str:
        return f"{self.name} ({self.isa}, {self.format})" if self.isa else self.name

    def init(self, batch: int) -> State:
        """Fresh streams."""
        return self.bundle.initial_state(batch)

    def golden_vectors(self, *made: str) -> dict[str, npt.NDArray[Any]]:
        """Golden vectors of the bundle; those that are ``made`` are what the weights as this runtime holds them give.

        Raises:
            SeqgenError: for weights that were rounded otherwise than the bundle knows of.
        """
        golden = self.bundle.tensors("golden.safetensors")
        if self.format == "float32":
            return golden
        # Weights rounded on purpose: the bundle says what that must give, to the bit.
        names = {name: f"{name}.{self.format}" for name in made}
        if any(name not in golden for name in names.values()):
            raise SeqgenError(
                f"{self.bundle.directory}: no golden vectors for {self.format} weights",
                remedy=f"export it with --quantise {self.format}",
            )
        return golden | {name: golden[stored] for name, stored in names.items()}


class Runtime(BundleRuntime):
    """Runtime of one vocoder.

    Noise and elements: those of the samples that a call makes, and of ``manifest.ahead`` more.

    Frames and samples: a fresh stream that is fed F frames can make up to ``F·hop - latency`` samples, a stream under
    way ``F·hop``; what conditioning is made beyond the samples asked for is the look-ahead at the start.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.manifest: VocoderManifest = bundle.require(VocoderManifest)

    @abstractmethod
    def step(self, x: npt.NDArray[Any], state: State, cond: Floats) -> tuple[Floats, State]:
        """Distributions of elements: ``x [B, (N + ahead)·symbols_per_sample]``, ``cond [B, F, C] → [B, …, params]``."""

    @abstractmethod
    def sample(self, noise: Floats, state: State, cond: Floats, temperature: float = 1.0) -> tuple[Floats, State]:
        """Audio: ``noise [B, (N + ahead)·uniforms_per_sample]``, ``cond [B, F, C] → [B, N]`` and the state after it."""

    def uniforms(self, seed: int, stream: int, start: int, count: int) -> Floats:
        """Uniform numbers of a listener: those of :func:`seqgen.noise.block`, float32 ``[count]`` in [0, 1)."""
        return noise.block(seed, stream, start, count)

    def samples(self, given: npt.NDArray[Any], symbols_per_sample: int, state: State, cond: Floats) -> int:
        """Number N of audio samples that ``given [B, (N + ahead)·symbols_per_sample]`` is for.

        What does not fit is refused before anything is run.

        Raises:
            SeqgenError: for wrong ranks, channels or batch sizes, features that are not numbers, or frames that do
                not make that many samples.
        """
        spec = self.manifest.spec
        if given.ndim != 2:
            raise SeqgenError(f"noise or elements have shape {given.shape}", remedy="give [batch, numbers]")
        if cond.ndim != 3 or cond.shape[2] != spec.in_dim:
            raise SeqgenError(
                f"conditioning has shape {cond.shape}",
                remedy=f"give [batch, frames, {spec.in_dim}] (log-mel, then the speaker one-hot)",
            )
        if any(leaf.shape[0] != cond.shape[0] for leaf in state):
            raise SeqgenError(
                f"{cond.shape[0]} rows of conditioning for a state of {state[0].shape[0]}", remedy="match the batch"
            )
        if given.shape[0] != cond.shape[0]:
            raise SeqgenError(
                f"{given.shape[0]} row(s) of noise or elements for {cond.shape[0]} of conditioning",
                remedy="match the batch",
            )
        if not np.isfinite(cond).all():
            raise SeqgenError("conditioning holds NaN or infinity", remedy="check what made the features")
        samples, rest = divmod(given.shape[1], symbols_per_sample)
        samples, frames = samples - self.manifest.ahead, cond.shape[1]
        if rest or not spec.alignment.fits(frames, samples):
            raise SeqgenError(
                f"{frames} frames do not make {given.shape[1] / symbols_per_sample - self.manifest.ahead:g} samples",
                remedy=f"ask for {frames * spec.up} samples, or {spec.alignment.first_samples(frames)} at the start of "
                "a stream" + (f", and give the noise of {self.manifest.ahead} more" if self.manifest.ahead else ""),
            )
        return int(samples)
