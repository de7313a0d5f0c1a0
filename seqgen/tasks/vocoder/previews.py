"""Previews of a vocoder in training: the middle half second of a held-out utterance, to be heard and seen."""

from __future__ import annotations

import torch

from seqgen import noise
from seqgen.audio.features import log_mel
from seqgen.data.directory import Utterance
from seqgen.generation.vocoder import Vocoder
from seqgen.spec import Facts
from seqgen.stream.conditioning import Frames
from seqgen.tasks.vocoder.config import number_of
from seqgen.tasks.vocoder.evaluation import recording
from seqgen.train.report import Report


def preview(vocoder: Vocoder, utterance: Utterance, facts: Facts, report: Report, *, step: int, seed: int) -> None:
    """Write reference and sample, as sound and as spectrogram, into the record of a training."""
    features, generator = facts.features, vocoder.generator
    assert features is not None
    hop, rate = features.hop, features.sample_rate
    frames = min(rate // 2, utterance.samples) // hop
    start = (utterance.samples - frames * hop) // 2
    audio = recording(utterance)[start : start + frames * hop]
    ahead = torch.full((1, generator.right, features.bands), features.silence)
    heard = torch.cat([torch.from_numpy(log_mel(audio, features))[None], ahead], dim=1)
    count = (len(audio) + generator.ahead) * generator.symbols_per_sample * generator.num_uniforms
    place = generator.body.zeros(0).device
    u = torch.from_numpy(noise.block(seed, 0, 0, count)).reshape(1, -1, generator.num_uniforms).to(place)
    speaker = torch.tensor([number_of(utterance.speaker, facts.speakers)])
    made = vocoder.make(u, Frames(heard.to(place), speaker.to(place)))[0].numpy()
    for name, sound in (("reference", audio), ("sample", made)):
        report.audio(f"{utterance.id}/{name}", sound, rate, step)
        report.spectrogram(f"{utterance.id}/{name}", log_mel(sound, features), step)
