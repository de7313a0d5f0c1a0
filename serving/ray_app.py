"""Replicas of the application on Ray Serve: ``pip install '.[serve,ray]'``.

    serve run serving.ray_app:application voices=voices/ replicas=2 workers=2 slots=16 secret=/etc/seqgen/resume

A stream lives with its connection, on one replica; which one is Ray's choice among those with fewest requests. Requests
are answered by Ray's proxies, so limits on connections, TLS and keys of ``seqgen-serve serve`` are theirs to give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqgen.errors import SeqgenError
from serving.app import App
from serving.http.protocol import RequestLimits
from serving.http.resume import read_secret
from serving.streams.vocoder import WATERMARKED
from serving.voices.directory import VoiceDirectory
from serving.voices.store import SingleVoice
from serving.workers.process_worker import process_workers


@dataclass(frozen=True, slots=True)
class Replica:
    """Configuration of one replica.

    Attributes:
        voices: a store of voices, or one voice's bundle; the same path on every machine.
        workers: processes that compute, one per core. slots: streams at once. secret: file of the replicas' secret.
        watermark: which sound is marked, ``speech``, ``all`` or ``none``.
    """

    voices: str
    workers: int = 1
    slots: int = 16
    secret: str = ""
    watermark: str = "speech"

    def build(self) -> App:
        """Application of the replica, in its own process.

        Raises:
            SeqgenError: for a damaged voice, or a secret that cannot be read.
        """
        directory = Path(self.voices)
        store = SingleVoice(directory) if (directory / "manifest.json").exists() else VoiceDirectory(directory)
        secret = read_secret(Path(self.secret)) if self.secret else None
        limits = RequestLimits(watermark=self.watermark)
        return App(store, threads=self.workers, slots=self.slots, limits=limits, make=process_workers(), secret=secret)


def builder(replica: Replica) -> Callable[[], App]:
    """Plain function that builds a replica's application, which is what Ray sends to replicas."""

    def build() -> App:
        return replica.build()

    return build


def application(arguments: Mapping[str, str]) -> Any:
    """Ray Serve application that ``serve run`` starts; arguments are ``replicas`` and the fields of :class:`Replica`.

    Raises:
        SeqgenError: for other arguments, or where Ray is not installed.
    """
    replicas, replica = read(arguments)
    try:
        from ray import serve
    except ImportError:
        raise SeqgenError("Ray Serve is not installed", remedy="pip install '.[serve,ray]'") from None
    made = serve.deployment(
        serve.ingress(builder(replica))(),
        name="seqgen-serve",
        num_replicas=replicas,
        # A request takes at most one slot, and a replica with all slots taken shall get no more of them.
        max_ongoing_requests=replica.slots,
        # What finds every replica full is refused at once: sound that comes seconds late is of no use.
        max_queued_requests=replica.slots,
        graceful_shutdown_timeout_s=30,
        ray_actor_options={"num_cpus": replica.workers},
    )
    return made.bind()


def read(arguments: Mapping[str, str]) -> tuple[int, Replica]:
    """Number of replicas, and the configuration of each.

    Raises:
        SeqgenError: naming the argument that is wrong.

    Example:
        >>> read({"voices": "/srv/voices", "replicas": "3"})
        (3, Replica(voices='/srv/voices', workers=1, slots=16, secret='', watermark='speech'))
    """
    known = ("voices", "replicas", "workers", "slots", "secret", "watermark")
    for name, value in arguments.items():
        if name not in known:
            raise SeqgenError(f"there is no argument '{name}'", remedy=f"known are {', '.join(known)}")
        if name in ("replicas", "workers", "slots") and not (str(value).isdigit() and int(value)):
            raise SeqgenError(f"{name}={value} is not a whole number above 0", remedy=f"give {name}=2")
        if name == "watermark" and value not in WATERMARKED:
            raise SeqgenError(f"watermark={value} is no choice", remedy=f"choose one of {', '.join(WATERMARKED)}")
    if "voices" not in arguments:
        raise SeqgenError("no voices are named", remedy="give voices=DIRECTORY")
    given: dict[str, Any] = {name: int(arguments[name]) for name in ("workers", "slots") if name in arguments}
    given |= {name: arguments[name] for name in ("secret", "watermark") if name in arguments}
    replica = Replica(str(Path(arguments["voices"]).absolute()), **given)
    return int(arguments.get("replicas", 1)), replica
