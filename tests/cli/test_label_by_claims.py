from __future__ import annotations

import csv
import sys
from pathlib import Path

from cli_calls import call

sys.path.insert(0, str(Path(__file__).parents[1] / "provenance"))

from cases import WEB_UI
from files import exif, png, saved, user_comment

from aigiscan.images.labels import find_labelled


def test_a_manifest_from_claims_that_fit_reads(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    camera = {0x0110: "Canon EOS 5D"}
    (folder / "ai.png").write_bytes(png({"parameters": WEB_UI}))
    (folder / "photo.jpg").write_bytes(saved("JPEG", exif=exif(camera)))
    (folder / "both.jpg").write_bytes(saved("JPEG", exif=exif(camera, {0x9286: user_comment(WEB_UI)})))
    (folder / "nothing.jpg").write_bytes(saved("JPEG"))
    (folder / "broken.jpg").write_bytes(b"")
    done = call("label-by-claims", folder, "-o", tmp_path / "manifest.csv")
    assert "2 left out, 1 fake, 1 unreadable, 1 real" in " ".join(done.stderr.split())
    with open(tmp_path / "manifest.csv", newline="") as file:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    assert set(rows) == {"ai.png", "photo.jpg"}
    assert rows["ai.png"]["generator"] == "Stable Diffusion web UI"
    assert rows["photo.jpg"]["source"] == "Canon EOS 5D"
    assert "PNG text parameters" in rows["ai.png"]["claims"]
    labels = {Path(record.path).name: record.label for record in find_labelled(str(tmp_path / "manifest.csv"))}
    assert labels == {"ai.png": 1, "photo.jpg": 0}


def test_a_folder_that_claims_nothing_writes_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "nothing.jpg").write_bytes(saved("JPEG"))
    call("label-by-claims", tmp_path, "-o", tmp_path / "m.csv", refused="claims anything that labels it")
    assert not (tmp_path / "m.csv").exists()
