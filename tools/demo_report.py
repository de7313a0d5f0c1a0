#!/usr/bin/env python3
"""Write the demo's report: pictures, sounds and numbers of what `egs/demo/run.sh` just did.

python tools/demo_report.py OUT VOICE   # reads OUT/quick, OUT/voice, OUT/{stream,said}.json; writes OUT/report.html
"""

from __future__ import annotations

import html
import json
import os
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from seqgen.bundle import Bundle
from seqgen.files.outputs import write_text
from seqgen.manifest import VocoderManifest
from seqgen.metrics.picture import spectrograms
from seqgen.metrics.table import UNITS
from seqgen.runtime.embedded import embedded

_KINDS = (("reference", "recording"), ("vocoded", "voice"), ("griffin-lim", "Griffin–Lim, 60 iterations"))
_WORLD = ("world", "WORLD, which heard the recording itself")
_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
img{max-width:100%}table{border-collapse:collapse}td,th{padding:.3rem .8rem;border-bottom:1px solid #ddd}
td,th{text-align:right}
td:first-child,th:first-child{text-align:left}audio{width:100%}code{background:#f4f4f4;padding:0 .2rem}"""


def _loss_curve(metrics: Path, picture: Path) -> None:
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    figure, axes = plt.subplots(figsize=(8, 3))
    for split, mark in (("train", "-"), ("valid", "o-")):
        points = [(one["step"], one["bits_per_sample"]) for one in lines if one["split"] == split]
        axes.plot(*zip(*points, strict=True), mark, label=split)
    axes.set(xlabel="step", ylabel="bits per sample", title="Negative log-likelihood of the three-minute model")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def _titled(sounds: dict[str, Path]) -> dict[str, Path]:
    return {title: sounds[kind] for kind, title in _KINDS}


def _table(quick: dict[str, Any], voice: dict[str, Any]) -> str:
    def cell(value: dict[str, float]) -> str:
        shown = [f"{value[key]:.3f}" for key in ("mean", "half_width") if value[key] is not None]
        return f"<td>{' ± '.join(shown) or 'undefined'}</td>"

    bits = "".join(f"<td>{one['bits_per_sample']:.3f}</td>" for one in (quick, voice))
    rows = [
        "<tr><th></th><th>three-minute model</th><th>shipped voice</th><th>Griffin–Lim</th><th>WORLD</th></tr>",
        f"<tr><td>bits per sample</td>{bits}<td>–</td><td>–</td></tr>",
    ]
    for name, unit in UNITS.items():
        shown = (quick["scores"], voice["scores"], voice["griffin_lim"], voice["world"])
        cells = "".join(cell(scores[name]) for scores in shown)
        rows.append(f"<tr><td>{name.replace('_', ' ')} ({unit})</td>{cells}</tr>")
    return f"<table>{''.join(rows)}</table>"


def _player(title: str, path: Path, out: Path) -> str:
    source = html.escape(os.path.relpath(path, out))
    return f'<p>{html.escape(title)}<br><audio controls preload="none" src="{source}"></audio></p>'


def _spoken(out: Path) -> str:
    """What was read, and how fast."""
    said = json.loads((out / "said.json").read_text(encoding="utf-8"))
    manifest = embedded().manifest
    text = (Path(__file__).parents[1] / "egs/demo/text.txt").read_text(encoding="utf-8").strip()
    return f"""<h2>A text that is spoken</h2><p>“{html.escape(text)}”</p>
{_player("by the voice that is part of the package", out / "out.wav", out)}<img src="said.png" alt="spectrogram">
<p>First sound after <b>{said["first_audio_ms"]:.0f} ms</b>, {1 / said["real_time_factor"]:.0f} times as fast as it
plays, on one core without PyTorch. Licence of the voice: {html.escape(manifest.licence)}; it bears an inaudible
mark.</p>"""


def _page(out: Path, bundle: Bundle, sounds: dict[str, dict[str, Path]], stream: dict[str, Any]) -> str:
    quick = json.loads((out / "quick" / "eval.json").read_text(encoding="utf-8"))
    voice = json.loads((out / "voice" / "eval.json").read_text(encoding="utf-8"))
    manifest = bundle.require(VocoderManifest)
    size = sum(entry.size for entry in manifest.files) / 1e6
    players = [_player("streamed just now, over HTTP, while it was being made", out / "streamed.wav", out)]
    players += [_player(f"{title} ({kind})", sounds["voice"][kind], out) for kind, title in (*_KINDS, _WORLD)]
    players.append(_player("three-minute model", sounds["quick"]["vocoded"], out))
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>seqgen demo</title><style>{_STYLE}</style>
<h1>From recordings to a streaming voice</h1>
{_spoken(out)}
<h2>A vocoder</h2>
<p>A small voice was trained for about three minutes; then the voice that ships with the repository
(<code>{html.escape(manifest.name)}</code>, {size:.1f} MB, {manifest.sample_rate} Hz) was streamed from a process
without PyTorch: first audio after <b>{stream["first_audio_ms"]:.0f} ms</b>, real-time factor
<b>{stream["real_time_factor"]:.2f}</b> ({stream["audio_seconds"]:.1f} s of audio in {stream["seconds"]:.1f} s).</p>
<h2>Listen</h2>{"".join(players)}
<h2>The shipped voice on a held-out sentence</h2><img src="spectrograms.png" alt="three spectrograms">
<h2>The three-minute model on the same sentence</h2><img src="spectrograms-quick.png" alt="three spectrograms">
<h2>Held-out sentences ({voice["utterances"]} of the shipped voice, {quick["utterances"]} of the small one)</h2>
{_table(quick, voice)}
<p>Mean ± 95 % interval. MCD, spectral distance and pitch errors: smaller is better; STOI: larger is better. All
but WORLD see the same {manifest.features.n_mels} log-mel bands; pitch is tracked twice.</p>
<h2>Training</h2><img src="loss.png" alt="bits per sample against steps">
<p>Synthetic speech; marked as such in every answer of the server. Licence of the voice:
{html.escape(manifest.licence)}.</p></html>
"""


def main() -> int:
    """Make the pictures and the page."""
    out, bundle = Path(sys.argv[1]), Bundle.open(Path(sys.argv[2]))
    stream = json.loads((out / "stream.json").read_text(encoding="utf-8"))
    stem = stream["recording"].removesuffix(".reference.wav")
    sounds = {
        model: {kind: out / model / "audio" / f"{stem}.{kind}.wav" for kind, _ in (*_KINDS, _WORLD)}
        for model in ("quick", "voice")
    }
    _loss_curve(out / "quick" / "metrics.jsonl", out / "loss.png")
    spectrograms(_titled(sounds["voice"]), out / "spectrograms.png")
    spectrograms(_titled(sounds["quick"]), out / "spectrograms-quick.png")
    spectrograms({"spoken": out / "out.wav"}, out / "said.png")
    write_text(out / "report.html", _page(out, bundle, sounds, stream))
    sys.stderr.write(f"{out / 'report.html'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
