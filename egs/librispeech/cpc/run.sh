#!/usr/bin/env bash
# Contrastive predictive coding on LibriSpeech: an encoder of raw audio at 16 kHz, trained on the readers of train-clean-100; those
# of test-other are other people, whom it has never heard.
#   egs/librispeech/cpc/run.sh --corpus DIR [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# The corpus has folders train-clean-100 and test-other, which have one for each speaker. Validation holds out recordings of
# train-clean-100; a linear probe of the speakers of test-other learns from half of their recordings and is judged on the rest.
# conf/base.yaml takes ten minutes of one core, conf/tiny.yaml some seconds.
set -euo pipefail
conf=egs/librispeech/cpc/conf/base.yaml out=exp/librispeech-cpc data=data/librispeech
. "$(dirname "$0")/../../variants.sh"

if from 0 "data"; then
  [ -d "$corpus/train-clean-100" ] || { echo "error: no folder train-clean-100 in '$corpus'; give --corpus DIR" >&2; exit 1; }
  seqgen data prepare folder --corpus "$corpus/train-clean-100" --out "$data/reading" --valid 0.1 --test 0
  seqgen data prepare folder --corpus "$corpus/test-other" --out "$data/speakers" --valid 0 --test 0
fi

if from 1 "training, and evaluation on other speakers"; then
  variant . "task.train=$data/reading/train" "task.valid=$data/reading/valid" "task.test=$data/speakers/train"
fi

if from 2 "a linear probe of speakers"; then
  seqgen probe "$out" --data "$data/speakers/train" --split 0.5 --target speaker --supervised "${SUPERVISED:-300}" --report "$out/speaker.json"
fi
