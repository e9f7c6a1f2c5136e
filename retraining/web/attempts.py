"""How often a password may be guessed by a script: Airflow limits its log-in form alone, not its API.

flask-limiter, which limits the form, counts requests by address and route. Here only wrong passwords count, on whatever
route, so that a script with the right one may ask as often as it likes.
"""

from typing import Any

from airflow.configuration import conf
from airflow.www.extensions.init_auth_manager import get_auth_manager
from flask import Response, jsonify, request
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

# In the memory of each of the web server's processes, as flask-limiter's own count is.
_limiter = MovingWindowRateLimiter(MemoryStorage())


def refuse_guesses() -> Any:
    """Answers 429 to an address that has given too many wrong passwords; None lets the request through."""
    limit = _limit()
    if limit is None or not _gives_password() or _limiter.test(limit, _key()):
        return None
    response = jsonify({"error": "too many wrong passwords; wait, and correct it"})
    response.status_code = 429
    response.headers["Retry-After"] = str(limit.get_expiry())
    return response


def count_guess(response: Response) -> Response:
    """Counts an answer that refused a password: with 401, or 403 where Airflow asked for a session next."""
    limit = _limit()
    is_refused = response.status_code in (401, 403) and not get_auth_manager().is_logged_in()
    if limit is not None and is_refused and _gives_password():
        _limiter.hit(limit, _key())
    return response


def _limit() -> RateLimitItem | None:
    if not conf.getboolean("fab", "auth_rate_limited"):
        return None
    return parse(conf.get("fab", "auth_rate_limit"))


def _gives_password() -> bool:
    return request.authorization is not None


def _key() -> str:
    return request.remote_addr or "nobody"
