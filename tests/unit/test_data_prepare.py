"""Preparing a corpus: resampling, cutting, long recordings, and nothing half-written."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from seqgen.audio import io
from seqgen.data import directory, prepare
from seqgen.data.corpora import FSDD, Folder
from seqgen.data.corpus import SPLITS
from seqgen.errors import SeqgenError
from tests.unit.tones import RATE, folder, loaded, record, tree


def test_resampling_leaves_the_rest_where_it_is(tmp_path: Path) -> None:
    root = folder(tmp_path / "in", 6)
    record(root / "cleo" / "high.wav", 44100, 44100, pitch=440.0)
    with pytest.raises(SeqgenError, match=r"8000 Hz and .*high\.wav 44100 Hz; choose one rate"):
        prepare.prepare(Folder(), root, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    prepare.prepare(Folder(), root, tmp_path / "out", sample_rate=RATE)
    assert [path.name for path in (tmp_path / "out/audio").iterdir()] == ["cleo-high.flac"]
    (high,) = [one for data in loaded(tmp_path / "out").values() for one in data if one.speaker == "cleo"]
    assert (high.rate, high.samples) == (RATE, RATE)
    audio, _ = io.read(high.path)
    expected = 0.3 * np.sin(2 * np.pi * 440 / RATE * np.arange(RATE))
    assert np.abs(audio - expected)[200:-200].max() < 2e-3
    for split in loaded(tmp_path / "out"):
        assert directory.check(tmp_path / "out" / split, decode=True) == []
    (tmp_path / "out").rename(tmp_path / "moved")  # resampled audio moves along
    assert all(directory.check(tmp_path / "moved" / split) == [] for split in loaded(tmp_path / "moved"))


def test_long_recordings_are_cut(tmp_path: Path) -> None:
    record(tmp_path / "in/long.wav", 10 * RATE + 3)
    counts = prepare.prepare(Folder(valid=0.2, test=0.2), tmp_path / "in", tmp_path / "out", max_seconds=1)
    assert sum(counts.values()) == 11
    pieces = sorted((one for data in loaded(tmp_path / "out").values() for one in data), key=lambda one: one.start)
    assert pieces[0].start == 0
    assert all(a.start + a.samples == b.start for a, b in pairwise(pieces))
    assert pieces[-1].start + pieces[-1].samples == 10 * RATE + 3
    assert max(one.samples for one in pieces) <= RATE
    assert all(directory.check(tmp_path / "out" / split) == [] for split in SPLITS)


def test_pieces_of_a_transcribed_recording_stay_together(tmp_path: Path) -> None:
    for index in range(6):
        record(tmp_path / "in" / f"{index}.wav", 3 * RATE, pitch=100.0 + index)
    (tmp_path / "in/metadata.csv").write_text("".join(f"{index}|sentence {index}\n" for index in range(6)))
    told: list[str] = []
    corpus = Folder(valid=0.3, test=0.3)
    prepare.prepare(corpus, tmp_path / "in", tmp_path / "out", max_seconds=1, tell=told.append)
    assert any("the transcripts of recordings that are cut into 18 pieces" in line for line in told)
    homes: dict[str, set[str]] = {}
    for split, data in loaded(tmp_path / "out").items():
        for one in data:
            homes.setdefault(one.recording, set()).add(split)
            assert one.text == ""
    assert all(len(where) == 1 for where in homes.values())


def test_transcripts_are_there_for_all_or_none_and_it_is_said(tmp_path: Path) -> None:
    for index in range(4):
        record(tmp_path / "in" / f"{index}.wav", (1 + index // 3) * RATE)
    (tmp_path / "in/metadata.csv").write_text("".join(f"{index}|sentence {index}\n" for index in range(4)))
    told: list[str] = []
    prepare.prepare(Folder(valid=0, test=0), tmp_path / "in", tmp_path / "out", max_seconds=1, tell=told.append)
    assert told[1:] == ["left out: 3 transcripts of train, for 2 of its utterances have none"]
    assert not (tmp_path / "out/train/text").exists()


def test_preparing_twice_gives_the_same(tmp_path: Path) -> None:
    root = folder(tmp_path / "in")
    prepare.prepare(Folder(), root, tmp_path / "out", sample_rate=4000)
    first = tree(tmp_path / "out")
    prepare.prepare(Folder(), root, tmp_path / "out", sample_rate=4000)
    assert tree(tmp_path / "out") == first
    prepare.prepare(Folder(valid=0), root, tmp_path / "out")
    assert not (tmp_path / "out/audio").exists()
    assert not (tmp_path / "out/valid").exists()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_run_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop) -> None:  # type: ignore[no-untyped-def]
    root, out = folder(tmp_path / "in"), tmp_path / "out"
    prepare.prepare(Folder(valid=0.3, test=0.3), root, out)
    before = tree(out)
    write_blocks, calls = io.write_blocks, []

    def broken(*args: object, **kwargs: object) -> int:
        calls.append(args)
        if len(calls) == 5:
            raise stop
        return write_blocks(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(io, "write_blocks", broken)
    expected = SeqgenError if isinstance(stop, OSError) else KeyboardInterrupt
    with pytest.raises(expected, match="No space left" if isinstance(stop, OSError) else None):
        prepare.prepare(Folder(), root, out, sample_rate=4000)
    calls.clear()
    with pytest.raises(expected):
        prepare.prepare(Folder(), root, tmp_path / "new", sample_rate=4000)
    assert tree(out) == before
    assert sorted(path.name for path in out.iterdir()) == ["corpus.json", "recordings.jsonl", "test", "train", "valid"]
    assert not (tmp_path / "new").exists()


def test_leftovers_of_a_killed_run_are_removed_after_an_hour(tmp_path: Path) -> None:
    import os

    root, out = folder(tmp_path / "in"), tmp_path / "out"
    for name in (".prepare-old", ".prepare-new"):
        (out / name / "audio").mkdir(parents=True)
    for path in (out / ".prepare-old" / "audio", out / ".prepare-old"):
        os.utime(path, (0, 0))
    prepare.prepare(Folder(), root, out)
    assert sorted(path.name for path in out.glob(".prepare-*")) == [".prepare-new"]


def test_nothing_foreign_is_replaced(tmp_path: Path) -> None:
    root = folder(tmp_path / "in")
    with pytest.raises(SeqgenError, match="lies inside the corpus"):
        prepare.prepare(Folder(), root, root / "out")
    with pytest.raises(SeqgenError, match="lies inside the corpus"):
        prepare.prepare(Folder(), root, root)
    (tmp_path / "out/audio").mkdir(parents=True)
    with pytest.raises(SeqgenError, match="audio exists and was not made by"):
        prepare.prepare(Folder(), root, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out/audio"]


@pytest.mark.parametrize("failure", ["a name", "an interruption"])
def test_results_that_cannot_take_their_place_leave_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    root, out = folder(tmp_path / "in"), tmp_path / "out"
    corpus = Folder(valid=0.3, test=0.3)
    prepare.prepare(corpus, root, out, sample_rate=4000)
    before, write = tree(out), directory.write
    if failure == "a name":  # one that no table can hold
        root, expected = root.rename(tmp_path / "line\nend"), "cannot stand in a Kaldi table"
    else:
        root, expected = folder(tmp_path / "others", 20), "stopped"

        def stopped(path: Path, utterances: Sequence[directory.Utterance]) -> None:
            if path.name == "valid":
                raise KeyboardInterrupt("stopped")
            write(path, utterances)

        monkeypatch.setattr(directory, "write", stopped)
    for place in (out, tmp_path / "new"):
        with pytest.raises((SeqgenError, KeyboardInterrupt), match=expected):
            prepare.prepare(corpus, root, place)
    assert tree(out) == before
    assert not (tmp_path / "new").exists()


def damaged(root: Path) -> Path:
    """Three recordings are of no use: two by their beginning, one by its middle alone."""
    (root / "anna/take 00.wav").write_bytes(b"")
    (root / "ben/take 01.wav").write_bytes(b"noise")
    whole = record(root / "anna/take 02.flac", 8 * RATE)
    (root / "anna/take 02.wav").unlink()
    data = bytearray(whole.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 500] = bytes(500)
    whole.write_bytes(data)
    return root


def test_unusable_recordings_of_ones_own_are_left_out_and_counted(tmp_path: Path) -> None:
    root, told = folder(tmp_path / "in"), list[str]()
    prepare.prepare(Folder(valid=0.3, test=0.3), root, tmp_path / "before", sample_rate=4000)
    prepare.prepare(Folder(valid=0.3, test=0.3), damaged(root), tmp_path / "out", sample_rate=4000, tell=told.append)
    assert [
        line.partition(": ")[2].removeprefix(f"{root}/")[:12] for line in told if line.startswith("unusable: ")
    ] == [
        "anna/take 00",
        "ben/take 01.",
        "anna/take 02",
    ]
    assert [line for line in told if line.startswith("left out")] == [
        "left out, 2: recordings that cannot be used",
        "left out, 1: recordings that cannot be used",
    ]
    before, after = loaded(tmp_path / "before"), loaded(tmp_path / "out")
    assert sum(map(len, before.values())) == sum(map(len, after.values())) + 3
    for split, data in after.items():  # of the others none has moved
        assert {one.id for one in data} <= {one.id for one in before[split]}
        assert directory.check(tmp_path / "out" / split, decode=True) == []


def test_unusable_recordings_are_named_where_none_may_be_missing(tmp_path: Path) -> None:
    root, told = tmp_path / "in", list[str]()
    for name in ("0_anna_0.wav", "1_anna_0.wav"):
        record(root / name).write_bytes(b"")
    for corpus in (Folder(), FSDD()):  # nothing else is there; a published corpus
        told.clear()
        with pytest.raises(SeqgenError, match=r"0_anna_0\.wav: the file is empty \(and 1 more unusable"):
            prepare.prepare(corpus, root, tmp_path / "out", tell=told.append)
        assert [line.split(".wav: ")[0] for line in told] == [
            f"unusable: {root}/0_anna_0",
            f"unusable: {root}/1_anna_0",
        ]
        record(root / "2_anna_0.wav")
    assert not (tmp_path / "out").exists()


def test_ten_hours_are_prepared_and_checked_block_by_block(tmp_path: Path) -> None:
    import tracemalloc

    samples = 10 * 3600 * RATE
    (tmp_path / "in").mkdir()
    with (tmp_path / "in/long.wav").open("wb") as sink:  # sparse: takes no room on disk
        sink.write(io.wav_header(RATE, samples=samples))
        sink.truncate(44 + 2 * samples)
        sink.seek(-2, 2)
        sink.write(b"\x00\x01")
    tracemalloc.start()
    counts = prepare.prepare(Folder(), tmp_path / "in", tmp_path / "out", max_seconds=30)
    assert directory.check(tmp_path / "out/test", decode=True) == []
    assert tracemalloc.get_traced_memory()[1] < 64e6
    tracemalloc.stop()
    assert sum(counts.values()) == 1200


def test_progress_reaches_its_total(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    prepare.prepare(
        Folder(), folder(tmp_path / "in"), tmp_path / "out", sample_rate=4000, progress=lambda *now: told.append(now)
    )
    for what in ("reading headers", "resampling to 4000 Hz"):
        seen: Sequence[int] = [done for name, done, total in told if name == what and total == 12]
        assert list(seen) == list(range(1, 13))
