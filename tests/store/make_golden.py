"""How tests/store/golden was made, by the version before the row table (commit 64aa559): one file, a folder of parts
with a moved, a dropped and a failed picture, and a run of one file that was cut."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from fake_encoder import FakeEncoder
from store_helpers import HEADS, embed, pictures, records_of

if __name__ == "__main__":
    golden = Path(sys.argv[1]).absolute()
    paths = pictures()
    records = records_of(paths, label=1, generator="gän", caption="a cat")
    embed(golden / "one.h5", records)
    embed(golden / "folder", records[:4])
    paths[1].rename("x/moved.bmp")
    paths[2].write_bytes(b"no picture any more")
    paths[3].unlink()
    embed(golden / "folder", records_of(Path("x").iterdir()), prune=True)

    def cut():  # type: ignore[no-untyped-def]
        yield from records_of([paths[0], *paths[4:], "x/moved.bmp"])
        raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        embed(golden / "cut.h5", cut(), FakeEncoder(HEADS), flush_seconds=0)
