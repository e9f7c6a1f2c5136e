"""Notes in a real Postgres: who wrote what on which night or version, and that nothing is disturbed or lost by them."""

import json
from datetime import UTC, datetime

import pytest
from launching import NAME
from ml_metadata import MetadataStore
from postgres_server import query
from quick_pipeline import champion_as_of
from test_rollback import run
from typer.testing import CliRunner

import lineage
from headlines.command import how_to_type
from headlines.notes import Note, NoteError
from lineage import Names, open_lineage
from retraining.cli import lineage_commands, note_commands
from retraining.cli.lineage_tables import render_night
from retraining.recording.notes import withdraw_note, write_note
from retraining.recording.rollback import roll_back
from retraining.recording.store import connection_config
from retraining.settings import Settings

FIRST, SECOND = "2022-02-01", "2022-02-02"
VERSION = 2022020201
NAMES = Names(pipeline=NAME, example_gen="Trainer", evaluator="Judge")


@pytest.fixture
def two_nights(settings: Settings) -> Settings:
    run(settings, FIRST, SECOND)
    return settings


def read(settings: Settings, *bounds: str) -> tuple[Note, ...]:
    with open_lineage(settings, NAMES) as opened:
        return lineage.notes(opened, *bounds)


def test_a_note_says_what_it_is_on_and_who_wrote_it_when(two_nights: Settings) -> None:
    on_night = write_note(two_nights, "feriado: poucas manchetes\r\nver amanhã", "ana", night=FIRST, pipeline=NAME)
    on_version = write_note(two_nights, "<b>demonstrated</b> to the desk", "rui", version=VERSION, pipeline=NAME)
    assert read(two_nights) == (on_version, on_night)
    assert (on_night.night, on_night.version, on_night.text) == (FIRST, None, "feriado: poucas manchetes\nver amanhã")
    assert (on_version.night, on_version.version, on_version.by) == (SECOND, VERSION, "rui")
    assert abs((datetime.now(UTC) - on_version.at).total_seconds()) < 120
    assert read(two_nights, SECOND, SECOND) == (on_version,)
    with open_lineage(two_nights, NAMES) as opened:
        assert lineage.night_detail(opened, FIRST).notes == (on_night,)
        assert lineage.night_detail(opened, SECOND).notes == (on_version,)
        assert lineage.model_detail(opened, str(VERSION)).notes == (on_version,)
        assert lineage.model_detail(opened, FIRST).notes == (on_night,)
        assert lineage.count_notes(opened) == {FIRST: 1, SECOND: 1}


def test_a_withdrawn_note_stays_with_who_withdrew_it_and_why(two_nights: Settings) -> None:
    note = write_note(two_nights, "trocado", "ana", night=FIRST, pipeline=NAME)
    done = withdraw_note(two_nights, note.id, "it was another file", "rui", pipeline=NAME)
    [kept] = read(two_nights)
    assert kept == done
    assert (kept.text, kept.by) == ("trocado", "ana")
    assert kept.withdrawal is not None
    assert (kept.withdrawal.by, kept.withdrawal.text) == ("rui", "it was another file")
    with open_lineage(two_nights, NAMES) as opened:
        assert lineage.count_notes(opened) == {}
    with pytest.raises(NoteError, match=f"note {note.id} was withdrawn before, by rui"):
        withdraw_note(two_nights, note.id, "again", "eva", pipeline=NAME)
    assert len(MetadataStore(connection_config(two_nights)).get_artifacts_by_type("Note")) == 2


def test_a_note_on_what_is_not_there_is_refused_and_leaves_nothing(two_nights: Settings) -> None:
    with pytest.raises(NoteError, match="no version 2022020209 was ever pushed by tiny"):
        write_note(two_nights, "text", "ana", version=2022020209, pipeline=NAME)
    with pytest.raises(NoteError, match="no version 2022020201 was ever pushed by another"):
        write_note(two_nights, "text", "ana", version=VERSION, pipeline="another")
    with pytest.raises(NoteError, match="another has run no night yet"):
        write_note(two_nights, "text", "ana", night=FIRST, pipeline="another")
    with pytest.raises(NoteError, match="about a night or about a version"):
        write_note(two_nights, "text", "ana", night=FIRST, version=VERSION, pipeline=NAME)
    with pytest.raises(NoteError, match="there is no note 1;"):
        withdraw_note(two_nights, 1, "why", "ana", pipeline=NAME)
    with pytest.raises(NoteError, match=r"U\+001B"):
        write_note(two_nights, "\x1b]0;title\x07", "ana", night=FIRST, pipeline=NAME)
    assert read(two_nights) == ()


def test_a_night_that_was_never_run_may_have_a_note_and_is_no_night_of_the_calendar_by_it(two_nights: Settings) -> None:
    write_note(two_nights, "elections: no agency file that night", "ana", night="2030-10-06", pipeline=NAME)
    with open_lineage(two_nights, NAMES) as opened:
        assert [cell.night for cell in lineage.calendar(opened)] == [FIRST, SECOND]
        assert lineage.count_notes(opened) == {"2030-10-06": 1}


def test_notes_disturb_neither_runs_nor_champions_nor_the_orphans(two_nights: Settings) -> None:
    note = write_note(two_nights, "before the next run", "ana", version=VERSION, pipeline=NAME)
    withdraw_note(two_nights, note.id, "never mind", "ana", pipeline=NAME)
    run(two_nights, "2022-02-03")
    assert champion_as_of(two_nights, "2022-02-04") == "2022020301"
    roll_back(two_nights, "a bad drop", "ana")
    assert champion_as_of(two_nights, "2022-02-05") == str(VERSION)
    with open_lineage(two_nights, NAMES) as opened:
        found = lineage.orphans(opened)
        assert "Note" not in {one.type for one in (*found.artifacts, *found.executions)}
        assert "Note" not in {node.type for node in lineage.graph(opened, full=True).nodes}


def test_a_note_is_in_the_tables_that_are_backed_up_with_lineage(two_nights: Settings) -> None:
    write_note(two_nights, "kept with the rest", "ana", night=FIRST, pipeline=NAME)
    texts = query(two_nights, "SELECT string_value FROM artifactproperty WHERE name = 'text'")
    assert texts == [("kept with the rest",)]


def test_the_command_writes_lists_and_withdraws(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    run(settings, FIRST)
    monkeypatch.setattr(note_commands.Settings, "from_env", classmethod(lambda cls: settings))
    for name in ("write_note", "withdraw_note"):
        known = {"write_note": write_note, "withdraw_note": withdraw_note}[name]
        monkeypatch.setattr(
            f"retraining.recording.notes.{name}", lambda *args, known=known: known(*args, pipeline=NAME)
        )

    def note(*words: str) -> str:
        result = CliRunner().invoke(note_commands.app, list(words))
        return " ".join(str(result.exception or result.output).split())

    written = note("rótulos [bold]trocados[/]", "--night", FIRST, "--by", "ana")
    number = written.split()[1]
    assert (
        written == f"Note {number} on night {FIRST} is written; `{how_to_type('retraining')} lineage notes` shows it."
    )
    shown = CliRunner().invoke(lineage_commands.app, ["--pipeline", NAME, "notes"]).output
    assert f"note {number} on night {FIRST}, by ana, " in shown
    assert "  rótulos [bold]trocados[/]" in shown
    assert note("it was right", "--withdraw", number, "--by", "rui") == f"Note {number} on night {FIRST} is withdrawn."
    told = json.loads(CliRunner().invoke(lineage_commands.app, ["--pipeline", NAME, "notes", "--json"]).output)
    [only] = told["answer"]
    assert (told["question"], only["text"], only["withdrawal"]["by"]) == ("notes", "rótulos [bold]trocados[/]", "rui")
    assert "on a night, on a version or withdraws" in note("text")
    assert "on a night, on a version or withdraws" in note("text", "--night", FIRST, "--version", "1")
    with open_lineage(settings, NAMES) as opened:
        assert render_night(lineage.night_detail(opened, FIRST))
