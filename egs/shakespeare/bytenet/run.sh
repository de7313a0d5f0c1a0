#!/usr/bin/env bash
# ByteNet as a character language model: dilated convolutions with multiplicative units on plain text, in bits per character.
#   egs/shakespeare/bytenet/run.sh --corpus DIR|FILE [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# The corpus is a UTF-8 text, or a folder with tinyshakespeare.txt; its last tenth is held out, half for validation, half
# for the test. egs/shakespeare/charrnn has a recurrent network of as many parameters that takes as long.
# conf/base.yaml takes half an hour on one core, conf/tiny.yaml some seconds.
set -euo pipefail
conf=egs/shakespeare/bytenet/conf/base.yaml out=exp/shakespeare-bytenet data=exp/shakespeare-bytenet/data
text=tinyshakespeare.txt tokenizer=characters prompt=ROMEO:
. "$(dirname "$0")/../../text.sh"
