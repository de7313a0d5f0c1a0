"""Vocoder bundles through torch: the reference that the other runtimes are tested against."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file

from seqgen import registry
from seqgen.audio.filter_bank import bank_for
from seqgen.audio.prediction import prediction_for
from seqgen.bundle import Bundle
from seqgen.files.inputs import in_utf8
from seqgen.generation.contract import Generator
from seqgen.generation.vocoder import Vocoder
from seqgen.runtime.contract import Floats, Runtime, State
from seqgen.stream.state import leaves, unflatten
from seqgen.tasks import networks
from seqgen.tasks.run import load
from seqgen.tasks.vocoder.config import facts_of


class TorchRuntime(Runtime):
    """Runtime over torch: rebuilds the generator from ``config.yaml`` and ``weights.safetensors`` and runs its own
    ``step``."""

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        super().__init__(bundle)
        path, manifest = bundle.path("config.yaml"), self.manifest
        self.run = load(path)
        facts = facts_of(manifest.codec, manifest.features, manifest.speakers)
        made = networks.network(self.run.networks["generator"], facts, source=str(path))
        assert isinstance(made, Generator)
        self.generator = made.eval()
        with in_utf8(bundle.path("weights.safetensors")) as name:
            self.generator.load_state_dict(load_file(name))
        order, bands = (int(self.run.task.options.get(name, 0)) for name in ("prediction", "bands"))
        prediction = prediction_for(manifest.features, order, manifest.codec)
        codec = registry.CODECS.load(manifest.codec)()
        self.vocoder = Vocoder(made, codec, prediction, bank_for(bands, manifest.codec))

    def _tree(self, state: State) -> Any:
        template = self.vocoder.init_state(1)
        return unflatten(template, [torch.from_numpy(leaf.copy()) for leaf in state])

    @staticmethod
    def _flat(state: Any) -> State:
        return tuple(leaf.numpy() for _, leaf in leaves(state))

    @torch.no_grad()
    def step(self, x: npt.NDArray[Any], state: State, cond: Floats) -> tuple[Floats, State]:
        self.samples(x, self.manifest.symbols_per_sample, state, cond)
        params, after = self.vocoder.step(torch.from_numpy(x), self._tree(state), torch.from_numpy(cond))
        return params.numpy(), self._flat(after)

    @torch.no_grad()
    def sample(self, noise: Floats, state: State, cond: Floats, temperature: float = 1.0) -> tuple[Floats, State]:
        self.samples(noise, self.manifest.uniforms_per_sample, state, cond)
        u = torch.from_numpy(np.asarray(noise, np.float32)).unflatten(1, (-1, self.generator.num_uniforms))
        drawn = self.vocoder.generate(u, self._tree(state), torch.from_numpy(cond), temperature)
        return drawn.audio.numpy(), self._flat(drawn.state)
