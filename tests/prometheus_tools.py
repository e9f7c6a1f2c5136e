"""Prometheus and its promtool, real ones: Debian's package `prometheus` has both."""

import shutil
import subprocess
from pathlib import Path

NONE_HERE = "no promtool or prometheus here; on Debian: apt-get install prometheus"


def find_program(name: str) -> str:
    """Where `promtool` or `prometheus` is; fails, and says what to install, where it is not."""
    path = shutil.which(name)
    assert path is not None, NONE_HERE
    return path


def run_promtool(*arguments: str | Path, page: str = "") -> str:
    """What promtool says of files, or of a page of metrics; fails where that is that something is wrong."""
    answer = subprocess.run(
        [find_program("promtool"), *map(str, arguments)], input=page, capture_output=True, text=True, timeout=120
    )
    said = answer.stdout + answer.stderr
    assert answer.returncode == 0, said
    return said
