#!/usr/bin/env bash
# Rebuild egs/demo/corpus: sentences of a transcript table (`id|text|normalised text`) read aloud by espeak-ng.
# Usage: tools/make_demo_corpus.sh TRANSCRIPTS.csv [OUT]        needs espeak-ng, sox (with FLAC) and awk; nothing else uses this.
set -euo pipefail
export LC_ALL=C
[ $# -ge 1 ] && [ -r "$1" ] || { echo "usage: $0 TRANSCRIPTS.csv [OUT]: the table of id|text|normalised text must be readable" >&2; exit 2; }
transcripts=$1
out=${2:-$(dirname "$0")/../egs/demo/corpus}
count=70          # sentences: about five and a half minutes, and less than 6 MB as FLAC
peak=0.7079       # -3 dBFS: the loudest sample of the whole corpus; one gain for all keeps the sentences' own levels
chapters='^LJ0(01|2[0-8])-'   # printing, bread, household, addresses, biology, Babylon: friendly to listen to
for tool in espeak-ng sox awk; do command -v "$tool" >/dev/null || { echo "$0: $tool is not installed" >&2; exit 2; }; done
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
mkdir -p "$work/raw" "$work/flac"

# Plain sentences without digits, abbreviations or repeats; then, greedily, the one with most unseen letter triples.
awk -F'|' -v count="$count" -v chapters="$chapters" '
  function triples(i, record,    key, k, t, here, fresh) {
    key = tolower(line[i]); gsub(/[^a-z]/, " ", key)
    for (k = 1; k <= length(key) - 2; k++) {
      t = substr(key, k, 3)
      if (record) covered[t] = 1
      else if (!(t in covered) && !(t in here)) { here[t] = 1; fresh++ }
    }
    return fresh / length(key)
  }
  NF == 3 && $1 ~ chapters && $2 == $3 && $3 ~ /^[A-Z][A-Za-z,; -]*[.]$/ && $3 !~ /[A-Z][A-Z]|--|  / &&
    length($3) >= 52 && length($3) <= 84 && !($3 in seen) { seen[$3] = 1; id[++n] = $1; line[n] = $3 }
  END {
    for (taken = 0; taken < count && taken < n; taken++) {
      best = 0; most = -1
      for (i = 1; i <= n; i++) if (!(i in used)) { gain = triples(i, 0); if (gain > most) { most = gain; best = i } }
      used[best] = 1; triples(best, 1)
    }
    for (i = 1; i <= n; i++) if (i in used) print id[i] "|" line[i]
  }' "$transcripts" > "$work/metadata.csv"

loudest=0
while IFS='|' read -r id text; do
  # 16 kHz by polyphase resampling of the synthesiser's 22.05 kHz; -D: no dither, the same input gives the same file.
  espeak-ng -v en-us+klatt4 -s 150 -w "$work/22k.wav" -- "$text"
  sox -D "$work/22k.wav" "$work/raw/$id.wav" gain -3 rate -h 16000
  level=$(sox "$work/raw/$id.wav" -n stat 2>&1 | awk '/^(Maximum|Minimum) amplitude/ { v = $3 < 0 ? -$3 : $3; if (v > m) m = v } END { print m }')
  loudest=$(awk -v a="$loudest" -v b="$level" 'BEGIN { print (a > b ? a : b) }')
done < "$work/metadata.csv"
awk -v p="$loudest" 'BEGIN { exit !(p > 0 && p < 0.9999) }' || { echo "$0: the synthesiser's output clips (peak $loudest)" >&2; exit 1; }

gain=$(awk -v a="$peak" -v b="$loudest" 'BEGIN { printf "%.6f", a / b }')
while IFS='|' read -r id _; do
  sox -D "$work/raw/$id.wav" -C 8 "$work/flac/$id.flac" vol "$gain"
done < "$work/metadata.csv"

mkdir -p "$out"
rm -rf "$out/flac"
mv "$work/flac" "$out/flac"
mv "$work/metadata.csv" "$out/metadata.csv"
chmod 644 "$out/metadata.csv"; chmod 755 "$out/flac"
echo "$(wc -l < "$out/metadata.csv") sentences, gain $gain, raw peak $loudest"
