"""The sample drops: the same every time, with what real deliveries have."""

import shutil
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from headlines.drops.drops_folder import DropsFolder, find_problem
from headlines.drops.quarantine import Reason
from headlines.drops.rules import Rules
from headlines.drops.samples import write_samples
from headlines.drops.window import Window, check_nothing_lost, read_window

RULES = Rules(
    window_nights=12,
    half_life_nights=3.0,
    max_missing_nights=0,
    label_codes={},
    max_title_characters=500,
    unbalanced_quotes="refuse",
    require_success_marker=False,
    drop_settle_seconds=0,
    as_known_on="",
    eval_percent=20,
    expected_class_mix={"negative": 0.23, "neutral": 0.71, "positive": 0.06},
    text_rules={},
)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder)
    return folder


@pytest.fixture(scope="module")
def window(samples: Path) -> Window:
    return read_window(DropsFolder(samples), date(2022, 2, 12), RULES)


def contents(folder: Path) -> list[tuple[str, bytes]]:
    return [(str(path.relative_to(folder)), path.read_bytes()) for path in sorted(folder.rglob("*.csv"))]


def share(window: Window, label: str, first: int, last: int) -> float:
    labels = [headline.label for headline in window.headlines if first <= headline.night.day <= last]
    return labels.count(label) / len(labels)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(samples: Path, tmp_path: Path) -> None:
    again = write_samples(tmp_path / "again")
    assert [path.parent.name for path in again] == [(date(2022, 2, 1) + timedelta(n)).isoformat() for n in range(12)]
    assert contents(tmp_path / "again") == contents(samples)
    write_samples(tmp_path / "other", seed=1)
    assert contents(tmp_path / "other") != contents(samples)


def test_every_night_is_marked_as_whole_so_that_nothing_waits_for_it_to_settle(samples: Path) -> None:
    assert find_problem(str(samples), "2022-02-12", settle_seconds=3600) is None


def test_fewer_nights_are_the_first_of_more(samples: Path, tmp_path: Path) -> None:
    write_samples(tmp_path, nights=3)
    assert contents(tmp_path) == contents(samples)[:3]


def test_writing_again_completes_what_is_missing_and_leaves_the_rest(samples: Path, tmp_path: Path) -> None:
    files = write_samples(tmp_path, nights=3)
    files[0].write_text("title,sentiment\nmine,neutral\n")
    shutil.rmtree(files[1].parent)
    (tmp_path / ".2022-02-02.tmp").mkdir()
    (tmp_path / ".2022-02-02.tmp" / "headlines.csv").write_text("cut off")
    assert write_samples(tmp_path, nights=3) == files
    assert files[0].read_text().endswith("mine,neutral\n")
    assert contents(tmp_path)[1:] == contents(samples)[1:3]


def test_every_night_has_about_350_headlines_and_few_bad_rows(window: Window) -> None:
    check_nothing_lost(window.drops)
    for drop in window.drops:
        assert 330 <= drop.rows_used <= 360
        assert 0 < drop.rows_quarantined < 0.03 * drop.rows_in
        assert drop.duplicates_folded > 0


def test_every_reason_of_the_quarantine_is_seen(window: Window) -> None:
    reasons = Counter(entry.reason for entry in window.quarantined)
    assert set(reasons) == set(Reason) - {Reason.DUPLICATE, Reason.UNBALANCED_QUOTES}


def test_negatives_become_rarer_and_positives_are_rare(window: Window) -> None:
    assert share(window, "negative", 1, 2) == pytest.approx(0.35, abs=0.05)
    assert share(window, "negative", 11, 12) == pytest.approx(0.15, abs=0.05)
    assert share(window, "positive", 1, 12) == pytest.approx(0.06, abs=0.02)


def test_words_drift_over_the_nights(window: Window) -> None:
    def words(first: int, last: int) -> Counter[str]:
        return Counter(
            word
            for headline in window.headlines
            if first <= headline.night.day <= last
            for word in headline.title.lower().split()
        )

    early, late = words(1, 2), words(11, 12)
    # A topic that fades, one that grows, and the ends of one list of words.
    assert early["reforma"] > 1.5 * late["reforma"]
    assert late["websérie"] > 1.5 * early["websérie"]
    assert early["janeiro"] > 2 * early["julho"]
    assert late["julho"] > 2 * late["janeiro"]


def test_titles_are_varied_and_whole(window: Window) -> None:
    titles = [headline.title for headline in window.headlines]
    assert len({title.casefold() for title in titles}) > 0.99 * len(titles)
    assert not [
        title for title in titles if "{" in title or "  " in title or (not title[0].isupper() and title[0] != "'")
    ]
    lengths = sorted(len(title.split()) for title in titles)
    assert 7 <= lengths[len(lengths) // 2] <= 12 and lengths[-1] <= 25


def test_samples_need_no_label_codes(samples: Path) -> None:
    window = read_window(DropsFolder(samples), date(2022, 2, 1), replace(RULES, window_nights=1))
    assert {headline.label for headline in window.headlines} == {"negative", "neutral", "positive"}
