"""Features of recordings that networks make in torch: encoders of audio, and models with latent variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from seqgen.latents.variable import LatentVariable
from seqgen.runtime.extractor import Extractor, Floats, no_layer


class NetworkFeatures(Extractor):
    """Features of one layer of an encoder in torch: ``context``, its outputs, or ``latent``, what they are made of.

    Raises:
        SeqgenError: for what is no stream from audio to vectors, and from :meth:`features` for a layer that there is
            not.
    """

    def __init__(self, encoder: Any, layer: str, sample_rate: int) -> None:
        from seqgen.export.encoder import require_exportable

        self.encoder = self.stream = require_exportable(encoder).eval()
        self.sample_rate, self.layer = sample_rate, layer or "context"
        self.hop, self.latency = self.encoder.spec.down, self.encoder.spec.latency

    @torch.no_grad()
    def features(self, audio: Floats) -> Floats:
        from seqgen.export.encoder import every_layer

        whole = len(audio) // self.hop * self.hop
        given = torch.from_numpy(np.ascontiguousarray(audio[:whole]))[None]
        made, _ = every_layer(self.encoder, given, self.encoder.init_state(1))
        if self.layer not in made:
            raise no_layer(self.layer, list(made))
        return made[self.layer][0].numpy()


class CodeFeatures(Extractor):
    """Features of a latent-variable model: ``code``, at each position what its decoder reads of the code that stands
    for a recording (means of normal posteriors, entries of a codebook), or ``columns``, the encoder's outputs.

    Nothing is drawn. The model may look ahead, so there is no latency.

    Args:
        model: with positions that are whole hops. layer: "" is ``code``. sample_rate: Hz. hop: samples of a position.
        batches: what the task makes of one recording: batches whose rows follow each other in time.

    Raises:
        SeqgenError: for another layer.
    """

    def __init__(
        self, model: LatentVariable, layer: str, *, sample_rate: int, hop: int, batches: Callable[[Floats], Any]
    ) -> None:
        self.model, self.layer = model.eval(), layer or "code"
        layers = {"code": self._codes, "columns": self._columns}
        if self.layer not in layers:
            raise no_layer(self.layer, list(layers))
        self._read = layers[self.layer]
        self.sample_rate, self.hop, self.batches = sample_rate, hop, batches

    @torch.no_grad()
    def features(self, audio: Floats) -> Floats:
        whole = len(audio) // self.hop
        found = [row[:count] for batch in self.batches(audio) for row, count in self._rows(batch)]
        return torch.cat(found)[:whole].float().numpy()

    def _rows(self, batch: Any) -> Any:
        """Vectors of each row ``[N, C]``, and how many of them are of its elements."""
        counts = self.model.positions(batch.lengths).tolist()
        return zip(self._read(batch), counts, strict=True)

    def _codes(self, batch: Any) -> torch.Tensor:
        return self.model.posterior.frames(self.model.code(batch))

    def _columns(self, batch: Any) -> torch.Tensor:
        made: torch.Tensor = self.model.encoder(batch.x, batch.lengths)
        return made
