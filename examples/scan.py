"""Judge a folder from Python: `python examples/scan.py [FOLDER]`."""

import sys
from collections import Counter
from pathlib import Path

from aigiscan import Detector

folder = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "photos"
rows = list(Detector.load("builtin").scan(folder))
for row in sorted(rows, key=lambda row: row.p_value if row.p_value is not None else 2.0):
    print(f"{row.verdict:10} {'' if row.p_ai is None else format(row.p_ai, '.2f'):>5}  {row.path}  {row.error}")
print(dict(Counter(row.verdict for row in rows)))
