"""A page in headless Chromium: how wide it lays itself out."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


def layout(page: str, width: int, folder: Path) -> tuple[int, int]:
    """Return the width that ``page`` takes in a frame of ``width`` pixels, and the frame's own."""
    file, frame = folder / "page.html", folder / "frame.html"
    end = "</body>" if "</body>" in page else "</html>"
    probe = "<script>document.title = document.documentElement.scrollWidth + '/' + innerWidth</script>"
    file.write_text(page.replace(end, f"{probe}{end}"))
    # A window is no narrower than 500 pixels: a frame of the phone's width is.
    read = "document.title = document.getElementById('f').contentDocument.title"
    frame.write_text(
        f'<iframe id="f" src="page.html" style="border:0;width:{width}px;height:900px"></iframe>'
        f"<script>onload = () => {read}</script>"
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]
    profile = f"--user-data-dir={folder / 'profile'}"
    done = subprocess.run(
        [str(CHROMIUM), *options, "--window-size=1400,1000", profile, frame.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = re.search(r"<title>(\d+)/(\d+)</title>", done.stdout)
    assert found, done.stderr[-1000:]
    return int(found[1]), int(found[2])
