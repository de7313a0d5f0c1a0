"""Supervised baseline of a probe: an encoder that is trained end to end to tell the labels of recordings."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqgen import noise, registry
from seqgen.audio import io
from seqgen.data.directory import Utterance
from seqgen.nets.layers import Dense
from seqgen.objectives.contract import Objective, Rows
from seqgen.spec import Facts
from seqgen.stream.combinators import Serial
from seqgen.stream.contract import Streamable
from seqgen.train.identity import CheckpointIdentity
from seqgen.train.loop import Recipe, train
from seqgen.train.settings import TrainConfig
from seqgen.train.source import Source

ROWS, SECONDS = 16, 1.28
"""Rows of a batch, and the longest stretch of a recording that is one."""
_CLASSIFIER = "classifier"
_STREAM = noise.name_to_stream("seqgen.speech.labelled")


class Labelled(Source):
    """Source of labelled stretches of recordings: a random place of a random recording for each row; those that are
    shorter than a stretch are filled up with zeros.

    Args:
        utterances, labels: recordings and what is to be told of each. window: samples of a row. seed: of the run.
    """

    def __init__(self, utterances: Sequence[Utterance], labels: Sequence[str], *, window: int, seed: int) -> None:
        self.utterances, self.labels, self.window, self.seed = list(utterances), list(labels), window, seed

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Rows]:
        for number in range(start, stop):
            yield self._batch(number, np.arange(ROWS)[rank::world])

    def whole(self) -> Iterable[Rows]:
        return ()

    def _batch(self, number: int, rows: np.ndarray[Any, np.dtype[np.int64]]) -> Rows:
        drawn = noise.uniforms(self.seed, _STREAM, 2 * (number * ROWS + rows[:, None]) + np.arange(2))
        chosen = [int(u * len(self.utterances)) for u in drawn[:, 0]]
        pieces = [
            _piece(self.utterances[one], float(u), self.window) for one, u in zip(chosen, drawn[:, 1], strict=True)
        ]
        audio = np.stack([np.pad(piece, (0, self.window - len(piece))) for piece in pieces])  # [B, T]
        lengths = torch.tensor([len(piece) for piece in pieces])
        return Rows(torch.from_numpy(audio)[..., None], lengths, texts=tuple(self.labels[one] for one in chosen))


def _piece(utterance: Utterance, u: float, window: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    count = min(window, utterance.samples)
    start = int(u * (utterance.samples - count + 1))
    return io.read(utterance.path, start=utterance.start + start, count=count)[0]


def _method() -> type[Objective]:
    """The method that teaches a network labels."""
    every = (registry.OBJECTIVES.load(name) for name in registry.OBJECTIVES)
    found: type[Objective] = next(one for one in every if set(one.requires) == {_CLASSIFIER})
    return found


def supervised(
    encoder: Streamable[Any],
    utterances: Sequence[Utterance],
    labels: Sequence[str],
    *,
    sample_rate: int,
    steps: int,
    seed: int,
) -> Streamable[Any]:
    """Train a fresh encoder, and a linear layer over its outputs, to tell the labels; returns the encoder.

    The method is the registered one that trains a ``classifier`` and nothing else: cross-entropy of the outputs'
    mean over a stretch of a recording. Adam at 1e-3 after a warm-up, norms of gradients clipped at 1.
    """
    known = tuple(sorted(set(labels)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = Serial(encoder.train(), Dense(encoder.spec.out_dim, len(known)))
    method = _method()
    objective = method(method.Config(known), {_CLASSIFIER: classifier}, Facts())  # type: ignore[attr-defined]
    window = max(1, round(SECONDS * sample_rate) // encoder.spec.down) * encoder.spec.down
    longest = -(-max(one.samples for one in utterances) // encoder.spec.down) * encoder.spec.down
    source = Labelled(utterances, labels, window=min(window, longest), seed=seed)
    settings = TrainConfig(
        steps=steps, batch_size=ROWS, warmup=min(20, steps), seed=seed, validate_every=0, checkpoint_every=0
    )
    with tempfile.TemporaryDirectory(prefix="seqgen-probe-") as scratch:
        out = Path(scratch)
        train(
            objective, Recipe(settings), out=out, source=source, identity=CheckpointIdentity("", "", ""), device="cpu"
        )
    return encoder.eval()
