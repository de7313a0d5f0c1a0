"""A voice that speaks, made in some seconds: runs of prosody and frames that have hardly learnt, a vocoder of random
weights."""

from __future__ import annotations

from pathlib import Path

from seqgen.cli.main import main
from seqgen.tasks.acoustic.examples import timed
from tests.runtime.voices import export_tiny, tiny_run
from tests.unit.cli_workspace import done

TEXT = "A tea, tea. A?"
_RUN = """\
name: {target}
licence: CC0
task:
  name: acoustic
  train: {folder}/train
  valid: {folder}/valid
  test: {folder}/test
  times: {folder}/times
  target: {target}
  prosody: {folder}/prosody
  lexicon: {folder}/lexicon
  own: {folder}/own
  vocoder: {folder}/vocoder
  features: {{sample_rate: 8000, n_fft: 512, window: 320, hop: 80, n_mels: 6, pitch: true}}
networks:
  generator:
    name: aligned-phones
    encoder: {{name: bytenet-encoder, vocab_size: 70, channels: 4, out_dim: 6, cycles: 1}}
    {body}
    components: 2
objective: {{name: likelihood}}
train: {{steps: 20, batch_size: 4, learning_rate: 1e-2, validate_every: 20, checkpoint_every: 20}}
"""


def speaking(folder: Path) -> None:
    """Fill a folder: the runs ``prosody`` and ``frames`` with their configurations, ``vocoder``, and ``voice``, which
    they make."""
    timed(folder)
    (folder / "lexicon").write_text("a AH0\ntea T AH0\n")
    (folder / "own").write_text("tea T IY1\n")
    features = {"sample_rate": 8000, "n_fft": 512, "window": 320, "hop": 80, "n_mels": 6, "pitch": True}
    export_tiny(folder / "vocoder", tiny_run(hop=80, features=features))
    body = "body: {channels: 5, blocks: 1, look_ahead: 2}\n    width: 6"
    for target, network in (("prosody", ""), ("frames", body)):
        (folder / f"{target}.yaml").write_text(_RUN.format(target=target, folder=folder, body=network))
        given = ["train", str(folder / f"{target}.yaml"), "--out", str(folder / target), "--threads", "1"]
        assert main(given) == 0
    done("export", folder / "frames", "--out", folder / "voice")
