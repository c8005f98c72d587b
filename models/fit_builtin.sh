#!/usr/bin/env bash
# Fits the built-in detector from labelled development pictures: bash models/fit_builtin.sh DATA [FOLDER_FOR_STORES]
# The pictures' formats and sizes give the label away, so every one is cropped, resized and re-encoded alike, at three
# sizes and qualities: fitted on one of them alone, small photographs are taken for generated pictures. At the third
# size the photographs are also what small pictures are held against. `reduce:2` lets
# large JPEGs be reduced while they are decoded; pictures under 2,048 pixels are not touched by it. The networks of
# `lite:trained` were trained on the same pictures before: python models/lite/train.py DATA models/lite/trained.safetensors
set -euo pipefail
cd "$(dirname "$0")/.."
data=$1
stores=${2:-$(mktemp -d)}
encoder=lite+lite:trained+spam
aigiscan embed "$data" -o "$stores/limit512" --encoder $encoder --precision fp32 --equalize reduce:2,limit:512,jpeg:80
aigiscan embed "$data" -o "$stores/square224" --encoder $encoder --precision fp32 --equalize square:224,jpeg:75
aigiscan embed "$data" -o "$stores/limit320" --encoder $encoder --precision fp32 --equalize reduce:2,limit:320,jpeg:80
python models/fit_builtin.py "$stores/limit512" "$stores/square224" "$stores/limit320" models/builtin
