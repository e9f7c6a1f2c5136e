"""Sending what waits: again until it is accepted, to each address by itself, and visible until then."""

import errno
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from notice_sink import Sink, listen
from pydantic import SecretStr
from waiting import wait_until

from retraining.notices import delivery, outbox
from retraining.notices.outbox import Notice
from retraining.settings import Settings


@pytest.fixture
def sinks() -> Iterator[list[Sink]]:
    with listen() as first, listen() as second, listen() as third:
        yield [first, second, third]


@pytest.fixture
def settings(tmp_path: Path, sinks: list[Sink]) -> Settings:
    addresses = " ".join(f"{sink.url}/T0KEN{number}" for number, sink in enumerate(sinks))
    return Settings.from_env(state_dir=tmp_path, notify=SecretStr(addresses))


def keep(settings: Settings, name: str = "late-drop-1", age: timedelta = timedelta(0)) -> None:
    at = (datetime.now(UTC) - age).isoformat()
    assert outbox.add(settings, Notice(name, "late drop", "warning", "late", "no drop", "http://h/", at))


def test_one_address_of_three_that_fails_keeps_nothing_from_the_others(
    settings: Settings, sinks: list[Sink], caplog: pytest.LogCaptureFixture
) -> None:
    sinks[1].status = 500
    keep(settings)
    assert delivery.deliver(settings) == set()
    assert [len(sink.posts) for sink in sinks] == [1, 0, 1]
    [backlog] = delivery.survey(settings)
    assert backlog.address == "address 2 of NOTIFY (http://)"
    assert str(backlog).startswith("1 notice waits for address 2 of NOTIFY (http://), which accepts none since 20")
    assert "it answered 500 Internal Server Error" in str(backlog)
    assert "was not accepted by address 2 of NOTIFY (http://): it answered 500" in caplog.text
    assert "T0KEN" not in caplog.text + str(backlog)


def test_an_address_in_trouble_is_left_alone_for_a_growing_while_and_then_caught_up_with(
    settings: Settings, sinks: list[Sink], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    waits = []
    trouble = None
    for _ in range(8):
        trouble = delivery._grow(trouble, "it answered 500", now)
        waits.append((datetime.fromisoformat(trouble.next_at) - now).total_seconds())
    assert waits == [30, 60, 120, 240, 480, 900, 900, 900]
    assert trouble is not None and trouble.since == now.isoformat()

    sinks[0].status = 503
    keep(settings)
    delivery.deliver(settings)
    keep(settings, "late-drop-2")
    delivery.deliver(settings)
    assert (sinks[0].asked, len(sinks[1].posts)) == (1, 2)
    sinks[0].status = 204
    # As much later as it takes.
    monkeypatch.setattr(delivery, "_read_trouble", lambda settings: {})
    assert delivery.deliver(settings) == {"late-drop-1", "late-drop-2"}
    assert len(sinks[0].posts) == 2
    assert delivery.survey(settings) == []


def test_an_address_that_hangs_or_sends_a_byte_now_and_then_holds_nobody_up(
    settings: Settings, sinks: list[Sink], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_SLOW_SECONDS", 0.2)
    sinks[0].hangs = True
    keep(settings)
    keep(settings, "late-drop-2")
    delivery.deliver(settings, limit_seconds=0.5)
    assert sinks[0].asked == 1, "each further notice would take as long"
    assert len(sinks[1].posts) == 2
    [backlog] = delivery.survey(settings)
    assert (backlog.waiting, backlog.problem) == (2, "no answer within 0.5 s")


def test_a_notice_that_one_address_never_accepts_does_not_stop_the_next(
    settings: Settings, sinks: list[Sink], monkeypatch: pytest.MonkeyPatch
) -> None:
    send = delivery.send

    def refuse_one(address: delivery.Address, notice: Notice, limit_seconds: float) -> str:
        return "it answered 400" if notice.id == "late-drop-1" else send(address, notice, limit_seconds)

    monkeypatch.setattr(delivery, "send", refuse_one)
    keep(settings)
    keep(settings, "late-drop-2")
    assert delivery.deliver(settings) == {"late-drop-2"}


def test_what_nobody_accepts_for_a_week_is_given_up_aloud(
    settings: Settings, sinks: list[Sink], caplog: pytest.LogCaptureFixture
) -> None:
    for sink in sinks:
        sink.status = 404
    keep(settings, age=timedelta(days=8))
    with caplog.at_level(logging.ERROR):
        delivery.deliver(settings)
    assert "is given up after 7 days: address 1 of NOTIFY (http://), address 2" in caplog.text
    assert "It said: no drop" in caplog.text
    assert delivery.survey(settings) == []


def test_a_corrected_address_is_sent_what_the_wrong_one_did_not_accept(settings: Settings, sinks: list[Sink]) -> None:
    wrong = settings.model_copy(update={"notify": SecretStr(f"{sinks[0].url}/wrong {sinks[1].url}/right")})
    sinks[0].status = 404
    keep(settings)
    delivery.deliver(wrong)
    right = settings.model_copy(update={"notify": SecretStr(f"{sinks[2].url}/corrected {sinks[1].url}/right")})
    assert delivery.deliver(right) == {"late-drop-1"}
    assert [len(sink.posts) for sink in sinks] == [0, 1, 1]


def test_what_waits_is_sent_after_a_restart_and_what_was_sent_is_not(settings: Settings, sinks: list[Sink]) -> None:
    keep(settings)
    for _ in range(2):
        stop = threading.Event()
        sender = threading.Thread(target=delivery.run, args=(settings, stop))
        sender.start()
        wait_until(lambda: all(one.is_settled for one in outbox.read_all(settings)), seconds=20)
        stop.set()
        sender.join()
    assert [len(sink.posts) for sink in sinks] == [1, 1, 1]


def test_of_two_that_send_one_waits(settings: Settings, sinks: list[Sink], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_LOOK_SECONDS", 0.05)
    stop = threading.Event()
    senders = [threading.Thread(target=delivery.run, args=(settings, stop)) for _ in range(2)]
    for sender in senders:
        sender.start()
    for number in range(5):
        keep(settings, f"late-drop-{number}")
        delivery.deliver_alone(settings, 5)
    wait_until(lambda: all(one.is_settled for one in outbox.read_all(settings)), seconds=20)
    stop.set()
    for sender in senders:
        sender.join()
    assert [len(sink.posts) for sink in sinks] == [5, 5, 5]


def test_a_file_that_is_no_notice_is_named_and_stops_nothing(
    settings: Settings, sinks: list[Sink], caplog: pytest.LogCaptureFixture
) -> None:
    keep(settings)
    (outbox.folder(settings) / "half.json").write_text('{"id": ')
    (outbox.folder(settings) / "trouble").write_text("[1]")
    assert delivery.deliver(settings) == {"late-drop-1"}
    assert "half.json cannot be read" in caplog.text
    assert len(sinks[0].posts) == 1


def test_what_was_told_long_ago_is_forgotten_and_what_still_waits_is_not(settings: Settings) -> None:
    keep(settings, "old", outbox.KEPT + timedelta(days=1))
    keep(settings, "waiting", outbox.KEPT + timedelta(days=1))
    keep(settings, "new")
    old = outbox.read(settings, "old")
    assert old
    outbox.update(settings, replace(old, is_settled=True))
    outbox.forget(settings)
    assert {one.id for one in outbox.read_all(settings)} == {"waiting", "new"}


def test_on_a_full_disk_a_notice_is_not_sent_again_and_again(
    settings: Settings, sinks: list[Sink], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(path: Path, content: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    keep(settings, "full-disk-1")
    sinks[1].status = 500
    monkeypatch.setattr(outbox, "replace_file", fail)
    monkeypatch.setattr(delivery, "replace_file", fail)
    for _ in range(3):
        delivery.deliver(settings)
    assert [len(sink.posts) for sink in sinks] == [1, 0, 1]
    assert sinks[1].asked == 3
    assert "cannot be kept ([Errno 28] No space left on device)" in caplog.text
