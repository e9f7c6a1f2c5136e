"""What a note may hold, and which notes stand."""

from datetime import UTC, datetime

import pytest

from headlines.notes import Note, NoteError, check_name, check_text, pair

AT = datetime(2022, 2, 3, 9, 30, tzinfo=UTC)


def test_a_note_is_read_back_as_it_was_written() -> None:
    for note in (
        Note(7, "2022-02-02", 2022020201, "rótulos trocados <b>?</b>", "ana", AT),
        Note(8, "2022-02-02", None, "feriado", "rui", AT, withdraws=7),
    ):
        assert Note.from_properties(note.id, note.to_properties()) == note
        as_text = {name: str(value) for name, value in note.to_properties().items()}
        assert Note.from_properties(note.id, as_text) == note


def test_the_first_withdrawal_counts_and_both_stay() -> None:
    first, second = Note(1, "2022-02-02", None, "one", "ana", AT), Note(2, "2022-02-02", None, "two", "ana", AT)
    withdrawal = Note(3, "2022-02-02", None, "it was right", "rui", AT, withdraws=1)
    again = Note(4, "2022-02-02", None, "once more", "eva", AT, withdraws=1)
    newest, oldest = pair([again, second, withdrawal, first])
    assert (newest, newest.withdrawal) == (second, None)
    assert (oldest.text, oldest.withdrawal) == ("one", withdrawal)


@pytest.mark.parametrize("text", ["feriado", "linha um\nlinha dois", "\tcom tabulação é ção 👩‍🔬", "a" * 1000])
def test_what_people_write_is_kept(text: str) -> None:
    assert check_text(f" {text}\r\n".replace("um\n", "um\r\n")) == text.strip()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" \r\n", "a note needs a text"),
        ("a" * 1001, "the note has 1001 characters"),
        ("ç" * 999 + "👩‍🔬" * 200, "shorten it"),
        ("ç€" * 500, "2500 bytes"),
        ("red \x1b[31m", r"character 5 is U\+001B"),
        ("nul \x00", r"U\+0000"),
        ("turned \u202e", r"U\+202E"),
        ("c1 \x9b31m", r"U\+009B"),
        ("half \ud83d", r"U\+D83D"),
        ("back\rto the start", r"U\+000D"),
        ("line\u2028end", r"U\+2028"),
    ],
)
def test_what_is_too_long_or_would_change_how_a_text_is_shown_is_refused(text: str, message: str) -> None:
    with pytest.raises(NoteError, match=message):
        check_text(text)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "\x1b[31mroot", "a" * 101])
def test_who_writes_has_a_name_in_one_line(name: str) -> None:
    with pytest.raises(NoteError):
        check_name(name)
