"""What every answer under /headlines tells the browser to refuse, and JSON for whatever goes wrong under its API."""

import secrets

from flask import Flask, Response, g, json, request
from markupsafe import Markup
from werkzeug.http import HTTP_STATUS_CODES

ROOT, API = "/headlines", "/headlines/api"


def protect(app: Flask) -> None:
    """Has every answer under /headlines go through here: pages, JSON, CSV, static files, refusals."""
    app.after_request(_finish)


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
    if not _is_below(ROOT):
        return response
    if is_api() and response.status_code >= 400 and not response.is_json:
        response.mimetype = "application/json"
        response.set_data(json.dumps({"error": HTTP_STATUS_CODES.get(response.status_code, "Unknown").lower()}))
    headers = response.headers
    # Set already where `webserver.x_frame_enabled` is false; then no page may frame ours, otherwise those of this host.
    headers.setdefault("X-Frame-Options", "SAMEORIGIN")
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "same-origin")
    headers.setdefault("Content-Security-Policy", "; ".join(_policy(response)))
    return response


def _policy(response: Response) -> list[str]:
    framing = "'none'" if response.headers["X-Frame-Options"].upper() == "DENY" else "'self'"
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
