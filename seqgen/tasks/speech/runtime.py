"""Bundles of feature extractors through torch: the reference that the other runtimes are tested against."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from seqgen.bundle import Bundle
from seqgen.export.encoder import every_layer, require_exportable
from seqgen.files.inputs import in_utf8
from seqgen.runtime.contract import Floats, State
from seqgen.runtime.encoder import EncoderRuntime
from seqgen.stream.contract import Streamable
from seqgen.stream.state import leaves, unflatten
from seqgen.tasks import networks
from seqgen.tasks.bundles import facts_of
from seqgen.tasks.run import load

ENCODER = "encoder"
"""The network that is exported."""


class TorchEncoder(EncoderRuntime):
    """Runtime over torch: rebuilds the encoder from ``config.yaml`` and ``weights.safetensors`` and runs its own
    ``observe``."""

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        super().__init__(bundle)
        path = bundle.path("config.yaml")
        made = networks.network(load(path).networks[ENCODER], facts_of(bundle), source=str(path))
        self.encoder: Streamable[Any] = require_exportable(made).eval()
        with in_utf8(bundle.path("weights.safetensors")) as name:
            self.encoder.load_state_dict(load_file(name))

    @torch.no_grad()
    def step(self, audio: Floats, state: State, layer: str = "context") -> tuple[Floats, State]:
        self.require_fit(audio, state, layer)
        tree = unflatten(self.encoder.init_state(1), [torch.from_numpy(leaf.copy()) for leaf in state])
        given = torch.from_numpy(np.array(audio, np.float32))
        vectors, after = every_layer(self.encoder, given, tree)
        return vectors[layer].numpy(), tuple(leaf.numpy() for _, leaf in leaves(after))
