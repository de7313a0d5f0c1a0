#!/usr/bin/env bash
# From recordings to a streaming voice in a few minutes: trains a small vocoder, streams the one that ships, and has the voice
# that is part of the package read a text.
#   egs/demo/run.sh [--stage N] [--conf FILE] [--out DIR]
# Result: OUT/out.wav and OUT/report.html (OUT is demo/).
set -euo pipefail
conf=egs/demo/conf/quick.yaml out=demo data=demo/data
. "$(dirname "$0")/../options.sh"
voice=egs/demo/voice

if from 0 "the demo corpus as Kaldi data directories"; then
  seqgen data prepare demo --out "$data" ${corpus:+--corpus "$corpus"}
  seqgen data check "$data"/{train,valid,test}
fi

if from 1 "training a small WaveRNN for about three minutes"; then
  resume=$([ -d "$out/quick/checkpoints" ] && echo --resume || true)
  seqgen train "$conf" --out "$out/quick" $resume --set "task.train=$data/train" "task.valid=$data/valid" "task.test=$data/test"
fi

if from 2 "evaluating it, and the voice that ships, on held-out sentences"; then
  seqgen eval "$out/quick" --audio "$out/quick/audio"
  seqgen eval "$voice" --data "$data/test" --utterances 4 --audio "$out/voice/audio" --report "$out/voice/eval.json"
fi

if from 3 "exporting the small voice and checking both bundles"; then
  seqgen export "$out/quick" --out "$out/quick-voice"
  seqgen check "$voice"
fi

if from 4 "serving the voice and streaming a held-out sentence through it"; then
  recordings=("$out"/voice/audio/*.reference.wav) reference=${recordings[0]}
  python tools/demo_stream.py "$voice" "$reference" "$out/streamed.wav" > "$out/stream.json"
fi

if from 5 "a text that is spoken"; then
  seqgen-serve say "$(cat egs/demo/text.txt)" -o "$out/out.wav" --ctm "$out/out.ctm" --json > "$out/said.json"
fi

if from 6 "the report"; then
  python tools/demo_report.py "$out" "$voice"
fi
