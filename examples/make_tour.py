"""Make the pages of docs/tour.md from examples/photos and photograph them: `python examples/make_tour.py`.

Needs Chromium (Debian: `apt-get install chromium`); writes docs/tour/*.jpg, each under 150 kB.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 150_000
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update")  # fmt: skip


def aigiscan(*arguments: object) -> None:
    """Run a command in the checkout, so that names on the pages are short."""
    subprocess.run([sys.executable, "-m", "aigiscan", *map(str, arguments)], cwd=ROOT, check=True)


def photograph(page: Path, target: Path, height: int, width: int = 1100) -> None:
    """The upper part of a page as a JPEG of at most ``MOST_BYTES``."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("needs chromium")
    shot = page.with_suffix(".png")
    size = f"--window-size={width},{height}"
    subprocess.run([browser, *FLAGS, size, f"--screenshot={shot}", page.as_uri()], check=True, capture_output=True)
    for quality in (85, 75, 65, 50):
        out = io.BytesIO()
        Image.open(shot).convert("RGB").save(out, "JPEG", quality=quality, optimize=True)
        if out.tell() <= MOST_BYTES:
            target.write_bytes(out.getvalue())
            return
    sys.exit(f"{target} would be larger than {MOST_BYTES} bytes")


def main() -> None:
    """Scan and explain the example pictures; one picture of each page."""
    target = ROOT / "docs" / "tour"
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        aigiscan("scan", "examples/photos", "-o", folder / "report.csv", "--html", folder / "report.html")
        aigiscan("explain", "builtin", "examples/photos", "-o", folder / "why")
        photograph(folder / "report.html", target / "scan.jpg", 1000)
        photograph(folder / "why" / "index.html", target / "explain.jpg", 1000)


if __name__ == "__main__":
    main()
