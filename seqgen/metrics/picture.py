"""Pictures of spectrograms side by side, to see what distances do not say.

python -m seqgen.metrics.picture OUT.png recording=a.wav voice=b.wav
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from seqgen.audio import io
from seqgen.audio.features import log_mel
from seqgen.errors import SeqgenError
from seqgen.spec import FeatureSpec

_LOWEST = -9.0  # nats; what is quieter is black


def spectrograms(audio: Mapping[str, Path], picture: Path) -> None:
    """Log-mel spectrograms (windows of 40 ms every 10 ms, 128 bands) of title -> file, on one colour scale.

    Raises:
        SeqgenError: without a file, for one that cannot be read, and for files of different sample rates.
    """
    read = {title: io.read(path) for title, path in audio.items()}
    rates = {rate for _, rate in read.values()}
    if len(rates) != 1:
        raise SeqgenError(f"{len(read)} files at {sorted(rates)} Hz", remedy="give one file or more, of one rate")
    rate = rates.pop()
    spec = FeatureSpec(sample_rate=rate, n_fft=rate // 15, window=rate // 25, hop=rate // 100, n_mels=128)
    frames = {title: log_mel(sound, spec) for title, (sound, _) in read.items()}
    high = max(float(one.max()) for one in frames.values())
    figure, panels = plt.subplots(
        1, len(frames), figsize=(1 + 4 * len(frames), 3.4), sharey=True, squeeze=False, layout="tight"
    )
    for panel, (title, one) in zip(panels[0], frames.items(), strict=True):
        extent = (0.0, len(one) * spec.hop / rate, 0.0, float(spec.n_mels))
        panel.imshow(one.T, origin="lower", aspect="auto", vmin=_LOWEST, vmax=high, extent=extent, cmap="magma")
        panel.set(title=title, xlabel="seconds")
    panels[0][0].set_ylabel("mel band")
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def main(words: list[str]) -> int:
    """The command line: the picture, then TITLE=FILE for each panel."""
    named = [word.partition("=") for word in words[1:]]
    if not named or not all(mark for _, mark, _ in named):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    try:
        spectrograms({title: Path(file) for title, _, file in named}, Path(words[0]))
    except SeqgenError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
