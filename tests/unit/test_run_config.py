"""Configurations of runs: what is said of former keys, and that the advice leads to a run."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from seqgen import config, registry
from seqgen.errors import SeqgenError
from seqgen.tasks.run import FORMER, RunConfig, load

# Sections of a former configuration, each as it was written then.
SECTIONS = {
    "data": "data: {train: a, valid: b, test: c, segment: 960}",
    "features": "features: {sample_rate: 8000, n_fft: 256, window: 160, hop: 80, n_mels: 16}",
    "model": "model: {name: wavernn, hidden: 16}",
    "conditioner": "conditioner: {name: frames, channels: 8}",
    "emission": "emission: {name: categorical}",
    "levelled": "levelled: true",
    "subscale": "subscale: {lanes: 4}",
    "quantise": "quantise: {precision: int8}",
}


@pytest.mark.parametrize("key", [*FORMER, "subscale"])
def test_former_keys_name_their_present_place(tmp_path: Path, key: str) -> None:
    """With their line, before whatever else is wrong with a file of that time, and as overrides too."""
    path = tmp_path / "run.yaml"
    path.write_text(f"name: old\n{SECTIONS[key]}\ntrain: {{steps: 1}}\n")
    with pytest.raises(SeqgenError) as caught:
        load(path)
    place = FORMER.get(
        key, "make it a network: networks: {generator: {name: subscale, …}}, with its options beside `body:`"
    )
    assert str(caught.value) == f"{path}:2: '{key}' is a key of a former version; {place}"
    path.write_text("name: new\ntask: vocoder\nnetworks: {}\ntrain: {steps: 1}\n")
    with pytest.raises(SeqgenError, match=f"'{key}' is a key of a former version; {re.escape(place)}"):
        load(path, [f"{key}.name=x"])


def test_what_takes_the_place_of_former_keys_is_there(tmp_path: Path) -> None:
    """The advice, followed, is a run that loads: its new keys exist."""
    path = tmp_path / "run.yaml"
    path.write_text(
        """
name: new
task:
  name: vocoder
  train: a
  valid: b
  test: c
  segment: 960
  codec: bytes16
  features: {sample_rate: 8000, n_fft: 256, window: 160, hop: 80, n_mels: 16}
networks:
  generator:
    name: subscale
    body: {name: wavernn, hidden: 16}
    conditioner: {name: frames, channels: 8}
    distribution: {name: categorical}
    lanes: 4
    horizon: 8
    channels: 8
    blocks: 1
  other:
    name: autoregressive
    body: {name: wavenet, layers: 1, vocab_size: 0, outputs: 30}
    distribution: {name: logistic-mixture}
    gain_normalized: true
train: {steps: 1}
quantization: {precision: int8}
"""
    )
    run = load(path)
    assert config.options(run.task, registry.TASKS, source="test").segment == 960
    for name in run.networks:
        config.options(run.networks[name], registry.DENSITIES, source="test")
    assert run.quantization.precision == "int8"
    assert {*FORMER, "subscale"} == set(SECTIONS)
    assert not set(FORMER) & {one.name for one in dataclasses.fields(RunConfig)}
