"""Sound formats a listener may choose: their names, rates, media types and encoders."""

from __future__ import annotations

from seqgen.errors import SeqgenError
from serving.sound.encoders import (
    Encoder,
    FlacEncoder,
    FloatEncoder,
    MuLawEncoder,
    PcmEncoder,
    ResamplingEncoder,
    WatermarkingEncoder,
    wav_head,
)
from serving.sound.opus import RATES as OPUS_RATES
from serving.sound.opus import OpusEncoder, require_opus
from serving.sound.resampling import RATES

FORMATS = ("wav", "pcm", "f32", "ulaw", "flac", "opus")
"""Names of the formats: 16-bit WAV, bare 16-bit, bare float32, G.711 µ-law, FLAC, Ogg/Opus; all mono."""


def output_rate(form: str, voice_rate: int, wanted: int | None = None) -> int:
    """Sample rate of the sound in Hz: as wanted, else the voice's own, or the next that the format takes.

    Raises:
        SeqgenError: for a rate that is not offered, or not in this format.
    """
    if wanted is not None and wanted not in RATES:
        raise SeqgenError(f"rate {wanted} Hz is not offered", remedy=f"choose one of: {', '.join(map(str, RATES))}")
    if form != "opus":
        return wanted or voice_rate
    if wanted and wanted not in OPUS_RATES:
        raise SeqgenError(
            f"opus is not made at {wanted} Hz", remedy=f"choose one of: {', '.join(map(str, OPUS_RATES))}"
        )
    return wanted or (voice_rate if voice_rate in OPUS_RATES else 48000)


def require_encoder(form: str) -> None:
    """Refuse a format whose library is missing here.

    Raises:
        SeqgenError: with what to install.
    """
    if form == "opus":
        require_opus()


def encoder(form: str, voice_rate: int, rate: int, mark: str = "", *, watermark: bool = False) -> Encoder:
    """Encoder of a format named in ``FORMATS``, behind a resampler where the rates differ.

    Args:
        voice_rate: Hz of what is pushed. rate: Hz of the sound. mark: of synthetic sound, for formats that hold one.
        watermark: whether the samples themselves are marked, before anything else.

    Raises:
        SeqgenError: where the format's library is missing.
    """
    made: Encoder
    if form == "wav":
        made = PcmEncoder(wav_head(rate, mark))
    elif form == "opus":
        made = OpusEncoder(rate, mark)
    elif form == "flac":
        made = FlacEncoder(rate, mark)
    else:
        kinds: dict[str, type[Encoder]] = {"pcm": PcmEncoder, "f32": FloatEncoder, "ulaw": MuLawEncoder}
        made = kinds[form]()
    made = made if rate == voice_rate else ResamplingEncoder(made, voice_rate, rate)
    return WatermarkingEncoder(made, voice_rate) if watermark else made


def content_type(form: str, rate: int) -> str:
    """Media type (``Content-Type``) of a format at a rate in Hz.

    Example:
        >>> content_type("pcm", 16000)
        'audio/pcm;rate=16000;channels=1;encoding=s16le'
    """
    # audio/L16 would promise network byte order; this is little-endian, as inside a WAV file.
    return {
        "wav": "audio/wav",
        "pcm": f"audio/pcm;rate={rate};channels=1;encoding=s16le",
        "f32": f"audio/pcm;rate={rate};channels=1;encoding=f32le",
        "flac": "audio/flac",
        "opus": "audio/ogg;codecs=opus",
        "ulaw": f"audio/basic;rate={rate};channels=1" if rate == 8000 else f"audio/PCMU;rate={rate};channels=1",
    }[form]


def byte_rate(form: str, rate: int) -> int:
    """Upper bound of the bytes of one second of sound, by which what waits for a listener is bounded."""
    return {"f32": 4 * rate, "ulaw": rate, "opus": 8000}.get(form, 2 * rate)
