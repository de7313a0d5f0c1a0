"""Bundles of language models and translators through torch: the reference that the other runtimes are tested
against."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file

from seqgen.bundle import Bundle
from seqgen.export.symbols import exporter_for
from seqgen.files.inputs import in_utf8
from seqgen.generation.contract import Density
from seqgen.runtime.contract import Floats, State
from seqgen.runtime.symbols import SymbolRuntime, Symbols
from seqgen.stream.state import leaves, unflatten
from seqgen.tasks import networks
from seqgen.tasks.bundles import facts_of
from seqgen.tasks.run import load


class TorchSymbols(SymbolRuntime):
    """Runtime over torch: rebuilds the density from ``config.yaml`` and ``weights.safetensors`` and runs its own
    ``step``."""

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        super().__init__(bundle)
        path = bundle.path("config.yaml")
        self.run = load(path)
        made = networks.network(self.run.networks["generator"], facts_of(bundle), source=str(path))
        assert isinstance(made, Density)
        self.density = made.eval()
        with in_utf8(bundle.path("weights.safetensors")) as name:
            self.density.load_state_dict(load_file(name))
        self.exporter = exporter_for(made)
        self.decoder = self.exporter.decoder(made).generator

    def _tree(self, state: State) -> Any:
        return unflatten(self.decoder.init_state(1), [torch.from_numpy(leaf.copy()) for leaf in state])

    @torch.no_grad()
    def columns(self, source: Symbols, lengths: npt.NDArray[np.int64]) -> Floats:
        self.require_source(source, lengths)
        made = self.exporter.columns(self.density, torch.from_numpy(source), torch.from_numpy(lengths))
        return made.numpy()

    @torch.no_grad()
    def step(self, x: Symbols, state: State, cond: Floats | None = None) -> tuple[Floats, State]:
        self.require_fit(x, state, cond)
        logits, after = self.decoder.step(torch.from_numpy(x), self._tree(state), _tensor(cond))
        return logits.numpy(), tuple(leaf.numpy() for _, leaf in leaves(after))

    @torch.no_grad()
    def sample(
        self, u: Floats, state: State, cond: Floats | None = None, temperature: float = 1.0
    ) -> tuple[Symbols, State]:
        given = np.asarray(u, np.float32)
        self.require_fit(given, state, cond)
        uniforms = torch.from_numpy(given)[..., None]
        drawn, after = self.decoder.generate(uniforms, self._tree(state), _tensor(cond), temperature)
        return drawn.numpy(), tuple(leaf.numpy() for _, leaf in leaves(after))


def _tensor(cond: Floats | None) -> torch.Tensor | None:
    return None if cond is None else torch.from_numpy(np.asarray(cond, np.float32))
