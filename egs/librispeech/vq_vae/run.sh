#!/usr/bin/env bash
# VQ-VAE of LibriSpeech: a speech codec of 16 kHz, whose decoder is told which of the readers speaks.
#   egs/librispeech/vq_vae/run.sh --corpus DIR [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# The corpus has a folder test-other, which has one for each reader; another one is named by PART. Validation and test hold out
# recordings of the readers that training knows.
# conf/base.yaml and conf/slow.yaml (a sixth of the bits) take some 35 minutes of one core, conf/tiny.yaml some seconds. CONVERSION holds options of the last stage
# (egs/fsdd/vq_vae/conversion.py).
set -euo pipefail
conf=egs/librispeech/vq_vae/conf/base.yaml out=exp/librispeech-vq-vae data=data/librispeech-codec
. "$(dirname "$0")/../../vocoder.sh"

if from 0 "data"; then
  part=${PART:-test-other}
  [ -d "$corpus/$part" ] || { echo "error: no folder $part in '$corpus'; give --corpus DIR" >&2; exit 1; }
  seqgen data prepare folder --corpus "$corpus/$part" --out "$data" --valid 0.1 --test 0.2
fi
if from 1 "training"; then fit "$conf" "$out"; fi
if from 2 "evaluation on the test set"; then seqgen eval "$out"; fi
if from 3 "the codec, and a recording there and back"; then
  seqgen export "$out" --out "$out/codec"
  read -r name recording < "$data/test/wav.scp"
  read -r name speaker < "$data/test/utt2spk"
  seqgen encode "$out/codec" "$recording" -o "$out/$name.sgc"
  seqgen decode "$out/codec" "$out/$name.sgc" -o "$out/$name.wav" --speaker "$speaker"
fi
if from 4 "what symbols tell of the speaker, and voices that are exchanged"; then
  python -m egs.fsdd.vq_vae.conversion "$out/codec" --train "$data/train" --test "$data/test" \
    --report "$out/conversion.json" ${CONVERSION:-} | tee "$out/conversion.md"
fi
