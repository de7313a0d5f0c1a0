"""The character task: plain text, one symbol a character, judged in bits per character."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seqgen import config as configs
from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.files.outputs import write_text
from seqgen.generation.autoregressive import language_model
from seqgen.generation.contract import Generator
from seqgen.noise import Key
from seqgen.spec import Facts
from seqgen.tasks.contract import Evaluation, Sampling, Split, System, Task, TaskExample
from seqgen.tasks.networks import require_vocab_size, shortened
from seqgen.tasks.table import Gathered, Table
from seqgen.train.identity import NEUTRAL, PLACE
from seqgen.train.report import Report
from seqgen.train.source import Source

_STREAM = noise.name_to_stream("seqgen.text.segments")
_EVALUATION = 1 << 62  # streams of an evaluation lie beyond those of any step
_PREVIEW = 200  # characters
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""Stands for every character that the training text does not have; it is the first symbol, and the one before the
first."""


@dataclass(frozen=True)
class Batch:
    """Batch of B stretches of text: ``x [B, T]`` int64 symbols, ``lengths [B]`` of what is no padding, ``ids`` of the
    stretches; nothing to be conditioned on."""

    x: Tensor
    lengths: Tensor
    ids: tuple[str, ...]
    cond: None = None


@dataclass(frozen=True)
class CharactersConfig:
    """Options of the character task: text that a run learns from.

    Attributes:
        train, valid, test: UTF-8 text files. The same file may be given for all: ``split`` then cuts it.
        split: shares of the file that are valid and test text, at its end, where one file is given for all.
        segment: characters of a row.
    """

    train: str = field(metadata=PLACE)
    valid: str = field(metadata=PLACE)
    test: str = field(metadata=NEUTRAL)
    split: tuple[float, float] = (0.05, 0.05)
    segment: int = 128

    def __post_init__(self) -> None:
        if self.segment < 1:
            raise SeqgenError(f"'segment' is {self.segment}", remedy="give 1 or more")
        if min(self.split) < 0 or sum(self.split) >= 1:
            raise SeqgenError(f"'split' is {list(self.split)}", remedy="give two shares whose sum is below 1")


class Stretches(Source):
    """Source of stretches of one text: for training at random places, which are a function of the batch's number; once
    over the whole in order.

    Args:
        symbols: the text, int64 ``[N]``. segment: symbols of a row. rows: of a batch. seed: of the run.
    """

    def __init__(self, symbols: npt.NDArray[np.int64], *, segment: int, rows: int, seed: int) -> None:
        self.symbols, self.segment, self.rows, self.seed = symbols, segment, rows, seed

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        places = max(1, len(self.symbols) - self.segment + 1)
        for number in range(start, stop):
            u = noise.uniforms(self.seed, _STREAM, 2 * (number * self.rows + np.arange(rank, self.rows, world)))
            v = noise.uniforms(self.seed, _STREAM, 2 * (number * self.rows + np.arange(rank, self.rows, world)) + 1)
            # Two 24-bit words: one alone would reach only some places of a long text.
            yield self._rows(np.minimum(((u + v * 2.0**-24) * places).astype(np.int64), places - 1))

    def whole(self) -> Iterator[Batch]:
        starts = np.arange(0, len(self.symbols), self.segment)
        return (self._rows(starts[first : first + self.rows]) for first in range(0, len(starts), self.rows))

    def _rows(self, starts: Sequence[int] | npt.NDArray[np.int64]) -> Batch:
        pieces = [self.symbols[start : start + self.segment] for start in starts]
        longest = max(len(piece) for piece in pieces)
        x = np.stack([np.pad(piece, (0, longest - len(piece))) for piece in pieces])
        lengths = torch.tensor([len(piece) for piece in pieces])
        return Batch(torch.from_numpy(x), lengths, tuple(f"{start:09d}" for start in starts))


class Characters(Task):
    """Task of characters: networks learn from text; a network called ``generator`` is a language model."""

    Config = CharactersConfig
    config: CharactersConfig
    evaluation_options = frozenset({"data", "limit"})
    sampling_options = frozenset({"out", "prompt", "length", "temperature", "seed"})

    @classmethod
    def examples(cls, directory: Path) -> Iterable[TaskExample]:
        whole, other = directory / "text.txt", directory / "other.txt"
        whole.write_text("the quick brown fox jumps over the lazy dog\n" * 5, encoding="utf-8")
        other.write_text("another fox, ångström\n" * 3, encoding="utf-8")
        cut = {**dict.fromkeys(("train", "valid", "test"), str(whole)), "split": [0.2, 0.3], "segment": 16}
        yield cls.example(cut, {"valid": 3, "test": 5}, {"generator": language_model(29)})
        yield cls.example(cut | {"valid": str(other), "segment": 20}, {"valid": 4, "test": 11})

    def read_facts(self) -> Facts:
        text = _part(self.config, "train")
        alphabet = (UNKNOWN, *sorted(set(text) - {UNKNOWN}))
        return Facts(examples=len(text), vocab_size=len(alphabet), unit="character", alphabet=alphabet)

    def warnings(self, networks: Mapping[str, nn.Module]) -> list[str]:
        return shortened(networks, segment=self.config.segment, context=0, remedy="set task.segment to {reach} or more")

    def describe(self) -> str:
        return f"{self.facts.examples:,} characters of {self.facts.vocab_size} kinds"

    def require_fit(self, networks: Mapping[str, nn.Module]) -> None:
        """Refuse models of another alphabet."""
        require_vocab_size(networks, self.facts.vocab_size)

    def adopt(self, network: nn.Module, facts: Facts, where: str) -> None:
        """Refuse networks that learnt other characters, or gave them other numbers."""
        if facts.alphabet != self.facts.alphabet:
            raise SeqgenError(
                f"{where} was trained on {len(facts.alphabet)} kinds of characters, which are not the "
                f"{len(self.facts.alphabet)} of this text",
                remedy="train both on the same text",
            )

    def require_sensible(self) -> None:
        """Refuse stretches that are longer than the text."""
        if self.config.segment > self.facts.examples:
            raise SeqgenError(
                f"'task.segment' is {self.config.segment} characters, the training text has {self.facts.examples}",
                remedy="train on shorter stretches, or on a longer text",
            )

    def source(self, split: Split, networks: Mapping[str, nn.Module]) -> Stretches:
        return self._stretches(_part(self.config, split))

    def _stretches(self, text: str) -> Stretches:
        settings = self.run.train
        return Stretches(self.encode(text), segment=self.config.segment, rows=settings.batch_size, seed=settings.seed)

    def encode(self, text: str) -> npt.NDArray[np.int64]:
        """Symbols of a text, int64 ``[N]``; characters that were not in the training text become the unknown one."""
        index = {character: number for number, character in enumerate(self.facts.alphabet)}
        return np.array([index.get(character, 0) for character in text], np.int64)

    def decode(self, symbols: Sequence[int] | npt.NDArray[np.int64]) -> str:
        """The text of symbols."""
        return "".join(self.facts.alphabet[int(symbol)] for symbol in symbols)

    @torch.no_grad()
    def evaluate(self, system: System, options: Evaluation) -> Table:
        """Figures of the method over the whole text, stretch by stretch."""
        assert system.objective is not None
        text = _read(options.data) if options.data is not None else _part(self.config, "test")
        text = text[: options.limit * self.config.segment] if options.limit else text
        known = set(self.facts.alphabet)
        unknown = sum(character not in known for character in text)
        found = Gathered()
        for index, batch in enumerate(self._stretches(text).whole()):
            found.add(system.objective.measure(batch, Key(self.run.train.seed, _EVALUATION + index), index), batch.ids)
        counted = f", {unknown} of them unknown" if unknown else ""
        return Table(
            title=f"{len(text):,} characters{counted}, checkpoint {system.label}",
            figures=found.figures,
            record={
                "config_digest": configs.digest(self.run),
                "checkpoint": system.label,
                "data": str(options.data or self.config.test),
                "characters": len(text),
                "unknown": unknown,
            },
            examples=found.examples,
        )

    def digest(self, name: str) -> str:
        """Of the text that is learnt from: what a file given for all splits is cut into."""
        split: Split = "train" if name == "train" else "valid"
        return hashlib.sha256(_part(self.config, split).encode()).hexdigest()[:16]

    def sample(self, system: System, options: Sampling) -> str:
        """Go on from a prompt."""
        made = self._continued(system, options)
        text = options.prompt + made
        write_text(options.out, text if options.out is not None else f"{text}\n")
        return f"{options.out or 'standard output'}: {len(made)} characters"

    @torch.no_grad()
    def _continued(self, system: System, options: Sampling) -> str:
        generator = system.networks.get("generator")
        if not isinstance(generator, Generator):
            raise SeqgenError("this run trains no language model", remedy="name the run of a generator")
        state = generator.init_state(1)
        if options.prompt:
            _, state = generator.step(torch.from_numpy(self.encode(options.prompt))[None], state, None)
        length = options.elements
        u = noise.block(options.seed, 0, 0, length * generator.num_uniforms)
        uniforms = torch.from_numpy(u).view(1, length, -1).to(generator.body.zeros(0).device)
        values, _ = generator.generate(uniforms, state, None, options.temperature)
        return self.decode(values[0].cpu().numpy())

    def previews(self, system: System, report: Report, step: int) -> None:
        if isinstance(system.networks.get("generator"), Generator):
            report.text("sample", self._continued(system, replace(Sampling(), length=_PREVIEW)), step)


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SeqgenError(f"cannot read the text {path}: {error.strerror}", remedy="give a readable file") from None
    except UnicodeDecodeError as error:
        raise SeqgenError(f"{path}: not UTF-8 at byte {error.start}", remedy="convert the text to UTF-8") from None
    if not text:
        raise SeqgenError(f"{path} is empty", remedy="give a text")
    return text


def _part(config: CharactersConfig, split: Split) -> str:
    """The text of a split; of one file given for all its share."""
    text = _read(Path(getattr(config, split)))
    if not config.train == config.valid == config.test:
        return text
    valid = round(len(text) * (1 - sum(config.split)))
    test = round(len(text) * (1 - config.split[1]))
    part = {"train": text[:valid], "valid": text[valid:test], "test": text[test:]}[split]
    if not part:
        raise SeqgenError(f"{config.train}: nothing is left for {split}", remedy="give a longer text or another split")
    return part
