#!/usr/bin/env bash
# The native engine under the sanitizers: its Python tests under address and undefined-behaviour, and
# tests/engine/threads.cpp under thread.
set -euo pipefail
cd "$(dirname "$0")/.."
python="$PWD/.venv/bin/python" engine=seqgen/engine

build() {  # FOLDER SANITIZERS
  cmake -S "$engine" -B "build/$1" -DSEQGEN_SANITIZE="$2" >/dev/null
  cmake --build "build/$1" -j 2 >/dev/null
}

# Without torch, whose own code no sanitizer here has seen; with libstdc++ loaded first, or no exception would be
# found. Leaks are Python's business: it frees nothing at its end.
build sanitize address,undefined
LD_PRELOAD="$(cc -print-file-name=libasan.so) $(cc -print-file-name=libstdc++.so.6)" \
  ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1 \
  SEQGEN_ENGINE=build/sanitize/libseqgen_engine.so \
  "$python" -m pytest -q --timeout 3600 tests/engine/test_kernels.py tests/engine/test_bad_input.py \
  tests/engine/test_rounded.py tests/engine/test_helper_thread.py tests/engine/test_lanes.py tests/engine/test_lanes_bad_input.py \
  tests/engine/test_real_kernels.py tests/engine/test_flows.py tests/engine/test_symbols.py tests/engine/test_translators.py \
  tests/engine/test_waveform_encoder.py \
  "$@"

training() {  # FOLDER SANITIZERS: compile what trains by the engine in that folder
  c++ -std=c++17 -O1 -g -fsanitize="$2" -pthread -I "$engine/include" tests/engine/training.cpp "build/$1/libseqgen_engine.so" \
    -Wl,-rpath,"$PWD/build/$1" -o "build/$1/training"
}
training sanitize address,undefined
UBSAN_OPTIONS=halt_on_error=1 build/sanitize/training generic

build sanitize-threads thread
folder=build/sanitize-threads
training sanitize-threads thread
c++ -std=c++17 -O1 -g -fsanitize=thread -pthread -I "$engine/include" tests/engine/threads.cpp \
  "$folder/libseqgen_engine.so" -Wl,-rpath,"$PWD/$folder" -o "$folder/threads"
# The sanitizer wants its memory at fixed places, which some kernels' randomised addresses take.
fixed=(); if setarch -R true 2>/dev/null; then fixed=(setarch -R); fi
TSAN_OPTIONS=halt_on_error=1 "${fixed[@]}" "$folder/training" generic
for precision in float32 int8; do
  "$python" -m tests.engine.programs "$folder/voice-$precision" "$precision"
  "$python" -m tests.engine.lanes "$folder/lanes-$precision" "$precision"
  for kind in recurrent rectified multiplicative padded; do
    "$python" -m tests.engine.symbols "$folder/$kind-$precision" "$kind" "$precision"
  done
  for kind in voice lanes recurrent rectified multiplicative padded; do
    for isa in "" generic; do
      SEQGEN_ISA="$isa" TSAN_OPTIONS=halt_on_error=1 "${fixed[@]}" "$folder/threads" "$folder/$kind-$precision" 4
    done
  done
done
if (($(nproc) > 1)); then  # the same with helper threads, which a small bundle would not have
  "$python" -m tests.engine.programs "$folder/large" float32 300
  "$python" -m tests.engine.flows "$folder/flows"
  for bundle in large flows; do
    TSAN_OPTIONS=halt_on_error=1 "${fixed[@]}" "$folder/threads" "$folder/$bundle" 4 2
  done
fi
