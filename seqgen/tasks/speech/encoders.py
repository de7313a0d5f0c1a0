"""Encoders of recordings, whatever they are: opened from experiments and bundles, and cepstra beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from seqgen import registry
from seqgen.audio import compiled
from seqgen.bundle import Bundle, is_bundle
from seqgen.config import Component
from seqgen.manifest import SpeechCodecManifest
from seqgen.runtime.extractor import Extractor, Floats, open_extractor
from seqgen.spec import Facts
from seqgen.tasks import networks
from seqgen.tasks.bundles import facts_of
from seqgen.tasks.contract import Task
from seqgen.tasks.experiment import Experiment, task_of
from seqgen.tasks.run import load
from seqgen.tasks.speech.runtime import ENCODER
from seqgen.tasks.vocoder import config as vocoder

COEFFICIENTS, WINDOW = 13, 0.025
"""Of MFCC: coefficients, and seconds of a window."""


class Cepstra(Extractor):
    """Mel-frequency cepstral coefficients with their first and second differences in time: 13 · 3 channels.

    Frames are centred on the middle of their hop; windows have 25 ms, differences span 9 frames.
    """

    def __init__(self, sample_rate: int, hop: int) -> None:
        self.sample_rate, self.hop = sample_rate, hop

    def features(self, audio: Floats) -> Floats:
        librosa = compiled.librosa()

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
        name: its path. extractor: of the layer that was asked for. task: of its run. component: how it is built.
        facts, source: what it is built with, and the name of its configuration in messages.
    """

    name: str
    extractor: Extractor
    task: Task
    component: Component
    facts: Facts
    source: str

    def fresh(self, seed: int) -> Extractor:
        """The same features of a network of the same form with fresh weights, decided by the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = networks.network(self.component, self.facts, source=self.source)
        return self.task.extractor(network, self.extractor.layer)


def _usual(experiment: Experiment) -> str:
    """Name of the network that makes features where none is named."""
    trained = list(experiment.trained)
    latent = [name for name in trained if experiment.definitions[name].name in registry.LATENT_MODELS]
    for some in (trained, latent):
        if ENCODER not in trained and len(some) == 1:
            return some[0]
    return ENCODER


def open_path(path: Path, layer: str = "", network: str = "", runtime: str = "") -> Opened:
    """The encoder of a bundle, or of an experiment's best checkpoint: the network named, else ``encoder``, else the
    only one that is trained, or the only one of those with latent variables. A ``layer`` of "" is the main one of what
    is opened.

    Raises:
        SeqgenError: for what makes no features of recordings.
    """
    if is_bundle(path):
        return _of_bundle(path, layer, runtime)
    experiment = Experiment.open(path)
    task, name = experiment.task(), network or _usual(experiment)
    made, _ = experiment.network(name)
    extractor = task.extractor(made, layer)
    return Opened(str(path), extractor, task, experiment.definitions[name], experiment.facts, experiment.source)


def _of_bundle(path: Path, layer: str, runtime: str) -> Opened:
    bundle = Bundle.open(path)
    extractor = open_extractor(bundle, layer, runtime)
    source = str(bundle.path("config.yaml"))
    run = load(Path(source))
    task = task_of(run, facts_of(bundle), source=source)
    facts = task.facts
    if isinstance(bundle.manifest, SpeechCodecManifest):  # which does not say all that its network is built with
        facts = vocoder.facts_of(task.config.codec, task.config.features, bundle.manifest.speakers)
    component = run.networks.get(ENCODER) or next(iter(run.networks.values()))
    return Opened(str(path), extractor, task, component, facts, source)
