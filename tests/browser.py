"""A real browser for the tests of pages, and the two sizes that they are looked at in."""

import shutil

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
NONE_HERE = "no Chromium here; on Debian: apt-get install chromium"
OPTIONS = [
    f"--{name}"
    for name in ("no-sandbox", "disable-gpu", "disable-background-networking", "no-first-run",
                 "disable-component-update", "disable-sync")
]  # fmt: skip
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
