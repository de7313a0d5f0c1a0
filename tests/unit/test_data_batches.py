"""Batches: functions of their number alone, aligned with the features of the whole recording."""

from __future__ import annotations

import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from seqgen.audio import io
from seqgen.audio.codec import Bytes16, Codec, Float, MuLaw8
from seqgen.audio.features import log_mel
from seqgen.audio.prediction import LinearPrediction
from seqgen.data import directory
from seqgen.data.directory import DataDir, Utterance
from seqgen.data.loader import loader
from seqgen.errors import SeqgenError
from seqgen.spec import FeatureSpec
from seqgen.tasks.vocoder import batches
from seqgen.tasks.vocoder.batches import Batch, Recordings, SegmentBatches, UtteranceBatches
from seqgen.train.batch import rows, to_device

SPEC = FeatureSpec(sample_rate=8000, n_fft=512, window=320, hop=80, n_mels=20)
LENGTHS = {"anna-1": 1000, "anna-2": 4007, "ben-1": 333, "ben-2": 8000, "cleo-1": 79}


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """Five recordings of three speakers, from shorter than a hop to a second."""
    rng = np.random.default_rng(1)
    made = []
    for name, samples in LENGTHS.items():
        path = tmp_path / f"{name}.flac"
        io.write(path, (0.2 * rng.standard_normal(samples)).astype(np.float32), SPEC.sample_rate)
        made.append(Utterance(name, path, SPEC.sample_rate, 0, samples, name.split("-")[0]))
    directory.write(tmp_path / "data", made)
    return DataDir.load(tmp_path / "data")


def segments(data: DataDir, **changes: object) -> SegmentBatches:
    options = {"features": SPEC, "codec": Bytes16(), "segment": 480, "batch_size": 8, "seed": 3, "left": 4, "right": 3}
    return SegmentBatches(data, **{**options, **changes})  # type: ignore[arg-type]


def same(one: Batch, other: Batch) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in ("x", "lengths")]
    pairs += [(getattr(one.cond, name), getattr(other.cond, name)) for name in ("features", "speaker")]
    plain = [(batch.ids, batch.texts, batch.cond.left) for batch in (one, other)]
    return plain[0] == plain[1] and all(torch.equal(a, b) and a.dtype == b.dtype for a, b in pairs)


def expected_frames(audio: np.ndarray, first: int, count: int) -> np.ndarray:
    """Frames ``first … first + count - 1`` of the whole recording, silence outside."""
    return _stretch(log_mel(audio, SPEC), first, count)


def _stretch(whole: np.ndarray, first: int, count: int) -> np.ndarray:
    silent = np.full(SPEC.n_mels, SPEC.silence, np.float32)
    return np.stack([whole[k] if 0 <= k < len(whole) else silent for k in range(first, first + count)])


def test_shapes_and_types(data: DataDir) -> None:
    for codec, shape, kind in (
        (Bytes16(), (8, 960), torch.int64),
        (MuLaw8(), (8, 480), torch.int64),
        (Float(), (8, 480, 1), torch.float32),
    ):
        batch = segments(data, codec=codec)[0]
        assert tuple(batch.x.shape) == shape
        assert batch.x.dtype == kind
        assert tuple(batch.cond.features.shape) == (8, 4 + 6 + 3, 20)
        assert batch.cond.features.dtype == torch.float32
        assert batch.cond.left == 4
        assert batch.lengths.dtype == batch.cond.speaker.dtype == torch.int64
        cpu = torch.device("cpu")
        assert same(to_device(batch, cpu, torch.float32), batch)
        exact = to_device(batch, cpu, torch.float64)
        assert exact.cond.features.dtype == torch.float64
        assert exact.x.dtype == (torch.float64 if kind.is_floating_point else kind)
        assert exact.lengths.dtype == torch.int64
        assert same(to_device(exact, cpu, torch.float32), batch)


@pytest.mark.parametrize("codec", [Bytes16(), MuLaw8(), Float()])
def test_each_row_is_a_stretch_of_its_recording(data: DataDir, codec: Codec) -> None:
    batches = segments(data, codec=codec)
    recordings = {one.id: io.read(one.path)[0] for one in data}
    mels = {name: log_mel(audio, SPEC) for name, audio in recordings.items()}
    ragged = 0
    for step in range(30):
        batch = batches[step]
        for row, (utterance, offset) in enumerate(batches.draws(step)):
            audio = recordings[utterance.id]
            assert batch.ids[row] == utterance.id
            assert offset % SPEC.hop == 0
            assert batches.speakers[int(batch.cond.speaker[row])] == utterance.speaker
            stretch = np.zeros(480, np.float32)
            real = audio[offset : offset + 480]
            stretch[: len(real)] = real
            assert int(batch.lengths[row]) == len(real) * codec.symbols_per_sample
            assert np.array_equal(batch.x[row].numpy().reshape(-1), codec.encode(stretch))
            ragged += len(real) < 480
            frames = _stretch(mels[utterance.id], offset // SPEC.hop - 4, 13)
            assert np.array_equal(batch.cond.features[row].numpy(), frames)
    assert ragged > 0


@pytest.mark.parametrize("window", [80, 82, 240, 242, 512])
def test_frames_for_any_window(data: DataDir, window: int) -> None:
    spec = FeatureSpec(sample_rate=8000, n_fft=512, window=window, hop=80, n_mels=20)
    batches = segments(data, features=spec, left=0, right=0)
    for row, (utterance, offset) in enumerate(batches.draws(5)):
        whole = log_mel(io.read(utterance.path)[0], spec)[offset // 80 : offset // 80 + 6]
        assert np.array_equal(batches[5].cond.features[row, : len(whole)].numpy(), whole)


def test_utterances_of_one_recording_do_not_hear_each_other(data: DataDir, tmp_path: Path) -> None:
    path = data[3].path
    pieces = [Utterance(f"ben-2-{k}", path, 8000, 2000 * k, 2000, "ben", recording="ben-2") for k in range(4)]
    directory.write(tmp_path / "cut", pieces)
    batches = segments(DataDir.load(tmp_path / "cut"))
    for step in range(5):
        batch = batches[step]
        for row, (utterance, offset) in enumerate(batches.draws(step)):
            audio, _ = io.read(path, start=utterance.start, count=utterance.samples)
            assert np.array_equal(batch.cond.features[row].numpy(), expected_frames(audio, offset // 80 - 4, 13))
            padded = np.pad(audio, (0, 480))[offset : offset + 480]
            assert np.array_equal(batch.x[row].numpy(), Bytes16().encode(padded))


def test_a_batch_depends_on_seed_and_step_alone(data: DataDir) -> None:
    batches = segments(data)
    forward = [batches[step] for step in range(6)]
    for step in (5, 0, 3, 3, 1):
        assert same(segments(data)[step], forward[step])
    assert not same(forward[0], forward[1])
    assert not same(segments(data, seed=4)[0], forward[0])
    for one, other in zip(loader(batches, 0, 6, workers=2), forward, strict=True):
        assert same(one, other)
    for one, other in zip(loader(batches, 2, 6), forward[2:], strict=True):
        assert same(one, other)


def test_loading_does_not_touch_torch_random_state(data: DataDir) -> None:
    before = torch.get_rng_state()
    list(loader(segments(data), 0, 2))
    list(loader(segments(data), 0, 2, workers=1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_shards_make_up_the_global_batch(data: DataDir, world: int) -> None:
    whole = segments(data)[7]
    parts = [segments(data).shard(rank, world)[7] for rank in range(world)]
    for row in range(8):
        part, index = parts[row % world], row // world
        assert part.ids[index] == whole.ids[row]
        assert torch.equal(part.x[index], whole.x[row])
        assert torch.equal(part.cond.features[index], whole.cond.features[row])
        assert int(part.cond.speaker[index]) == int(whole.cond.speaker[row])
    assert sum(len(part.ids) for part in parts) == 8
    assert all(same(part, rows(whole, rank, world)) for rank, part in enumerate(parts))


def test_a_source_gives_shards_of_global_batches_and_the_whole_once(data: DataDir) -> None:
    whole = UtteranceBatches(data, features=SPEC, codec=Bytes16(), batch_size=2)
    for workers in (0, 1):
        source = Recordings(segments(data), whole, workers)
        found = list(source.batches(5, 8, 1, 2))
        assert len(found) == 3
        assert all(same(one, segments(data).shard(1, 2)[5 + index]) for index, one in enumerate(found))
        assert all(same(one, other) for one, other in zip(source.whole(), whole, strict=True))
    assert source.state() == {}


def test_uneven_shards_are_refused(data: DataDir) -> None:
    with pytest.raises(SeqgenError, match="batch_size 8 cannot be shared evenly by 3 processes; use a multiple of 3"):
        segments(data).shard(0, 3)


def test_every_offset_is_equally_likely(data: DataDir) -> None:
    batches = segments(data, batch_size=1000)
    counts: dict[tuple[str, int], int] = {}
    for step in range(20):
        for utterance, offset in batches.draws(step):
            counts[utterance.id, offset] = counts.get((utterance.id, offset), 0) + 1
    places = {(name, 80 * k) for name, n in LENGTHS.items() for k in range(-(-max(0, n - 480) // 80) + 1)}
    assert set(counts) == places
    mean = 20000 / len(places)
    chi_square = sum((count - mean) ** 2 / mean for count in counts.values())
    assert chi_square < len(places) + 5 * (2 * len(places)) ** 0.5
    covered = {offset + 480 >= LENGTHS[name] for name, offset in counts}
    assert covered == {True, False}


def test_offsets_beyond_24_bits_are_reached(data: DataDir) -> None:
    endless = DataDir(data.path, (Utterance("a-1", data.path, 8000, 0, 80 * ((1 << 30) - 1) + 480, "a"),))
    hops = [offset // 80 for step in range(20) for _, offset in segments(endless, batch_size=100).draws(step)]
    assert max(hops) < 1 << 30
    assert {hop % 64 for hop in hops} == set(range(64))


def test_only_metadata_is_held(data: DataDir) -> None:
    size = len(pickle.dumps(segments(data)))
    many = DataDir(data.path, tuple(data.utterances) * 200)
    assert len(pickle.dumps(segments(many))) - size < 1000 * 100
    batches = segments(many)
    for step in range(5):
        batches[step]
    tracemalloc.start()
    for step in range(20):
        batches[step]
    assert tracemalloc.get_traced_memory()[0] < 100_000
    tracemalloc.stop()


def test_another_rate_is_refused(data: DataDir) -> None:
    spec = FeatureSpec(sample_rate=16000, n_fft=512, window=320, hop=80, n_mels=20)
    message = "has 8000 Hz, but 16000 Hz is configured; .*`seqgen data prepare --sample-rate 16000`"
    with pytest.raises(SeqgenError, match=message):
        segments(data, features=spec)
    with pytest.raises(SeqgenError, match=message):
        UtteranceBatches(data, features=spec, codec=Bytes16(), batch_size=1)


def test_speakers(data: DataDir) -> None:
    batches = segments(data, speakers=("zoe", "cleo", "ben", "anna"))
    assert batches.speakers == ("zoe", "cleo", "ben", "anna")
    batch = batches[0]
    assert [batches.speakers[int(index)] for index in batch.cond.speaker] == [name.split("-")[0] for name in batch.ids]
    with pytest.raises(SeqgenError, match=r"'cleo-1' is spoken by 'cleo', whom the model does not know"):
        segments(data, speakers=("anna", "ben"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segment": 500}, "segment of 500 samples is not a multiple of the hop 80; use 480"),
        ({"segment": 0}, "segment of 0"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"left": -1}, "context of -1"),
    ],
)
def test_sizes_that_do_not_fit(data: DataDir, changes: dict[str, int], message: str) -> None:
    with pytest.raises(SeqgenError, match=message):
        segments(data, **changes)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_lost_while_training_gives_one_line(data: DataDir, workers: int) -> None:
    batches = segments(data)
    data[3].path.unlink()
    with pytest.raises(SeqgenError, match=r"ben-2\.flac") as caught:
        list(loader(batches, 0, 4, workers=workers))
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


def test_whole_utterances(data: DataDir) -> None:
    batches = UtteranceBatches(data, features=SPEC, codec=Bytes16(), batch_size=2, left=1, right=3)
    assert len(batches) == 3
    assert [one.ids for one in batches] == [("ben-2", "anna-2"), ("anna-1", "ben-1"), ("cleo-1",)]
    assert batches[-1].ids == ("cleo-1",)
    assert [one.ids for one in batches[1:]] == [("anna-1", "ben-1"), ("cleo-1",)]
    for batch in batches:
        frames = batch.x.shape[1] // 2 // SPEC.hop
        assert batch.cond.features.shape[1] == 1 + frames + 3
        for row, name in enumerate(batch.ids):
            audio, _ = io.read(data.path.parent / f"{name}.flac")
            assert int(batch.lengths[row]) == 2 * len(audio)
            padded = np.pad(audio, (0, frames * SPEC.hop - len(audio)))
            assert np.array_equal(batch.x[row].numpy(), Bytes16().encode(padded))
            assert np.array_equal(batch.cond.features[row].numpy(), expected_frames(audio, -1, 1 + frames + 3))
    for one, other in zip(loader(batches, 0, 3, workers=1), batches, strict=True):
        assert same(one, other)
    with pytest.raises(IndexError):
        batches[3]


def test_an_endless_utterance_is_refused(data: DataDir) -> None:
    long = DataDir(data.path, (Utterance("a-1", data.path, 8000, 0, 8000 * 601, "a"),))
    with pytest.raises(SeqgenError, match=r"'a-1' lasts 601 s, too long .*--max-seconds 30"):
        UtteranceBatches(long, features=SPEC, codec=Bytes16(), batch_size=1)


def test_real_recordings(shared_data: Path, tmp_path: Path) -> None:
    from seqgen.data.corpora import YesNo
    from seqgen.data.prepare import prepare

    prepare(YesNo(), shared_data / "yesno", tmp_path / "yesno")
    data = DataDir.load(tmp_path / "yesno/train")
    batches = segments(data, segment=960)
    for row, (utterance, offset) in enumerate(batches.draws(0)):
        audio, _ = io.read(utterance.path)
        assert np.array_equal(
            batches[0].cond.features[row].numpy(), expected_frames(audio, offset // SPEC.hop - 4, 4 + 12 + 3)
        )


@pytest.mark.parametrize("codec", [Bytes16(), MuLaw8(), Float()])
@pytest.mark.parametrize("context", [0, 240])
@pytest.mark.parametrize("order", [0, 12])
def test_what_is_held_of_a_small_corpus_is_what_would_be_read(
    data: DataDir, codec: Codec, context: int, order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, at every offset, before the start and beyond the end; a large corpus is read stretch by stretch."""
    options = {"codec": codec, "context": context, "prediction": LinearPrediction(SPEC, order) if order else None}
    held = segments(data, **options)
    monkeypatch.setattr(batches, "HELD_BYTES", 0)
    read = segments(data, **options)
    assert all(same(held[step], read[step]) for step in range(12))
    seen = []
    monkeypatch.setattr(io, "read", lambda *given, **_: seen.append(given))
    held[3]
    assert not seen  # all five utterances had their turn
    with pytest.raises(TypeError):
        read[3]
    assert seen
