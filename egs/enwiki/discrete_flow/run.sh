#!/usr/bin/env bash
# Discrete flows on characters: a to z and space of encyclopaedia pages, 28 symbols with the one for unknown characters.
#   egs/enwiki/discrete_flow/run.sh --corpus DIR|FILE [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# An autoregressive and a bipartite flow over a factorised base, that base alone, and an autoregressive model of the same
# network, in bits per character and characters a second. conf/base.yaml takes half an hour on one core, conf/tiny.yaml
# half a minute. The corpus is a text, or a folder with enwiki-az.txt.gz.
set -euo pipefail
conf=egs/enwiki/discrete_flow/conf/base.yaml out=exp/enwiki-discrete-flow data=exp/enwiki-discrete-flow/data
text=enwiki-az.txt.gz
. "$(dirname "$0")/../../text_flows.sh"
