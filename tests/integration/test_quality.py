"""`make quality` on a night of the samples."""

import json
import re
import subprocess
import sys
from pathlib import Path

from retraining.settings import CHECKOUT


def test_every_contestant_is_scored_on_a_night_it_has_not_seen(twelve_nights: Path) -> None:
    quick = json.dumps({"epochs": 1, "min_steps": 1})
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.quality", "--drops", str(twelve_nights), "--first-night", "3",
         "--last-night", "3", "--seeds", "1", "--hyperparameters", quick],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    # A model of one epoch meets no target.
    assert done.returncode == 1, done.stderr[-3000:]
    accuracy = {
        name: float(found[1])
        for name in ("majority class", "TF-IDF + LR", "the article's", "ours")
        if (found := re.search(rf"{re.escape(name)} +│ +([0-9.]+)", done.stdout))
    }
    assert list(accuracy) == ["majority class", "TF-IDF + LR", "the article's", "ours"], done.stdout
    assert accuracy["TF-IDF + LR"] > accuracy["majority class"] > 0.4
    assert re.match(r"accuracy .* beside LR .*: (met|MISSED); .* ECE .*: MISSED$", done.stdout.splitlines()[-1])
