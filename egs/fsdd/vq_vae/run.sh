#!/usr/bin/env bash
# VQ-VAE of the Free Spoken Digit Dataset: a speech codec of 8 kHz, whose decoder is told the speaker.
#   egs/fsdd/vq_vae/run.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# Without --corpus the public corpus is downloaded. conf/base.yaml takes some quarter of an hour of one core, conf/tiny.yaml some
# seconds. CONVERSION holds options of the last stage (egs/fsdd/vq_vae/conversion.py).
set -euo pipefail
conf=egs/fsdd/vq_vae/conf/base.yaml out=exp/fsdd-vq-vae data=data/fsdd
. "$(dirname "$0")/../../vocoder.sh"

if from 0 "data"; then prepare fsdd; fi
if from 1 "training"; then fit "$conf" "$out"; fi
if from 2 "evaluation on the test set"; then seqgen eval "$out"; fi
if from 3 "the codec, and a recording there and back"; then
  seqgen export "$out" --out "$out/codec"
  read -r name recording < "$data/test/wav.scp"
  seqgen encode "$out/codec" "$recording" -o "$out/$name.sgc"
  seqgen decode "$out/codec" "$out/$name.sgc" -o "$out/$name.wav" --speaker "${name%%-*}"
fi
if from 4 "what symbols tell of speaker and word, and voices that are exchanged"; then
  python -m egs.fsdd.vq_vae.conversion "$out/codec" --train "$data/train" --test "$data/test" \
    --report "$out/conversion.json" ${CONVERSION:-} | tee "$out/conversion.md"
fi
