"""Speech codecs: symbols of recordings and recordings of symbols, in streams, without torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen import registry
from seqgen.audio.codec import Codec
from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.manifest import SpeechCodecManifest
from seqgen.runtime.contract import Floats, State
from seqgen.runtime.native import EngineRuntime, Format
from seqgen.runtime.onnx_session import session

Symbols = npt.NDArray[np.int64]
GRAPH, BOOKS, FRESH = "codes.onnx", "codebooks.safetensors", "encoder_initial.safetensors"
"""Files of the encoder, of the vectors that symbols stand for, and of the encoder's state before a recording."""
_TOGETHER = 8
# Positions of every call of the encoder, whatever comes at a time: a product's roundings depend on how many rows it
# has, and they may decide which entry is the nearest.
_POSITIONS = 100  # of one call of the decoder, which rounds alike in any


class SpeechCodec(EngineRuntime):
    """Runtime of one speech codec: onnxruntime encodes, the native engine decodes.

    Args:
        bundle: a verified bundle. threads, format, isa: as of the engine.

    Raises:
        SeqgenError: where the engine is not built, or cannot run the bundle.

    Example:
        >>> codec = open_speech_codec(Bundle.open(Path("codec")))                            # doctest: +SKIP
        >>> symbols = np.concatenate(list(codec.encode([np.zeros(8000, np.float32)])))       # doctest: +SKIP
        >>> audio = np.concatenate(list(codec.decode([symbols], speaker="theo")))            # doctest: +SKIP
    """

    manifest: SpeechCodecManifest

    def __init__(self, bundle: Bundle, *, threads: int = 1, format: Format = "program", isa: str | None = None) -> None:
        self.manifest = bundle.require(SpeechCodecManifest)
        super().__init__(bundle, threads=threads, format=format, isa=isa)
        self._session = session(bundle, GRAPH, threads)
        self._codec: Codec = registry.CODECS.load(self.manifest.codec)()
        self._vectors = bundle.tensors(BOOKS)["vectors"]  # [G, K, C]
        expected = (self.manifest.groups, self.manifest.classes)
        if self._vectors.shape[:2] != expected:
            raise SeqgenError(
                f"{bundle.directory}: codebooks of {self._vectors.shape[:2]}, the manifest says {expected}",
                remedy="export it again",
            )

    def described(self) -> bool:
        info, manifest = self.engine.info, self.manifest
        given = info.sample_rate, info.hop, info.latency, info.channels, info.ahead
        return bool(given == (manifest.sample_rate, manifest.hop, manifest.spec.latency, manifest.spec.in_dim, 0))

    def init(self, batch: int) -> State:
        """Fresh streams of the decoder."""
        return (self.engine.init(batch),)

    def encode(self, blocks: Iterable[Floats]) -> Iterator[Symbols]:
        """Symbols ``[F, G]`` of one recording in [-1, 1] that comes in blocks ``[N]`` of any length, at the codec's
        rate, in constant memory: of every ``hop`` samples one position, the last of what is left. They are the same
        however the recording is cut."""
        size, state = _TOGETHER * self.manifest.hop, self.bundle.tensors(FRESH)
        kept, skipped = np.zeros(0, np.float32), self.manifest.positions_ahead
        for block in blocks:
            kept = np.concatenate([kept, block])
            while kept.size >= size:
                symbols, state = self.analyse(kept[None, :size], size, state)
                kept = kept[size:]
                yield symbols[0, skipped:]
                skipped = max(0, skipped - _TOGETHER)
        left = -(-kept.size // self.manifest.hop) + self.manifest.positions_ahead - skipped  # positions to come
        while left > 0:
            real, kept = kept[:size], kept[size:]
            symbols, state = self.analyse(np.pad(real, (0, size - real.size))[None], real.size, state)
            made = symbols[0, skipped : skipped + left]
            skipped, left = max(0, skipped - _TOGETHER), left - len(made)
            yield made

    def analyse(self, audio: Floats, real: int, state: dict[str, npt.NDArray[Any]]) -> tuple[Symbols, dict[str, Any]]:
        """Symbols of audio ``[B, F·hop]``, the first ``real`` samples of which there are, ``[B, F, G]``, as they are
        known: the first ``positions_ahead`` of a stream mean nothing. With the state behind it."""
        elements = self._codec.encode(np.clip(audio, -1, 1))  # [B, T]
        inside = np.zeros(elements.shape, np.float32)
        inside[:, : real * self.manifest.symbols_per_sample] = 1
        feeds = {"elements": elements, "inside": inside, **{f"state.{name}": leaf for name, leaf in state.items()}}
        names = ["symbols", *(f"state.{name}.after" for name in state)]
        symbols, *after = self._session.run(names, feeds)
        return symbols, dict(zip(state, after, strict=True))

    def frames(self, symbols: Symbols, speaker: str = "") -> Floats:
        """Vectors of symbols ``[F, G]`` as the decoder reads them, with the speaker's one-hot, ``[F, channels]``.

        Raises:
            SeqgenError: for symbols that there are not, and a speaker whom the codec does not know.
        """
        speakers = self.manifest.speakers
        if symbols.ndim != 2 or symbols.shape[1] != self.manifest.groups:
            raise SeqgenError(f"symbols {list(symbols.shape)}", remedy=f"give [positions, {self.manifest.groups}]")
        if symbols.size and not 0 <= symbols.min() <= symbols.max() < self.manifest.classes:
            raise SeqgenError(f"symbols up to {symbols.max()}", remedy=f"give 0 to {self.manifest.classes - 1}")
        vectors = sum(book[column] for book, column in zip(self._vectors, symbols.T, strict=True))
        hot = np.zeros((len(symbols), self.manifest.spec.in_dim - self._vectors.shape[2]), np.float32)
        if hot.shape[1]:
            hot[:, speakers.index(self.require_speaker(speaker))] = 1
        return np.concatenate([vectors, hot], axis=1).astype(np.float32)

    def require_speaker(self, speaker: str) -> str:
        """A speaker whom the codec knows, the only one where none is named.

        Raises:
            SeqgenError: for another one, and where one of several has to be named.
        """
        speakers = self.manifest.speakers
        if speaker in speakers or (not speaker and len(speakers) < 2):
            return speaker
        got = f"no speaker '{speaker}'" if speaker else "several speakers"
        raise SeqgenError(got, remedy=f"give --speaker, one of {', '.join(speakers)}")

    def decode(
        self, blocks: Iterable[Symbols], *, speaker: str = "", seed: int = 0, temperature: float = 1.0
    ) -> Iterator[Floats]:
        """Audio ``[N]`` of the symbols ``[F, G]`` of one recording, block by block, ``hop`` samples of each position.

        Raises:
            SeqgenError: as :meth:`frames`.
        """
        state, drawn = self.engine.init(1), 0
        for cond in self._conditioning(blocks, speaker):
            count = self.engine.samples(state[0], len(cond))
            per = self.manifest.uniforms_per_sample
            u = self.engine.uniforms(seed % 2**64, 0, drawn * per, count * per)
            audio = np.empty((1, count), np.float32)
            self.engine.run(state, cond[None], count, drawing=True, given={"uniforms": u[None]},
                            made={"audio": audio}, temperature=temperature)  # fmt: skip
            drawn += count
            yield audio[0]

    def _conditioning(self, blocks: Iterable[Symbols], speaker: str) -> Iterator[Floats]:
        """What the decoder reads, call by call; behind the end as many of the last frame as it looks ahead, less what
        is not heard."""
        last = None
        for block in blocks:
            made = self.frames(block, speaker)
            for start in range(0, len(made), _POSITIONS):
                yield made[start : start + _POSITIONS]
            last = made[-1:] if len(made) else last
        if last is not None and self.manifest.spec.latency:
            yield np.repeat(last, self.manifest.spec.alignment.look_ahead, axis=0)
