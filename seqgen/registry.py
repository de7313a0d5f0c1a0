"""Hand-written tables from names to classes; nothing is imported before it is asked for."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from seqgen.errors import SeqgenError


class Registry(Mapping[str, str]):
    """Names of one kind and where each lives (``"module:Class"``).

    Example:
        >>> MODELS["wavernn"]
        'seqgen.models.wavernn:WaveRNN'
        >>> MODELS.load("wavern")
        Traceback (most recent call last):
        seqgen.errors.SeqgenError: unknown model 'wavern'; did you mean 'wavernn'? known: wavernn, wavenet, …
    """

    def __init__(self, kind: str, table: Mapping[str, str]) -> None:
        self.kind = kind
        self._table = dict(table)

    def __getitem__(self, name: str) -> str:
        if name not in self._table:
            near = difflib.get_close_matches(name, self._table, n=1)
            guess = f"did you mean '{near[0]}'? " if near else ""
            raise SeqgenError(f"unknown {self.kind} '{name}'", remedy=f"{guess}known: {', '.join(self._table)}")
        return self._table[name]

    def __contains__(self, name: object) -> bool:
        return name in self._table

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def load(self, name: str) -> Any:
        """The class registered under ``name``.

        Raises:
            SeqgenError: for an unknown name; the choices are listed.
        """
        module, _, attribute = self[name].partition(":")
        return getattr(importlib.import_module(module), attribute)


MODELS = Registry(
    "model",
    {
        "wavernn": "seqgen.models.wavernn:WaveRNN",
        "wavenet": "seqgen.models.wavenet:WaveNet",
        "wavenet-context": "seqgen.models.wavenet_context:ContextWaveNet",
        "parallel-wavenet": "seqgen.models.parallel_wavenet:ParallelWaveNet",
    },
)
CONDITIONERS = Registry("conditioner", {"frames": "seqgen.models.frames:FrameConditioner"})
CODECS = Registry(
    "codec",
    {
        "bytes16": "seqgen.audio.codec:Bytes16",
        "mulaw8": "seqgen.audio.codec:MuLaw8",
        "float": "seqgen.audio.codec:Float",
    },
)
EMISSIONS = Registry(
    "emission",
    {
        "categorical": "seqgen.emissions.categorical:Categorical",
        "gaussian": "seqgen.emissions.gaussian:Gaussian",
        "logistic-mixture": "seqgen.emissions.logistic_mixture:LogisticMixture",
    },
)
OBJECTIVES = Registry(
    "objective",
    {
        "likelihood": "seqgen.objectives.likelihood:Likelihood",
        "distillation": "seqgen.objectives.distillation:Distillation",
        "classification": "seqgen.objectives.classification:Classification",
    },
)
CORPORA = Registry(
    "corpus",
    {
        "demo": "seqgen.data.corpora:Demo",
        "fsdd": "seqgen.data.corpora:FSDD",
        "ljspeech": "seqgen.data.corpora:LJSpeech",
        "yesno": "seqgen.data.corpora:YesNo",
        "folder": "seqgen.data.corpora:Folder",
    },
)
RUNTIMES = Registry(
    "runtime",
    {
        "native": "seqgen.runtime.native:NativeRuntime",
        "onnx": "seqgen.runtime.onnx:OnnxRuntime",
        "torch": "seqgen.runtime.torch:TorchRuntime",
    },
)
