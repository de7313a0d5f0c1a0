#!/usr/bin/env bash
# ByteNet on a task whose alignment is known: spelt numbers to digits, "one five six" to "156"; then its time by length.
#   egs/synthetic/bytenet/run.sh [--stage N] [--conf FILE] [--out DIR]
# Trained on 1 to 5 words, tested on as many and on 10: with columns spread over the digits (and fields as long as all
# words, or as two; and spread along random lines while training), with column t for digit t, and that without dilation.
# conf/base.yaml takes one minute or two a variant on one core, conf/tiny.yaml some seconds. VARIANTS chooses among them.
set -euo pipefail
conf=egs/synthetic/bytenet/conf/base.yaml out=exp/synthetic-bytenet data=exp/synthetic-bytenet/data
. "$(dirname "$0")/../../variants.sh"
encoder=networks.generator.encoder body=networks.generator.body unfolding=networks.generator.unfolding
jitter="$unfolding.rate_jitter=0.05 $unfolding.shift_jitter=6"
declare -A changes=(
  [stretched]=""
  [near]="$encoder.dilations=[1,2,4] $body.dilations=[1,2]"
  [jittered]="$encoder.dilations=[1,2,4,4] $body.dilations=[1] $jitter train.steps=${JITTERED_STEPS:-3000}"
  [padded]="$unfolding.stretch=false $unfolding.factor=1"
  [undilated]="$unfolding.stretch=false $unfolding.factor=1 $encoder.dilations=[1,1,1,1,1] $body.dilations=[1,1,1,1,1]"
)
variants=${VARIANTS:-stretched near jittered padded undilated}

if from 0 "pairs"; then
  mkdir -p $(printf "$out/long/%s " $variants)
  python -m egs.synthetic.bytenet.numbers 1 2 3 4 5 "${NUMBERS:-20000}" > "$out/pairs.tsv"
  python -m egs.synthetic.bytenet.numbers 10 1000 > "$out/long.tsv"
  seqgen data prepare pairs --corpus "$out/pairs.tsv" --out "$data"
fi

if from 1 "training and evaluation"; then
  for name in $variants; do variant "$name" "task.data=$data" ${changes[$name]}; done
fi

long() { seqgen eval "$out/$1" --data "$out/long.tsv" --report "$out/long/$1/eval.json" > /dev/null; }
if from 2 "errors, on numbers as long as those learnt from, and on longer ones"; then
  for name in $variants; do long "$name"; done
  for place in "$out" "$out/long"; do python tools/report_table.py --digits 2 $(printf "$place/%s " $variants); done
fi

if from 3 "time by length, beside attention of the same width"; then
  python tools/bench_bytenet.py slope --repeats "${REPEATS:-3}" ${LENGTHS:+--lengths $LENGTHS}
fi
