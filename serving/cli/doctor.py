"""``seqgen-serve doctor``: what is here, what is missing, and what to do about it."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.runtime import native_library
from serving.cli import serve
from serving.cli.options import FileParser, file_path, port
from serving.cli.voices import summary
from serving.connections import listening
from serving.sound import opus
from serving.voices.aliases import read_aliases
from serving.voices.directory import VoiceDirectory

EXAMPLES = """\
examples:
  seqgen-serve doctor
  seqgen-serve doctor --voices voices/ --port 8080 --json
  seqgen-serve doctor --config /etc/seqgen-serve/serve.toml     # what `serve --config` would find

The exit status is 1 where something needs mending; what could merely be better is only told."""

_SOMETIMES = {
    "onnxruntime": "needed only by bundles without a native program",
    "sentencepiece": "needed only by text models of subwords",
}
"""Packages that not every server needs, and who does."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Result of one check: ``state`` is ``ok``, ``note`` or ``bad``."""

    subject: str
    state: str
    message: str
    remedy: str = ""


def options(doctor: argparse.ArgumentParser) -> None:
    """Options of ``seqgen-serve doctor``."""
    doctor.add_argument("--voices", default="voices", metavar="DIR", help="the store (default: %(default)s)")
    doctor.add_argument("--host", default="127.0.0.1", help="address to serve on (default: %(default)s)")
    doctor.add_argument("--port", type=port, default=8080, help="port to serve on (default: %(default)s)")
    doctor.add_argument(
        "--config", dest="file", type=file_path, metavar="FILE", help="look at what this file of `serve` names instead"
    )
    doctor.add_argument("--json", action="store_true", help="as one JSON list")
    doctor.set_defaults(command=run, uds=None, keys=None, no_keys=True, tls_cert=None)


def run(options: argparse.Namespace) -> int:
    """Look at everything and tell."""
    found = list(check_file(Path(options.file)) if options.file else check_results(options))
    if options.json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in found]) + "\n")
    else:
        for finding in found:
            remedy = f"; {finding.remedy}" if finding.remedy else ""
            sys.stdout.write(f"{finding.state:5} {finding.subject:12} {finding.message}{remedy}\n")
    return 1 if any(finding.state == "bad" for finding in found) else 0


def check_results(options: argparse.Namespace) -> Iterator[CheckResult]:
    """Results of all checks of a machine, an address and a store."""
    yield from _machine()
    yield from _packages()
    yield from _engine()
    yield from _formats()
    yield from _address(options)
    if options.voices:
        yield from _voices(Path(options.voices))


def check_file(file: Path) -> Iterator[CheckResult]:
    """Results of all checks of a file of ``serve``'s options, and of what it names."""
    serving = FileParser(prog="seqgen-serve serve")
    serve.options(serving)
    try:
        options = serving.parse_args(["--config", str(file)])
    except SeqgenError as error:
        yield CheckResult("config", "bad", error.problem, error.remedy)
        return
    except SystemExit:
        yield CheckResult(
            "config", "bad", f"{file}: not enough to serve", "it has to name voices, and no two that exclude"
        )
        return
    yield CheckResult("config", "ok", f"{file}")
    yield from check_results(options)
    yield from _named(options)


def _named(options: argparse.Namespace) -> Iterator[CheckResult]:
    """Files that options name."""

    from serving.http.keys import read_keys
    from serving.http.resume import read_secret

    def tell(subject: str, look: Callable[[], str]) -> CheckResult:
        try:
            return CheckResult(subject, "ok", look())
        except SeqgenError as error:
            return CheckResult(subject, "bad", error.problem, error.remedy)

    if options.keys:
        yield tell("keys", lambda: f"{len(read_keys(Path(options.keys)))} in {options.keys}")
    if options.wyoming_port is not None:
        yield tell("wyoming", lambda: f"{_wyoming_address(options)} is free")
    if options.tls_cert or options.tls_key:
        yield tell("tls", lambda: f"{serve.require_tls(options)} and its key")
    if options.resume_secret:
        yield tell(
            "secret", lambda: f"{len(read_secret(Path(options.resume_secret)))} bytes in {options.resume_secret}"
        )
    if options.voices and options.default_voice:
        store = VoiceDirectory(Path(options.voices))
        yield tell("default", lambda: f"{store.path(options.default_voice)}")
    if options.voices and options.alias:
        names = VoiceDirectory(Path(options.voices)).names()
        yield tell("aliases", lambda: ", ".join(f"{a} = {v}" for a, v in read_aliases(options.alias, names).items()))
    if options.voice:
        yield tell("voice", lambda: f"{Bundle.open(Path(options.voice)).manifest.name} in {options.voice}")


def _wyoming_address(options: argparse.Namespace) -> str:
    with serve.wyoming(options) as listener:
        assert listener is not None
        return listening.address(listener)


def _machine() -> Iterator[CheckResult]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    python = platform.python_version()
    yield CheckResult("machine", "ok", f"{platform.machine()}, {cores} core(s), Python {python}, {platform.system()}")
    flags = set()
    if (info := Path("/proc/cpuinfo")).exists():
        flags = {word for line in info.read_text().splitlines() if line.startswith("flags") for word in line.split()}
    if platform.machine() == "x86_64" and flags and "avx2" not in flags:
        yield CheckResult("machine", "note", "no AVX2: voices run through generic kernels", "expect fewer listeners")


def _packages() -> Iterator[CheckResult]:
    for name in ("numpy", "soundfile", "soxr", "starlette", "uvicorn", "websockets", "onnxruntime", "sentencepiece"):
        why = _SOMETIMES.get(name, "")
        try:
            yield CheckResult("package", "ok", f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            yield CheckResult(
                "package", "note" if why else "bad", f"{name} is missing", why or "pip install '.[serve]'"
            )


def _engine() -> Iterator[CheckResult]:
    try:
        path = native_library.library_path()
        native_library.load_library(path)
        yield CheckResult("engine", "ok", f"{path}")
    except SeqgenError as error:
        yield CheckResult("engine", "bad", error.problem, error.remedy)


def _formats() -> Iterator[CheckResult]:
    if opus.library() is None:
        yield CheckResult("opus", "note", "there is no libopus, so format=opus is refused", "install libopus0")
    else:
        yield CheckResult("opus", "ok", "libopus is there")


def _address(options: argparse.Namespace) -> Iterator[CheckResult]:
    if options.uds and not (folder := Path(options.uds).absolute().parent).exists():
        remedy = "systemd makes it when the unit starts (RuntimeDirectory); make it where nothing does"
        yield CheckResult("address", "note", f"there is no folder {folder} for the socket", remedy)
        return
    try:
        with serve.bound(options) as (_, address):
            yield CheckResult("address", "ok", f"{address} is free")
    except SeqgenError as error:
        yield CheckResult("address", "bad", error.problem, error.remedy)


def _voices(directory: Path) -> Iterator[CheckResult]:
    store = VoiceDirectory(directory)
    if not directory.is_dir():
        yield CheckResult("voices", "note", f"there is no store at {directory}", "seqgen-serve voices install BUNDLE")
        return
    if not os.access(directory, os.W_OK):
        yield CheckResult(
            "voices", "note", f"{directory} cannot be written by this user", "install voices as another one"
        )
    names = store.names()
    if not names:
        yield CheckResult("voices", "note", f"{directory} holds no voice", "seqgen-serve voices install BUNDLE")
    for name in names:
        try:
            about = store.verify(name)
            yield CheckResult("voice", "ok", f"{name}: {summary(about)}, works as exported")
        except SeqgenError as error:
            yield CheckResult("voice", "bad", f"{name}: {error.problem}", error.remedy)
