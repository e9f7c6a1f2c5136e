"""The short form of `make soak`: a week with faults, and with what a person does to a service in years."""

from pathlib import Path

import pytest
from moved_clock import find_library
from soak import Soak
from soak_year import SHORT

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        find_library() is None, reason="no clock to move; on Linux on x86-64: pip install libfaketime==3.0.1"
    ),
]


def test_a_week_of_kills_a_reboot_a_move_and_an_upgrade_goes_by_without_a_person(tmp_path: Path) -> None:
    soak = Soak(tmp_path, list(SHORT), seed=1)
    assert soak.run() == []
    assert soak.tally.verdicts == {"pushed": 3, "skipped": 1, "blocked": 1}
    assert soak.tally.rows_delivered > 5 * 70
    assert (soak.tally.faults, soak.tally.recovered) == ({"kill scheduler": 1, "reboot": 1}, 2)
