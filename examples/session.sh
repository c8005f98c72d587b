#!/usr/bin/env bash
# A session, runnable as it is from the checkout: sh examples/session.sh
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mktemp -d)

# 1. A verdict for every picture of a folder; the report goes where you send it.
aigiscan scan examples/photos > "$out/report.csv"
head -3 "$out/report.csv"

# 2. The report is CSV: what was flagged, the most suspicious first, with standard tools.
python - "$out/report.csv" <<'PY'
import csv, sys
rows = [r for r in csv.DictReader(open(sys.argv[1], encoding="utf-8")) if r["verdict"] != "unreadable"]
for row in sorted(rows, key=lambda r: float(r["p_value"]))[:3]:
    print(row["p_value"], row["verdict"], row["path"])
PY

# 3. A list from another tool on standard input, JSON lines out.
find examples/photos -name '*.png' | aigiscan scan - --format jsonl | head -2

# 4. A detector of one's own from a labelled folder (any layout: real/ beside fake/, or a manifest).
mkdir -p "$out/labelled/real" "$out/labelled/fake"
cp examples/photos/{china,flower,grace_hopper,rocket}.jpg examples/photos/{chelsea,coffee}.png "$out/labelled/real"
cp examples/photos/{flux,lightweight,sdxl,dalle,stable}* "$out/labelled/fake"
aigiscan fit "$out/labelled" -o "$out/my-detector" --equalize square:224,jpeg:75   # fourteen pictures: a demonstration
aigiscan scan examples/photos --detector "$out/my-detector" | cut -d, -f1-3 | head -3
