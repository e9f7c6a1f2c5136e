"""A file in pieces is the file: the same rows, the same hash, the same words where it cannot be read."""

import gzip
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headlines.drops import pieces
from headlines.drops.drops_folder import DropError, GrowingDropError
from headlines.drops.pieces import PIECE_BYTES, read_piece, survey_file, survey_titles
from headlines.drops.rows import EmptyFileError, read_file, stream_titles

Deliver = Callable[..., Path]

# What a file is made of where it is hard to cut: quotes in the wrong place, line breaks in them, any line ends, bytes
# that are not UTF-8, a byte order mark amid the text, rows run together, labels that are none.
PARTS = st.sampled_from(
    (
        *(b"Sol", b"Eleic\xcc\xa7a\xcc\x83o", b"\xef\xbb\xbf", b"\xff", b"\xe2\x82"),
        *(b",", b";", b",neutral", b",1", b",Bom", b'"', b'""', b'","', b'"Chove",negative'),
        *(b"\n", b"\n", b"\r\n", b"\r", b'"Ouro\nLua",2\n', b'5" pipe,neutral\n'),
    )
)
FILES = st.lists(PARTS, max_size=40).map(b"".join)
HEADERS = st.sampled_from(
    [b"title,sentiment\n", b"\xef\xbb\xbfsentiment;title\r\n", b"title,x,sentiment\r", b"", b"a,b\n"]
)


def read_whole(path: Path, unbalanced: str) -> Any:
    try:
        file = read_file(path, unbalanced)
    except DropError as error:
        return type(error), str(error)
    return list(file.rows), file.sha256, file.row_count, file.labels


def read_pieces(path: Path, unbalanced: str) -> Any:
    try:
        survey = survey_file(path, unbalanced)
    except DropError as error:
        return type(error), str(error)
    return [row for one in survey.pieces for row in read_piece(one)], survey.sha256, survey.row_count, survey.labels


@settings(deadline=None, max_examples=300)
@given(
    header=HEADERS,
    content=FILES,
    unbalanced=st.sampled_from(["refuse", "quarantine"]),
    packed=st.booleans(),
    size=st.sampled_from([1, 20, PIECE_BYTES]),
)
@example(b"title,sentiment\n", b'Sol,neutral\n"a\nb,neutral\nc,neutral\n"d"e,1\nMar,1\nLua,1\n', "quarantine", False, 1)
@example(b"title,sentiment\n", b'"Ouro,neutral\nLua",neutral\nSol,1\n', "refuse", False, 1)
def test_the_rows_of_all_pieces_are_those_of_the_file_whatever_is_in_it(
    header: bytes, content: bytes, unbalanced: str, packed: bool, size: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE_BYTES", size)
        path = Path(folder) / ("a.csv.gz" if packed else "a.csv")
        path.write_bytes(gzip.compress(header + content) if packed else header + content)
        assert read_pieces(path, unbalanced) == read_whole(path, unbalanced)


@settings(deadline=None, max_examples=100)
@given(content=FILES, unbalanced=st.sampled_from(["refuse", "quarantine"]), packed=st.booleans())
def test_titles_without_labels_are_read_in_pieces_as_in_one_stream(
    content: bytes, unbalanced: str, packed: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE_BYTES", 10)
        path = Path(folder) / ("a.csv.gz" if packed else "a.csv")
        path.write_bytes(gzip.compress(b"title\n" + content) if packed else b"title\n" + content)
        try:
            whole: Any = list(stream_titles(path, unbalanced))
        except DropError as error:
            whole = str(error)
        try:
            survey = survey_titles(path, unbalanced)
            cut: Any = [row for one in survey.pieces for row in read_piece(one)]
            assert survey.row_count == len(cut)
        except DropError as error:
            cut = str(error)
        assert cut == whole


def test_a_sound_file_is_cut_where_it_is_long_and_a_packed_one_never(
    deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 100)
    rows = "".join(f'"Título {number},\ncom vírgula",neutral\n' for number in range(30))
    cut = survey_file(deliver("2022-02-01", rows)).pieces
    assert len(cut) > 5 and all(100 <= (piece.size or 0) < 200 for piece in cut[:-1])
    packed = gzip.compress(f"title,sentiment\n{rows}".encode())
    assert len(survey_file(deliver("2022-02-02", packed, "a.csv.gz")).pieces) == 1


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_piece_of_a_file_that_changed_meanwhile_is_not_read(deliver: Deliver, name: str) -> None:
    def pack(text: str) -> bytes:
        content = f"title,sentiment\n{text}".encode()
        return gzip.compress(content) if name.endswith(".gz") else content

    path = deliver("2022-02-01", pack("Sol,neutral\n"), name)
    [piece] = survey_file(path).pieces
    path.write_bytes(pack("Mar,neutral\n"))
    with pytest.raises(GrowingDropError, match=r"a\.csv.* changed while it was read; run the night again$"):
        list(read_piece(piece))


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize("is_longer", [True, False])
def test_a_file_that_changes_while_it_is_looked_through_is_refused(
    deliver: Deliver, monkeypatch: pytest.MonkeyPatch, name: str, is_longer: bool
) -> None:
    content = b"title,sentiment\nSol,neutral\nMar,neutral\n"
    path = deliver("2022-02-01", gzip.compress(content) if name.endswith(".gz") else content, name)
    assert survey_file(path).row_count == 2
    survey = pieces._survey

    def change_first(*arguments: Any) -> Any:
        changed = content + b"Lua,neutral\n" if is_longer else content.replace(b"Mar", b"Lua")
        path.write_bytes(gzip.compress(changed) if name.endswith(".gz") else changed)
        return survey(*arguments)

    monkeypatch.setattr(pieces, "_survey", change_first)
    with pytest.raises(GrowingDropError, match="changed while it was read"):
        survey_file(path)


def test_that_a_file_is_empty_is_told_by_one_process_to_another(deliver: Deliver) -> None:
    with pytest.raises(EmptyFileError) as caught:
        survey_file(deliver("2022-02-01", ""))
    sent = pickle.loads(pickle.dumps(caught.value))
    assert (str(sent), sent.file) == (str(caught.value), caught.value.file)
