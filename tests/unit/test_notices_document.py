"""docs/notices.md has the table of events as the code has it."""

from retraining.notices.events import EVENTS, Event
from retraining.settings import CHECKOUT

DOCUMENT = (CHECKOUT / "docs" / "notices.md").read_text()


def describe(event: Event) -> str:
    ending = f"`{event.ending.name}`: {event.ending.subject}" if event.ending else ""
    return f"| `{event.name}` | {event.severity} | {event.subject} | `/headlines{event.page}` | {ending} |"


def test_the_table_of_events_is_the_code() -> None:
    expected = ["| event | severity | what is said | page | when it is over |", "|---|---|---|---|---|"]
    expected += map(describe, EVENTS.values())
    table = DOCUMENT.split("<!-- events -->")[1].strip().splitlines()
    assert table == expected, "paste this into docs/notices.md:\n" + "\n".join(expected)
