#!/usr/bin/env python3
"""Figures of small voices, trained, evaluated and exported by the ordinary commands: they tell whether anything moved.

A few recordings of the Free Spoken Digit Dataset are prepared; every run of ``tools/gate/SIZE/*.yaml`` is trained,
resumed from the middle, evaluated and exported, and its bundle vocodes through each runtime, as the shipped voice does.
What comes out (losses of every step, trained weights, likelihoods, scores, audio) is kept as figures and printed as
digests. On one machine, with the same libraries, they are the same to the bit each time.

  python tools/gate.py --size tiny --json before.json
  python tools/gate.py --size tiny --json after.json --compare before.json     # status 1 where anything differs

Weights are digests of each tensor's shape and bytes in sorted order, whatever its name: another name for a module is no
difference. A value that has another name than before and is otherwise the same is noted and is no difference either.
The reference of the test, tests/recipes/gate.json, is what ``--size tiny --json`` writes.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import graphlib
import hashlib
import io
import json
import math
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
# Speakers, takes to test and takes to train on.
SIZES = {"tiny": (("lucas", "theo"), 2, 6), "small": (("jackson", "lucas", "theo"), 3, 12)}
DIGITS = (1, 4)
SILENT = ("digits",)  # runs that make no audio
PRECISIONS = {"pruned": "int8"}
CLOCK = ("seconds", "elements_per_second")  # what a run tells about time
EXCERPT = {"tiny": 800, "small": 2400}  # samples that every runtime vocodes
LIKELIHOODS = ("bits_per_sample", "kl", "cross_entropy", "entropy")
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
FLAGS = ("fma", "avx", "amx", "asimd", "sve")  # prefixes of the processor's features that decide which kernels run

Figure = float | bool | str | list[float] | list[str]
Figures = dict[str, Figure]


def digest(value: object) -> str:
    """The first 16 hexadecimal digits of a SHA-256 over plain data; numbers count to their last bit."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def tensors(path: Path) -> list[str]:
    """Shape and digest of every tensor of a safetensors file, sorted: the names play no part."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    described = {name: one for name, one in json.loads(data[8:start]).items() if name != "__metadata__"}
    return sorted(
        f"{one['dtype']}{one['shape']} "
        + hashlib.sha256(data[slice(*(start + at for at in one["data_offsets"]))]).hexdigest()[:16]
        for one in described.values()
    )


def numbers(value: object, path: str = "") -> Iterator[tuple[str, float]]:
    """Every number inside nested plain data with its path; texts and times are left out."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in CLOCK:
                yield from numbers(item, f"{path}/{key}" if path else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from numbers(item, f"{path}/{index}")
    elif isinstance(value, int | float):
        yield path, value


class Difference(NamedTuple):
    """A figure that is not what it was; ``relative`` is the largest relative difference where both are numbers."""

    name: str
    problem: str
    relative: float = math.inf

    def __str__(self) -> str:
        far = f" (by at most {self.relative:.2e} of the value)" if math.isfinite(self.relative) else ""
        return f"{self.name}: {self.problem}{far}"


def apart(one: float, other: float) -> float:
    """``|a - b| / max(|a|, |b|)``; 0 for equal values, two that are not numbers included.

    Example:
        >>> apart(2.0, 1.0)
        0.5
    """
    if one == other or (math.isnan(one) and math.isnan(other)):
        return 0.0
    most = max(abs(one), abs(other))
    return abs(one - other) / most if math.isfinite(most) else math.inf


def _difference(name: str, got: Figure, expected: Figure) -> Difference | None:
    """How one figure differs, if it does."""
    mine, theirs = (one if isinstance(one, list) else [one] for one in (got, expected))
    if digest(mine) == digest(theirs):
        return None
    if any(isinstance(one, str) for one in (*mine, *theirs)):
        lost, new = ([one for one in a if one not in b] for a, b in ((theirs, mine), (mine, theirs)))
        return Difference(name, f"{len(lost)} of {len(theirs)} gone, {len(new)} new: {lost[:2]} became {new[:2]}")
    if len(mine) != len(theirs):
        return Difference(name, f"{len(mine)} values instead of {len(theirs)}")
    differ = [index for index, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b]
    at = differ[0]
    problem = f"{len(differ)} of {len(mine)} values differ, at first number {at}: {theirs[at]!r} became {mine[at]!r}"
    return Difference(name, problem, max(apart(float(a), float(b)) for a, b in zip(mine, theirs, strict=True)))


def compare(got: Mapping[str, Figure], expected: Mapping[str, Figure]) -> tuple[list[Difference], list[str]]:
    """Every figure that differs; and every one that differs in its name alone, as ``old -> new``."""
    differences, renamed = [], []
    fresh = {name: value for name, value in got.items() if name not in expected}
    for name, value in expected.items():
        if name in got:
            found = _difference(name, got[name], value)
            differences += [found] if found else []
            continue
        run = name.split("/")[0]
        same = [one for one in fresh if one.split("/")[0] == run and digest(fresh[one]) == digest(value)]
        if same:
            renamed.append(f"{name} -> {same[0]}")
            del fresh[same[0]]
        else:
            differences.append(Difference(name, "is not there any more"))
    return differences + [Difference(name, "was not there before") for name in fresh], renamed


def likely(name: str) -> bool:
    """Whether a figure is a loss or a likelihood, which another machine gives too, but for roundings."""
    _, separator, example = name.partition("/examples/")
    quantity = example.split("/")[0] if separator else name.rpartition("/")[2]
    return "/losses/" in name or quantity in LIKELIHOODS


def machine() -> dict[str, str]:
    """What decides which kernels run, and so the last bits: libraries, processor, settings that choose among them."""
    import importlib.metadata

    import torch

    cpu: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines():
            name, _, value = line.partition(":")
            cpu[name.strip()] = value.strip()
    flags = [flag for flag in cpu.get("flags", cpu.get("Features", "")).split() if flag.startswith(FLAGS)]
    libraries = ("torch", "numpy", "scipy", "librosa", "onnxruntime", "soxr", "pystoi")
    settings = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "OPENBLAS_CORETYPE")
    return {
        **{name: importlib.metadata.version(name) for name in libraries},
        "system": f"{platform.system()} {platform.machine()}",
        "capability": torch.backends.cpu.get_cpu_capability(),
        "processor": " ".join(cpu.get(name, "?") for name in ("vendor_id", "cpu family", "model", "stepping")),
        "flags": " ".join(sorted(flags)),
        "settings": " ".join(f"{name}={os.environ[name]}" for name in settings if name in os.environ),
    }


def command(*arguments: object) -> str:
    """What a ``seqgen`` command prints; it runs in this process, which has torch loaded already.

    Raises:
        RuntimeError: with the end of what it said, where its status is not 0.
    """
    from seqgen.cli.main import main

    printed, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
        status = main([str(one) for one in arguments])
    if status != 0:
        raise RuntimeError(f"seqgen {' '.join(map(str, arguments))}: status {status}\n{said.getvalue()[-2000:]}")
    return printed.getvalue()


def corpus(recordings: Path, size: str) -> None:
    """Prepare a part of the corpus in the working directory: ``data/train``, ``data/valid`` and ``data/test``."""
    speakers, tests, trains = SIZES[size]
    takes = (*range(tests), 5, *range(8, 8 + trains))
    chosen = [f"{digit}_{speaker}_{take}.wav" for digit in DIGITS for speaker in speakers for take in takes]
    Path("fsdd").mkdir()
    for name in chosen:
        shutil.copyfile(recordings / name, Path("fsdd") / name)
    command("data", "prepare", "fsdd", "--corpus", "fsdd", "--out", "data")
    excerpt(Path("fsdd") / chosen[0], Path("excerpt.wav"), EXCERPT[size])


def excerpt(source: Path, target: Path, samples: int) -> None:
    """The first samples of a recording, as 16-bit WAV."""
    import soundfile

    audio, rate = soundfile.read(source, dtype="int16", frames=samples)
    soundfile.write(target, audio, rate, subtype="PCM_16")


def history(run: Path) -> Figures:
    """Every value of a run's log, step by step, but for those of the clock."""
    columns: dict[str, list[float]] = {}
    for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for name, value in numbers(row):
            if name != "step":
                columns.setdefault(f"losses/{row['split']}/{name}", []).append(value)
    return dict(columns)


def trained(run: Path) -> Figures:
    """The tensors of a run's newest checkpoint: the model's, and their averages where it has those."""
    newest = max((run / "checkpoints").glob("step-*"))
    files = (newest / f"{kind}.safetensors" for kind in ("model", "ema"))
    return {f"weights/{file.stem}": tensors(file) for file in files if file.is_file()}


def resumed(conf: Path, run: Path) -> bool:
    """Whether a run that goes on from its checkpoint in the middle ends as the run that was never stopped."""
    again = Path(f"{run}-resumed")
    shutil.copytree(run, again)
    shutil.rmtree(max((again / "checkpoints").glob("step-*")))
    command("train", conf, "--out", again, "--resume")
    last = [max((one / "checkpoints").glob("step-*")) for one in (run, again)]
    same = [last[0].name == last[1].name, history(run) == history(again)]
    same += [tensors(file) == tensors(last[1] / file.name) for file in last[0].glob("*.safetensors")]
    shutil.rmtree(again)
    return all(same)


def scored(place: Path, *options: object) -> Figures:
    """The numbers of ``seqgen eval``: likelihoods of every recording, and the table's values."""
    report = Path("report.json")
    command("eval", place, "--report", report, *options)
    return dict(numbers(json.loads(report.read_text(encoding="utf-8"))))


def spoken(bundle: Path, speaker: str) -> Figures:
    """A bundle: its tensors, what replaying its golden vectors says, and the excerpt's audio through each runtime."""
    import soundfile

    found: Figures = {
        f"tensors/{file}": tensors(bundle / f"{file}.safetensors")
        for file in ("weights", "golden")
        if (bundle / f"{file}.safetensors").is_file()
    }
    for verdict in json.loads(command("check", bundle, "--json"))["runtimes"]:
        runtime = str(verdict.pop("runtime")).split()[0]
        found |= {f"{runtime}/{name}": value for name, value in numbers(verdict, "golden")}
        out, who = Path("spoken.wav"), ("--speaker", speaker) if speaker else ()
        command("sample", bundle, "excerpt.wav", "-o", out, *who, "--seed", 3, "--runtime", runtime)
        audio, rate = soundfile.read(out, dtype="int16")
        found[f"{runtime}/audio"] = digest([rate, audio.tolist()])
    return found


def prefixed(prefix: str, figures: Mapping[str, Figure]) -> Figures:
    """The same figures below a name."""
    return {f"{prefix}/{name}": value for name, value in figures.items()}


def voice(conf: Path, name: str, speaker: str) -> Figures:
    """All figures of one run."""
    run, bundle = Path(name), Path(f"{name}-voice")
    command("train", conf, "--out", run)
    found = history(run) | trained(run) | {"resumed as if never stopped": resumed(conf, run)}
    if name in SILENT:
        return found
    found |= prefixed("evaluation", scored(run))
    precision = ("--quantise", PRECISIONS[name]) if name in PRECISIONS else ()
    command("export", run, "--out", bundle, *precision)
    heard = spoken(bundle, speaker)
    for runtime in sorted({key.split("/")[0] for key in heard if key.endswith("/audio")} - {"torch"}):
        options = ("--likelihood-only", "--data", "data/test", "--utterances", 2, "--runtime", runtime)
        heard |= prefixed(f"{runtime}/evaluation", scored(bundle, *options))
    return found | prefixed("bundle", heard)


def shipped(size: str) -> Figures:
    """The shipped voice: its replay and audio, and the likelihood of two stretches of its own corpus."""
    bundle, flac = REPOSITORY / "egs/demo/voice", REPOSITORY / "egs/demo/corpus/flac"
    excerpt(min(flac.iterdir()), Path("excerpt.wav"), 2 * EXCERPT[size])
    found = spoken(bundle, "")
    command("data", "prepare", "demo", "--out", "demo", "--max-seconds", 0.5)
    for runtime in ("native", "onnx"):
        options = ("--likelihood-only", "--data", "demo/test", "--utterances", 2, "--runtime", runtime)
        found |= prefixed(f"{runtime}/evaluation", scored(bundle, *options))
    return found


def runs(size: str) -> Iterator[Path]:
    """The runs of a size, each behind those whose networks it takes."""
    found = {path.stem: path for path in sorted((REPOSITORY / "tools/gate" / size).glob("*.yaml"))}
    needs = {name: re.findall(r"experiment: (\w+)", path.read_text(encoding="utf-8")) for name, path in found.items()}
    return (found[name] for name in graphlib.TopologicalSorter(needs).static_order())


def measure(recordings: Path, size: str) -> tuple[Figures, dict[str, float]]:
    """Every figure, and the seconds each part took; works in a temporary directory."""
    found: Figures = {}
    seconds: dict[str, float] = {}
    home = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="gate-") as scratch:
        os.chdir(scratch)
        try:
            began = time.perf_counter()
            corpus(recordings, size)
            speaker = SIZES[size][0][0]
            parts = {conf.stem: functools.partial(voice, conf, conf.stem, speaker) for conf in runs(size)}
            for name, part in {**parts, "shipped": functools.partial(shipped, size)}.items():
                found |= prefixed(name, part())
                now = time.perf_counter()
                seconds[name], began = round(now - began, 2), now
        finally:
            os.chdir(home)
    return found, seconds


def summary(figures: Mapping[str, Figure], seconds: Mapping[str, float]) -> str:
    """One line a group of figures: name, digest, and how many there are."""
    groups: dict[str, Figures] = {}
    for name, value in figures.items():
        parts = name.split("/")
        groups.setdefault("/".join(parts[: 3 if parts[1] == "bundle" else 2]), {})[name] = value
    lines = [f"{name:<40} {digest(group)}  {len(group)} figures" for name, group in groups.items()]
    took = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
    return "\n".join([*lines, f"{'all':<40} {digest(dict(figures))}", f"seconds: {took}; {sum(seconds.values()):.0f}"])


def written(found: Mapping[str, Any]) -> str:
    """JSON with one figure a line."""
    lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in found["figures"].items()]
    head = json.dumps({name: value for name, value in found.items() if name != "figures"}, indent=1)
    return head.removesuffix("\n}") + ',\n "figures": {\n' + ",\n".join(lines) + "\n }\n}\n"


def report(got: Mapping[str, Any], expected: Mapping[str, Any]) -> int:
    """Print what differs from a reference; the number of differences."""
    differences, renamed = compare(got["figures"], expected["figures"])
    other = [name for name, value in got["machine"].items() if expected["machine"].get(name) != value]
    lines = [f"another machine than the reference's: {', '.join(other)}"] if other else []
    lines += [f"another name for the same: {one}" for one in renamed] + [f"DIFFERS {one}" for one in differences]
    print("\n".join([*lines, f"gate: {len(differences)} of {len(expected['figures'])} figures differ"]))
    return len(differences)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, keep, compare; 1 where something differs."""
    parser = argparse.ArgumentParser(description="figures of small voices, to the bit", epilog="status 1: some differ")
    parser.add_argument("--size", choices=SIZES, default="tiny", help="tiny takes a minute, small some")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="figures that these should be")
    shared = os.environ.get("SEQGEN_SHARED", REPOSITORY.parent / "shared")
    default = Path(shared) / "data/fsdd/recordings"
    parser.add_argument("--recordings", type=Path, default=default, metavar="DIR", help="of the corpus")
    given = parser.parse_args(arguments)
    if not given.recordings.is_dir():
        parser.error(f"no recordings at {given.recordings} (give --recordings)")
    os.environ |= dict.fromkeys(ONE_THREAD, "1")  # read when the libraries are loaded, which is later
    figures, seconds = measure(given.recordings.resolve(), given.size)
    found = {"size": given.size, "machine": machine(), "figures": figures}
    print(summary(figures, seconds))
    if given.json is not None:
        from seqgen.files.outputs import write_text

        write_text(given.json, written(found))
    if given.compare is None:
        return 0
    return 1 if report(found, json.loads(given.compare.read_text(encoding="utf-8"))) else 0


if __name__ == "__main__":
    sys.exit(main())
