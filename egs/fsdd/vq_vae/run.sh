#!/usr/bin/env bash
# VQ-VAE of the Free Spoken Digit Dataset: a speech codec of 8 kHz, whose decoder is told the speaker.
#   egs/fsdd/vq_vae/run.sh [--corpus DIR] [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# Without --corpus the public corpus is downloaded. conf/base.yaml (1,125 bits a second) takes some 25 minutes of one core,
# conf/slow.yaml (188) some 20, conf/tiny.yaml some seconds. CONVERSION holds options of stage 4 (egs/fsdd/vq_vae/conversion.py), RATES of stage 5 (egs/fsdd/vq_vae/bit_rates.py).
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
if from 5 "a prior fitted to the symbols, a recording coded by it, and what they take"; then
  read -r classes <<< "$(sed -n 's/.*posterior: {.* classes: \([0-9]*\),.*/\1/p' "$conf")"
  body="{name: recurrent, vocab_size: $classes, outputs: $classes, hidden: 256, embedding: 64}"
  prior="{name: density, density: {name: autoregressive, body: $body}}"
  fit "$conf" "$out/fitted" "objective={name: code-prior}" "players={prior: {optimiser: adam, learning_rate: 4e-3}}" \
    "networks.model={name: pretrained, experiment: $out, frozen: false, replaced: {prior: $prior}}" task.segment=4096
  seqgen export "$out/fitted" --out "$out/fitted/codec"
  read -r name recording < "$data/test/wav.scp"
  seqgen encode "$out/fitted/codec" "$recording" -o "$out/fitted/$name.sgc" --prior
  seqgen decode "$out/fitted/codec" "$out/fitted/$name.sgc" -o "$out/fitted/$name.wav" --speaker "${name%%-*}"
  python -m egs.fsdd.vq_vae.bit_rates "$out/fitted/codec" --data "$data/test" ${RATES:-} | tee "$out/bit_rates.md"
fi
