"""Speakers by networks as they were trained, whose bundles speak without torch."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from seqgen.bundle import Bundle, is_bundle
from seqgen.errors import SeqgenError
from seqgen.generation.spoken import SpokenDensity
from seqgen.manifest import VocoderManifest
from seqgen.metrics.griffin_lim import griffin_lim
from seqgen.runtime import open_runtime
from seqgen.runtime.contract import Floats
from seqgen.runtime.speaker import PROSODY, Integers, Reals, Sentence, Speaker, vocoded
from seqgen.runtime.speller import Speller
from seqgen.spec import FeatureSpec, require_same_signature
from seqgen.tasks.acoustic.batches import phones_of
from seqgen.tasks.acoustic.config import AcousticConfig
from seqgen.tasks.contract import Exporting
from seqgen.tasks.experiment import Experiment
from seqgen.text.pronounced.lexicon import Lexicon
from seqgen.text.pronounced.pronouncer import Pronouncer


class NetworkSpeaker(Speaker):
    """Speaker by torch: prosody by another run's density, frames by this one's, sound by a vocoder's bundle, or by
    Griffin and Lim.

    Args:
        config: of a run that learnt frames; says where the others are. generator: of the frames.
        runtime: that executes the vocoder (by default the fastest there is).

    Raises:
        SeqgenError: where one of them is not told, or is of another kind.
    """

    def __init__(self, config: AcousticConfig, generator: SpokenDensity, runtime: str = "") -> None:
        lacking = [f"task.{name}" for name in ("prosody", "lexicon") if not getattr(config, name)]
        if lacking:
            raise SeqgenError(f"nothing is spoken without {lacking[0]}", remedy=f"give {' and '.join(lacking)}")
        self.lexicon, own = lexicons(config)
        self.generator, self.manner = generator, prosody_of(config)
        uniforms = (self.manner.num_uniforms, generator.num_uniforms)
        with speller_of(config.g2p) as found:
            speller = None if found is None else Speller(found)
        pronouncer = Pronouncer(self.lexicon, {word: own.find(word)[0] for word in own}, speller)
        super().__init__(config.features, pronouncer, uniforms)
        bundle = vocoder_of(config.vocoder, config.features) if config.vocoder else None
        self.vocoder = None if bundle is None else open_runtime(bundle, runtime)

    @property
    def look_ahead(self) -> int:
        return 0 if self.vocoder is None else self.vocoder.manifest.spec.alignment.look_ahead

    @torch.no_grad()
    def prosody(self, tokens: Integers, u: Floats, temperature: float) -> Reals:
        given = phones_of([tokens], [np.ones_like(tokens)], [np.zeros((len(tokens), PROSODY - 1))])
        drawn = self.manner.sample(torch.from_numpy(u)[None], given, temperature)
        made: Reals = drawn.view(len(tokens), PROSODY).double().numpy()
        return made

    @torch.no_grad()
    def numbers(self, sentence: Sentence, u: Floats, temperature: float) -> Iterator[Floats]:
        given = phones_of([sentence.tokens], [sentence.durations], [sentence.manner])
        yield self.generator.sample(torch.from_numpy(u)[None], given, temperature).view(-1, self.spec.bands).numpy()

    def sound(self, blocks: Iterable[Floats], seed: int = 0) -> Iterator[Floats]:
        if self.vocoder is not None:
            yield from vocoded(self.vocoder, blocks, seed)
            return
        frames = np.concatenate(list(blocks))
        yield griffin_lim(frames, self.spec, len(frames) * self.spec.hop)


def lexicons(config: AcousticConfig) -> tuple[Lexicon, Lexicon]:
    """The lexicon of a run, and a user's own."""
    return Lexicon.open(Path(config.lexicon)), Lexicon.open(Path(config.own)) if config.own else Lexicon({})


@contextlib.contextmanager
def speller_of(place: str) -> Iterator[Bundle | None]:
    """The bundle of a translator of letters into phones, that of an experiment as long as the context lasts; ``None``
    for no place."""
    if not place or is_bundle(Path(place)):
        yield Bundle.open(Path(place)) if place else None
        return
    experiment = Experiment.open(Path(place))
    with tempfile.TemporaryDirectory() as scratch:
        yield experiment.task().export(experiment.exported(), Path(scratch) / "g2p", Exporting())


def prosody_of(config: AcousticConfig) -> SpokenDensity:
    """The density of prosody that a run speaks with."""
    network, _ = Experiment.open(Path(config.prosody)).network("generator")
    if not isinstance(network, SpokenDensity) or network.body is not None:
        raise SeqgenError(f"{config.prosody} has no generator of prosody", remedy="check task.prosody")
    return network


def vocoder_of(place: str, spec: FeatureSpec) -> Bundle:
    """The bundle of a vocoder of one reader, of these frames."""
    bundle = Bundle.open(Path(place))
    manifest = bundle.require(VocoderManifest)
    require_same_signature(manifest.features, spec, where=place)
    if manifest.spec.in_dim > spec.bands:
        raise SeqgenError(f"{place} is a vocoder of several speakers", remedy="give that of one reader")
    return bundle
