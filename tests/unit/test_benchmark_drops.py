"""The benchmarks read drops as the service does: whatever it would quarantine or fold stops none of them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import serving
from benchmarks.drops import read_headlines
from headlines.drops.samples import write_samples
from retraining.settings import Settings

Rows = list[tuple[str, str, str]]


def read(drops_dir: Path) -> Rows:
    headlines = read_headlines(drops_dir, Settings.from_env())
    return [(str(headline.night), headline.title, headline.label) for headline in headlines]


def test_codes_other_delimiters_and_a_byte_order_mark_are_read_and_a_broken_byte_costs_its_row(
    drops_dir: Path, deliver: Callable[..., Path]
) -> None:
    good = "".join(f"Manchete número {number},neutral\n" for number in range(20))
    deliver("2022-02-01", f"title,sentiment\n{good}".encode() + b"Caf\xe9,negative\n")
    deliver("2022-02-02", "\ufeffsentiment;title\n0;Acidente na rodovia\n".encode())
    assert [row for row in read(drops_dir) if not row[1].startswith("Manchete número")] == [
        ("2022-02-02", "Acidente na rodovia", "negative")
    ]


def test_the_newest_version_of_a_night_counts_and_duplicates_are_kept_as_delivered(
    drops_dir: Path, deliver: Callable[..., Path]
) -> None:
    deliver("2022-02-01", "Escola abre,neutral\n")
    deliver("2022-02-01", "Escola abre,positive\nEscola abre,positive\n", name="v2/headlines.csv")
    deliver("2022-02-02", "Escola abre,neutral\n")
    deliver("2022-02-02", "title\nSem rótulo\n".encode(), name="unlabelled.csv")
    assert read(drops_dir) == [
        ("2022-02-01", "Escola abre", "positive"), ("2022-02-01", "Escola abre", "positive"),
        ("2022-02-02", "Escola abre", "neutral"),
    ]  # fmt: skip


@pytest.mark.parametrize("delivered", [True, False])
def test_the_load_on_the_model_server_has_titles_of_drops_that_hold_broken_bytes(
    delivered: bool, tmp_path: Path
) -> None:
    drops = tmp_path / "drops"
    if delivered:
        write_samples(drops, nights=4)
    titles = serving.read_titles(Settings.from_env(drops_dir=drops), tmp_path / "samples")
    assert (tmp_path / "samples").exists() is not delivered
    assert len(titles) > 1000
    # As a request's JSON has it; a broken byte could not be encoded.
    assert all(title.encode() for title in titles)
