"""Encoders of recordings, whatever they are: features ``[F, C]`` of one recording, frames of a fixed hop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seqgen.bundle import Bundle, is_bundle
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.export.encoder import every_layer, require_exportable
from seqgen.manifest import EncoderManifest
from seqgen.runtime import open_encoder
from seqgen.spec import Facts
from seqgen.stream.contract import Streamable
from seqgen.tasks import networks
from seqgen.tasks.bundles import facts_of
from seqgen.tasks.experiment import Experiment
from seqgen.tasks.run import load
from seqgen.tasks.speech.runtime import ENCODER

Floats = npt.NDArray[np.float32]
COEFFICIENTS, WINDOW = 13, 0.025
"""Of MFCC: coefficients, and seconds of a window."""


class Extractor(ABC):
    """Extractor of features: of each whole hop of a recording a vector.

    Attributes:
        hop: samples of a frame. latency: first frames that see zeros from before the recording.
    """

    hop: int
    latency: int = 0

    @abstractmethod
    def features(self, audio: Floats) -> Floats:
        """Vectors of one recording, ``[N] → [N // hop, C]``."""


class NetworkFeatures(Extractor):
    """Features of one layer of an encoder in torch."""

    def __init__(self, encoder: Streamable[Any], layer: str) -> None:
        self.encoder, self.layer = encoder.eval(), layer
        self.hop, self.latency = encoder.spec.down, encoder.spec.latency

    @torch.no_grad()
    def features(self, audio: Floats) -> Floats:
        whole = len(audio) // self.hop * self.hop
        given = torch.from_numpy(np.ascontiguousarray(audio[:whole]))[None]
        made, _ = every_layer(self.encoder, given, self.encoder.init_state(1))
        if self.layer not in made:
            raise SeqgenError(f"no layer '{self.layer}'", remedy=f"choose {' or '.join(made)}")
        return made[self.layer][0].numpy()


class BundleFeatures(Extractor):
    """Features of one layer of a bundle's encoder, through a runtime."""

    def __init__(self, bundle: Bundle, layer: str, runtime: str = "") -> None:
        self.runtime, self.layer = open_encoder(bundle, runtime), layer
        self.runtime.manifest.require_layer(layer)
        self.hop, self.latency = self.runtime.manifest.hop, self.runtime.manifest.spec.latency

    def features(self, audio: Floats) -> Floats:
        whole = len(audio) // self.hop * self.hop
        return self.runtime.step(audio[None, :whole], self.runtime.init(1), self.layer)[0][0]


class Cepstra(Extractor):
    """Mel-frequency cepstral coefficients with their first and second differences in time: 13 · 3 channels.

    Frames are centred on the middle of their hop; windows have 25 ms, differences span 9 frames.
    """

    def __init__(self, sample_rate: int, hop: int) -> None:
        self.sample_rate, self.hop = sample_rate, hop

    def features(self, audio: Floats) -> Floats:
        import librosa

        frames = len(audio) // self.hop
        window = round(WINDOW * self.sample_rate)
        size = 1 << (window - 1).bit_length()
        # librosa centres frame i on sample i · hop.
        moved = np.pad(audio[self.hop // 2 :], (0, max(self.hop, size)))
        made = librosa.feature.mfcc(y=moved, sr=self.sample_rate, n_mfcc=COEFFICIENTS, n_fft=size, win_length=window,
                                    hop_length=self.hop, n_mels=40)[:, :frames]  # fmt: skip
        differences = [librosa.feature.delta(made, order=order, mode="nearest") for order in (1, 2)]
        return np.ascontiguousarray(np.concatenate([made, *differences]).T, np.float32)


@dataclass(frozen=True)
class Opened:
    """Encoder that was opened from an experiment or a bundle.

    Attributes:
        name: its path. extractor: of the layer that was asked for. sample_rate: Hz. component: how it is built.
        facts, source: what it is built with, and the name of its configuration in messages.
    """

    name: str
    extractor: Extractor
    sample_rate: int
    component: Component
    facts: Facts
    source: str

    def fresh(self, seed: int) -> Streamable[Any]:
        """Network of the same form with fresh weights, decided by the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return require_exportable(networks.network(self.component, self.facts, source=self.source)).eval()


def open_path(path: Path, layer: str, network: str = "", runtime: str = "") -> Opened:
    """The encoder of a bundle, or of an experiment's best checkpoint: the network named, else ``encoder``, else the
    only one that is trained.

    Raises:
        SeqgenError: for what has no encoder of audio, or no sample rate.
    """
    if is_bundle(path):
        bundle = Bundle.open(path)
        manifest = bundle.require(EncoderManifest)
        source = str(bundle.path("config.yaml"))
        component = load(Path(source)).networks[ENCODER]
        extractor = BundleFeatures(bundle, layer, runtime)
        return Opened(str(path), extractor, manifest.sample_rate, component, facts_of(bundle), source)
    experiment = Experiment.open(path)
    facts = experiment.facts
    rate = facts.sample_rate or (facts.features.sample_rate if facts.features is not None else 0)
    if not rate:
        raise SeqgenError(f"{path}: a run on no recordings", remedy="give one whose task has a sample rate")
    trained = experiment.trained
    name = network or (ENCODER if ENCODER in trained or len(trained) != 1 else trained[0])
    made, _ = experiment.network(name)
    extractor = NetworkFeatures(require_exportable(made), layer)
    return Opened(str(path), extractor, rate, experiment.definitions[name], facts, experiment.source)
