"""Models of bundles as densities: what a runtime executes is scored, drawn from and decoded as what torch does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqgen.distributions.categorical import Categorical
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.contract import GeneratorState
from seqgen.generation.encoder_decoder import SourceDensity, Sources, Unfolding
from seqgen.manifest import TranslatorManifest
from seqgen.nets.layers import Identity
from seqgen.runtime.symbols import SymbolRuntime
from seqgen.stream.conditioning import Conditioning
from seqgen.stream.contract import Streamable

State = tuple[Tensor, ...]


class ExecutedBody(Streamable[State]):
    """Body of a bundle's model, which its runtime executes.

    Shapes: int64 ``[B, T]`` (the symbol before each position), columns ``[B, T, C]`` of a translator → logits ``[B, T,
        V]``; the state is the runtime's, without the symbol before.
    """

    def __init__(self, runtime: SymbolRuntime) -> None:
        super().__init__()
        self.runtime, self.spec = runtime, runtime.manifest.spec

    def init_state(self, batch: int, memory: Any = None) -> State:
        return tuple(torch.from_numpy(leaf) for leaf in self.runtime.init(batch)[1:])

    def step(self, x: Tensor, state: State, cond: Conditioning | None = None) -> tuple[Tensor, State]:
        if not x.shape[1]:
            return self.zeros(*x.shape, self.spec.out_dim), state
        # A runtime is given the symbols that it scores, of which the last changes nothing but what it would read next.
        given = torch.cat([x[:, 1:], x[:, -1:]], dim=1)  # [B, T]
        before = (x[:, 0].numpy(), *(leaf.numpy() for leaf in state))
        logits, after = self.runtime.step(given.numpy(), before, None if cond is None else cond.detach().numpy())
        return torch.from_numpy(logits), tuple(torch.from_numpy(leaf) for leaf in after[1:])


class ExecutedTranslator(SourceDensity):
    """Density of targets given sources of a translator's bundle, which its runtime executes.

    Raises:
        SeqgenError: for a bundle of another kind.
    """

    def __init__(self, runtime: SymbolRuntime) -> None:
        manifest = runtime.bundle.require(TranslatorManifest)
        body, drawn = ExecutedBody(runtime), Categorical(Categorical.Config(manifest.vocab_size))
        decoder = AutoRegressive(body, drawn, Identity(manifest.columns), start=0, symbols_per_sample=1)
        super().__init__(decoder, Unfolding(*manifest.unfolding))
        self.runtime = runtime

    def _begun(self, cond: Sources) -> tuple[GeneratorState, Tensor | None]:
        columns = self.runtime.columns(cond.symbols.numpy(), cond.lengths.numpy())
        return self.decoder.init_state(len(columns)), torch.from_numpy(columns)
