"""Where a notice leads: addresses of pages as people reach them."""

from collections.abc import Mapping

from retraining.notices.events import NIGHTS
from retraining.settings import Settings

_PAGES = "/headlines"


def web_root(settings: Settings) -> str:
    """Where people reach the web UI: WEB_ADDRESS or, without it, where a browser on this machine does."""
    if settings.web_address:
        return settings.web_address
    host = "127.0.0.1" if settings.webserver_host == "0.0.0.0" else settings.webserver_host
    return f"http://{host}:{settings.webserver_port}"


def link(settings: Settings, page: str) -> str:
    """The address of one of the pages about headlines, given as in the table of events."""
    return f"{web_root(settings)}{_PAGES}{page}"


def find_link(settings: Settings, page: str, fields: Mapping[str, str]) -> str:
    """Where a notice leads: to its page or, where its fields name none, to the log that it names, or the calendar."""
    try:
        return link(settings, page.format_map(dict(fields)))
    except KeyError:
        return fields.get("log_url") or link(settings, NIGHTS)
