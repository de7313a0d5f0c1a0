"""Bundles that only the native engine can run: smaller, and the same samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqgen.errors import SeqgenError
from seqgen.runtime import native_library, open_runtime
from seqgen.runtime.native import NativeRuntime
from seqgen.runtime.replay import check
from tests.runtime.voices import export, tiny_run, tiny_system

pytestmark = pytest.mark.skipif(not native_library.built(), reason="the native engine is not built")


@pytest.mark.parametrize("precision", ["int8", "bf16", "float32"])
def test_a_bundle_for_the_engine_only_is_small_and_sounds_the_same(tmp_path: Path, precision: Any) -> None:
    vocoder, task = tiny_system(tiny_run(hidden=32, hop=20), ("ann", "bo"))
    whole = export(vocoder.generator, task, tmp_path / "whole", precision=precision)
    small = export(vocoder.generator, task, tmp_path / "small", precision=precision, engine_only=True)
    names = {entry.name for entry in small.manifest.files}
    assert names == {"config.yaml", "engine.safetensors", "golden.safetensors", "program.json"}
    golden = whole.tensors("golden.safetensors")
    made = []
    for bundle in (whole, small):
        runtime = NativeRuntime(bundle)
        assert runtime.format == precision
        made.append(runtime.sample(golden["uniforms"], runtime.init(2), golden["features"])[0])
    assert np.array_equal(*made)
    assert [verdict.runtime.split()[0] for verdict in check(small.directory)] == ["native"]
    assert not set(small.tensors("golden.safetensors")) - set(golden)
    with pytest.raises(SeqgenError, match=r"loop\.onnx"):
        open_runtime(small, "onnx")


def test_a_bundle_for_the_engine_only_says_that_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vocoder, task = tiny_system(tiny_run(hidden=32, hop=20))
    small = export(vocoder.generator, task, tmp_path / "small", precision="int8", engine_only=True)
    monkeypatch.setenv("SEQGEN_ENGINE", str(tmp_path / "nothing.so"))
    with pytest.raises(SeqgenError, match="the native engine is not built"):
        open_runtime(small)
