"""Telling people, whoever has something to tell: a task, or a program that sees that no task runs."""

import logging

import httpx

from retraining.settings import Settings

log = logging.getLogger(__name__)
_TIMEOUT_SECONDS = 10


def notify(event: str, message: str, **more: str) -> bool:
    """Logs a notice, and posts it as JSON to `FAILURE_WEBHOOK_URL` when it is set; it never fails a run.

    Args:
      event: what kind of notice it is, in a word or two.
      message: what happened and what to do.
      **more: further fields of the JSON object.

    Returns:
      Whether it has reached whoever is to be told; with nobody to tell, the log is enough.
    """
    log.info("Notice of %s: %s", event, message)
    url = Settings.from_env().failure_webhook_url
    if url is None:
        return True
    try:
        httpx.post(
            url.get_secret_value(), json={"event": event, "text": message, **more}, timeout=_TIMEOUT_SECONDS
        ).raise_for_status()
    except httpx.HTTPError as error:
        log.warning("The notice %r could not be sent: %s. Check FAILURE_WEBHOOK_URL.", event, error)
        return False
    return True


def give_sign_of_life() -> bool:
    """Asks for `HEARTBEAT_URL`, where something outside waits to be asked after every healthy night.

    Returns:
      Whether it was heard, or nothing waits.
    """
    url = Settings.from_env().heartbeat_url
    if url is None:
        return True
    try:
        httpx.get(url.get_secret_value(), timeout=_TIMEOUT_SECONDS).raise_for_status()
    except httpx.HTTPError as error:
        log.warning("The sign of life could not be given: %s. Check HEARTBEAT_URL.", error)
        return False
    return True
