"""The task of speech: windows of recordings, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqgen.audio import io
from seqgen.data.directory import DataDir
from seqgen.errors import SeqgenError
from seqgen.models.waveform_encoder import WaveformEncoder
from seqgen.spec import Facts
from seqgen.tasks.contract import Evaluation
from seqgen.tasks.speech.batches import Batch, Windows
from seqgen.tasks.speech.task import Speech
from seqgen.tasks.vocoder.examples import SIZES, record

OPTIONS = {"sample_rate": 8000, "window": 200}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return record(tmp_path_factory.mktemp("speech"))


def speech(recordings: dict[str, str], **options: Any) -> Speech:
    made = Speech.example(recordings | OPTIONS | options, {}).task
    assert isinstance(made, Speech)
    return made


def windows(recordings: dict[str, str], **options: Any) -> Windows:
    given = {"window": 200, "rows": 4, "together": 1, "seed": 1}
    return Windows(DataDir.load(Path(recordings["train"])), **given | options)


def original(recordings: dict[str, str], batch: Batch, row: int) -> np.ndarray[Any, Any]:
    name, start = batch.ids[row].split(":")
    audio, _ = io.read(Path(recordings["train"]).parent / "audio" / f"{name}.wav")
    return audio[int(start) :]


def test_rows_are_windows_of_the_recordings_and_name_their_speaker(recordings: dict[str, str]) -> None:
    for batch in windows(recordings).batches(0, 5, 0, 1):
        assert batch.x.shape == (4, 200, 1)
        for row in range(4):
            np.testing.assert_array_equal(batch.x[row, :, 0].numpy(), original(recordings, batch, row)[:200])
            assert batch.ids[row].startswith(("ann", "bo")[int(batch.speaker[row])])


def test_recordings_are_as_likely_as_they_are_long_and_all_their_places_are_drawn(recordings: dict[str, str]) -> None:
    """Alone or in groups of a speaker."""
    samples = {f"{('ann', 'bo')[n % 2]}-train-{n}": 900 + 170 * n for n in range(SIZES["train"])}
    for together in (1, 4):
        source = windows(recordings, rows=16, together=together)
        drawn = [place for number in range(400) for place in source.drawn(number)]
        for name, count in samples.items():
            starts = [start for one, start in drawn if one.id == name]
            share, spread = count / sum(samples.values()), 2 * (together / len(drawn)) ** 0.5
            assert len(starts) / len(drawn) == pytest.approx(share, abs=spread)
            assert 0 <= min(starts) < 40
            assert count - 240 < max(starts) <= count - 200


def test_groups_of_rows_are_of_one_speaker(recordings: dict[str, str]) -> None:
    source = windows(recordings, rows=12, together=3)
    for batch in [*source.batches(0, 6, 0, 1), *source.whole()]:
        assert bool((batch.speaker.view(4, 3) == batch.speaker.view(4, 3)[:, :1]).all())
    assert len({tuple(batch.speaker.tolist()) for batch in source.batches(0, 6, 0, 1)}) > 1


def test_recordings_shorter_than_a_window_are_left_out_or_filled_up(
    recordings: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    strict, filled = speech(recordings, window=1200), speech(recordings, window=1200, shortest=1000)
    assert strict.facts.examples == 3
    (batch,) = strict.source("train", {}).batches(0, 1, 0, 1)
    assert (
        "2 of 5 recordings are shorter than 1200 samples: left out (ann-train-0, bo-train-1)" in capsys.readouterr().err
    )
    assert batch.lengths.tolist() == [1200] * 4
    assert filled.facts.examples == 4
    seen = set()
    for batch in filled.source("train", {}).batches(0, 8, 0, 1):
        for row, length in enumerate(batch.lengths.tolist()):
            seen.add(length)
            assert not batch.x[row, length:].any()
            np.testing.assert_array_equal(batch.x[row, :length, 0].numpy(), original(recordings, batch, row)[:length])
    assert seen == {1070, 1200}


def test_recordings_that_are_all_too_short_are_refused(recordings: dict[str, str]) -> None:
    with pytest.raises(SeqgenError, match="all 5 recordings are shorter than 2000 samples, the longest has 1580"):
        speech(recordings, window=2000)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sample_rate": 16000}, "has 8000 Hz, but 16000 Hz"),
        ({"shortest": 300}, "give a shortest up to the window"),
        ({"window": 0}, "speaker_rows from 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(recordings: dict[str, str], options: dict[str, Any], said: str) -> None:
    with pytest.raises(SeqgenError, match=said):
        speech(recordings, **options)


def test_batches_of_no_whole_groups_and_data_of_no_whole_batch_are_refused(recordings: dict[str, str]) -> None:
    with pytest.raises(SeqgenError, match="a multiple of the other: 3 rows"):
        windows(recordings, rows=4, together=3)
    with pytest.raises(SeqgenError, match="fewer than the 64 rows of a batch"):
        list(windows(recordings, rows=64).whole())


def test_networks_have_to_read_windows_of_raw_audio_at_this_rate(recordings: dict[str, str]) -> None:
    task = speech(recordings)
    encoder = WaveformEncoder(WaveformEncoder.Config(strides=(5, 3), kernels=(10, 6), channels=4, hidden=4))
    with pytest.raises(SeqgenError, match="reads blocks of 15; use 195"):
        task.require_fit({"encoder": encoder})
    speech(recordings, window=195).require_fit({"encoder": encoder})
    with pytest.raises(SeqgenError, match="sample rate of 16000 Hz, this run 8000 Hz"):
        task.adopt(encoder, Facts(sample_rate=16000), "there")
    task.adopt(encoder, task.facts, "there")


def test_what_is_held_out_is_the_same_windows_each_time(recordings: dict[str, str]) -> None:
    task = speech(recordings, held_out=9)
    one, again = ([batch.ids for batch in task.source("test", {}).whole()] for _ in range(2))
    assert one == again
    assert sum(map(len, one)) == 8
    with pytest.raises(SeqgenError, match=r"of no use|heeds"):
        task.require_heeded(Evaluation(temperature=0.5))


def test_rows_on_another_process_are_others_of_the_same_batch(recordings: dict[str, str]) -> None:
    whole = next(windows(recordings).batches(3, 4, 0, 1))
    part = next(windows(recordings).batches(3, 4, 1, 2))
    assert torch.equal(part.x, whole.x[1::2])
