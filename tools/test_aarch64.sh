#!/usr/bin/env bash
# Builds the native engine for 64-bit ARM and compares what it makes under qemu-aarch64 with this machine's, bit by bit.
# Installs Debian's cross compiler and qemu where they are missing, which needs root.
set -euo pipefail
cd "$(dirname "$0")/.."
native="$PWD/seqgen/runtime/native"
python="$PWD/.venv/bin/python"
if ! command -v aarch64-linux-gnu-g++ qemu-aarch64 >/dev/null; then
  apt-get update && apt-get install -y --no-install-recommends g++-aarch64-linux-gnu qemu-user
fi
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

cross=(-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64
       -DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++)
cmake -S "$native" -B "$work/here" >/dev/null && cmake --build "$work/here" >/dev/null
cmake -S "$native" -B "$work/arm" "${cross[@]}" >/dev/null && cmake --build "$work/arm" >/dev/null
cc -O2 -I"$native/include" examples/vocode.c "$work/here/libseqgen_engine.so" \
  -Wl,-rpath,"$work/here" -o "$work/here/vocode"
aarch64-linux-gnu-gcc -O2 -I"$native/include" examples/vocode.c "$work/arm/libseqgen_engine.so" \
  -Wl,-rpath,"$work/arm" -o "$work/arm/vocode"

"$python" - "$work" <<'PYTHON'
import sys
from pathlib import Path

import numpy as np

from tests.engine import programs

work, shape = Path(sys.argv[1]), programs.Shape(hidden=130, channels=7, hop=20, latency=33, density=0.4)
for precision in ("float32", "bf16", "int8"):
    programs.write(work / precision, programs.program(shape) | {"precision": precision}, programs.tensors(shape))
np.random.default_rng(0).normal(0, 1, (60, 7)).astype(np.float32).tofile(work / "features")
PYTHON

for precision in float32 bf16 int8; do
  SEQGEN_ISA=generic "$work/here/vocode" "$work/$precision" "$work/features" "$work/expected.wav" 5
  for isa in generic neon; do
    SEQGEN_ISA=$isa qemu-aarch64 -L /usr/aarch64-linux-gnu "$work/arm/vocode" \
      "$work/$precision" "$work/features" "$work/got.wav" 5
    cmp "$work/expected.wav" "$work/got.wav"
    echo "aarch64 $isa, $precision: the same bits"
  done
done
