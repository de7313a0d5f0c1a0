"""Options of the task of acoustic models."""

from __future__ import annotations

from dataclasses import dataclass, field

from seqgen.spec import FeatureSpec
from seqgen.tasks.acoustic.batches import Target
from seqgen.train.identity import NEUTRAL, PLACE, WEIGHTS


@dataclass(frozen=True)
class AcousticConfig:
    """Options of the task of acoustic models.

    Attributes:
        train, valid, test: data directories; a relative path is taken from the working directory.
        times: folder of what ``seqgen align`` wrote, a folder for each of them under its name.
        features: definition of the frames. target: what is learnt, frames, or the prosody of phones.
        prosody: experiment of this task that learnt prosody, lexicon, own: pronunciations; what speaking a text takes.
        vocoder: bundle of a voice that makes sound of the frames (by default Griffin and Lim do).
        g2p: experiment or bundle of a translator of letters into phones, for words that the lexicon does not have (by
            default their letters are said).
    """

    train: str = field(metadata=PLACE)
    valid: str = field(metadata=PLACE)
    test: str = field(metadata=NEUTRAL)
    times: str = field(metadata=PLACE)
    features: FeatureSpec = field(metadata=WEIGHTS)
    target: Target = field(default="frames", metadata=WEIGHTS)
    prosody: str = field(default="", metadata=NEUTRAL)
    lexicon: str = field(default="", metadata=NEUTRAL)
    own: str = field(default="", metadata=NEUTRAL)
    vocoder: str = field(default="", metadata=NEUTRAL)
    g2p: str = field(default="", metadata=NEUTRAL)
