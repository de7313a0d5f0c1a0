#!/usr/bin/env bash
# English to German, character by character: ByteNet, and a recurrent model with attention of as many parameters.
#   egs/tatoeba/bytenet/run.sh --corpus DIR|FILE [--stage N] [--conf FILE] [--out DIR]
# The corpus is a table of lines English<TAB>German, plain or gzipped, or a folder with tatoeba-eng-deu.tsv.gz; sentences
# of at most 30 characters are kept. conf/base.yaml and conf/attention.yaml take ten minutes each on one core,
# conf/tiny.yaml and conf/tiny_attention.yaml some seconds.
set -euo pipefail
conf=egs/tatoeba/bytenet/conf/base.yaml out=exp/tatoeba-bytenet data=exp/tatoeba-bytenet/data
. "$(dirname "$0")/../../variants.sh"
table=$corpus; [ ! -d "$corpus" ] || table=$corpus/tatoeba-eng-deu.tsv.gz
case $conf in *tiny.yaml) other=${conf%.yaml}_attention.yaml ;; *) other=$(dirname "$conf")/attention.yaml ;; esac

if from 0 "pairs"; then
  [ -f "$table" ] || { echo "error: no sentences at '$table'; give --corpus FILE" >&2; exit 1; }
  seqgen data prepare pairs --corpus "$table" --out "$data" --longest 30 --valid 0.02 --test 0.02
fi

if from 1 "training and evaluation"; then
  variant bytenet "task.data=$data"
  conf=$other variant attention "task.data=$data"
fi

if from 2 "errors and overlap side by side"; then
  python tools/report_table.py --digits 2 "$out"/{bytenet,attention}
fi

if from 3 "a sentence"; then
  echo "I am at home." | seqgen translate "$out/bytenet"
fi
