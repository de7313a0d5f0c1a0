"""Reading and writing recordings: any format that libsndfile knows, mono float32 out, one clear line on bad input."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
import soundfile

from seqgen.audio.containers import sniff
from seqgen.audio.containers.layout import Layout, Patched
from seqgen.errors import SeqgenError
from seqgen.files.outputs import is_stream, replacing

Source = str | os.PathLike[str] | BinaryIO
RATES = range(2_000, 384_001)
"""Supported sample rates in Hz; anything else is a damaged header or no speech."""
LONGEST_READ = 1 << 27
"""Samples that :func:`read` takes into memory at once (512 MiB; 2.3 hours at 16 kHz)."""
LOUDEST = 16.0
"""Magnitude beyond every recording's: full scale is 1, and a float file that goes far beyond it holds integers."""
_LAST_PAGE = 1 << 20  # samples that a page of Vorbis holds at most
_FULL_SCALE = {"PCM_U8": 127 / 128, "PCM_S8": 127 / 128, "ULAW": 32124 / 32768, "ALAW": 32256 / 32768}
_FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG"}
_TOP = np.nextafter(np.float32(1), np.float32(0))
_WRITE_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """Header of a recording: rate in Hz, samples per channel, channels; ``floating`` samples can go beyond 1."""

    sample_rate: int
    samples: int
    channels: int
    floating: bool = False


@dataclass(frozen=True, slots=True)
class Level:
    """Level of a recording: its largest magnitude (full scale is 1), that of the mean of its channels, and how many
    samples of how many lie at full scale or beyond it."""

    peak: float
    mono: float
    full: int
    samples: int

    def described(self) -> str:
        """Remark on a recording that lies at full scale or beyond it."""
        share = f"{self.full} of {self.samples} samples ({100 * self.full / self.samples:.2g} %)"
        if self.peak > 1:
            return f"reaches {self.peak:.3g}, and full scale is 1: {share} at or beyond it are clamped; lower its gain"
        return f"{share} are at full scale: clipped when it was recorded, or its gain is too high"


def _name(source: Source) -> str:
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    return str(getattr(source, "name", "the audio stream"))


@lru_cache(maxsize=1 << 16)
def _remembered(path: str, size: int, mtime_ns: int) -> Layout:
    # As long as the file stays the same: training reads thousands of segments of one recording.
    with Path(path).open("rb") as file:
        return sniff.layout(file)


@contextmanager
def _opened(source: Source, layout: Layout | None = None) -> Iterator[soundfile.SoundFile]:
    """Open a recording after checking that it is there, whole, not empty and of a supported rate."""
    name = _name(source)
    try:
        if layout is None and isinstance(source, (str, os.PathLike)):
            status = Path(source).stat()
            layout = _remembered(os.fspath(source), status.st_size, status.st_mtime_ns)
        elif layout is None:
            layout = sniff.layout(cast(BinaryIO, source))
    except OSError as error:
        raise SeqgenError(
            f"{name}: {error.strerror or error}", remedy="give the path of a readable audio file"
        ) from None
    if layout.problem:
        raise SeqgenError(f"{name}: {layout.problem}", remedy="copy or record the file again")
    try:
        with _bytes(source, layout) as given, soundfile.SoundFile(given) as file:
            _require_supported(file, name)
            yield file
    except (soundfile.LibsndfileError, RuntimeError) as error:
        reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
        raise SeqgenError(
            f"{name}: not readable as audio, truncated or corrupt ({reason})", remedy="convert it to WAV, FLAC or OGG"
        ) from None


@contextmanager
def _bytes(source: Source, layout: Layout) -> Iterator[Any]:
    """Input of libsndfile: a path, by which it reads without a call back per block, or a view of patched bytes."""
    path = os.fspath(source) if isinstance(source, (str, os.PathLike)) else None
    if layout.plain:
        yield source if path is None else os.fsencode(path)
    elif path is None:
        yield Patched(source, layout)  # type: ignore[arg-type]  # the only source without a path is a stream
    else:
        with Path(path).open("rb") as file:
            yield Patched(file, layout)


def _require_supported(file: soundfile.SoundFile, name: str) -> None:
    if file.format not in sniff.FORMATS:
        raise SeqgenError(
            f"{name}: {file.format} files are not read, for their lengths cannot be checked",
            remedy="convert it to WAV, FLAC or OGG",
        )
    if not file.frames:
        raise SeqgenError(f"{name}: the recording holds 0 samples", remedy="leave it out of the corpus")
    if file.samplerate not in RATES:
        raise SeqgenError(
            f"{name}: unsupported sample rate {file.samplerate} Hz",
            remedy=f"convert it to a rate between {RATES[0]} and {RATES[-1]} Hz",
        )


def _frames(file: soundfile.SoundFile, name: str, count: int) -> npt.NDArray[np.float32]:
    """The next ``[count, channels]`` samples as they are.

    Raises:
        SeqgenError: where the recording ends before, and for samples that are none.
    """
    start = file.tell()
    frames: npt.NDArray[np.float32] = file.read(count, dtype="float32", always_2d=True)
    if len(frames) < count:
        raise SeqgenError(
            f"{name}: truncated or corrupt after sample {start + len(frames)} of {file.frames}",
            remedy="copy or record the file again",
        )
    finite = np.isfinite(frames).all(axis=1)
    if not finite.all():
        first = start + int(np.argmin(finite))
        raise SeqgenError(f"{name}: NaN or infinity at sample {first}", remedy="export the recording again")
    peak = float(np.abs(frames).max(initial=0.0))
    if peak > LOUDEST:
        raise SeqgenError(
            f"{name}: float samples of up to {peak:g}, where full scale is 1",
            remedy="divide them by the full scale of the integers that they are (32768 for 16 bits), or save integers",
        )
    return frames


def _take(file: soundfile.SoundFile, name: str, count: int) -> npt.NDArray[np.float32]:
    """The next ``[count]`` samples: the mean of the channels, clamped to [-1, 1)."""
    frames = _frames(file, name, count)
    mono = frames[:, 0] if frames.shape[1] == 1 else frames.mean(axis=1)
    return np.clip(mono, np.float32(-1), _TOP)


def _seek(file: soundfile.SoundFile, start: int) -> None:
    """Go to a sample. In the last page of Vorbis libsndfile lands elsewhere: there it is decoded from before it on."""
    before = max(0, file.frames - _LAST_PAGE)
    if file.subtype == "VORBIS" and start > before:
        file.seek(before)
        file.read(start - before, dtype="float32")
    else:
        file.seek(start)


def info(path: Source) -> AudioInfo:
    """Rate, length and channels of a recording, from its header.

    Raises:
        SeqgenError: when it is missing, unreadable, cut short, empty or of an unsupported rate.
    """
    with _opened(path) as file:
        return _about(file)


def _about(file: soundfile.SoundFile) -> AudioInfo:
    floating = file.subtype in ("FLOAT", "DOUBLE")
    return AudioInfo(int(file.samplerate), int(file.frames), int(file.channels), floating)


def level(path: Source) -> Level:
    """Level of a recording, by decoding it block by block.

    Raises:
        SeqgenError: as :func:`read`, whatever its length.
    """
    name = _name(path)
    with _opened(path) as file:
        edge = np.float32(_FULL_SCALE.get(file.subtype, 1 - 2**-15))
        peak, mono, full = 0.0, 0.0, 0
        for start in range(0, file.frames, _WRITE_BLOCK):
            frames = _frames(file, name, min(_WRITE_BLOCK, file.frames - start))
            loudest = np.abs(frames).max(axis=1)
            peak, full = max(peak, float(loudest.max())), full + int((loudest >= edge).sum())
            mono = max(mono, float(np.abs(frames.mean(axis=1)).max()))
        return Level(peak, mono, full, file.frames)


def read(path: Source, *, start: int = 0, count: int | None = None) -> tuple[npt.NDArray[np.float32], int]:
    """Read ``count`` samples from ``start`` (by default all) as mono float32 in [-1, 1).

    Channels are averaged; values beyond full scale are clamped, and far beyond it (``LOUDEST``) refused. Only the asked
    samples are read from disk.

    Args:
        path: file name, or a seekable binary stream.
        start: first sample.
        count: number of samples; ``None`` means to the end.

    Returns:
        ``[count]`` float32 and the sample rate in Hz.

    Raises:
        SeqgenError: as :func:`info`; and for NaN or infinity, a corrupt stream, a range outside the recording, or
            more than ``LONGEST_READ`` samples at once.

    Example:
        >>> audio, rate = read("digits/7_theo_3.wav")
    """
    name = _name(path)
    with _opened(path) as file:
        wanted = file.frames - start if count is None else count
        if start < 0 or wanted < 0 or start + wanted > file.frames:
            raise SeqgenError(
                f"{name}: samples [{start}, {start + wanted}) asked of a recording of {file.frames}",
                remedy="mend the segment's times or the stored length",
            )
        if wanted > LONGEST_READ:
            raise SeqgenError(
                f"{name}: {wanted / file.samplerate / 3600:.1f} hours are too long to hold in memory",
                remedy="cut the recording with a segments file",
            )
        _seek(file, start)
        return _take(file, name, wanted), int(file.samplerate)


def blocks(path: Source, size: int) -> Iterator[npt.NDArray[np.float32]]:
    """A recording of any length as successive blocks of ``size`` samples (the last may be shorter).

    Memory stays constant. The same rules and errors as :func:`read`.
    """
    if size <= 0:
        raise ValueError(f"block size must be positive, got {size}")
    name = _name(path)
    with _opened(path) as file:
        for start in range(0, file.frames, size):
            yield _take(file, name, min(size, file.frames - start))


def recording(
    path: Source, values: int, *, layout: Layout | None = None
) -> tuple[AudioInfo, Iterator[npt.NDArray[np.float32]]]:
    """Header of a recording, and its samples as successive blocks, of at most so many ``values`` over all channels.

    Opened once. ``layout``: of its container, where that has been read. The same rules and errors as :func:`read`.
    """
    made = _recording(path, values, layout)
    about = next(made)
    assert isinstance(about, AudioInfo)
    return about, cast("Iterator[npt.NDArray[np.float32]]", made)


def _recording(path: Source, values: int, layout: Layout | None) -> Iterator[AudioInfo | npt.NDArray[np.float32]]:
    name = _name(path)
    with _opened(path, layout) as file:
        yield _about(file)
        size = max(1, values // file.channels)
        for start in range(0, file.frames, size):
            yield _take(file, name, min(size, file.frames - start))


def pcm16(audio: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """Waveform ``[..., N]`` to 16-bit PCM: ``round(32768 · x)``, saturating at both ends.

    Raises:
        SeqgenError: when the waveform holds NaN or infinity.
    """
    x = np.asarray(audio)
    if not np.isfinite(x).all():
        first = int(np.argmin(np.isfinite(x).reshape(-1)))
        raise SeqgenError(f"the waveform holds NaN or infinity at sample {first}", remedy="check what made it")
    return np.clip(np.rint(x * np.float32(32768)), -32768, 32767).astype(np.int16)


def wav_header(rate: int, *, samples: int | None) -> bytes:
    """The 44 bytes before 16-bit mono PCM in a WAV stream.

    Args:
        rate: Hz.
        samples: length, or ``None`` where it is not known yet: both sizes are then 0xFFFFFFFF, which players
            take as "until the end of the stream".

    Raises:
        SeqgenError: when the length does not fit a WAV file.
    """
    size = 0xFFFFFFFF if samples is None else 2 * samples
    if samples is not None and size + 36 >= 0xFFFFFFFF:
        raise SeqgenError(f"{samples} samples do not fit a WAV file of 4 GiB", remedy="write FLAC")
    whole = 0xFFFFFFFF if samples is None else size + 36
    form = struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
    return b"RIFF" + struct.pack("<I", whole) + b"WAVEfmt " + form + b"data" + struct.pack("<I", size)


def write(path: str | os.PathLike[str], audio: npt.NDArray[Any], rate: int, *, subtype: str = "PCM_16") -> None:
    """Write a mono waveform; the format follows the suffix (.wav, .flac, .ogg).

    With ``PCM_16`` (WAV, FLAC) the bytes are exactly :func:`pcm16`; OGG is Vorbis. The file appears whole or
    not at all. A device or pipe whose name tells no format is given WAV.

    Args:
        path: target. audio: ``[N]``, nominally in [-1, 1). rate: Hz. subtype: a libsndfile subtype.

    Raises:
        SeqgenError: for an unknown suffix or subtype, NaN, a read-only place or a full disk.
    """
    x = np.asarray(audio)
    if x.ndim != 1:
        raise ValueError(f"expected a mono waveform [N], got shape {x.shape}")
    write_blocks(path, (x[i : i + _WRITE_BLOCK] for i in range(0, x.size, _WRITE_BLOCK)), rate, subtype=subtype)


def write_blocks(
    path: str | os.PathLike[str], audio: Iterable[npt.NDArray[Any]], rate: int, *, subtype: str = "PCM_16"
) -> int:
    """As :func:`write`, from successive blocks in constant memory; returns the number of samples written."""
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS and is_stream(path):
        suffix = ".wav"  # a device or pipe has no name that could tell
    if suffix not in _FORMATS:
        raise SeqgenError(f"{os.fspath(path)}: unknown audio format '{suffix}'", remedy="end it in .wav, .flac or .ogg")
    kind = "VORBIS" if suffix == ".ogg" else subtype
    total = 0
    try:
        with (
            replacing(path) as sink,
            soundfile.SoundFile(sink, "w", rate, 1, kind, format=_FORMATS[suffix]) as file,
        ):
            for block in audio:
                codes = pcm16(block)  # refuses NaN, whatever is stored
                file.write(codes if kind == "PCM_16" else np.asarray(block, dtype=np.float32))
                total += len(block)
    except (soundfile.LibsndfileError, ValueError) as error:
        raise SeqgenError(
            f"{os.fspath(path)}: cannot be written as {rate} Hz {kind} ({error})",
            remedy="choose a rate and subtype that the format supports",
        ) from None
    return total
