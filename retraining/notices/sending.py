"""Sending one notice to one address, within a time limit: by Apprise, or as the JSON of this service."""

import difflib
import logging
import queue
import threading
from typing import TYPE_CHECKING, Any

import httpx

from headlines.errors import HeadlinesError
from retraining.notices.outbox import Notice
from retraining.notices.wording import Part, as_html, as_markdown
from retraining.notify_addresses import Address, parse_addresses
from retraining.settings import Settings

if TYPE_CHECKING:
    from apprise import NotifyBase

log = logging.getLogger(__name__)

LIMIT_SECONDS = 20.0
"""How long an address may take to accept a notice."""

_STEP_SECONDS = 10.0
_SERVICES = "https://appriseit.com/services/"
_TITLE = "Headlines"


class NoticeError(HeadlinesError):
    """Nobody can be told at an address of NOTIFY; the message says which one and what to do."""


def find_addresses(settings: Settings) -> tuple[Address, ...]:
    """The addresses of NOTIFY."""
    return parse_addresses(settings.notify.get_secret_value()) if settings.notify else ()


def check(settings: Settings) -> None:
    """Refuses addresses that nothing could ever be sent to; nobody is asked.

    Raises:
      NoticeError: a line for each.
    """
    problems = [problem for address in find_addresses(settings) if (problem := find_problem(address))]
    if problems:
        raise NoticeError("\n".join(f"{problem}; correct NOTIFY" for problem in problems))


def find_problem(address: Address) -> str:
    """Why nothing can ever be sent to an address, with what to do; empty where something can."""
    try:
        if not address.is_plain:
            _make_plugin(address)
        elif not httpx.URL(address.url).host:
            return f"{address} names no host"
    except (NoticeError, httpx.InvalidURL) as error:
        return str(error) if isinstance(error, NoticeError) else f"{address} is no address of the web"
    return ""


def send(address: Address, notice: Notice, limit_seconds: float = LIMIT_SECONDS) -> str:
    """Sends a notice to an address.

    Args:
      address: where.
      notice: what.
      limit_seconds: what was not accepted by then counts as not accepted.

    Returns:
      Why it was not accepted, without what is secret in the address; empty where it was.
    """
    answered: queue.SimpleQueue[str] = queue.SimpleQueue()
    # Left behind when the time is up, whatever it hangs at: a name server, or a byte a minute. So it must not keep the
    # process from ending.
    threading.Thread(target=lambda: answered.put(_try_to_send(address, notice)), daemon=True).start()
    try:
        return answered.get(timeout=limit_seconds)
    except queue.Empty:
        return f"no answer within {limit_seconds:g} s"


def to_json(notice: Notice) -> dict[str, str]:
    """What is posted to a plain address; docs/notices.md tells its shape."""
    more = {"severity": notice.severity, "subject": notice.subject, "link": notice.link, "at": notice.at}
    return {"event": notice.event, "text": notice.text, **notice.fields, **more, "id": notice.id}


def _try_to_send(address: Address, notice: Notice) -> str:
    try:
        return _post(address, notice) if address.is_plain else _notify(address, notice)
    except Exception as error:
        # Of a plugin anything may be raised, and whoever waits must hear of it: it is logged and told as the reason.
        return address.hide(f"{type(error).__name__}: {error}")


def _post(address: Address, notice: Notice) -> str:
    try:
        answer = httpx.post(address.url, json=to_json(notice), timeout=_STEP_SECONDS)
    except httpx.TimeoutException:
        return f"no answer within {_STEP_SECONDS:g} s"
    return "" if answer.is_success else f"it answered {answer.status_code} {answer.reason_phrase}".rstrip()


def _notify(address: Address, notice: Notice) -> str:
    from apprise import NotifyFormat, NotifyType

    plugin = _make_plugin(address)
    _adapt(plugin, notice)
    # As the service shows it best, but for Markdown only where it shows nothing else (Teams): each has its own.
    form = plugin.resolve_format()
    if form == NotifyFormat.MARKDOWN:
        form = plugin.resolve_format(NotifyFormat.TEXT)
    with _Hearing() as heard:
        is_accepted = plugin.notify(
            body=_render(notice, form.value),
            title=f"{_TITLE}, {notice.severity}: {notice.subject}",
            notify_type=NotifyType.SUCCESS if notice.severity == "recovered" else NotifyType(notice.severity),
            body_format=form,
        )
    return "" if is_accepted else address.hide("; ".join(heard.words) or "it was not accepted, and not said why")


def _render(notice: Notice, form: str) -> str:
    parts = [Part("", (notice.text,), notice.link)]
    if form == "html":
        return notice.html or as_html(parts)
    if form == "markdown":
        return notice.markdown or as_markdown(parts)
    # A digest has a link in each of its parts.
    return f"{notice.text}\n\n{notice.link}" if notice.link and not notice.html else notice.text


def _make_plugin(address: Address) -> "NotifyBase":
    """What of Apprise sends to the address.

    Raises:
      NoticeError: nothing does.
    """
    # Only here: it takes half a second, and a task or a DAG file that is read has nothing to send.
    from apprise import Apprise, AppriseAsset
    from apprise.manager_plugins import NotificationManager

    schemes = NotificationManager().schemas()  # type: ignore[no-untyped-call]
    if address.scheme not in schemes:
        near = difflib.get_close_matches(address.scheme, schemes, n=1)
        raise NoticeError(
            f"{address}: no service is called so{f', but {near[0]}:// is one' if near else ''}; {_SERVICES} lists all"
        )
    # Without pictures: whoever opens a mail should load nothing from elsewhere.
    asset = AppriseAsset(app_id=_TITLE, app_desc="Headline retraining", image_url_mask="", image_url_logo="")
    with _Hearing() as heard:
        plugin: NotifyBase | None = Apprise.instantiate(address.url, asset=asset)
    if plugin is None:
        why = address.hide("; ".join(heard.words))
        raise NoticeError(
            f"{address} is not complete, or not as that service has it{f' ({why})' if why else ''}; {_SERVICES} says "
            "how it is written"
        )
    return plugin


def _adapt(plugin: "NotifyBase", notice: Notice) -> None:
    from apprise import OverflowMode
    from apprise.plugins.pagerduty import NotifyPagerDuty, PagerDutyAction

    if plugin.overflow_mode == OverflowMode.UPSTREAM:
        # What is longer than a service takes comes in several messages, not cut or refused.
        plugin.overflow_mode = OverflowMode.SPLIT
    if isinstance(plugin, NotifyPagerDuty) and not plugin.dedup:
        # An incident for each fact, which is resolved when that is over.
        plugin.dedup, plugin.action = notice.of or notice.id, PagerDutyAction.MAP


class _Hearing(logging.Handler):
    """Takes what Apprise logs in this thread, which is the only place where it says why something did not work."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.words: list[str] = []
        self._thread = threading.get_ident()
        self._logger = logging.getLogger("apprise")

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.words.append(" ".join(record.getMessage().split()).rstrip("."))

    def __enter__(self) -> "_Hearing":
        # It may name what is secret: nothing of it goes into a log as it is.
        self._logger.propagate = False
        self._logger.addHandler(self)
        return self

    def __exit__(self, *raised: Any) -> None:
        self._logger.removeHandler(self)
