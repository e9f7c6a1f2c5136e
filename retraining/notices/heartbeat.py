"""The sign of life, which something outside waits for: where even the watch is gone, it is missed there."""

import logging

import httpx

from retraining.settings import Settings

log = logging.getLogger(__name__)
_TIMEOUT_SECONDS = 10


def give_sign_of_life(settings: Settings) -> bool:
    """Asks for `HEARTBEAT_URL`, where something outside waits to be asked after every healthy night.

    Returns:
      Whether it was heard, or nothing waits.
    """
    if settings.heartbeat_url is None:
        return True
    try:
        answer = httpx.get(settings.heartbeat_url.get_secret_value(), timeout=_TIMEOUT_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # Its own words may name the address, in which a token may be.
        log.warning("The sign of life could not be given: %s. Check HEARTBEAT_URL.", type(error).__name__)
        return False
    if not answer.is_success:
        log.warning("The sign of life could not be given: it answered %s. Check HEARTBEAT_URL.", answer.status_code)
    return answer.is_success
