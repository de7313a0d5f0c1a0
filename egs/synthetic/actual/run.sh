#!/usr/bin/env bash
# ACtuAL-style training on sequences of a known process: a generator fitted by likelihood goes on against a discriminator,
# whose judgement a critic foresees.
#   egs/synthetic/actual/run.sh [--stage N] [--conf FILE] [--out DIR]
# conf/grammar.yaml takes two minutes on one core, conf/tiny.yaml some seconds. The generator is fitted as the file beside
# it says whose name begins with mle-.
set -euo pipefail
conf=egs/synthetic/actual/conf/grammar.yaml out=exp/synthetic-actual data=
. "$(dirname "$0")/../../options.sh"

fit() { seqgen train "$1" --out "$2" $([ ! -d "$2/checkpoints" ] || echo --resume) "${@:3}"; }

if from 0 "maximum likelihood"; then fit "$(dirname "$conf")/mle-$(basename "$conf")" "$out/mle"; fi

if from 1 "adversarial training"; then fit "$conf" "$out" --set "networks.generator.experiment=$out/mle"; fi

if from 2 "both beside the process that is known"; then
  for one in "$out/mle" "$out"; do seqgen eval "$one" > /dev/null; done
  python tools/report_table.py "$out/mle" "$out"
fi
