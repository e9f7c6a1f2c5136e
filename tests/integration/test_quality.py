"""`make quality` on a night of the samples."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

from retraining.settings import CHECKOUT


def rows(file: Path) -> list[list[str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))[1:]


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
    closing = done.stdout.splitlines()[-1]
    assert re.match(r"accuracy .* beside LR .*: (met|MISSED); .* ECE .*: MISSED; ", closing)
    cost = re.search(r"([0-9,]+) headlines are learnt in [0-9]+ s .*; with ([0-9.]+) GB", closing)
    assert cost, closing
    assert int(cost[1].replace(",", "")) == sum(len(rows(file)) for file in twelve_nights.glob("*/headlines.csv"))
    assert 0.5 < float(cost[2]) < 3
