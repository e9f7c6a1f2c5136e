"""The contract of a drop: which files of which version are read, and what makes one unreadable as a whole."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from headlines.drops.drops_folder import DropError, DropsFolder, find_problem, list_unlabelled, parse_night
from headlines.drops.rows import read_file, stream_titles
from headlines.names import SUCCESS_MARKER
from modules.features import LABELS

NIGHT = date(2022, 2, 1)
ROW = "Governo anuncia plano,neutral\n"
Deliver = Callable[..., Path]
PassTime = Callable[[float], None]


def test_several_files_of_a_night_are_one_drop_in_the_order_of_their_names(drops_dir: Path, deliver: Deliver) -> None:
    names = [f"{letter}.csv" for letter in "hbgaecfd"] + ["z.CSV"]
    for name in names:
        deliver("2022-02-01", ROW, name)
    version = DropsFolder(drops_dir).find_version(NIGHT)
    assert version.number == 1
    assert [path.name for path in version.files] == sorted(names)


def test_the_newest_correction_counts_alone(drops_dir: Path, deliver: Deliver) -> None:
    for place in ("", "v2/", "v10/", "v1/", "v03/", "notes/"):
        deliver("2022-02-01", ROW, f"{place}headlines.csv")
    version = DropsFolder(drops_dir).find_version(NIGHT)
    assert version.number == 10
    assert version.files == (drops_dir / "2022-02-01" / "v10" / "headlines.csv",)


@pytest.mark.parametrize("name", [".headlines.csv", "headlines.csv.tmp", "headlines.csv.part", "headlines.csv~"])
def test_temporary_files_are_not_read(drops_dir: Path, deliver: Deliver, name: str) -> None:
    temporary = deliver("2022-02-01", ROW, name)
    problem = find_problem(str(drops_dir), "2022-02-01")
    assert problem is not None
    assert f"{temporary.parent} holds only temporary files ({name})" in problem
    whole = deliver("2022-02-01", ROW)
    deliver("2022-02-01", b"", "_SUCCESS")
    assert DropsFolder(drops_dir).find_version(NIGHT).files == (whole,)


@pytest.mark.parametrize(
    "name", ["b.csv.part", ".b.csv.Xa12zQ", "B.CSV.tmp", ".b.csv", "b.csv.filepart", "b.csv.1a2b3c4d.partial"]
)
def test_half_a_delivery_of_several_files_waits_however_old_it_is(
    drops_dir: Path, deliver: Deliver, pass_time: PassTime, name: str
) -> None:
    """An upload may stall for longer than any time to settle, and a version that was used never changes."""
    first = deliver("2022-02-01", ROW, "a.csv")
    under_way = deliver("2022-02-01", ROW, name)
    pass_time(86_400)
    problem = find_problem(str(drops_dir), "2022-02-01", settle_seconds=10)
    assert problem is not None and f"{first.parent} holds what may be files still under way ({name})" in problem
    for way_out in ("rename them to *.csv", "delete them", f"create {first.parent}/_SUCCESS"):
        assert way_out in problem
    assert find_problem(str(drops_dir), "2022-02-01") == problem
    second = under_way.rename(first.with_name("b.csv"))
    assert DropsFolder(drops_dir).find_version(NIGHT, settle_seconds=10).files == (first, second)


def test_half_a_correction_does_not_replace_the_version_before_it(drops_dir: Path, deliver: Deliver) -> None:
    deliver("2022-02-01", ROW)
    deliver("2022-02-01", ROW, "v2/a.csv")
    left = deliver("2022-02-01", ROW, "v2/b.csv.part")
    assert DropsFolder(drops_dir).find_version(NIGHT).number == 1
    left.unlink()
    assert DropsFolder(drops_dir).find_version(NIGHT).number == 2


def test_half_a_delivery_that_is_marked_as_whole_is_whole(drops_dir: Path, deliver: Deliver) -> None:
    whole = deliver("2022-02-01", ROW, "a.csv")
    deliver("2022-02-01", ROW, "b.csv.part")
    deliver("2022-02-01", b"", "_SUCCESS")
    assert DropsFolder(drops_dir).find_version(NIGHT, require_success_marker=True, settle_seconds=10).files == (whole,)


@pytest.mark.parametrize(
    "name",
    [
        *(".a.csv.swp", ".a.csv.swo", "a.csv~", ".a.csv.un~", ".~lock.a.csv#", ".#a.csv", "._a.csv", ".DS_Store"),
        *("notes.txt.part", "unlabelled.csv.part", ".unlabelled-2.csv.Xa12zQ", "a.csv.md5"),
    ],
)
def test_what_is_no_csv_file_under_way_holds_nobody_up(drops_dir: Path, deliver: Deliver, name: str) -> None:
    whole = deliver("2022-02-01", ROW, "a.csv")
    deliver("2022-02-01", ROW, name)
    assert DropsFolder(drops_dir).find_version(NIGHT).files == (whole,)


def test_parts_that_are_packed_or_separated_by_tabs_are_read_too(drops_dir: Path, deliver: Deliver) -> None:
    names = ["a.csv", "b.csv.gz", "c.tsv", "d.tsv.gz", "e.CSV.GZ", "f.TSV"]
    for name in names:
        deliver("2022-02-01", ROW, name)
    version = DropsFolder(drops_dir).find_version(NIGHT)
    assert ([path.name for path in version.files], version.passed_over) == (names, ())


def test_what_is_passed_over_is_named(drops_dir: Path, deliver: Deliver, caplog: pytest.LogCaptureFixture) -> None:
    strays = ["V2/a.csv", "a.txt", "b.xlsx", "c.zip", "csv/a.csv", "v02/a.csv", "v1/a.csv"]
    expected = ["_SUCCESS", "_started", ".DS_Store", "._a.csv", "a.csv~", ".a.csv.swp", "unlabelled.csv", "n.txt.part"]
    for name in (*strays, *expected, "a.csv"):
        deliver("2022-02-01", ROW, name)
    (drops_dir / "2022-02-01" / "notes").symlink_to("gone")
    version = DropsFolder(drops_dir).find_version(NIGHT)
    assert version.files == (drops_dir / "2022-02-01" / "a.csv",)
    assert version.passed_over == ("V2/", "a.txt", "b.xlsx", "c.zip", "csv/", "notes", "v02/", "v1/")
    assert "Night 2022-02-01: V2/, a.txt, b.xlsx, c.zip, csv/, notes, v02/, v1/ passed over" in caplog.text


def test_beside_a_correction_stray_folders_are_named_and_the_files_of_the_version_before_it_are_not(
    drops_dir: Path, deliver: Deliver
) -> None:
    for name in ("a.csv", "a.txt", "V3/a.csv", "v2/a.csv", "v2/b.txt", "v2/more/a.csv"):
        deliver("2022-02-01", ROW, name)
    assert DropsFolder(drops_dir).find_version(NIGHT).passed_over == ("V3/", "v2/b.txt", "v2/more/")


def test_what_a_marker_leaves_out_is_named(drops_dir: Path, deliver: Deliver) -> None:
    for name in ("a.csv", "b.csv.part", "_SUCCESS"):
        deliver("2022-02-01", ROW, name)
    assert DropsFolder(drops_dir).find_version(NIGHT).passed_over == ("b.csv.part",)


def test_where_nothing_can_be_read_what_lies_there_is_named(drops_dir: Path, deliver: Deliver) -> None:
    deliver("2022-02-01", ROW, "headlines.txt")
    problem = find_problem(str(drops_dir), "2022-02-01")
    assert problem is not None and f"{drops_dir}/2022-02-01 holds no CSV file, only headlines.txt; deliver" in problem


@pytest.mark.parametrize("marker", [[], ["_SUCCESS"]])
def test_a_link_that_leads_nowhere_is_told_and_not_left_out(
    drops_dir: Path, deliver: Deliver, marker: list[str]
) -> None:
    for name in ["a.csv", *marker]:
        deliver("2022-02-01", ROW, name)
    link = drops_dir / "2022-02-01" / "b.csv"
    link.symlink_to("gone.csv")
    problem = find_problem(str(drops_dir), "2022-02-01")
    assert problem is not None
    assert f"{link.parent} holds links that lead to no file (b.csv); put the files there" in problem
    (link.parent / "gone.csv").write_text(f"title,sentiment\n{ROW}")
    link.unlink()
    assert find_problem(str(drops_dir), "2022-02-01") is None


def test_a_name_that_is_not_utf_8_is_told_and_not_read(
    drops_dir: Path, deliver: Deliver, caplog: pytest.LogCaptureFixture
) -> None:
    deliver("2022-02-01", ROW)
    bad = deliver("2022-02-01", ROW, os.fsdecode("elei\xe7\xf5es.csv".encode("latin-1")))
    deliver("2022-02-01", b"", "_SUCCESS")
    problem = find_problem(str(drops_dir), "2022-02-01")
    assert problem is not None and problem.isascii()
    assert rf"the name {drops_dir}/2022-02-01/elei\xe7\xf5es.csv is not UTF-8; rename it" in problem
    for read in (read_file, lambda path: list(stream_titles(path))):
        with pytest.raises(DropError, match=r"elei\\xe7\\xf5es\.csv is not UTF-8; rename it and deliver it again"):
            read(bad)
    bad.rename(bad.with_name(os.fsdecode(b"notas-\xe7")))
    assert DropsFolder(drops_dir).find_version(NIGHT).passed_over == (r"notas-\xe7",)
    assert r"notas-\xe7" in caplog.text


def test_a_correction_under_way_does_not_hide_the_version_before_it(
    drops_dir: Path, deliver: Deliver, caplog: pytest.LogCaptureFixture
) -> None:
    deliver("2022-02-01", ROW)
    deliver("2022-02-01", ROW, "v2/headlines.csv.part")
    assert DropsFolder(drops_dir).find_version(NIGHT).number == 1
    assert "version 1 counts" in caplog.text and "v2 holds only temporary files" in caplog.text


def test_the_success_marker_is_honoured_when_asked_for(drops_dir: Path, deliver: Deliver) -> None:
    deliver("2022-02-01", ROW)
    assert find_problem(str(drops_dir), "2022-02-01") is None
    problem = find_problem(str(drops_dir), "2022-02-01", require_success_marker=True)
    assert problem is not None and "has no _SUCCESS file" in problem and "REQUIRE_SUCCESS_MARKER" in problem
    deliver("2022-02-01", b"", "_SUCCESS")
    assert find_problem(str(drops_dir), "2022-02-01", require_success_marker=True) is None


def test_a_file_that_changed_a_moment_ago_waits_until_it_is_left_alone(
    drops_dir: Path, deliver: Deliver, pass_time: PassTime
) -> None:
    deliver("2022-02-01", ROW, "a.csv")
    newest = deliver("2022-02-01", ROW, "b.csv")
    pass_time(3600)
    os.utime(newest, times=(time.time() - 3,) * 2)
    problem = find_problem(str(drops_dir), "2022-02-01", settle_seconds=10)
    assert problem is not None and "2022-02-01 changed 3 s ago and may still be growing" in problem
    assert "left alone for 10 s" in problem and "_SUCCESS" in problem
    assert find_problem(str(drops_dir), "2022-02-01", settle_seconds=0) is None
    pass_time(8)
    assert find_problem(str(drops_dir), "2022-02-01", settle_seconds=10) is None


def move(old: Path, new: Path) -> None:
    old.rename(new)


def copy_with_times(old: Path, new: Path) -> None:
    shutil.copy2(old, new)


def link(old: Path, new: Path) -> None:
    new.symlink_to(old)


def hard_link(old: Path, new: Path) -> None:
    new.hardlink_to(old)


def unzip(old: Path, new: Path) -> None:
    new.write_bytes(old.read_bytes())
    os.utime(new, times=(0, 0))


@pytest.mark.parametrize("arrive", [move, copy_with_times, link, hard_link, unzip])
def test_a_file_that_arrives_with_the_times_of_another_place_waits_like_any_other(
    drops_dir: Path, deliver: Deliver, pass_time: PassTime, tmp_path: Path, arrive: Callable[[Path, Path], None]
) -> None:
    """The first of two may be there and the second not: half a drop would be read as a whole one."""
    written = tmp_path / "export.csv"
    written.write_text(f"title,sentiment\n{ROW}")
    os.utime(written, times=(0, 0))
    (drops_dir / "2022-02-01").mkdir()
    arrive(written, drops_dir / "2022-02-01" / "a.csv")
    problem = find_problem(str(drops_dir), "2022-02-01", settle_seconds=10)
    assert problem is not None and "may still be growing" in problem
    pass_time(11)
    assert find_problem(str(drops_dir), "2022-02-01", settle_seconds=10) is None


def test_a_link_arrives_when_it_is_made_however_old_the_file_is(
    drops_dir: Path, pass_time: PassTime, tmp_path: Path
) -> None:
    written = tmp_path / "export.csv"
    written.write_text(f"title,sentiment\n{ROW}")
    made = drops_dir / "2022-02-01" / "a.csv"
    made.parent.mkdir()
    made.symlink_to(written)
    pass_time(3600)
    assert find_problem(str(drops_dir), "2022-02-01", settle_seconds=10) is None
    os.utime(made, times=(time.time(),) * 2, follow_symlinks=False)
    problem = find_problem(str(drops_dir), "2022-02-01", settle_seconds=10)
    assert problem is not None and "may still be growing" in problem


def test_a_success_marker_ends_the_wait_at_once(drops_dir: Path, deliver: Deliver) -> None:
    deliver("2022-02-01", ROW)
    deliver("2022-02-01", b"", "_SUCCESS")
    assert find_problem(str(drops_dir), "2022-02-01", settle_seconds=10) is None


def test_a_growing_correction_does_not_hide_the_version_before_it(drops_dir: Path, deliver: Deliver) -> None:
    deliver("2022-02-01", ROW)
    deliver("2022-02-01", b"", "_SUCCESS")
    deliver("2022-02-01", ROW, "v2/headlines.csv")
    assert DropsFolder(drops_dir).find_version(NIGHT, settle_seconds=10).number == 1
    assert DropsFolder(drops_dir).find_version(NIGHT).number == 2


def test_a_clock_that_is_far_ahead_makes_nobody_wait(drops_dir: Path, deliver: Deliver, pass_time: PassTime) -> None:
    deliver("2022-02-01", ROW)
    pass_time(-3600)
    assert find_problem(str(drops_dir), "2022-02-01", settle_seconds=10) is None


def test_whoever_asks_waits_while_the_files_grow_but_not_for_a_drop_that_is_not_there(
    drops_dir: Path, deliver: Deliver
) -> None:
    deliver("2022-02-01", ROW)
    assert find_problem(str(drops_dir), "2022-02-01", settle_seconds=0.2, wait_while_growing=True) is None
    started = time.monotonic()
    assert find_problem(str(drops_dir), "2022-02-02", settle_seconds=30, wait_while_growing=True) is not None
    assert time.monotonic() - started < 5


def test_a_past_day_sees_the_versions_that_had_been_delivered_then(drops_dir: Path, deliver: Deliver) -> None:
    def known(day: int) -> int:
        return DropsFolder(drops_dir).find_version(NIGHT, known_by=datetime(2022, 2, day, tzinfo=UTC)).number

    noon = datetime(2022, 2, 1, 12, tzinfo=UTC).timestamp()
    os.utime(deliver("2022-02-01", ROW), times=(noon, noon))
    # Of a version that says when it was delivered, the times of its files count for nothing.
    deliver("2022-02-01", ROW, "v2/headlines.csv")
    deliver("2022-02-01", b'{"delivered": "2022-02-03T12:00:00+00:00"}', "v2/_SUCCESS")
    deliver("2022-02-01", ROW, "v3/headlines.csv")
    assert [known(day) for day in (2, 3, 4)] == [1, 1, 2]
    assert DropsFolder(drops_dir).find_version(NIGHT).number == 3
    with pytest.raises(DropError, match=r"not complete as known on 2022-02-01 00:00 UTC: .*version 1 was delivered at"):
        known(1)


@pytest.mark.parametrize(
    "text", ["2022-2-1", "2022-02-30", "20220201", "2022-02-01 ", "{{ ds }}", "", "２０２２-02-01"]
)
def test_a_night_that_is_no_date_is_named(text: str) -> None:
    with pytest.raises(DropError, match="write it as YYYY-MM-DD") as caught:
        parse_night(text)
    assert repr(text) in str(caught.value)


def test_only_folders_named_as_nights_are_nights(drops_dir: Path) -> None:
    for name in ("2022-02-02", "2022-02-01", "2022-02-31", "samples", ".2022-02-03.tmp"):
        (drops_dir / name).mkdir()
    assert DropsFolder(drops_dir).nights == [date(2022, 2, 1), date(2022, 2, 2)]


def test_a_missing_drops_folder_names_its_setting(tmp_path: Path) -> None:
    with pytest.raises(DropError, match="DROPS_DIR"):
        _ = DropsFolder(tmp_path / "nowhere").nights


def test_a_missing_drop_says_where_to_deliver_it(drops_dir: Path) -> None:
    problem = find_problem(str(drops_dir), "2022-02-01")
    assert problem == (
        f"night 2022-02-01 has no drop: {drops_dir}/2022-02-01 does not exist; "
        f"deliver {drops_dir}/2022-02-01/headlines.csv"
    )


def test_a_file_where_a_folder_should_be_is_named(drops_dir: Path) -> None:
    (drops_dir / "2022-02-01").write_text(ROW)
    problem = find_problem(str(drops_dir), "2022-02-01")
    assert problem is not None and str(drops_dir / "2022-02-01") in problem and "must be a folder" in problem


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_every_accepted_dialect_reads_alike(deliver: Deliver, delimiter: str, line_end: str, mark: str) -> None:
    lines = [
        delimiter.join(["TITLE", " Sentiment", "id"]),
        delimiter.join([f'"Vai, ou fica; diz ""ele""\tàs{line_end}duas"', "neutral", "1"]),
        "",
        delimiter.join(["Ouro", "positive", "2"]),
    ]
    rows = read_file(deliver("2022-02-01", (mark + line_end.join(lines) + line_end).encode())).rows
    assert [(row.line, row.title, row.label) for row in rows] == [
        (2, f'Vai, ou fica; diz "ele"\tàs{line_end}duas', "neutral"),
        (5, "Ouro", "positive"),
    ]
    assert rows[0].raw == lines[1]


def test_a_row_keeps_its_raw_text_and_the_number_of_its_cells(deliver: Deliver) -> None:
    [row] = read_file(deliver("2022-02-01", "Chove, e muito,negative\r\n")).rows
    assert (row.raw, row.cells, row.columns, row.title) == ("Chove, e muito,negative", 3, 2, "")


def test_an_empty_file_is_refused(deliver: Deliver) -> None:
    path = deliver("2022-02-01", b"")
    with pytest.raises(DropError, match="is empty") as caught:
        read_file(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"title,sentiment\n", b"title,sentiment", b"title,sentiment\r\n\r\n"])
def test_a_header_without_rows_is_refused(deliver: Deliver, content: bytes) -> None:
    with pytest.raises(DropError, match=r"headlines\.csv has a header and no rows"):
        read_file(deliver("2022-02-01", content))


@pytest.mark.parametrize(
    "header",
    ["titulo,sentimento", "title", "title|sentiment", "title,sentiment,title", "Chove muito,negative", "", '"'],
)
def test_a_wrong_header_is_shown(deliver: Deliver, header: str) -> None:
    path = deliver("2022-02-01", f"{header}\nOuro,positive\n".encode())
    with pytest.raises(DropError, match="must name the columns title and sentiment") as caught:
        read_file(path)
    assert f"{path} line 1" in str(caught.value) and repr(header) in str(caught.value)


def test_a_file_in_latin_1_is_refused_with_its_first_bad_line_and_byte(deliver: Deliver) -> None:
    text = "title,sentiment\nOuro,positive\nEleição no Pará,neutral\nSão João,neutral\n"
    path = deliver("2022-02-01", text.encode("latin-1"))
    with pytest.raises(DropError, match="save the file as UTF-8") as caught:
        read_file(path)
    assert "line 3, byte 5 is 0xE7, and 2 of 4 lines cannot be decoded" in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_in_utf_16_is_refused(deliver: Deliver, encoding: str) -> None:
    path = deliver("2022-02-01", "title,sentiment\nEleição,neutral\n".encode(encoding))
    with pytest.raises(DropError, match="perhaps UTF-16"):
        read_file(path)


@pytest.mark.parametrize("word", ["Eleição", "Ouro"])
def test_a_few_undecodable_rows_do_not_condemn_the_file(deliver: Deliver, word: str) -> None:
    good = "".join(f"{word} {number},neutral\n" for number in range(20))
    path = deliver("2022-02-01", f"title,sentiment\n{good}".encode() + b"Elei\xe7\xe3o,neutral\n")
    rows = read_file(path).rows
    assert len(rows) == 21
    assert rows[20].line == 22 and "\udce7" in rows[20].raw


@pytest.mark.parametrize(
    "content",
    [
        'Ouro,positive\n"Chove muito,negative\nSol,neutral\n',
        'Ouro,positive\n"Chove muito,negative\nSol,neutral\n"Vai, diz ele",neutral\n',
        'Ouro,positive\n"Diz "não" a todos",neutral\n',
    ],
)
def test_unbalanced_quotes_are_refused_with_the_line_where_they_begin(deliver: Deliver, content: str) -> None:
    path = deliver("2022-02-01", content)
    with pytest.raises(DropError, match="are not balanced") as caught:
        read_file(path)
    assert f"{path} line 3:" in str(caught.value)


def test_a_file_that_may_not_be_read_is_named(deliver: Deliver) -> None:
    path = deliver("2022-02-01", ROW)
    path.unlink()
    with pytest.raises(DropError, match="cannot be read") as caught:
        read_file(path)
    assert str(path) in str(caught.value)


def test_the_hash_of_a_file_is_that_of_its_bytes(deliver: Deliver) -> None:
    first = read_file(deliver("2022-02-01", ROW)).sha256
    assert first == read_file(deliver("2022-02-02", ROW)).sha256
    assert first != read_file(deliver("2022-02-03", ROW + "\n")).sha256


def test_unlabelled_files_are_no_part_of_a_drop_and_a_folder_of_nothing_else_is_no_night(
    drops_dir: Path, deliver: Deliver
) -> None:
    labelled = deliver("2022-02-01", ROW)
    before = DropsFolder(drops_dir).find_version(NIGHT)
    deliver("2022-02-01", b"title\nChuva\n", "unlabelled.csv")
    deliver("2022-02-02", b"title\nChuva\n", "unlabelled-2.CSV")
    deliver("2022-02-02", b"title\nChu", ".unlabelled-3.csv.Xa12zQ")
    deliver("2022-02-02", b"", "_SUCCESS")
    assert DropsFolder(drops_dir).find_version(NIGHT) == before
    assert before.files == (labelled,)
    assert DropsFolder(drops_dir).nights == [NIGHT]
    deliver("2022-02-02", b"", "headlines.csv.part")
    assert DropsFolder(drops_dir).nights == [NIGHT, date(2022, 2, 2)]


def test_the_unlabelled_files_of_each_night_are_listed_when_they_have_settled(
    drops_dir: Path, deliver: Deliver, pass_time: PassTime
) -> None:
    deliver("2022-02-02", ROW)
    first, second = (deliver("2022-02-02", b"title\n", name) for name in ("unlabelled-a.csv", "unlabelled-b.csv"))
    for name in ("unlabelled.csv.tmp", "unlabelled.txt", "v2/unlabelled.csv"):
        deliver("2022-02-02", b"title\n", name)
    deliver("samples", b"title\n", "unlabelled.csv")
    third = deliver("2022-02-01", b"title\n", "unlabelled.csv")
    everything = {date(2022, 2, 1): (third,), date(2022, 2, 2): (first, second)}
    assert list_unlabelled(drops_dir) == everything
    assert list(list_unlabelled(drops_dir)) == list(everything)
    pass_time(3600)
    os.utime(second, times=(time.time(),) * 2)
    assert list_unlabelled(drops_dir, settle_seconds=60) == {date(2022, 2, 1): (third,)}


def test_a_version_that_cannot_be_looked_into_is_named_and_a_later_one_counts_all_the_same(
    drops_dir: Path, deliver: Deliver
) -> None:
    deliver("2022-02-01", ROW)
    (drops_dir / "2022-02-01" / "v2").symlink_to(drops_dir / "gone")
    with pytest.raises(DropError, match=r"the drop of night 2022-02-01 cannot be read: .*/v2"):
        DropsFolder(drops_dir).find_version(NIGHT)
    deliver("2022-02-01", ROW, "v3/headlines.csv")
    assert DropsFolder(drops_dir).find_version(NIGHT).number == 3


def test_a_drops_folder_is_listed_once_however_often_it_is_asked(
    drops_dir: Path, deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("headlines.csv", "v2/headlines.csv"):
        deliver("2022-02-01", ROW, name)
    looked_at: list[Path] = []
    iterdir = Path.iterdir

    def look(path: Path) -> Iterator[Path]:
        looked_at.append(path)
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", look)
    drops = DropsFolder(drops_dir)
    newest = drops.find_version(NIGHT)
    for _ in range(2):
        assert drops.nights == [NIGHT]
        assert drops.find_version(NIGHT) == newest
        assert drops.find_earlier_version(newest) is not None
        assert drops.was_known(NIGHT, datetime(2030, 1, 1, tzinfo=UTC))
    assert sorted(looked_at) == [drops_dir, drops_dir / "2022-02-01", drops_dir / "2022-02-01" / "v2"]


def test_the_version_before_keeps_the_codes_that_were_delivered_with_it(drops_dir: Path, deliver: Deliver) -> None:
    for number, place in ((1, "2022-02-01"), (2, "2022-02-01/v2")):
        folder = deliver(place, "A,7\n").parent
        (folder / SUCCESS_MARKER).write_text(json.dumps({"label_codes": {"7": LABELS[number]}}))
    newest = DropsFolder(drops_dir).find_version(date(2022, 2, 1))
    before = DropsFolder(drops_dir).find_earlier_version(newest)
    assert before
    assert (newest.label_codes, before.label_codes) == ({"7": LABELS[2]}, {"7": LABELS[1]})
    assert before.passed_over == ()


def test_a_version_that_says_label_codes_that_are_none_can_be_corrected(drops_dir: Path, deliver: Deliver) -> None:
    first = deliver("2022-02-01", "A,7\n").parent
    (first / SUCCESS_MARKER).write_text('{"label_codes": {"7": "negativo"}}')
    with pytest.raises(DropError, match="says label_codes"):
        DropsFolder(drops_dir).find_version(date(2022, 2, 1))
    deliver("2022-02-01", "A,negative\n", "v2/headlines.csv")
    newest = DropsFolder(drops_dir).find_version(date(2022, 2, 1))
    assert newest.number == 2
    assert DropsFolder(drops_dir).find_earlier_version(newest) is None
