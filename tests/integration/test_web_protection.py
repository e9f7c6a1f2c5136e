"""What the web server, behind a proxy and tells browsers and refuses them."""

import socket
from collections.abc import Iterator
from pathlib import Path

import gunicorn
import httpx
import pytest
from pages_server import PASSWORD, PagesServer, find_token

from retraining.local import airflow
from retraining.settings import Settings

SECRETS = {f"{name}_password": name for name in ("mlmd", "airflow_db", "airflow_admin", "postgres", "supervisor")} | {
    "airflow_fernet_key": "f",
    "airflow_secret_key": "s",
}
ADDRESSES = {
    "one of Airflow's pages": "/home",
    "the log-in page": "/login/",
    "Airflow's API": "/api/v1/dags",
    "Airflow's API to nobody": "/api/v1/connections",
    "health": "/health",
    "a static file": "/static/pin_32.png",
    "our page": "/headlines/nights",
    "our API": "/headlines/api/nights",
    "nothing": "/headlines/nothing",
}
FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "airflow.example.org"}


def read_options(**settings: str) -> dict[str, str]:
    """What the service tells its web server of protection."""
    environment = airflow.environment(Settings.from_env(**SECRETS, **settings))
    wanted = ("AIRFLOW__WEBSERVER__", "AIRFLOW__FAB__")
    return {name: value for name, value in environment.items() if name.startswith(wanted)}


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagesServer]:
    """A web server that believes a proxy."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = read_options(webserver_url="https://airflow.example.org", session_lifetime_minutes="30")
    running = PagesServer(tmp_path_factory.mktemp("proxied"), port, **options)
    yield running
    running.stop()


def log_in(server: PagesServer, user: str, address: str, password: str = PASSWORD) -> httpx.Response:
    """Logs in as from an address, behind the proxy."""
    with httpx.Client(base_url=server.url, timeout=60, headers=FORWARDED | {"X-Forwarded-For": address}) as client:
        page = client.get("/login/")
        # The cookie is for https alone, which this client does not speak to the proxy's far side.
        cookie = {"Cookie": page.headers["set-cookie"].partition(";")[0]}
        form = {"username": user, "password": password, "csrf_token": find_token(page.text)}
        # Over https Flask asks where a form was sent from: a policy of no referrer at all would let nobody in.
        headers = cookie | {"Referer": "https://airflow.example.org/login/"}
        return client.post("/login/", data=form, headers=headers)


@pytest.mark.parametrize("what", ADDRESSES)
def test_every_answer_tells_the_browser_what_to_refuse(what: str, proxied: PagesServer) -> None:
    auth = None if "nobody" in what else ("admin", PASSWORD)
    answer = httpx.get(f"{proxied.url}{ADDRESSES[what]}", auth=auth, headers=FORWARDED, timeout=60)
    told = answer.headers
    assert told["x-frame-options"] == "DENY"
    assert told["x-content-type-options"] == "nosniff"
    assert told["referrer-policy"] == "same-origin"
    assert told["strict-transport-security"] == "max-age=31536000"
    assert {"object-src 'none'", "frame-ancestors 'none'"} <= set(told["content-security-policy"].split("; "))
    assert "x-powered-by" not in told


def test_the_server_in_front_of_the_service_s_web_application_tells_no_version() -> None:
    # What gunicorn puts into `Server`; a version behind it is gone since benoitc/gunicorn 20.
    assert gunicorn.SERVER == "gunicorn"


def test_a_session_is_a_row_that_ends_and_its_cookie_is_for_https_and_this_site_alone(proxied: PagesServer) -> None:
    answer = log_in(proxied, "editor", "10.0.0.1")
    assert (answer.status_code, answer.headers["location"]) == (302, "/home")
    cookie = answer.headers["set-cookie"]
    assert all(part in cookie for part in ("Secure", "HttpOnly", "SameSite=Lax", "Expires="))
    # A signed number, not what the server remembers.
    assert "editor" not in cookie and len(cookie.split(";")[0]) < 120


def test_whoever_guesses_passwords_is_made_to_wait_and_nobody_else_is(proxied: PagesServer) -> None:
    answers = [log_in(proxied, "admin", "10.0.0.2", "wrong").status_code for _ in range(6)]
    assert answers[-1] == 429 and 429 not in answers[:5]
    assert log_in(proxied, "viewer", "10.0.0.3").status_code == 302


@pytest.mark.parametrize("address", ["/api/v1/dags", "/headlines/api/nights"])
def test_whoever_guesses_passwords_by_the_api_is_made_to_wait_and_nobody_else_is(
    address: str, proxied: PagesServer
) -> None:
    def ask(whence: str, password: str) -> httpx.Response:
        forwarded = FORWARDED | {"X-Forwarded-For": whence}
        return httpx.get(f"{proxied.url}{address}", auth=("admin", password), headers=forwarded, timeout=60)

    whence = f"10.1.0.{len(address)}"
    # No lineage is there to be read, which ours answers with 503: what matters is who is let through.
    assert {ask(whence, PASSWORD).status_code for _ in range(7)} <= {200, 503}
    answers = [ask(whence, "wrong").status_code for _ in range(6)]
    # Airflow's own API asks the session next, which refuses with 403.
    assert set(answers[:5]) <= {401, 403} and answers[5] == 429
    refused = ask(whence, PASSWORD)
    assert refused.status_code == 429 and refused.headers["retry-after"] == "40"
    assert "too many wrong passwords" in refused.json()["error"]
    assert ask("10.1.1.1", PASSWORD).status_code in (200, 503)


def test_a_right_password_without_the_right_is_no_guess(proxied: PagesServer) -> None:
    forwarded = FORWARDED | {"X-Forwarded-For": "10.2.0.1"}
    answers = [
        httpx.get(f"{proxied.url}/api/v1/connections", auth=("visitor", PASSWORD), headers=forwarded, timeout=60)
        for _ in range(7)
    ]
    assert {answer.status_code for answer in answers} == {403}


def test_without_a_proxy_its_headers_are_not_believed_and_cookies_work_without_https() -> None:
    alone, proxied = read_options(), read_options(webserver_url="https://airflow.example.org")
    names = ("COOKIE_SECURE", "ENABLE_PROXY_FIX", "BASE_URL", "SESSION_LIFETIME_MINUTES")
    assert [alone[f"AIRFLOW__WEBSERVER__{name}"] for name in names] == [
        "False",
        "False",
        "http://127.0.0.1:8080",
        "720",
    ]
    assert [proxied[f"AIRFLOW__WEBSERVER__{name}"] for name in names[:3]] == [
        *("True", "True", "https://airflow.example.org")
    ]
    plain = read_options(webserver_url="http://airflow.lan")
    assert [plain[f"AIRFLOW__WEBSERVER__{name}"] for name in names[:2]] == ["False", "True"]


@pytest.fixture(autouse=True)
def away_from_the_users_own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("retraining.settings.ENV_FILE", tmp_path / ".env")
