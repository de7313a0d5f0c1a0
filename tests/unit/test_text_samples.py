"""Samples of a language model are judged by another one, beside stretches of the text, through the command line."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from seqgen.generation.autoregressive import AutoRegressive, language_model
from seqgen.metrics.diversity import self_bleu
from seqgen.tasks import drawn
from seqgen.tasks.experiment import Experiment
from seqgen.tasks.text.samples import Drawing, judged, stretches
from seqgen.text.directory import Encoded
from seqgen.text.prepare import Preparation, prepare
from tests.unit.cli_workspace import done, refused

CONFIG = """\
name: text
task: {{name: text, data: {data}, segment: 8}}
networks:
  generator:
    name: autoregressive
    body: {{name: recurrent, vocab_size: 8, outputs: 8, hidden: 6, embedding: 3}}
train: {{steps: 2, batch_size: 4, validate_every: 2, checkpoint_every: 2, log_every: 1}}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs on one text, ``one`` and ``other``, and one on another text, ``apart``."""
    root = tmp_path_factory.mktemp("samples")
    for name, text in (("data", "abracadabra, " * 40), ("strange", "xylophone" * 40)):
        (root / "text.txt").write_text(text)
        prepare(root / "text.txt", root / name, Preparation("characters", valid_share=0.1, test_share=0.3))
        (root / f"{name}.yaml").write_text(CONFIG.format(data=root / name))
    words = ("--device", "cpu", "--out")
    done("train", root / "data.yaml", *words, root / "one")
    done("train", root / "data.yaml", *words, root / "other", "--set", "train.seed=1")
    sizes = [f"networks.generator.body.{name}=9" for name in ("vocab_size", "outputs")]
    done("train", root / "strange.yaml", *words, root / "apart", "--set", *sizes)
    return root


def test_stretches_are_spread_evenly_and_lie_within_documents() -> None:
    encoded = Encoded(np.arange(30, dtype=np.uint8), np.array([0, 11, 30]))
    assert stretches(encoded, 5, 99)[:, 0].tolist() == [0, 5, 11, 16, 21]
    assert stretches(encoded, 5, 3).tolist() == [[*range(5)], [*range(11, 16)], [*range(21, 26)]]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_bits_are_those_of_the_models(temperature: float) -> None:
    torch.manual_seed(0)
    one, other = language_model(8), language_model(8)
    given = np.arange(60).reshape(5, 12) % 8
    found = judged(one, other, given, Drawing(7, 12, 3, temperature), "symbol")
    made = drawn.drawn(one, 7, 12, seed=3, temperature=temperature)
    assert made.shape == (7, 12)
    for name, by, rows in (("oracle_bits_per_symbol", other, made), ("oracle_bits_per_symbol_given", other, given)):
        with torch.no_grad():
            bits = -by.log_prob(torch.from_numpy(rows)).double().mean() / math.log(2)
        assert found[name].value == pytest.approx(float(bits), rel=1e-6)
    with torch.no_grad():
        logits = one.distributions(torch.from_numpy(made)).double() / temperature
    own = -logits.log_softmax(dim=-1).gather(-1, torch.from_numpy(made)[..., None]).mean() / math.log(2)
    assert found["sample_bits_per_symbol"].value == pytest.approx(float(own), rel=1e-5)
    assert found["self_bleu"].value == self_bleu(made[:5])  # as many as there are stretches
    assert found["self_bleu_given"].value == self_bleu(given)


def test_an_evaluation_judges_samples(root: Path) -> None:
    plain = done("eval", root / "one", "--json").json()
    assert not any("oracle" in name or "bleu" in name for name in plain)
    words = ("--samples", 6, "--oracle", root / "other", "--json")
    found = done("eval", root / "one", *words).json()
    cold = done("eval", root / "one", *words, "--temperature", 0.5, "--length", 20).json()
    assert found["bits_per_character"] == plain["bits_per_character"]
    assert cold["sample_bits_per_character"] < found["sample_bits_per_character"]
    network, _ = Experiment.open(root / "one").network("generator")
    assert isinstance(network, AutoRegressive)
    for one in (found, cold):
        assert 0 < one["self_bleu_given"] <= 1
        assert one["oracle_bits_per_character"] > 0
        assert one["oracle_bits_per_character_95"] > 0
    assert cold["bits_per_character"] != found["bits_per_character"]


def test_what_cannot_be_judged_is_refused(root: Path) -> None:
    words = ("eval", root / "one")
    refused(*words, "--oracle", root / "other", named=("none drawn; give --samples",))
    refused(*words, "--samples", 5, "--oracle", root / "apart", named=("was trained on other symbols",))
    refused(*words, "--samples", 5, "--oracle", root, named=("no experiment here",))
    refused(*words, "--samples", 5, "--length", 3, named=("samples of 3 symbols; give --length 4 or more",))
    refused(*words, "--samples", 5, "--length", 100, named=("1 stretches of 100 symbols; judge shorter samples",))
    refused(*words, "--samples", -1, named=("--samples -1",))
