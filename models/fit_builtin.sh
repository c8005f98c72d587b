#!/usr/bin/env bash
# Fits the built-in detector from labelled development pictures: bash models/fit_builtin.sh DATA [FOLDER_FOR_STORES]
# The pictures' formats and sizes give the label away, so every one is cropped, resized and re-encoded alike, at two
# sizes and qualities: fitted on one of them alone, small photographs are taken for generated pictures.
set -euo pipefail
cd "$(dirname "$0")/.."
data=$1
stores=${2:-$(mktemp -d)}
aigiscan embed "$data" -o "$stores/limit512.h5" --encoder lite+spam --precision fp32 --equalize limit:512,jpeg:80
aigiscan embed "$data" -o "$stores/square224.h5" --encoder lite+spam --precision fp32 --equalize square:224,jpeg:75
aigiscan fit "$stores/limit512.h5" --also "$stores/square224.h5" -o models/builtin --C 0.001 --seed 0 --name builtin \
  --grade "demonstration grade" \
  --description "a linear probe on lite+spam features; try it, then fit your own" \
  --limit "Misses more than half of the pictures of generators it has not seen at 5 % false alarms; see metrics.held_out." \
  --limit "On a photo source that was left out it flags more than promised; see metrics.achieved for the worst one." \
  --limit "Fitted on 1,616 generated pictures of 62 generators up to 2025 and 860 photographs of 41 sources." \
  --limit "It knows nothing of edited photographs, paintings, scans, screenshots or rendered graphics as such."
