"""The short form of `make soak`: four nights with faults, and with what a person does to a service in years."""

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


def test_nights_with_a_kill_a_reboot_a_move_and_an_upgrade_come_to_their_verdicts_without_a_person(
    tmp_path: Path,
) -> None:
    soak = Soak(tmp_path, list(SHORT), seed=1)
    assert soak.run() == []
    assert soak.tally.verdicts == {"pushed": 2, "blocked": 1, "skipped": 1}
    assert soak.tally.rows_delivered > 3 * 70
    assert (soak.tally.faults, soak.tally.recovered) == ({"kill scheduler": 1, "reboot": 1}, 2)
