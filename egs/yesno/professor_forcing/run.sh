#!/usr/bin/env bash
# Professor forcing on raw sound: a recurrent network over the samples of yesno, 8 kHz, with nothing to be conditioned on; beside
# it the same network by teacher forcing alone. Both go on from held-out recordings, and are compared with how these go on.
#   egs/yesno/professor_forcing/run.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# Without --corpus the public corpus is downloaded. SEEDS chooses the runs, PLACES from how many places they go on, MULTIPLES
# for how many times the length of a training row. conf/tiny.yaml takes some seconds.
set -euo pipefail
conf=egs/yesno/professor_forcing/conf/base.yaml out=exp/yesno-professor-forcing data=data/yesno
. "$(dirname "$0")/../../vocoder.sh"
forced=$(dirname "$conf")/forced-$(basename "$conf")

if from 0 "data"; then prepare yesno; fi
compared=()
for seed in ${SEEDS:-0}; do
  if from 1 "teacher forcing, seed $seed"; then fit "$forced" "$out/$seed/teacher" train.seed="$seed"; fi
  if from 2 "professor forcing, seed $seed"; then fit "$conf" "$out/$seed/professor" train.seed="$seed"; fi
  compared+=("$out/$seed/teacher" "$out/$seed/professor")
done
if from 3 "likelihood, and spectra against the position"; then
  for one in "${compared[@]}"; do seqgen eval "$one" --likelihood-only; done
  python -m egs.yesno.professor_forcing.spectra "$data/test" "$out/spectra" "${PLACES:-128}" "${MULTIPLES:-8}" \
    "${compared[@]}" | tee "$out/table.md"
fi
