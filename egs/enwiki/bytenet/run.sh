#!/usr/bin/env bash
# ByteNet on pages of an encyclopaedia: their raw XML in bits per byte, or their words alone in bits per character.
#   [TEXT=xml|az] egs/enwiki/bytenet/run.sh --corpus DIR [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# DIR holds enwiki-sample.xml.bz2, raw XML (like enwik8), and enwiki-az.txt.gz, letters a to z and spaces (like text8);
# the last tenth of each is held out, half for validation, half for the test.
# conf/xml.yaml and conf/az.yaml take half an hour each on one core, conf/tiny.yaml (of raw XML) some seconds.
set -euo pipefail
kind=${TEXT:-xml}
conf=egs/enwiki/bytenet/conf/$kind.yaml out=exp/enwiki-bytenet-$kind data=exp/enwiki-bytenet-$kind/data
text=enwiki-sample.xml.bz2 tokenizer=bytes prompt=
[ "$kind" = xml ] || { text=enwiki-az.txt.gz tokenizer=characters; }
. "$(dirname "$0")/../../text.sh"
