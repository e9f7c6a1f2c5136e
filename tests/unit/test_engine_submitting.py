"""A job server lives as long as a node's work, whatever becomes of it; a job that nobody waits for is ended."""

import subprocess
import sys

from retraining.settings import CHECKOUT


def test_one_box_imports_none_of_what_hands_over_jobs() -> None:
    code = "import sys, retraining.engines.submitting; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert "retraining.engines.readiness" in done.stdout.split()
    assert not {name for name in done.stdout.split() if name.startswith("apache_beam")}
