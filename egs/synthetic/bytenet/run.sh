#!/usr/bin/env bash
# ByteNet on a task whose alignment is known: spelt numbers to digits, "one five six" to "156"; then its time by length.
#   egs/synthetic/bytenet/run.sh [--stage N] [--conf FILE] [--out DIR]
# Trained on 1 to 5 words, tested on as many and on 10: with columns spread over the digits (and fields as long as all
# words, or as two; and spread along random lines while training), with column t for digit t, and that without dilation.
# conf/base.yaml takes one minute or two a variant on one core, conf/tiny.yaml some seconds.
set -euo pipefail
conf=egs/synthetic/bytenet/conf/base.yaml out=exp/synthetic-bytenet data=exp/synthetic-bytenet/data
. "$(dirname "$0")/../../variants.sh"
generator=networks.generator

if from 0 "pairs"; then
  mkdir -p "$out"/long/{stretched,near,jittered,padded,undilated}
  python -m egs.synthetic.bytenet.numbers 1 2 3 4 5 20000 > "$out/pairs.tsv"
  python -m egs.synthetic.bytenet.numbers 10 1000 > "$out/long.tsv"
  seqgen data prepare pairs --corpus "$out/pairs.tsv" --out "$data"
fi

if from 1 "training and evaluation"; then
  variant stretched "task.data=$data"
  variant near "task.data=$data" "$generator.encoder.dilations=[1, 2, 4]" "$generator.body.dilations=[1, 2]"
  variant jittered "task.data=$data" "train.steps=${JITTERED_STEPS:-3000}" \
    $generator.unfolding.rate_jitter=0.05 $generator.unfolding.shift_jitter=6 \
    "$generator.encoder.dilations=[1, 2, 4, 4]" "$generator.body.dilations=[1]"
  variant padded "task.data=$data" $generator.unfolding.stretch=false $generator.unfolding.factor=1
  variant undilated "task.data=$data" $generator.unfolding.stretch=false $generator.unfolding.factor=1 \
    "$generator.encoder.dilations=[1, 1, 1, 1, 1]" "$generator.body.dilations=[1, 1, 1, 1, 1]"
fi

if from 2 "errors, on numbers as long as those learnt from, and on longer ones"; then
  for name in stretched near jittered padded undilated; do
    seqgen eval "$out/$name" --data "$out/long.tsv" --report "$out/long/$name/eval.json" > /dev/null
  done
  python tools/report_table.py --digits 2 "$out"/{stretched,near,jittered,padded,undilated}
  python tools/report_table.py --digits 2 "$out"/long/{stretched,near,jittered,padded,undilated}
fi

if from 3 "time by length, beside attention of the same width"; then
  python tools/bench_bytenet.py slope --repeats "${REPEATS:-3}" ${LENGTHS:+--lengths $LENGTHS}
fi
