"""Samples of text: passed on as they are made, sequence by sequence, and until the symbol that ends one."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from seqgen.distributions.categorical import Categorical
from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import AutoRegressive, language_model
from seqgen.generation.contract import Density
from seqgen.tasks.contract import Sampling
from seqgen.tasks.text import sampling
from seqgen.tasks.text.evaluation import encoded
from seqgen.tasks.text.sampling import pieces, write
from seqgen.text.bytes import Bytes, BytesConfig
from seqgen.text.directory import Split, TextData
from seqgen.text.prepare import Preparation, prepare
from seqgen.text.tokenizer import Tokenizer
from tests.unit.test_text_task import Sequences


def joined(model: Density, tokenizer: Tokenizer, options: Sampling) -> str:
    return "".join(piece.text for piece in pieces(model, tokenizer, options))


def test_sequences_are_sampled_whole_and_take_no_prompt() -> None:
    options = Sampling(length=8, seed=1)
    text = joined(Sequences(), Bytes(), options)
    assert text == joined(Sequences(), Bytes(), options)
    assert [text[0], text[3], text[6]] == ["\0"] * 3
    with pytest.raises(SeqgenError, match="leave --prompt out"):
        list(pieces(Sequences(), Bytes(), Sampling(prompt="a")))


class Passed(io.StringIO):
    """Standard output that counts how often it is flushed."""

    flushed = 0

    def flush(self) -> None:
        self.flushed += 1


def test_a_sample_is_passed_on_as_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = AutoRegressive(language_model(256).body, Categorical(Categorical.Config(256)), None, start=0,
                           symbols_per_sample=1)  # fmt: skip
    made = [piece.text for piece in pieces(model, Bytes(), Sampling(prompt="é", length=50, seed=2))]
    assert len(made) == 51, "each symbol is passed on by itself"
    monkeypatch.setattr(sys, "stdout", passed := Passed())
    write(model, Bytes(), Sampling(prompt="é", length=50, seed=2))
    assert passed.getvalue() == "é" + "".join(made) + "\n"
    assert passed.flushed >= 51, "what is made is seen at once"
    assert "".join(made) == joined(model, Bytes(), Sampling(prompt="é", length=50, seed=2))


class Ending(Sequences):
    """Density whose sequences are an ``a``, the end, and a ``b``."""

    def sample(self, u: Tensor, cond: None = None, temperature: Tensor | float = 1.0) -> Tensor:
        return torch.tensor([97, 256, 98]).expand(u.shape[:2])


def test_a_sample_ends_with_the_symbol_that_ends_a_sequence(capsys: pytest.CaptureFixture[str]) -> None:
    """Drawn one by one or a sequence at a time; without such a symbol it is as long as was asked for."""
    stopping, options = Bytes(BytesConfig(stop=True)), Sampling(length=400, seed=3)
    assert write(Ending(), stopping, options) == 2
    assert capsys.readouterr().out == "a\n"
    torch.manual_seed(0)
    model = AutoRegressive(language_model(257).body, Categorical(Categorical.Config(257)), None, start=0,
                           symbols_per_sample=1)  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.1)  # nearly uniform
        symbols = np.concatenate(list(sampling._continued(model, stopping, Sampling(length=1000, seed=3))))
    (ends,) = np.nonzero(symbols == 256)
    assert write(model, stopping, Sampling(length=1000, seed=3)) == ends[0] + 1 < 1000
    text = stopping.decode(symbols[: ends[0]]).decode("utf-8", "replace")
    assert capsys.readouterr().out == text + "\n"


def test_documents_end_with_that_symbol_in_training_and_in_other_texts(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abba\n" * 20)
    how = Preparation("characters", stop=True, documents="lines", valid_share=0.2, test_share=0.2)
    prepare(tmp_path / "text.txt", tmp_path / "data", how)
    made, other = TextData.open(tmp_path / "data"), Split.open(tmp_path / "data" / "test")
    for symbols, bounds in (made.encoded("train"), encoded(other, made.tokenizer)):
        ends = symbols[bounds[1:] - 1]
        assert (ends == made.tokenizer.stop).all()
        assert (symbols == made.tokenizer.stop).sum() == len(bounds) - 1
