"""``seqgen train``: one YAML file, one run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from seqgen.errors import SeqgenError

_HELP = """\
Train the run that a YAML file describes.

  seqgen train egs/fsdd/wavernn/conf/base.yaml --out exp/fsdd
  seqgen train conf.yaml --out exp/a --set train.steps=2000 model.hidden=384     # recorded in exp/a/config.yaml
  seqgen train conf.yaml --out exp/a --resume                                    # exactly as if never stopped
  seqgen train conf.yaml --out exp/b --init-from exp/a                           # fine-tune: weights only

Ctrl-C finishes the step, writes a checkpoint and exits with status 130. Watch with `tensorboard --logdir exp`.
"""


def add_parsers(commands: Any) -> None:
    """Register the sub-command."""
    command = commands.add_parser(
        "train", help="train a run", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("config", type=Path, help="YAML file of the run")
    command.add_argument("--out", type=Path, required=True, help="experiment directory")
    command.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", action="extend", help="override keys of the YAML"
    )
    command.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in --out")
    command.add_argument("--init-from", type=Path, metavar="PATH", help="start from these weights")
    command.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    command.set_defaults(run=run_train)


def run_train(given: argparse.Namespace) -> int:
    """Train; 0 when finished, 130 when interrupted with a checkpoint written."""
    from seqgen import config
    from seqgen.data.directory import DataDir
    from seqgen.train import memory
    from seqgen.train.experiment import Experiment
    from seqgen.train.loop import train
    from seqgen.train.run import RunConfig

    memory.keep_freed_pages()
    run = config.load(given.config, RunConfig, given.set)
    data = DataDir.load(Path(run.data.train))
    experiment = Experiment(given.out, run, tuple(data.speakers))
    _require_sensible(run, data)
    system = experiment.build(source=str(given.config))  # a wrong option is found before anything is written
    batches, valid = _sources(experiment, system, data)
    if given.resume:
        _require_same(experiment)
    sys.stderr.write(_summary(experiment, system, data))
    outcome = train(
        system.objective,
        run.train,
        out=given.out,
        batches=batches,
        valid=valid,
        identity=experiment.identity(),
        sparsity=run.sparsity,
        quantise=run.quantise,
        resume=given.resume,
        init_from=given.init_from,
        device=given.device,
        on_validate=_listen(experiment, system) if system.made is not None else None,
        prepare=lambda: _create(experiment, given.resume),
    )
    best = f"; best validation loss {outcome.best.value:.4f} at step {outcome.best.step}" if outcome.best else ""
    sys.stderr.write(f"{outcome.status} at step {outcome.step}{best}\n")
    return 130 if outcome.status == "interrupted" else 0


def _require_sensible(run: Any, data: Any) -> None:
    longest = max(utterance.samples for utterance in data)
    if run.data.segment > max(longest, run.features.hop):
        raise SeqgenError(
            f"'data.segment' is {run.data.segment} samples, the longest utterance of {data.path} has {longest}",
            remedy="train on shorter segments",
        )


def _create(experiment: Any, resume: bool) -> None:
    from seqgen.train.experiment import CONFIG, Experiment

    if not resume or not (experiment.directory / CONFIG).is_file():
        Experiment.create(experiment.directory, experiment.run, experiment.speakers)


def _require_same(experiment: Any) -> None:
    from seqgen import config
    from seqgen.train.experiment import CONFIG, Experiment

    found = Experiment.open(experiment.directory)
    if found.run != experiment.run or found.speakers != experiment.speakers:
        raise SeqgenError(
            f"{experiment.directory}: --resume with another configuration or other speakers "
            f"(digest {config.digest(experiment.run)} instead of {config.digest(found.run)})",
            remedy=f"resume with {experiment.directory / CONFIG}, or start in another directory",
        )


def _sources(experiment: Any, system: Any, data: Any) -> tuple[Any, Any]:
    """Training batches by number, and validation batches made anew each time."""
    from seqgen.data.batches import Batch, SegmentBatches, UtteranceBatches, loader
    from seqgen.data.directory import DataDir

    run = experiment.run
    context = {
        "features": run.features,
        "codec": system.codec,
        "prediction": system.prediction,
        "left": system.left,
        "right": system.right,
    }
    segments = SegmentBatches(
        data,
        segment=run.data.segment,
        batch_size=run.train.batch_size,
        seed=run.train.seed,
        speakers=experiment.speakers,
        **context,
    )

    def batches(start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        return loader(segments.shard(rank, world), start, stop, run.train.workers)

    held_out = DataDir.load(Path(run.data.valid))
    if run.data.valid_utterances:
        held_out = DataDir(held_out.path, held_out.utterances[: run.data.valid_utterances])
    utterances = UtteranceBatches(held_out, batch_size=8, speakers=experiment.speakers, **context)

    def valid() -> Iterable[Batch]:
        return iter(utterances[index] for index in range(len(utterances)))

    return batches, valid


def _listen(experiment: Any, system: Any) -> Any:
    """A hook that lets one hear and see, at each validation, the middle half second of the first held-out utterance."""
    import torch

    from seqgen import noise
    from seqgen.audio.features import log_mel
    from seqgen.data.directory import DataDir
    from seqgen.train.evaluation import recording

    run, net = experiment.run, system.generator
    utterance = DataDir.load(Path(run.data.valid)).utterances[0]
    hop, rate = run.features.hop, run.features.sample_rate
    frames = min(rate // 2, utterance.samples) // hop
    audio = recording(utterance)
    start = (utterance.samples - frames * hop) // 2
    audio = audio[start : start + frames * hop]
    ahead = torch.full((1, system.right, run.features.n_mels), run.features.silence)
    features = torch.cat([torch.from_numpy(log_mel(audio, run.features))[None], ahead], dim=1)
    speaker = torch.tensor([experiment.speakers.index(utterance.speaker)])
    count = (len(audio) + net.ahead) * net.per_sample * net.draws
    uniforms = torch.from_numpy(noise.block(run.train.seed, 0, 0, count)).reshape(1, -1, net.draws)

    def hook(objective: Any, report: Any, step: int) -> None:
        place = net.body.zeros(0).device
        made = system.voice.make(uniforms.to(place), features.to(place), speaker.to(place))[0].numpy()
        for name, sound in (("reference", audio), ("sample", made)):
            report.audio(f"{utterance.id}/{name}", sound, rate, step)
            report.spectrogram(f"{utterance.id}/{name}", log_mel(sound, run.features), step)

    return hook


def _summary(experiment: Any, system: Any, data: Any) -> str:
    from seqgen import config

    parameters = sum(p.numel() for p in system.objective.parameters() if p.requires_grad)
    return (
        f"{experiment.run.name}: {parameters:,} parameters, {len(data)} utterances "
        f"({data.seconds / 60:.1f} min, {len(experiment.speakers)} speakers), "
        f"config {config.digest(experiment.run)}, features {experiment.run.features.signature}\n"
    )
