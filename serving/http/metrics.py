"""Metrics of the server, as Prometheus reads them (text format 0.0.4)."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from serving.scheduling.events import StreamEvent
from serving.streams.contract import ServedModel
from serving.streams.text import READING_RATE, TextModel
from serving.voices.cache import VoiceCache
from serving.workers.pool import SlotLease, WorkerPool

BOUNDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper ends of the histograms' buckets in seconds."""
_COUNTERS = {
    "streams": "streams that ended",
    "underruns": "times that a listener ran dry by the server's fault",
    "cancelled": "streams that their listener left",
    "failed": "streams that went wrong, by input or model",
}
_OF_SOUND = {"audio_seconds": "sound made"}
_OF_TEXT = {"tokens": "symbols of text made", "prompt_tokens": "symbols of prompts of texts that were completed"}
_HISTOGRAMS_OF_SOUND = {
    "first_audio": "from a stream's start to its first sound",
    "lead": "sound in hand when more is handed over",
}
_HISTOGRAMS_OF_TEXT = {"first_text": "from a stream's start to its first symbol"}
_Block = tuple[str, str, str, list[str]]  # name, kind, meaning and rows of a metric
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


class _ModelCounts:
    """Counters and histograms of one model's streams, by their names."""

    def __init__(self, *, text: bool) -> None:
        self.text = text
        self.counters: dict[str, float] = dict.fromkeys(_COUNTERS, 0)
        self.counters |= dict.fromkeys(_OF_TEXT, 0) if text else dict.fromkeys(_OF_SOUND, 0.0)
        self.histograms = {name: Histogram() for name in (_HISTOGRAMS_OF_TEXT if text else _HISTOGRAMS_OF_SOUND)}

    def add(self, event: StreamEvent, *, left: bool) -> None:
        """Count what an event tells; ``left``: its listener has left."""
        counters, histograms = self.counters, self.histograms
        counters["underruns"] += event.underrun
        if self.text:
            counters["tokens"] += round(event.seconds * READING_RATE)
        else:
            counters["audio_seconds"] += event.seconds
        if event.first is not None:
            histograms["first_text" if self.text else "first_audio"].add(event.first)
        if event.lead and not self.text:  # none where sound is made again for one who has it
            histograms["lead"].add(event.lead)
        if event.over:
            counters["streams"] += 1
            counters["failed"] += event.failure is not None
            counters["cancelled"] += left and event.failure is None


class Metrics:
    """Counters and histograms of a server's life; told of every event by the worker pool.

    ``connections`` tells how many there are, and how many were dropped for what.
    """

    def __init__(
        self,
        pool: WorkerPool,
        cache: VoiceCache,
        connections: Callable[[], tuple[int, Mapping[str, int]]] = lambda: (0, {}),
    ) -> None:
        self._pool, self._cache, self._connections = pool, cache, connections
        self._models: dict[str, _ModelCounts] = {}
        self._answers: Counter[tuple[str, int]] = Counter()
        self._reloads = Counter(ok=0, failed=0)
        self._old: list[str] = []  # parts that the last reload left as they were

    def reloaded(self, failed: list[str]) -> None:
        """Count a reload; ``failed``: parts that were left as they were."""
        self._reloads["failed" if failed else "ok"] += 1
        self._old = failed

    def answered(self, route: str, status: int) -> None:
        """Count an answer by the template of its route and its status."""
        self._answers[route, status] += 1

    def record(self, lease: SlotLease, event: StreamEvent) -> None:
        """Count what an event tells."""
        self._counts(lease.model).add(event, left=lease.closed)

    def read(self, model: ServedModel, symbols: int) -> None:
        """Count the symbols of a prompt."""
        self._counts(model).counters["prompt_tokens"] += symbols

    def _counts(self, model: ServedModel) -> _ModelCounts:
        text, known = isinstance(model, TextModel), self._models.get(model.name)
        if known is None or known.text != text:
            known = self._models[model.name] = _ModelCounts(text=text)
        return known

    def text(self) -> str:
        """All metrics in the text format."""
        lines = []
        for name, kind, meaning, rows in (
            *self._of_models(),
            *self._of_store(),
            *self._of_requests(),
            *self._of_pool(),
        ):
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", *rows]
        return "\n".join(lines) + "\n"

    def _of_models(self) -> Iterator[_Block]:
        models = {f'voice="{_escaped(name)}"': counts for name, counts in sorted(self._models.items())}
        for key, meaning in (_COUNTERS | _OF_SOUND | _OF_TEXT).items():
            name = f"seqgen_{key}_total"
            rows = [
                f"{name}{{{label}}} {round(counts.counters[key], 3)}"
                for label, counts in models.items()
                if key in counts.counters
            ]
            yield name, "counter", meaning, rows
        for key, meaning in (_HISTOGRAMS_OF_SOUND | _HISTOGRAMS_OF_TEXT).items():
            name = f"seqgen_{key}_seconds"
            rows = [
                row
                for label, counts in models.items()
                if key in counts.histograms
                for row in counts.histograms[key].lines(name, label)
            ]
            yield name, "histogram", meaning, rows

    def _of_requests(self) -> Iterator[_Block]:
        answers = [
            f'seqgen_requests_total{{route="{_escaped(route)}",status="{status}"}} {count}'
            for (route, status), count in sorted(self._answers.items())
        ]
        yield "seqgen_requests_total", "counter", "requests answered, by route and status", answers
        held, dropped = self._connections()
        yield _single("connections", "gauge", "connections of clients", held)
        drops = [
            f'seqgen_connections_dropped_total{{reason="{why}"}} {count}' for why, count in sorted(dropped.items())
        ]
        yield "seqgen_connections_dropped_total", "counter", "connections dropped, by what they were held for", drops
        reloads = [f'seqgen_reloads_total{{outcome="{outcome}"}} {count}' for outcome, count in self._reloads.items()]
        yield "seqgen_reloads_total", "counter", "reloads, those with a part that could not be read as failed", reloads
        parts = [f'seqgen_reload_failed{{part="{part}"}} 1' for part in self._old]
        yield "seqgen_reload_failed", "gauge", "parts that the last reload left as they were", parts
        memory = self._pool.memory
        yield _single("request_memory_bytes", "gauge", "bytes that requests hold", memory.held)
        yield _single("request_memory_limit_bytes", "gauge", "bytes that requests may hold", memory.total or "+Inf")
        yield _single("request_memory_refused_total", "counter", "reservations that found no room", memory.refused)

    def _of_store(self) -> Iterator[_Block]:
        states = self._cache.states()
        rows = [
            f'seqgen_voice_state{{voice="{_escaped(name)}",state="{state}"}} 1'
            for name, (state, _) in sorted(states.items())
        ]
        yield (
            "seqgen_voice_state",
            "gauge",
            "state of each name in the store: good, unchecked, quarantined, ignored",
            rows,
        )
        workers = [
            f'seqgen_voice_workers{{voice="{_escaped(name)}"}} '
            f"{sum(worker.up and worker.holds(voice.model) for worker in self._pool.workers)}"
            for name, voice in sorted(self._cache.open.items())
        ]
        yield "seqgen_voice_workers", "gauge", "workers that could take a stream of an open voice", workers
        bad = sum(state == "quarantined" for state, _ in states.values())
        yield _single("voices_quarantined", "gauge", "voices that do not open", bad)

    def _of_pool(self) -> Iterator[_Block]:
        pool = self._pool
        yield _single("admitted_total", "counter", "slots given", pool.admitted)
        yield _single("refused_total", "counter", "slots refused", pool.admission.refused)
        yield _single("slots_busy", "gauge", "slots taken", pool.busy)
        yield _single("slots_free", "gauge", "slots that newcomers would get now", pool.free)
        yield _single("workers_up", "gauge", "workers that take streams", sum(worker.up for worker in pool.workers))
        restarts = sum(worker.restarts for worker in pool.workers)
        yield _single("worker_restarts_total", "counter", "workers that ended", restarts)
        loads = [f'seqgen_worker_load{{worker="{i}"}} {load}' for i, load in enumerate(pool.admission.load)]
        yield "seqgen_worker_load", "gauge", "share of a worker's time given away", loads
        paces = [f'seqgen_worker_pace{{worker="{i}"}} {worker.pace:.3f}' for i, worker in enumerate(pool.workers)]
        yield "seqgen_worker_pace", "gauge", "how long a worker's calls take over what was measured", paces


def _single(name: str, kind: str, meaning: str, value: float | str) -> _Block:
    """Metric without labels."""
    return f"seqgen_{name}", kind, meaning, [f"seqgen_{name} {value}"]


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
