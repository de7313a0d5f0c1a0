#!/usr/bin/env bash
# Fuzzes the native engine's loader for SECONDS (60) under the address and undefined-behaviour sanitizers.
#
#     tools/fuzz_engine.sh [SECONDS [SEED]]
#
# With clang and its libFuzzer where they are (Debian: apt install clang libclang-rt-14-dev), else by g++ and random
# changes alone. Begins with the inputs of tests/engine/fuzz/corpus; what it finds on the way stays in build/fuzz/corpus,
# and an input that crashes in build/fuzz: run the fuzzer on that file to see it again.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds="${1:-60}" seed="${2:-1}"
work="$PWD/build/fuzz" sources=tests/engine/fuzz
mkdir -p "$work/corpus"

sanitize=address,undefined compiler=g++
if clang++ -x c++ -fsanitize=fuzzer,address,undefined -o "$work/probe" - 2>/dev/null \
    <<<'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }'; then
  sanitize+=,fuzzer-no-link compiler=clang++
fi
# One folder for each compiler: CMake cannot change it in one that is there.
build="$work/$compiler"
cmake -S seqgen/engine -B "$build" -DSEQGEN_SANITIZE="$sanitize" -DCMAKE_CXX_COMPILER="$compiler" >/dev/null
cmake --build "$build" -j 2 >/dev/null
flags=(-std=c++17 -O1 -g -Wall -Wextra -I seqgen/engine/include "$build/libseqgen_engine.so" -Wl,-rpath,"$build")
export ASAN_OPTIONS=allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1

if [ "$compiler" = clang++ ]; then
  clang++ -fsanitize=fuzzer,address,undefined "$sources/load.cpp" "${flags[@]}" -o "$build/load"
  "$build/load" "$work/corpus" "$sources/corpus" -max_total_time="$seconds" -seed="$seed" -max_len=65536 \
    -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=256 -dict="$sources/words.dict" -artifact_prefix="$work/" \
    -print_final_stats=1 -verbosity=1 2>&1 | grep -vE '^#[0-9]+[[:space:]]+(NEW|REDUCE|RELOAD|pulse)'
else
  g++ -fsanitize=address,undefined "$sources/load.cpp" "$sources/driver.cpp" "${flags[@]}" -o "$build/load"
  SEQGEN_FUZZ_LAST="$work/last" "$build/load" "$sources/corpus" 0 "$seed" "$seconds"
fi
