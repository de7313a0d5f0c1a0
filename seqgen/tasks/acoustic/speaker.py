"""Speaker: from a text to its sound, by networks that were trained apart."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from seqgen import noise
from seqgen.audio.periodicity import HIGHEST, LOWEST
from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.generation.contract import Density
from seqgen.manifest import VocoderManifest
from seqgen.metrics.griffin_lim import griffin_lim
from seqgen.runtime import open_runtime
from seqgen.runtime.contract import Runtime
from seqgen.spec import FeatureSpec, require_same_signature
from seqgen.tasks.acoustic.aloud import Aloud, read_aloud
from seqgen.tasks.acoustic.batches import PROSODY, Floats, phones_of
from seqgen.tasks.acoustic.config import AcousticConfig
from seqgen.tasks.experiment import Experiment
from seqgen.tasks.features.batches import Frames
from seqgen.tasks.passes import Numbers
from seqgen.tasks.vocoder.evaluation import vocode
from seqgen.text.pronounced.lexicon import Lexicon
from seqgen.text.pronounced.markup import script_of
from seqgen.text.pronounced.pronouncer import Pronouncer

_DRAWN = {
    "frames": noise.name_to_stream("seqgen.acoustic.frames"),
    "prosody": noise.name_to_stream("seqgen.acoustic.prosody"),
}
_OCTAVES = math.log2(HIGHEST / LOWEST)  # from a pitch of 0 to one of 1
_LONGEST = 200  # frames of a phone that is drawn


class Speaker:
    """Speaker of texts: phones by a lexicon, prosody and frames by generators, sound by a vocoder.

    Args:
        config: of a run that learnt frames; says where the others are. generator: of the frames.
        runtime: that executes the vocoder (by default the fastest there is).

    Raises:
        SeqgenError: where one of them is not told, or is of another kind.
    """

    def __init__(self, config: AcousticConfig, generator: Density, runtime: str = "") -> None:
        lacking = [f"task.{name}" for name in ("prosody", "lexicon") if not getattr(config, name)]
        if lacking:
            raise SeqgenError(f"nothing is spoken without {lacking[0]}", remedy=f"give {' and '.join(lacking)}")
        own = Lexicon.open(Path(config.own)) if config.own else Lexicon({})
        self.pronouncer = Pronouncer(Lexicon.open(Path(config.lexicon)), {word: own.find(word)[0] for word in own})
        self.spec, self.generator = config.features, generator
        network, _ = Experiment.open(Path(config.prosody)).network("generator")
        if not isinstance(network, Density):
            raise SeqgenError(f"{config.prosody} has no generator of prosody", remedy="check task.prosody")
        self.prosody = network
        self.vocoder = _vocoder(config.vocoder, config.features, runtime) if config.vocoder else None

    @torch.no_grad()
    def frames(self, text: str, temperature: float = 1.0, seed: int = 0) -> Frames:
        """Frames ``[F, bands]`` of a text, or of a document of SSML."""
        told = read_aloud(script_of(text), self.pronouncer)
        durations, manner = self._manner(told, temperature, seed)
        count, bands = int(durations.sum()), self.spec.bands
        u = _uniforms(seed, "frames", count * bands, self.generator.num_uniforms)
        made = self.generator.sample(u, phones_of([told.tokens], [durations], [manner]), temperature)
        frames = np.maximum(made.view(count, bands).double().numpy(), self.spec.silence)
        bands = self.spec.n_mels
        louder = np.repeat(told.nats, durations)[:, None]
        frames[:, :bands] = np.maximum(frames[:, :bands] + louder, self.spec.silence)
        return frames.astype(np.float32)

    def sound(self, frames: Frames, seed: int = 0) -> Frames:
        """Samples ``[F · hop]`` of frames."""
        if self.vocoder is None:
            return griffin_lim(frames, self.spec, len(frames) * self.spec.hop)
        (made,) = vocode(self.vocoder, [frames], [""], [0], seed=seed)
        return made

    def _manner(self, told: Aloud, temperature: float, seed: int) -> tuple[Numbers, Floats]:
        """Frames of each phone, and its pitch and loudness, as they are drawn and as the text says."""
        count = len(told.tokens)
        u = _uniforms(seed, "prosody", count * PROSODY, self.prosody.num_uniforms)
        given = phones_of([told.tokens], [np.ones_like(told.tokens)], [np.zeros((count, PROSODY - 1))])
        drawn = self.prosody.sample(u, given, temperature).view(count, PROSODY).double().numpy()
        usual = np.clip(np.exp(drawn[:, 0]), None, _LONGEST) / told.rate
        durations = np.where(np.isnan(told.pauses), usual, told.pauses * self.spec.sample_rate / self.spec.hop)
        manner = drawn[:, 1:] + np.stack([told.octaves / _OCTAVES, np.zeros(count)], axis=1)
        return np.maximum(np.rint(durations), 1).astype(np.int64), manner


def _vocoder(place: str, spec: FeatureSpec, runtime: str) -> Runtime:
    """Runtime of a vocoder's bundle."""
    bundle = Bundle.open(Path(place))
    if not isinstance(bundle.manifest, VocoderManifest):
        raise SeqgenError(f"{place} is no vocoder", remedy="give the bundle of one")
    require_same_signature(bundle.manifest.features, spec, where=place)
    if bundle.manifest.spec.in_dim > spec.bands:
        raise SeqgenError(f"{place} is a vocoder of several speakers", remedy="give that of one reader")
    return open_runtime(bundle, runtime)


def _uniforms(seed: int, what: str, elements: int, each: int) -> torch.Tensor:
    drawn = noise.block(seed, _DRAWN[what], 0, elements * each)
    return torch.from_numpy(drawn).view(1, elements, each)
