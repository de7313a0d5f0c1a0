#!/usr/bin/env bash
# Discrete flows on characters: the collected plays, 66 symbols.
#   egs/shakespeare/discrete_flow/run.sh --corpus DIR|FILE [--stage N] [--conf FILE] [--out DIR] [--data DIR]
# An autoregressive and a bipartite flow over a factorised base, that base alone, and an autoregressive model of the same
# network, in bits per character and characters a second. conf/base.yaml takes half an hour on one core, conf/tiny.yaml
# half a minute. The corpus is a text, or a folder with tinyshakespeare.txt.
set -euo pipefail
conf=egs/shakespeare/discrete_flow/conf/base.yaml out=exp/shakespeare-discrete-flow data=exp/shakespeare-discrete-flow/data
text=tinyshakespeare.txt
. "$(dirname "$0")/../../text_flows.sh"
