#!/usr/bin/env bash
# ByteNet on pages of an encyclopaedia: their raw XML in bits per byte, or their words alone in bits per character.
#   [TEXT=xml|az] egs/enwiki/bytenet/run.sh --corpus DIR [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# DIR holds enwiki-sample.xml.bz2, raw XML (like enwik8), and enwiki-az.txt.gz, letters a to z and spaces (like text8);
# the last tenth of each is held out, half for validation, half for the test.
# conf/xml.yaml and conf/az.yaml take half an hour each on one core, conf/tiny.yaml (of raw XML) some seconds.
set -euo pipefail
kind=${TEXT:-xml}
conf=egs/enwiki/bytenet/conf/$kind.yaml out=exp/enwiki-bytenet-$kind data=exp/enwiki-bytenet-$kind/data
. "$(dirname "$0")/../../variants.sh"
text=$corpus/enwiki-sample.xml.bz2 symbols=bytes
[ "$kind" = xml ] || { text=$corpus/enwiki-az.txt.gz symbols=characters; }

if from 0 "data"; then
  seqgen data prepare text --corpus "$text" --out "$data" --tokenizer $symbols
fi

if from 1 "training and evaluation"; then
  variant . "task.data=$data"
fi

if from 2 "a sample"; then
  seqgen sample "$out" --length 300 --temperature 0.8
fi
