"""What the bench and the metrics say of listeners, on a clock that is told when sound comes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from serving.client import bench
from serving.http.metrics import BOUNDS, Histogram
from serving.scheduling.playback import PREBUFFER


def heard(monkeypatch, arrivals, began=100.0):
    """A report of sound that comes at these times (seconds after the utterance was asked for, of so many seconds)."""
    clock, report, dry = SimpleNamespace(now=began), bench.ListenerReport(), 0.0
    monkeypatch.setattr(bench.time, "monotonic", lambda: clock.now)
    for at, seconds in arrivals:
        clock.now = began + at
        dry = report.play(seconds, began, dry)
    return report, dry - began


def test_first_sound_is_since_the_utterance_was_asked_for_and_the_rest_follows_it(monkeypatch):
    report, dry = heard(monkeypatch, [(0.012, 0.1), (0.05, 0.1), (0.25, 0.1)])
    assert report.first == [pytest.approx(0.012)]
    assert (report.underruns, report.late) == (0, 0.0)
    assert report.seconds == pytest.approx(0.3)
    assert dry == pytest.approx(0.012 + PREBUFFER + 0.3)


def test_a_listener_who_runs_dry_waits_from_there(monkeypatch):
    """0.012 + 0.04 + 0.1 s is in hand; what comes at 0.2 is 48 ms late and plays on from then, what comes at 0.29 in
    time, and what comes at 0.45 again 50 ms late."""
    report, dry = heard(monkeypatch, [(0.012, 0.1), (0.2, 0.1), (0.29, 0.1), (0.45, 0.2)])
    assert report.underruns == 2
    assert report.late == pytest.approx(0.05)
    assert dry == pytest.approx(0.65)


def test_figures_are_quantiles_in_milliseconds_over_all_utterances():
    report = bench.ListenerReport([0.001 * (1 + number) for number in range(101)], 3, 0.0456, 2, ["x"], 12.3456)
    assert bench.report(report) == {
        "underruns": 3,
        "longest_silence_ms": 45.6,
        "first_audio_ms_p50": 51.0,
        "first_audio_ms_p99": 100.0,
        "first_audio_count": 101,
        "refused": 2,
        "failed": 1,
        "audio_seconds": 12.35,
    }


def test_buckets_hold_what_is_no_more_than_their_end():
    histogram = Histogram()
    for seconds in (0.001, 0.005, 0.0051, 2.5, 2.6):
        histogram.add(seconds)
    lines = dict(line.rsplit(" ", 1) for line in histogram.lines("x", 'voice="v"'))
    counts = [int(lines[f'x_bucket{{voice="v",le="{end}"}}']) for end in (*BOUNDS, "+Inf")]
    assert counts == [2, *[3] * (len(BOUNDS) - 2), 4, 5]
    assert float(lines['x_sum{voice="v"}']) == pytest.approx(5.1111)
    assert lines['x_count{voice="v"}'] == "5"
