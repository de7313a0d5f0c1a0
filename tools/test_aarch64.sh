#!/usr/bin/env bash
# Builds the native engine for 64-bit ARM and compares what it makes under qemu-aarch64 with this machine's, bit by bit.
# Installs Debian's cross compiler and qemu where they are missing, which needs root.
set -euo pipefail
cd "$(dirname "$0")/.."
engine="$PWD/seqgen/engine"
python="$PWD/.venv/bin/python"
if ! command -v aarch64-linux-gnu-g++ qemu-aarch64 >/dev/null; then
  apt-get update && apt-get install -y --no-install-recommends g++-aarch64-linux-gnu qemu-user
fi
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

cmake -S "$engine" --preset host -B "$work/here" >/dev/null && cmake --build "$work/here" >/dev/null
cmake -S "$engine" --preset aarch64-linux -B "$work/arm" >/dev/null && cmake --build "$work/arm" >/dev/null
for example in vocode complete encode; do
  cc -O2 -I"$engine/include" "examples/$example.c" "$work/here/libseqgen_engine.so" -lm \
    -Wl,-rpath,"$work/here" -o "$work/here/$example"
  aarch64-linux-gnu-gcc -O2 -I"$engine/include" "examples/$example.c" "$work/arm/libseqgen_engine.so" -lm \
    -Wl,-rpath,"$work/arm" -o "$work/arm/$example"
done

"$python" - "$work" <<'PYTHON'
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.engine import encoders, programs, stacks, symbols, test_wavenet

work, rng = Path(sys.argv[1]), np.random.default_rng(0)
rng.normal(0, 1, (60, 7)).astype("f4").tofile(work / "features")
rng.normal(-5, 2, (60, 10)).astype("f4").tofile(work / "wavenet-features")
encoders.sound(encoders.KINDS["normalised"], 1, 100).tofile(work / "sound")
for precision in ("float32", "bf16", "int8"):
    encoder = encoders.KINDS["normalised"]
    document = encoders.program(encoder) | {"precision": precision}
    encoders.write(encoder, work / f"encoder-{precision}", document)
    for kind in ("one layer", "rectified", "multiplicative"):
        model = replace(symbols.KINDS[kind], classes=256)
        symbols.write(model, work / f"{kind.replace(' ', '-')}-{precision}", precision=precision)
    for kind, source in symbols.SOURCES.items():
        decoder = replace(symbols.DECODER, classes=256)
        source = replace(source, blocks=replace(source.blocks, classes=256))
        document, weights = symbols.with_source(decoder, source)
        programs.write(work / f"{kind.replace(' ', '-')}-{precision}", document | {"precision": precision}, weights)
    test_wavenet.make(work / f"wavenet-{precision}", test_wavenet.MODELS["ragged"], precision=precision)
    shape = programs.Shape(hidden=160, channels=7, hop=20, latency=33, density=0.12, block=(4, 4))
    program = programs.program(shape) | {"precision": precision}
    programs.write(work / f"strips-{precision}", program, programs.tensors(shape))
    for name, distribution in (("mixture", stacks.MIXTURE), ("gaussian", stacks.GAUSSIAN)):
        stack = stacks.Stack(programs.Shape(channels=7, hop=20, latency=33), distribution=distribution)
        document = stacks.program(stack) | {"precision": precision}
        programs.write(work / f"{name}-{precision}", document, stacks.tensors(stack))
PYTHON

for precision in float32 bf16 int8; do
  "$python" -m tests.engine.programs "$work/$precision" "$precision"
  "$python" -m tests.engine.lanes "$work/lanes-$precision" "$precision"
done
for voice in {,strips-,wavenet-,lanes-,mixture-,gaussian-}{float32,bf16,int8}; do
  features="$work/features"
  if [[ $voice == wavenet-* ]]; then features="$work/wavenet-features"; fi
  SEQGEN_ISA=generic "$work/here/vocode" "$work/$voice" "$features" "$work/expected.wav" 5
  for isa in generic neon; do
    SEQGEN_ISA=$isa qemu-aarch64 -L /usr/aarch64-linux-gnu "$work/arm/vocode" \
      "$work/$voice" "$features" "$work/got.wav" 5
    cmp "$work/expected.wav" "$work/got.wav"
    echo "aarch64 $isa, $voice: the same bits"
  done
done
for model in {one-layer-,rectified-,multiplicative-,padded-,stretched-,one-tap-}{float32,bf16,int8}; do
  SEQGEN_ISA=generic "$work/here/complete" "$work/$model" 300 5 <README.md >"$work/expected"
  for isa in generic neon; do
    SEQGEN_ISA=$isa qemu-aarch64 -L /usr/aarch64-linux-gnu "$work/arm/complete" "$work/$model" 300 5 <README.md >"$work/got"
    cmp "$work/expected" "$work/got"
    echo "aarch64 $isa, $model: the same symbols"
  done
done
for model in encoder-{float32,bf16,int8}; do
  SEQGEN_ISA=generic "$work/here/encode" "$work/$model" <"$work/sound" >"$work/expected"
  for isa in generic neon; do
    SEQGEN_ISA=$isa qemu-aarch64 -L /usr/aarch64-linux-gnu "$work/arm/encode" "$work/$model" <"$work/sound" >"$work/got"
    cmp "$work/expected" "$work/got"
    echo "aarch64 $isa, $model: the same vectors"
  done
done
