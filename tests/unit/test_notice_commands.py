from collections.abc import Iterator
from pathlib import Path

import pytest
from notice_sink import Sink, listen
from pydantic import SecretStr
from typer.testing import CliRunner

from retraining.cli.doctor import examine
from retraining.cli.main import app
from retraining.local import service
from retraining.notices.sending import NoticeError
from retraining.notices.telling import tell
from retraining.settings import Settings


@pytest.fixture
def sink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    with listen() as sink:
        yield sink


def ask(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.output


def test_each_address_is_tried_and_said_to_accept_or_why_not(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY", f"{sink.url}/T0KEN warning|{sink.url}/hook")
    assert ask("notify", "--test") == (
        0,
        "address 1 of NOTIFY (http://), told everything: accepted\n"
        "address 2 of NOTIFY (http://), told warnings and failures: accepted\n",
    )
    assert len(sink.posts) == 2
    monkeypatch.setenv("NOTIFY", f"{sink.url}/T0KEN failure|http://127.0.0.1:1/T0KEN digest|slak://T0KEN")
    code, shown = ask("notify", "--test")
    assert code == 1
    assert len(sink.posts) == 3, "one that fails keeps nothing from the others"
    first, second, third = shown.splitlines()
    assert first.endswith("told everything: accepted")
    assert second.startswith("address 2 of NOTIFY (http://), told failures: not accepted: ConnectError")
    assert third.startswith("address 3 of NOTIFY (slak://), sent the digest: not accepted: ")
    assert "T0KEN" not in shown


def test_without_a_test_nothing_is_sent_and_what_waits_is_shown(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY", f"{sink.url}/hook")
    sink.status = 502
    tell(Settings.from_env(), "late drop", "no drop", fact="2022-02-01", night="2022-02-01")
    code, shown = ask("notify")
    assert code == 0
    assert shown.splitlines()[0] == "address 1 of NOTIFY (http://), told everything: can be used"
    assert "1 notice waits for address 1 of NOTIFY (http://), which accepts none since" in shown
    assert "it answered 502 Bad Gateway" in shown
    assert sink.asked == 1
    _, shown = ask("status")
    assert shown.startswith("Not sent: 1 notice waits for address 1 of NOTIFY (http://)")


def test_where_nobody_is_told_it_says_so(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY", raising=False)
    code, shown = ask("notify", "--test")
    assert code == 1
    assert "NOTIFY is not set" in shown


@pytest.mark.parametrize(
    ("addresses", "level", "text"),
    [
        ("", "ok", "nobody is told"),
        ("https://h.example.org", "ok", "address 1 of NOTIFY (https://); to try them"),
        ("slack://T0KEN", "fail", "address 1 of NOTIFY (slack://) is not complete"),
    ],
)
def test_doctor_looks_at_the_addresses(
    sink: Sink, monkeypatch: pytest.MonkeyPatch, addresses: str, level: str, text: str
) -> None:
    monkeypatch.setenv("NOTIFY", addresses)
    [finding] = [one for one in examine() if one.subject == "notices"]
    assert finding.level == level
    assert finding.text.startswith(text)
    assert "T0KEN" not in finding.text


def test_a_service_with_an_address_that_is_none_is_not_started(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.from_env(notify=SecretStr("warning|slack://T0KEN"))
    with pytest.raises(NoticeError, match=r"^address 1 of NOTIFY \(slack://\) is not complete"):
        service.up(settings, print)
    assert list(settings.state_dir.iterdir()) == [], "nothing was begun"
