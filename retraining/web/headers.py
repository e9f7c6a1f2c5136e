"""What every answer of the web server tells the browser to refuse, ours more than Airflow's own.

And JSON for whatever goes wrong under our API.
"""

import secrets

from airflow.configuration import conf
from flask import Flask, Response, g, json, request
from markupsafe import Markup
from werkzeug.http import HTTP_STATUS_CODES

from retraining.web import attempts

ROOT, API = "/headlines", "/headlines/api"


_YEAR_SECONDS = 365 * 24 * 3600


def protect(app: Flask) -> None:
    """Has every answer go through here: Airflow's pages and API, and under /headlines pages, JSON, CSV, refusals."""
    app.after_request(_finish)
    app.before_request(attempts.refuse_guesses)
    app.after_request(attempts.count_guess)
    if conf.get("webserver", "base_url").startswith("https://"):
        app.after_request(_insist_on_https)


def is_api() -> bool:
    """Whether JSON was asked for."""
    return _is_below(API)


def under_policy(markup: str) -> Markup:
    """Airflow's own part of a page, so that it works under the policy; never to be given what anybody else wrote.

    Its inline scripts get the nonce, and its links that lead nowhere do so without a script.
    """
    return Markup(
        str(markup).replace("<script>", f'<script nonce="{_nonce()}">').replace('href="javascript:void(0)"', 'href="#"')
    )


def _finish(response: Response) -> Response:
    headers = response.headers
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "same-origin")
    if not _is_below(ROOT):
        # Airflow's pages have inline scripts without a nonce; what may be refused without breaking one is.
        framing = _framing(response)
        headers.setdefault("Content-Security-Policy", f"object-src 'none'; base-uri 'self'; frame-ancestors {framing}")
        return response
    if is_api() and response.status_code >= 400 and not response.is_json:
        response.mimetype = "application/json"
        response.set_data(json.dumps({"error": HTTP_STATUS_CODES.get(response.status_code, "Unknown").lower()}))
    # Set already where `webserver.x_frame_enabled` is false; then no page may frame ours, otherwise those of this host.
    headers.setdefault("X-Frame-Options", "SAMEORIGIN")
    headers.setdefault("Content-Security-Policy", "; ".join(_policy(response)))
    return response


def _insist_on_https(response: Response) -> Response:
    """Has a browser come back by https alone, for a year."""
    response.headers.setdefault("Strict-Transport-Security", f"max-age={_YEAR_SECONDS}")
    return response


def _framing(response: Response) -> str:
    return "'none'" if response.headers.get("X-Frame-Options", "").upper() == "DENY" else "'self'"


def _policy(response: Response) -> list[str]:
    framing = _framing(response)
    always = ["object-src 'none'", "base-uri 'none'", "form-action 'self'", f"frame-ancestors {framing}"]
    if response.mimetype != "text/html":
        return ["default-src 'none'", *always]
    # Inline styles are Airflow's, Chart.js' and those of our own bars; an inline script must bear the nonce.
    return [
        "default-src 'self'",
        f"script-src 'self' 'nonce-{_nonce()}'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        *always,
    ]


def _nonce() -> str:
    if "headlines_nonce" not in g:
        g.headlines_nonce = secrets.token_urlsafe(16)
    return str(g.headlines_nonce)


def _is_below(address: str) -> bool:
    return request.path == address or request.path.startswith(f"{address}/")
