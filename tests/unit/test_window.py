"""Which nights a run reads, how their headlines are split and weighed, and that no row is lost on the way."""

import csv
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headlines.drops.drops_folder import DropError, DropsFolder
from headlines.drops.rules import Rules
from headlines.drops.rulings import NO_PRECEDENTS, Precedents, Ruled, Ruling
from headlines.drops.sources import choose_earlier_nights, hash_versions
from headlines.drops.window import Window, check_nothing_lost, read_window, split_of, weigh
from modules.text import TextSettings, normalise

Deliver = Callable[..., Path]
RULES = Rules(
    window_nights=3,
    half_life_nights=3.0,
    max_missing_nights=1,
    label_codes={"0": "negative", "1": "neutral", "2": "positive"},
    max_title_characters=60,
    unbalanced_quotes="refuse",
    require_success_marker=False,
    drop_settle_seconds=0,
    as_known_on="",
    eval_percent=20,
    expected_class_mix={"negative": 0.23, "neutral": 0.71, "positive": 0.06},
    text_rules={},
)
TEXT = TextSettings()


def day(number: int) -> date:
    return date(2022, 2, number)


def deliver_nights(deliver: Deliver, *numbers: int) -> None:
    for number in numbers:
        deliver(day(number).isoformat(), f"Título da noite {'abcdefghijkl'[number]},neutral\n")


def nights_read(drops_dir: Path, night: date, rules: Rules) -> list[int]:
    return [drop.version.night.day for drop in read_window(DropsFolder(drops_dir), night, rules).drops]


def test_the_window_ends_with_the_night_and_never_reaches_a_later_one(drops_dir: Path, deliver: Deliver) -> None:
    deliver_nights(deliver, 1, 2, 3, 4)
    deliver("2022-02-05", b"")  # unreadable: it would fail the run if it were opened
    (drops_dir / "2022-02-06").write_text("not even a folder")
    assert nights_read(drops_dir, day(4), RULES) == [2, 3, 4]
    assert nights_read(drops_dir, day(4), replace(RULES, window_nights=0)) == [1, 2, 3, 4]
    assert nights_read(drops_dir, day(4), replace(RULES, window_nights=1)) == [4]


def test_a_night_before_the_window_is_not_read(drops_dir: Path, deliver: Deliver) -> None:
    deliver_nights(deliver, 2, 3, 4)
    deliver("2022-02-01", b"")
    assert nights_read(drops_dir, day(4), RULES) == [2, 3, 4]


def test_missing_nights_are_allowed_up_to_the_limit_and_said(
    drops_dir: Path, deliver: Deliver, caplog: pytest.LogCaptureFixture
) -> None:
    deliver_nights(deliver, 1, 2, 4)
    window = read_window(DropsFolder(drops_dir), day(4), RULES)
    assert window.missing == (day(3),)
    assert "2022-02-03" in caplog.text
    with pytest.raises(DropError, match="2022-02-03") as caught:
        read_window(DropsFolder(drops_dir), day(4), replace(RULES, max_missing_nights=0))
    assert "MAX_MISSING_NIGHTS" in str(caught.value)


def test_a_night_that_was_not_known_then_is_missing(drops_dir: Path, deliver: Deliver) -> None:
    deliver_nights(deliver, 1, 2, 3)
    for number, delivered in ((1, 1), (2, 9), (3, 3)):
        moment = f'{{"delivered": "2022-02-0{delivered}T12:00:00+00:00"}}'
        deliver(day(number).isoformat(), moment.encode(), "_SUCCESS")
    then = replace(RULES, as_known_on="2022-02-03T23:59:59+00:00")
    assert nights_read(drops_dir, day(3), then) == [1, 3]
    assert read_window(DropsFolder(drops_dir), day(3), then).missing == (day(2),)
    assert nights_read(drops_dir, day(3), RULES) == [1, 2, 3]


def test_all_so_far_counts_missing_nights_too(drops_dir: Path, deliver: Deliver) -> None:
    deliver_nights(deliver, 1, 4)
    with pytest.raises(DropError, match="2022-02-02, 2022-02-03"):
        read_window(DropsFolder(drops_dir), day(4), replace(RULES, window_nights=0))


def test_nights_before_the_first_delivery_are_not_missing(drops_dir: Path, deliver: Deliver) -> None:
    deliver_nights(deliver, 10)
    assert choose_earlier_nights(DropsFolder(drops_dir), day(10), replace(RULES, window_nights=12)) == ([], ())


def test_a_missing_night_of_the_run_itself_fails_first(drops_dir: Path, deliver: Deliver) -> None:
    deliver_nights(deliver, 1)
    with pytest.raises(DropError, match=r"night 2022-02-10 has no drop"):
        read_window(DropsFolder(drops_dir), day(10), RULES)


def test_an_older_drop_that_cannot_be_read_fails_the_run_and_is_named(drops_dir: Path, deliver: Deliver) -> None:
    deliver_nights(deliver, 1, 2)
    broken = deliver("2022-02-01", b"titulo\nx\n")
    with pytest.raises(DropError, match="must name the columns") as caught:
        read_window(DropsFolder(drops_dir), day(2), RULES)
    assert str(broken) in str(caught.value)
    broken.unlink()
    with pytest.raises(DropError, match="2022-02-01 is not complete"):
        read_window(DropsFolder(drops_dir), day(2), RULES)


def test_a_look_beside_a_window_goes_on_without_nights_that_cannot_be_read_but_not_without_its_own(
    drops_dir: Path, deliver: Deliver
) -> None:
    deliver_nights(deliver, 1, 2, 3, 4)
    broken = deliver("2022-02-02", b"titulo\nx\n")
    (drops_dir / "2022-02-03" / "headlines.csv").unlink()
    rules = replace(RULES, window_nights=4, max_missing_nights=0)
    unread: dict[date, DropError] = {}
    window = read_window(DropsFolder(drops_dir), day(4), rules, unread=unread)
    assert [drop.version.night for drop in window.drops] == [day(1), day(4)]
    assert sorted(unread) == [day(2), day(3)] and window.missing == ()
    assert str(broken) in str(unread[day(2)]) and "holds no CSV file" in str(unread[day(3)])
    with pytest.raises(DropError, match="2022-02-03 is not complete"):
        read_window(DropsFolder(drops_dir), day(4), rules)
    for own in (2, 3):
        with pytest.raises(DropError):
            read_window(DropsFolder(drops_dir), day(own), rules, unread={})


def test_a_correction_replaces_the_whole_drop(drops_dir: Path, deliver: Deliver) -> None:
    deliver("2022-02-01", "Chove,negative\nSol,neutral\n")
    before = read_window(DropsFolder(drops_dir), day(1), RULES).drops[0]
    deliver("2022-02-01", "Chove,neutral\n", "v2/headlines.csv")
    window = read_window(DropsFolder(drops_dir), day(1), RULES)
    assert [(headline.title, headline.label, headline.version) for headline in window.headlines] == [
        ("Chove", "neutral", 2)
    ]
    assert window.drops[0].sha256 != before.sha256


def test_a_weight_halves_with_every_half_life_and_never_vanishes() -> None:
    assert weigh(0, 3.0) == 1.0
    assert weigh(3, 3.0) == 0.5
    assert weigh(6, 3.0) == 0.25
    assert weigh(1000, 3.0) == 1e-6
    assert weigh(1000, 0.0) == 1.0


def test_the_split_follows_the_normalised_title_alone() -> None:
    # Fixed values: a change of the hash would move titles that earlier models have trained on into evaluation.
    titles = ["Chove", " CHOVE", "Sol", "Ouro", "Eleição no Pará", "Lua", "Mar"]
    splits = ["eval", "eval", "train", "train", "eval", "eval", "train"]
    assert [split_of(normalise(title, TEXT), 20) for title in titles] == splits
    share = sum(split_of(str(number), 20) == "eval" for number in range(5000)) / 5000
    assert share == pytest.approx(0.2, abs=0.02)


def test_titles_of_evaluation_stay_there_when_its_share_grows() -> None:
    few, many = ({str(n) for n in range(1000) if split_of(str(n), percent) == "eval"} for percent in (10, 30))
    assert few < many


def test_a_lost_row_is_noticed(drops_dir: Path, deliver: Deliver) -> None:
    deliver_nights(deliver, 1)
    drops = read_window(DropsFolder(drops_dir), day(1), RULES).drops
    check_nothing_lost(drops)
    with pytest.raises(RuntimeError, match=r"night 2022-02-01 were lost or invented: 1 came in, but 0 used"):
        check_nothing_lost([replace(drops[0], rows_used=0)])


def test_over_all_twelve_nights_no_title_is_in_two_splits_and_no_row_is_lost(twelve_nights: Path) -> None:
    splits: dict[str, set[str]] = {}
    for number in range(1, 13):
        rules = replace(RULES, window_nights=12, max_title_characters=500)
        window = read_window(DropsFolder(twelve_nights), day(number), rules)
        assert [drop.version.night.day for drop in window.drops] == list(range(1, number + 1))
        check_nothing_lost(window.drops)
        delivered = 0
        for path in twelve_nights.glob("*/*.csv"):
            if path.parent.name <= day(number).isoformat():
                with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
                    delivered += sum(1 for row in csv.reader(file) if row) - 1
        assert len(window.headlines) + len(window.quarantined) + len(window.folded) == delivered
        for headline in window.headlines:
            splits.setdefault(normalise(headline.title, TEXT), set()).add(split_of(headline.key, rules.eval_percent))
    assert len(splits) > 3000
    assert all(len(places) == 1 for places in splits.values())


@pytest.mark.parametrize("corrected", [(), (3, 5, 11)], ids=["as delivered", "with corrections"])
def test_over_all_twelve_nights_in_one_window_fresh_rows_are_rows_that_no_earlier_model_has_seen(
    corrected: tuple[int, ...], twelve_nights: Path, tmp_path: Path
) -> None:
    """Every night is run as it comes, then corrected, then run again, as are those after it."""
    drops = tmp_path / "drops"
    shutil.copytree(twelve_nights, drops)
    rules = replace(RULES, window_nights=12, max_title_characters=500)
    trained: dict[int, set[str]] = {}
    judged: dict[int, set[str]] = {}

    def run(number: int) -> int:
        window = read_window(DropsFolder(drops), day(number), rules)
        fresh = {headline.key for headline in window.fresh}
        for other in range(1, 13):
            assert not fresh & trained.get(other, set()), "no model of whatever night ever trains on them"
        for earlier in range(1, number):
            assert not fresh & judged[earlier], "no model of an earlier night was judged by them either"
        for headline in window.headlines:
            place = trained if split_of(headline.key, rules.eval_percent) == "train" else judged
            place.setdefault(number, set()).add(headline.key)
        assert fresh <= judged[number]
        return len(fresh)

    assert all(run(number) > 20 for number in range(1, 13))
    for number in corrected:
        folder = drops / day(number).isoformat()
        lines = next(folder.glob("*.csv")).read_bytes().splitlines(keepends=True)
        (folder / "v2").mkdir()
        # The second half of it is out now, and some titles of other nights are in.
        (folder / "v2" / "headlines.csv").write_bytes(b"".join(lines[: len(lines) // 2]))
        moved = drops / day(number + 1).isoformat() / "moved.csv"
        moved.write_bytes(b"".join([lines[0], *lines[len(lines) // 2 :]]))
        assert all(run(later) > 0 for later in range(number, 13))


def test_a_title_older_than_the_window_is_fresh_again_and_still_trains_nobody(
    drops_dir: Path, deliver: Deliver
) -> None:
    for number, title in enumerate(("Chove", "Sol", "Ouro", "Mar"), 1):
        deliver(day(number).isoformat(), f"{title},neutral\n")
    deliver(day(4).isoformat(), "Chove,neutral\n")
    window = read_window(DropsFolder(drops_dir), day(4), RULES)
    assert [headline.key for headline in window.fresh] == ["chove"]
    assert not read_window(DropsFolder(drops_dir), day(4), replace(RULES, window_nights=4)).fresh


def test_a_version_that_was_refused_is_seen_by_no_comparison_and_its_titles_are_fresh(
    drops_dir: Path, deliver: Deliver
) -> None:
    """Neither as the version that the night's own corrects, nor as one that an earlier night's replaced."""
    drops = DropsFolder(drops_dir)
    deliver(day(1).isoformat(), "Chove,neutral\n")
    [(_, sha256)] = hash_versions([drops.find_version(day(1))])
    deliver(day(1).isoformat(), "Chove,neutral\nSol,neutral\n", "v2/headlines.csv")
    at = datetime(2022, 2, 2, tzinfo=UTC)
    precedents = Precedents((Ruling(1, day(1).isoformat(), 1, sha256, Ruled.REFUSED, "swapped", "DropGate", at),))

    def read(number: int, precedents: Precedents) -> Window:
        return read_window(DropsFolder(drops_dir), day(number), RULES, precedents=precedents)

    assert read(1, NO_PRECEDENTS).figures.seen_titles == 1
    assert read(1, precedents).figures.seen_titles == 0
    deliver(day(1).isoformat(), "Sol,neutral\n", "v3/headlines.csv")
    shutil.rmtree(drops_dir / day(1).isoformat() / "v2")
    deliver(day(2).isoformat(), "Chove,neutral\n")
    assert read(2, NO_PRECEDENTS).fresh == []
    assert [headline.key for headline in read(2, precedents).fresh] == ["chove"]


# Few words, so that duplicates, conflicts and every fault are common.
TITLES = st.sampled_from(["Chove", "chove ", "CHOVE", "Sol", "São João", "", "  ", "x" * 61, "a\nb", "=1", 'diz "não"'])
LABELS = st.sampled_from(["negative", "neutral", "positive", "0", "1", "2", "Neutral", "", "3", "bom"])
GOOD = {"negative", "neutral", "positive", "0", "1", "2", "Neutral"}
ROWS = st.lists(st.one_of(st.tuples(TITLES, LABELS), st.tuples(TITLES, LABELS, LABELS)), min_size=1, max_size=12)
DELIVERIES = st.dictionaries(
    st.tuples(st.integers(1, 6), st.integers(1, 3)), st.tuples(ROWS, st.sampled_from(",;\t")), min_size=1
)


@settings(deadline=None, max_examples=60)
@given(deliveries=DELIVERIES, window_nights=st.integers(0, 6), data=st.data())
def test_rows_in_are_used_quarantined_or_folded_whatever_is_delivered(
    deliveries: dict[tuple[int, int], Any], window_nights: int, data: st.DataObject
) -> None:
    rules = replace(RULES, window_nights=window_nights, max_missing_nights=6)
    with tempfile.TemporaryDirectory() as folder:
        for (night, version), (rows, delimiter) in deliveries.items():
            place = Path(folder) / day(night).isoformat() / ("" if version == 1 else f"v{version}")
            place.mkdir(parents=True, exist_ok=True)
            with (place / "headlines.csv").open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, delimiter=delimiter).writerows([("title", "sentiment"), *rows])
        newest = {night: max(v for n, v in deliveries if n == night) for night, _ in deliveries}
        splits: dict[str, str] = {}
        for night in data.draw(st.permutations(sorted(newest))):
            window = read_window(DropsFolder(Path(folder)), day(night), rules)
            first = night - (window_nights or 28) + 1
            read = {n: v for n, v in newest.items() if first <= n <= night}
            assert {drop.version.night.day: drop.version.number for drop in window.drops} == read
            for drop in window.drops:
                number = drop.version.night.day
                assert drop.rows_in == len(deliveries[number, read[number]][0])
            check_nothing_lost(window.drops)
            everything = [*window.headlines, *window.quarantined, *window.folded]
            assert len({(entry.night, entry.row.line) for entry in everything}) == len(everything)
            assert len({(headline.title, headline.label) for headline in window.headlines}) == len(window.headlines)
            labels: dict[str, str] = {}
            for headline in window.headlines:
                assert headline.night <= day(night)
                assert day(night) - headline.night < timedelta(days=window_nights or 28)
                assert labels.setdefault(headline.key, headline.label) == headline.label
                split = split_of(headline.key, rules.eval_percent)
                assert splits.setdefault(normalise(headline.row.title, TEXT), split) == split
            for headline in window.fresh:
                assert headline in window.headlines and headline.night == day(night)
                assert split_of(headline.key, rules.eval_percent) == "eval"
                readable = [*window.headlines, *window.folded]
                assert not any(e.night < day(night) and normalise(e.row.title, TEXT) == headline.key for e in readable)
                for (other, _), (rows, _) in deliveries.items():
                    usable = {normalise(title, TEXT) for title, *label in rows if label[1:] == [] and label[0] in GOOD}
                    assert not (first <= other < night and headline.key in usable), "in a version that was replaced"


@settings(deadline=None, max_examples=20)
@given(arrivals=st.lists(st.tuples(st.integers(1, 3), ROWS), min_size=1, max_size=5), window_nights=st.integers(0, 3))
def test_a_past_moment_replays_what_was_read_then_whatever_came_later(
    arrivals: list[tuple[int, Any]], window_nights: int
) -> None:
    """Drops, and corrections of them, arrive one after the other, in any order of nights."""
    rules = replace(RULES, window_nights=window_nights, max_missing_nights=6)

    def read(folder: str, as_known_on: str = "") -> dict[int, Any]:
        windows = {}
        for night in range(1, 4):
            try:
                windows[night] = read_window(
                    DropsFolder(Path(folder)), day(night), replace(rules, as_known_on=as_known_on)
                )
            except DropError:
                windows[night] = None  # not delivered yet
        return windows

    with tempfile.TemporaryDirectory() as folder:
        seen = []
        for hour, (night, rows) in enumerate(arrivals):
            place = Path(folder) / day(night).isoformat()
            if place.exists():
                place /= f"v{2 + sum(path.is_dir() for path in place.iterdir())}"
            place.mkdir()
            with (place / "headlines.csv").open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([("title", "sentiment"), *rows])
            (place / "_SUCCESS").write_text(f'{{"delivered": "2022-03-01T{hour:02}:30:00+00:00"}}')
            seen.append(read(folder))
        for hour, windows in enumerate(seen):
            assert read(folder, f"2022-03-01T{hour:02}:45:00+00:00") == windows
