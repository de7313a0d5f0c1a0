"""Plain descriptions that travel in configs, checkpoints and bundles: streams, features, data, state tables."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field

from seqgen.config import Component, set_apart
from seqgen.errors import SeqgenError


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """Description of a stream: what a causal sequence model consumes and emits, per position.

    A block of ``T`` inputs gives ``T · up / down`` outputs. Output ``t`` answers input position
    ``(t - latency) · down / up``: the first ``latency`` outputs of a fresh stream come from the zero padding on
    the left and mean nothing. Output ``t`` depends on no more than the last ``context`` input positions.

    Attributes:
        in_dim: channels of one input; 0 means int64 symbols without a channel axis.
        out_dim: channels of one output.
        cond_dim: channels of one conditioning vector; 0 means unconditioned.
        up, down: outputs per input, as a fraction.
        latency: outputs to discard at the start of a stream.
        context: receptive field in input positions; ``None`` where it is unbounded (recurrent models).
        cond_every: conditioning vector ``k`` arrives together with input position ``k · cond_every``.
        vocab_size: size of the input alphabet where ``in_dim`` is 0.
        block: a block of inputs holds a multiple of this many positions.
        memory_dim: channels of a column of the memory that a fresh stream is given; 0 where it reads none.
        periodic: whether the first two channels of a conditioning vector are the logarithm of the period in samples and
            how clear it is, 0 to 1, as the features tell them.
        cools: whether the last output is no parameter of the next element's distribution, but what the temperature is
            multiplied with where it is drawn.
    """

    in_dim: int
    out_dim: int
    cond_dim: int = 0
    up: int = 1
    down: int = 1
    latency: int = 0
    context: int | None = 1
    cond_every: int = 1
    vocab_size: int = 0
    block: int = 1
    memory_dim: int = field(default=0, metadata={"later": True})
    periodic: bool = field(default=False, metadata={"later": True})
    cools: bool = field(default=False, metadata={"later": True})

    def outputs(self, start: int, stop: int) -> tuple[int, int]:
        """Output positions ``[first, last)`` made by input positions ``[start, stop)`` of one stream."""
        return start * self.up // self.down, stop * self.up // self.down

    def conditions(self, start: int, stop: int) -> tuple[int, int]:
        """Conditioning vectors ``[first, last)`` that arrive with input positions ``[start, stop)``."""
        return -(-start // self.cond_every), -(-stop // self.cond_every)

    @property
    def alignment(self) -> Alignment:
        """Inputs and outputs of a stream that turns frames into samples (``down`` is 1)."""
        return Alignment(self.up, self.latency)


@dataclass(frozen=True, slots=True)
class Alignment:
    """Alignment of frames and samples of a stream.

    A frame makes ``hop`` samples. A stream waits before its first sample for ``latency`` samples' worth of frames, so

        F frames make  F·hop - latency  samples at the start of a stream, F·hop later.

    Example:
        >>> Alignment(hop=80, latency=120).frames(800), Alignment(hop=80, latency=120).first_samples(12)
        (12, 840)
    """

    hop: int
    latency: int = 0

    @property
    def look_ahead(self) -> int:
        """Frames beyond the end of a stretch that its last samples need."""
        return -(-self.latency // self.hop)

    @property
    def skipped(self) -> int:
        """Frames whose samples are all waited for: a fresh stream makes its first sample of the next one."""
        return self.latency // self.hop

    def frames(self, samples: int) -> int:
        """Frames that a fresh stream needs for ``samples`` samples."""
        return -(-(samples + self.latency) // self.hop)

    def first_samples(self, frames: int) -> int:
        """Samples that a fresh stream makes of ``frames`` frames."""
        return max(0, frames * self.hop - self.latency)

    def fits(self, frames: int, samples: int) -> bool:
        """Whether a call of ``frames`` frames can make ``samples`` samples: at the start of a stream or later."""
        return max(0, frames * self.hop - self.latency) <= samples <= frames * self.hop

    def require_fit(self, frames: int, samples: int) -> None:
        """Refuse frames and samples that do not belong together.

        Raises:
            SeqgenError: saying how many samples the frames make.
        """
        if not self.fits(frames, samples):
            made = frames * self.hop
            raise SeqgenError(
                f"{frames} frames do not make {samples} samples",
                remedy=f"ask for {made} samples ({self.first_samples(frames)} at the start of a stream)",
            )


_SHORTEST = 0.02  # seconds of a window that tells its pitch


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """Definition of log-mel frames, the one that training, evaluation, export and the streaming front end share.

    Frame ``i`` is the Hann-windowed stretch of ``window`` samples centred on the middle of the hop block
    ``[i·hop, (i+1)·hop)``, zero-padded outside the recording and to ``n_fft`` for the transform:
    ``feature = ln(max(Slaney-mel(|STFT|), floor))``. A recording of N samples has ``ceil(N / hop)`` frames. Where
    ``pitch`` is asked for, two more numbers follow the bands, the pitch and the clarity of the same samples
    (:func:`seqgen.audio.periodicity.periodicity`), on the scale of the others: ``ln(floor)·(1 - number)``.

    Attributes:
        sample_rate: Hz. n_fft, window, hop: samples. n_mels: bands. fmin, fmax: Hz (``fmax`` 0 means half the
            sample rate). floor: smallest mel magnitude, so that digital silence is ``ln(floor)``. pitch: whether a
            frame tells its pitch.

    Raises:
        SeqgenError: for a value that cannot be a front end (see the message).

    Example:
        >>> FeatureSpec(sample_rate=16000, n_fft=1024, window=640, hop=160, n_mels=80).signature
        '0910c7a3bf949502'
    """

    sample_rate: int
    n_fft: int
    window: int
    hop: int
    n_mels: int
    fmin: float = 0.0
    fmax: float = 0.0
    floor: float = 1e-5
    pitch: bool = field(default=False, metadata={"later": True})

    def __post_init__(self) -> None:
        if min(self.sample_rate, self.n_fft, self.window, self.hop, self.n_mels) <= 0:
            raise SeqgenError(f"features: got {self}", remedy="every size must be positive")
        if not self.hop <= self.window <= self.n_fft:
            raise SeqgenError(
                f"features: got hop {self.hop}, window {self.window}, n_fft {self.n_fft}",
                remedy="choose hop <= window <= n_fft",
            )
        if (self.window - self.hop) % 2:
            raise SeqgenError(
                f"features: window {self.window} minus hop {self.hop} is odd",
                remedy="make the difference even so that frames can be centred on their hop",
            )
        if not 0 <= self.fmin < self.top_frequency <= self.sample_rate / 2:
            raise SeqgenError(
                f"features: got fmin {self.fmin} Hz and fmax {self.fmax} Hz at {self.sample_rate} Hz",
                remedy="choose 0 <= fmin < fmax <= sample_rate / 2",
            )
        if self.pitch and self.window < _SHORTEST * self.sample_rate:
            raise SeqgenError(
                f"features: no pitch within {self.window} samples at {self.sample_rate} Hz",
                remedy=f"give a window of {math.ceil(_SHORTEST * self.sample_rate)} samples, or 33 ms for low voices",
            )
        if not 0 < self.floor < math.inf:
            raise SeqgenError(f"features: floor is {self.floor}", remedy="give a positive, finite magnitude, e.g. 1e-5")

    @property
    def top_frequency(self) -> float:
        """Upper edge of the highest band in Hz."""
        return self.fmax or self.sample_rate / 2

    @property
    def pad(self) -> int:
        """Samples of look-ahead (and look-back) beyond the hop block: ``(window - hop) / 2``."""
        return (self.window - self.hop) // 2

    @property
    def bands(self) -> int:
        """Numbers of a frame: ``n_mels``, and two more with its pitch."""
        return self.n_mels + (2 if self.pitch else 0)

    @property
    def silence(self) -> float:
        """The value of every band in digital silence: ``ln(floor)`` (nats)."""
        return math.log(self.floor)

    @property
    def signature(self) -> str:
        """16 hexadecimal digits that change when any parameter does."""
        # A whole-numbered float and its int must sign alike: YAML writes 8000, Python 8000.0.
        plain = {key: float(value) for key, value in set_apart(self).items()}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]

    def frames(self, samples: int) -> int:
        """Frames of a recording of ``samples`` samples."""
        return -(-samples // self.hop)


def require_same_signature(got: FeatureSpec, expected: FeatureSpec, *, where: str) -> None:
    """Refuse features of another definition, naming both signatures and the fields that differ.

    Raises:
        SeqgenError: when the two differ.
    """
    if got.signature == expected.signature:
        return
    mine, theirs = asdict(got), asdict(expected)
    differing = ", ".join(f"{key} {mine[key]} instead of {theirs[key]}" for key in mine if mine[key] != theirs[key])
    raise SeqgenError(
        f"{where}: feature signature {got.signature} does not match {expected.signature} ({differing})",
        remedy="prepare the features with the voice's own parameters",
    )


@dataclass(frozen=True, slots=True)
class FrameSpec:
    """Frames that a sequence is conditioned on, whatever they hold: ``channels`` of each, and the ``hop``, the samples
    that one stands for."""

    channels: int
    hop: int

    def __post_init__(self) -> None:
        if min(self.channels, self.hop) < 1:
            raise SeqgenError(f"frames: got {self}", remedy="give 1 or more of each")


@dataclass(frozen=True)
class Facts:
    """Facts that a task knows of its data before any network is built; networks and objectives are constructed with it.

    Attributes:
        examples: training examples (recordings, rows, images); 0 where they are drawn without end.
        vocab_size: alphabet of an element; 0 where elements are real numbers.
        shape: of an element that is not a symbol; of images ``(channels, height, width)``, of pairs of vectors their
            two dimensions.
        symbols_per_sample: elements that make one sample.
        start: the element before the first one.
        unit: what a sample is called in reports.
        alphabet: the symbols by index, where they have names (characters, say).
        speakers: in the order of their indices.
        features: definition of the frames, where they are log-mel. frames: channels and hop of frames of another kind.
        sample_rate: of recordings that networks hear as they are, in Hz; 0 where there are none.
        tokenizer: what text became symbols by (:mod:`seqgen.text`); of pairs the target's, and ``source_tokenizer`` the
            source's.
    """

    examples: int = 0
    vocab_size: int = 0
    shape: tuple[int, ...] = ()
    symbols_per_sample: int = 1
    start: float = 0.0
    unit: str = "sample"
    alphabet: tuple[str, ...] = ()
    speakers: tuple[str, ...] = ()
    features: FeatureSpec | None = None
    frames: FrameSpec | None = None
    tokenizer: Component | None = None
    source_tokenizer: Component | None = None
    sample_rate: int = field(default=0, metadata={"later": True})

    @property
    def frame_spec(self) -> FrameSpec | None:
        """The frames that elements are conditioned on, of either kind; ``None`` where there are none."""
        return self.frames if self.features is None else FrameSpec(self.features.n_mels, self.features.hop)

    @property
    def num_speakers(self) -> int:
        """Speakers behind the one-hot; 0 where there is nobody to be told apart."""
        return len(self.speakers) if len(self.speakers) > 1 else 0

    @property
    def signature(self) -> str:
        """Signature of the features; "" without any."""
        return self.features.signature if self.features is not None else ""


@dataclass(frozen=True, slots=True)
class StateLeaf:
    """One row of a state table: tree path, shape without the batch axis, dtype name (``float32`` | ``int64``)."""

    name: str
    shape: tuple[int, ...]
    dtype: str
