"""The comparison hears the same voice from both servers, in short."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from seqgen.bundle import Bundle
from serving.client import bench
from tools.compare_peers import SERVERS, listen


@pytest.mark.parametrize("name", SERVERS)
def test_a_listener_hears_all_of_the_voice(name, tiny_bundle):
    features = Bundle.open(tiny_bundle).manifest.features
    frames = np.full((20, features.n_mels), features.silence, np.float32)
    with SERVERS[name](tiny_bundle, frames, 1) as server:
        heard, _ = asyncio.run(listen(server, features.sample_rate, 2, 0.2))
    assert (heard.failed, heard.refused) == ([], 0)
    utterance = 20 * features.hop / features.sample_rate
    assert heard.seconds == pytest.approx(len(heard.first) * utterance)
    assert heard.first
    assert bench.report(heard)["first_audio_ms_p50"] > 0
