"""What arrives where people look, by Apprise's own services on real connections; only hosts are led to this machine."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from notice_sink import Sink, lead_to, listen, take_mail
from pydantic import SecretStr

from retraining.notices import sending
from retraining.notices.outbox import Notice
from retraining.notices.sending import NoticeError, check, send
from retraining.notify_addresses import parse_addresses
from retraining.settings import CHECKOUT, Settings

LINK = "http://127.0.0.1:8080/headlines/night/2022-02-01"
TEXT = "DropGate: <b>Eleição & ação</b> *é* _má_; `retraining run --night 2022-02-01`"
ESCAPED = "DropGate: &lt;b&gt;Eleição &amp; ação&lt;/b&gt; *é* _má_; `retraining run --night 2022-02-01`"
NOTICE = Notice(
    "night-overdue-1",
    "night overdue",
    "failure",
    "night 2022-02-01 is overdue",
    TEXT,
    LINK,
    "2022-02-02T12:00:00+00:00",
)
TITLE = "Headlines, failure: night 2022-02-01 is overdue"


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    with listen() as sink:
        lead_to(sink, monkeypatch)
        yield sink


def send_to(address: str, notice: Notice = NOTICE) -> str:
    [one] = parse_addresses(address)
    return send(one, notice)


def test_slack_is_sent_an_attachment_in_which_titles_are_text(sink: Sink) -> None:
    assert send_to("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops") == ""
    [post] = sink.posts
    assert (post.host, post.path) == ("hooks.slack.com", "/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ")
    body = json.loads(post.body)
    [attachment] = body["attachments"]
    assert (body["channel"], attachment["title"]) == ("#ops", TITLE)
    assert attachment["text"] == f"{ESCAPED}\n\n{LINK}"
    assert "http" not in json.dumps({**attachment, "text": ""}), "no picture is loaded from elsewhere"


def test_teams_is_sent_a_card_in_which_titles_mark_up_nothing(sink: Sink) -> None:
    assert send_to("workflows://prod.westus.logic.azure.com:443/643e69f83c8944/8CJ8aKzHhAkN/") == ""
    [post] = sink.posts
    assert post.host == "prod.westus.logic.azure.com"
    title, text = json.loads(post.body)["attachments"][0]["content"]["body"]
    assert title["text"] == TITLE
    assert text["text"] == (
        f"DropGate: \\<b\\>Eleição & ação\\</b\\> \\*é\\* \\_má\\_; \\`retraining run --night 2022-02-01\\`\n\n<{LINK}>"
    )


def test_telegram_is_sent_html_in_which_titles_are_text(sink: Sink) -> None:
    assert send_to("tgram://123456789:abcdefg_hijklmnop/12315544/") == ""
    body = json.loads(sink.posts[0].body)
    assert body["parse_mode"] == "HTML"
    assert ESCAPED in body["text"] and f'<a href="{LINK}">' in body["text"]


def test_pagerduty_has_an_incident_for_each_fact_which_its_end_resolves(sink: Sink) -> None:
    address = f"pagerduty://{'a' * 20}@{'b' * 32}"
    end = replace(NOTICE, id="night-overdue-1.end", severity="recovered", of=NOTICE.id)
    assert [send_to(address), send_to(address, end)] == ["", ""]
    begun, ended = [json.loads(post.body) for post in sink.posts]
    assert (begun["event_action"], begun["dedup_key"]) == ("trigger", NOTICE.id)
    assert begun["payload"]["severity"] == "critical"
    assert (ended["event_action"], ended["dedup_key"]) == ("resolve", NOTICE.id)


def test_a_service_on_a_host_of_one_s_own_is_sent_plain_text(sink: Sink) -> None:
    assert send_to("ntfy://127.0.0.1:1/ops") == send_to("json://user:pw@127.0.0.1:1/path") == ""
    ntfy, plain = [json.loads(post.body) for post in sink.posts]
    assert (ntfy["title"], ntfy["message"]) == (TITLE, f"{TEXT}\n\n{LINK}")
    assert (plain["type"], plain["message"]) == ("failure", f"{TEXT}\n\n{LINK}")


def test_mail_is_text_and_html_with_letters_as_they_are(sink: Sink) -> None:
    with take_mail() as (port, mails):
        assert send_to(f"mailto://127.0.0.1:{port}?from=ops@example.org&to=ana@example.org&mode=insecure") == ""
    [mail] = mails
    assert (mail["Subject"], mail["To"]) == (TITLE, "ana@example.org")
    text, html = [part.get_content() for part in mail.iter_parts()]
    assert text.split() == f"{TEXT} {LINK}".split()
    assert f"<p>{ESCAPED}</p>" in html and f'<a href="{LINK}">' in html


def test_a_digest_comes_as_the_service_shows_it(sink: Sink) -> None:
    digest = replace(NOTICE, event="digest", severity="info", markdown="**Drift**", html="<h3>Drift</h3>")
    with take_mail() as (port, mails):
        send_to(f"mailto://127.0.0.1:{port}?from=ops@example.org&to=ana@example.org&mode=insecure", digest)
    _, html = [part.get_content() for part in mails[0].iter_parts()]
    assert "<h3>Drift</h3>" in html
    send_to("workflows://prod.westus.logic.azure.com:443/643e69f83c8944/8CJ8aKzHhAkN/", digest)
    send_to("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops", digest)
    card, attachment = [json.loads(post.body)["attachments"][0] for post in sink.posts]
    assert card["content"]["body"][1]["text"] == "**Drift**"
    assert attachment["text"] == ESCAPED


def test_what_is_longer_than_a_service_takes_comes_in_several_messages(sink: Sink) -> None:
    long = replace(NOTICE, text="palavra " * 400)
    assert send_to("discord://1234567890/abcdef", long) == ""
    contents = [json.loads(post.body)["content"] for post in sink.posts]
    assert len(contents) > 1
    assert max(map(len, contents)) <= 2000
    assert "".join(contents).count("palavra") == 400


@pytest.mark.parametrize("address", ["json://user:s3cret-pw@127.0.0.1:1/T0KEN", "https://127.0.0.1:1/T0KEN?key=s3cret"])
def test_why_a_notice_was_not_accepted_is_said_without_what_is_secret(address: str, sink: Sink) -> None:
    sink.status = 500
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    problem = send_to(address)
    logging.getLogger().removeHandler(handler)
    assert "500" in problem or "ConnectError" in problem
    for secret in ("s3cret", "T0KEN"):
        assert secret not in problem
    assert log.getvalue() == "", "what Apprise logs may name what is secret"


def test_a_mail_server_that_is_not_there_is_said(sink: Sink) -> None:
    problem = send_to("mailto://127.0.0.1:1?from=ops@example.org&to=ana@example.org&mode=insecure")
    assert problem and "ana@" not in problem


def test_an_address_may_hang_for_so_long_and_no_longer(sink: Sink) -> None:
    sink.hangs = True
    [address] = parse_addresses("json://127.0.0.1:1/path")
    assert send(address, NOTICE, limit_seconds=0.5) == "no answer within 0.5 s"


@pytest.mark.parametrize(
    ("addresses", "problem"),
    [
        (
            "https://h.example.org slak://a/b/T0KEN",
            r"address 2 of NOTIFY \(slak://\): no service is called so, but slack",
        ),
        ("slack://T0KEN", r"address 1 of NOTIFY \(slack://\) is not complete, or not as that service has it"),
        ("https:///T0KEN", "address 1 of NOTIFY .https://. names no host"),
    ],
)
def test_an_address_that_nothing_can_be_sent_to_is_named_at_the_start_by_its_place(
    addresses: str, problem: str
) -> None:
    settings = Settings.from_env(notify=SecretStr(addresses))
    with pytest.raises(NoticeError, match=f"{problem}.*; correct NOTIFY") as refused:
        check(settings)
    assert "T0KEN" not in str(refused.value)
    check(settings.model_copy(update={"notify": SecretStr("slack://a/b/c https://h.example.org")}))


def test_whoever_only_tells_something_loads_no_library_for_it() -> None:
    code = "import sys, retraining.notices.telling, retraining.watching.watch; print('apprise' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=CHECKOUT)
    assert loaded.stdout.strip() == "False"


def test_a_fault_in_a_service_s_library_is_a_reason_not_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(address: object, notice: object) -> str:
        raise RuntimeError("T0KEN is wrong")

    monkeypatch.setattr(sending, "_notify", fail)
    assert send_to("slack://a/b/T0KEN") == "RuntimeError: *** is wrong"
