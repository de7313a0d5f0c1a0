"""Metrics of the server, as Prometheus reads them (text format 0.0.4)."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import accumulate

from serving.scheduling.events import StreamEvent
from serving.workers.pool import SlotLease, WorkerPool

BOUNDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper ends of the histograms' buckets in seconds."""
_COUNTERS = {
    "streams": "streams that ended",
    "underruns": "times that a listener ran dry by the server's fault",
    "cancelled": "streams that their listener left",
    "failed": "streams that went wrong, by input or voice",
    "audio_seconds": "sound made",
}
_HISTOGRAMS = {
    "first_audio": "from a stream's start to its first sound",
    "lead": "sound in hand when more is handed over",
}
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass
class Histogram:
    """Histogram of seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def lines(self, name: str, label: str) -> list[str]:
        """Lines of the text format."""
        ends = [*map(str, BOUNDS), "+Inf"]
        below = list(accumulate(self.counts))
        rows = [f'{name}_bucket{{{label},le="{end}"}} {count}' for end, count in zip(ends, below, strict=True)]
        return [*rows, f"{name}_sum{{{label}}} {self.total:.6f}", f"{name}_count{{{label}}} {below[-1]}"]


class _VoiceCounts:
    """Counters and histograms of one voice's streams, by their names."""

    def __init__(self) -> None:
        self.counters: dict[str, float] = dict.fromkeys(_COUNTERS, 0) | {"audio_seconds": 0.0}
        self.histograms = {name: Histogram() for name in _HISTOGRAMS}


class Metrics:
    """Counters and histograms of a server's life; told of every event by the worker pool."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._voices: defaultdict[str, _VoiceCounts] = defaultdict(_VoiceCounts)
        self._answers: Counter[tuple[str, int]] = Counter()

    def answered(self, route: str, status: int) -> None:
        """Count an answer by the template of its route and its status."""
        self._answers[route, status] += 1

    def record(self, lease: SlotLease, event: StreamEvent) -> None:
        """Count what an event tells."""
        voice = self._voices[lease.vocoder.name]
        counters, histograms = voice.counters, voice.histograms
        counters["underruns"] += event.underrun
        counters["audio_seconds"] += event.seconds
        if event.first is not None:
            histograms["first_audio"].add(event.first)
        if event.seconds:
            histograms["lead"].add(event.lead)
        if event.over:
            counters["streams"] += 1
            counters["failed"] += event.failure is not None
            counters["cancelled"] += lease.closed and event.failure is None

    def text(self) -> str:
        """All metrics in the text format."""
        pool, lines = self._pool, []

        def block(name: str, kind: str, meaning: str, rows: list[str]) -> None:
            lines.extend([f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", *rows])

        voices = {f'voice="{_escaped(name)}"': voice for name, voice in sorted(self._voices.items())}
        for key, meaning in _COUNTERS.items():
            name = f"seqgen_{key}_total"
            rows = [f"{name}{{{label}}} {round(voice.counters[key], 3)}" for label, voice in voices.items()]
            block(name, "counter", meaning, rows)
        for key, meaning in _HISTOGRAMS.items():
            name = f"seqgen_{key}_seconds"
            rows = [row for label, voice in voices.items() for row in voice.histograms[key].lines(name, label)]
            block(name, "histogram", meaning, rows)
        answers = [
            f'seqgen_requests_total{{route="{_escaped(route)}",status="{status}"}} {count}'
            for (route, status), count in sorted(self._answers.items())
        ]
        block("seqgen_requests_total", "counter", "requests answered, by route and status", answers)
        block("seqgen_admitted_total", "counter", "slots given", [f"seqgen_admitted_total {pool.admitted}"])
        block("seqgen_refused_total", "counter", "slots refused", [f"seqgen_refused_total {pool.admission.refused}"])
        block("seqgen_slots_busy", "gauge", "slots taken", [f"seqgen_slots_busy {pool.busy}"])
        memory = pool.memory
        for name, kind, meaning, value in (
            ("bytes", "gauge", "bytes that requests hold", memory.held),
            ("limit_bytes", "gauge", "bytes that requests may hold", memory.total or "+Inf"),
            ("refused_total", "counter", "reservations that found no room", memory.refused),
        ):
            name = f"seqgen_request_memory_{name}"
            block(name, kind, meaning, [f"{name} {value}"])
        restarts = sum(worker.restarts for worker in pool.workers)
        block(
            "seqgen_worker_restarts_total",
            "counter",
            "workers that ended",
            [f"seqgen_worker_restarts_total {restarts}"],
        )
        loads = [f'seqgen_worker_load{{worker="{i}"}} {load}' for i, load in enumerate(pool.admission.load)]
        block("seqgen_worker_load", "gauge", "share of a worker's time given away", loads)
        paces = [f'seqgen_worker_pace{{worker="{i}"}} {worker.pace:.3f}' for i, worker in enumerate(pool.workers)]
        block("seqgen_worker_pace", "gauge", "how long a worker's calls take over what was measured", paces)
        return "\n".join(lines) + "\n"


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
