"""`make quality` on one of the twelve nights."""

import json
import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from headlines.drops.drops_folder import DropsFolder
from headlines.drops.quarantine import Reason
from headlines.drops.rules import Rules
from headlines.drops.window import read_window
from retraining.settings import CHECKOUT


def count_readable_rows(drops_dir: Path, drop_rules: dict[str, Any]) -> int:
    """The rows with a title and a label that the service reads in all twelve nights."""
    window = read_window(DropsFolder(drops_dir), date(2022, 2, 12), Rules(**drop_rules))
    conflicts = [entry for entry in window.quarantined if entry.reason is Reason.CONFLICT]
    return len(window.headlines) + len(window.folded) + len(conflicts)


@pytest.mark.long
def test_every_contestant_is_scored_on_a_night_it_has_not_seen(twelve_nights: Path, drop_rules: dict[str, Any]) -> None:
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
    assert int(cost[1].replace(",", "")) == count_readable_rows(twelve_nights, drop_rules)
    assert 0.5 < float(cost[2]) < 3


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.quality", "--drops", str(tmp_path / "none")],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"the drops folder {tmp_path / 'none'} cannot be read")
