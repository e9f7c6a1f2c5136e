"""The digest of the morning, on a real lineage database, and that it is sent once."""

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lineage_story import Story
from notice_sink import listen, take_mail
from postgres_server import Server, make_database
from pydantic import SecretStr
from rich.console import Console
from typer.testing import CliRunner

import lineage
from retraining.cli.main import app
from retraining.cli.summary import render_nights
from retraining.notices.telling import tell, tell_end
from retraining.notices.wording import as_text
from retraining.settings import Settings
from retraining.watching import digest, replicas

NOW = datetime(2022, 2, 9, 12, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def settings(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    made = make_database(postgres, tmp_path_factory.mktemp("digest"))
    Story(made, lineage.OURS.pipeline).tell()
    return made.model_copy(update={"serving_urls": (), "schedule": "none"})


@pytest.fixture
def asked(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The same, with nothing told yet."""
    made = settings.model_copy(update={"state_dir": tmp_path, "notices_dir": tmp_path / "notices"})
    monkeypatch.setattr(Settings, "from_env", classmethod(lambda cls: made))
    return made


def headings(settings: Settings) -> dict[str, str]:
    return {part.heading: " ".join(part.lines) for part in digest.gather(settings, NOW)}


def test_it_says_what_status_says(asked: Settings) -> None:
    parts = headings(asked)
    observed = replicas.observe(asked)
    assert parts["What serves"] == observed.verdict[0].upper() + observed.verdict[1:]
    [newest] = lineage.latest(asked, newest=1)
    shown = io.StringIO()
    Console(width=10_000, file=shown).print(render_nights([newest]))
    note = shown.getvalue().splitlines()[-1].removeprefix(f"{newest.night}  ").rstrip()
    assert parts["The newest night"] == f"{newest.night} is {newest.state}: {note}"
    assert newest.state == "refused" and "must be" in note, "the why is there, with the checks that were not passed"
    assert parts["What needs a person"] == "Nothing does."


def test_each_part_leads_to_its_page(asked: Settings) -> None:
    settings = asked.model_copy(update={"web_address": "https://airflow.example.org"})
    links = {part.heading: part.link for part in digest.gather(settings, NOW)}
    root = "https://airflow.example.org/headlines"
    assert links["What serves"] == f"{root}/"
    assert links["The newest night"].startswith(f"{root}/night/2022-02-")
    assert links["What needs a person"] == f"{root}/nights"


def test_what_needs_a_person_comes_first_and_is_gone_when_it_is_over(asked: Settings) -> None:
    with listen() as sink:
        sink.status = 500
        settings = asked.model_copy(update={"notify": SecretStr(sink.url)})
        tell(settings, "disk nearly full", "1 GB free at /var", fact="/var", disk="/var")
        first = digest.gather(settings, NOW)[0]
        assert first.heading == "What needs a person"
        low, unsent = first.lines
        assert low == "The disk at /var is nearly full: 1 GB free at /var"
        assert unsent.startswith("1 notice waits for address 1 of NOTIFY (http://), which accepts none since ")
        tell_end(settings, "disk nearly full", "9 GB free at /var", fact="/var", disk="/var")
        assert "disk" not in " ".join(digest.gather(settings, NOW)[0].lines)


def test_what_cannot_be_asked_is_said(asked: Settings) -> None:
    parts = headings(asked.model_copy(update={"mlmd_port": 1}))
    assert list(parts) == ["What needs a person"]
    assert "MLMD's database at host 127.0.0.1, port 1" in parts["What needs a person"]


def test_it_is_sent_once_when_it_is_due_and_as_text_and_html(asked: Settings) -> None:
    with listen() as sink, take_mail() as (port, mails):
        mail = f"digest|mailto://127.0.0.1:{port}?from=ops@example.org&to=ana@example.org&mode=insecure"
        grave = f"failure|{sink.url}/grave"
        settings = asked.model_copy(
            update={"notify": SecretStr(f"{sink.url}/hook {mail} {grave}"), "digest_schedule": "0 9 * * *"}
        )
        # Nine in the morning in Sao Paulo is noon.
        for moment in (NOW, NOW + timedelta(seconds=30), NOW + timedelta(hours=3)):
            digest.tell_if_due(settings, moment)
        [post] = sink.posts
        assert post.path == "/hook"
        notice = json.loads(post.body)
        assert (notice["event"], notice["severity"]) == ("digest", "info")
        assert notice["text"] == as_text(digest.gather(settings, NOW))
        [mail_of_nine] = mails
        text, html = [part.get_content() for part in mail_of_nine.iter_parts()]
        assert "<h3>The newest night</h3>" in html
        assert "The newest night" in text or "THE NEWEST NIGHT" in text
        digest.tell_if_due(settings, NOW + timedelta(days=1))
        assert (len(sink.posts), len(mails)) == (2, 2)


def test_a_digest_that_was_due_long_ago_is_not_sent_and_none_without_a_schedule(asked: Settings) -> None:
    nine = asked.model_copy(update={"digest_schedule": "0 9 * * *"})
    noon = datetime(2022, 2, 9, 12, tzinfo=UTC)
    assert digest.find_due(nine, noon + timedelta(seconds=1)) == noon
    assert digest.find_due(nine, noon + timedelta(hours=11, minutes=59)) == noon
    assert digest.find_due(nine, noon + timedelta(hours=12)) is None
    assert digest.find_due(asked, noon + timedelta(seconds=1)) is None


def test_the_command_shows_it_within_80_columns(asked: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from retraining.cli import notice_commands

    monkeypatch.setattr(notice_commands, "console", Console(width=80, file=None))
    result = CliRunner().invoke(app, ["digest"])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert max(map(len, lines)) <= 80
    assert [part.heading for part in digest.gather(asked, NOW)] == [line for line in lines if line in headings(asked)]
