#!/usr/bin/env bash
# Character language models: a gated recurrent network on plain text, in bits per character; conf/transformer.yaml has a
# Transformer of as many parameters instead, conf/small.yaml a third of them.
#   egs/shakespeare/charrnn/run.sh --corpus DIR|FILE [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# The corpus is a text, or a folder with tinyshakespeare.txt; its last tenth is held out, half for validation, half for the
# test. conf/tiny.yaml takes some seconds.
set -euo pipefail
conf=egs/shakespeare/charrnn/conf/base.yaml out=exp/shakespeare-charrnn data=exp/shakespeare-charrnn/data
text=tinyshakespeare.txt tokenizer=characters prompt=ROMEO:
. "$(dirname "$0")/../../text.sh"
