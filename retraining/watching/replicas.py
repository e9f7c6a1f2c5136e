"""Which version each model server answers with, asked of the servers themselves, beside what lineage says should serve.

They are asked by TensorFlow Serving's status API, which our server speaks too:
https://www.tensorflow.org/tfx/serving/api_rest#model_status_api.
"""

import functools
import json
import logging
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

import httpx

import lineage
from headlines.names import POLICY_FILE, SAVED_MODEL_FILE
from headlines.objects.addresses import is_object
from lineage import Reign, Source
from modules.features import MODEL_NAME
from retraining.settings import EACH, Settings

State = Literal["differs", "nothing", "unreachable", "unknown", "loading", "agrees", "unasked"]
"""How what answers stands to what should: the worst first; `unknown` where lineage could not be asked, `unasked` where
no model server is."""

PAGE_SECONDS = 0.5
"""How long a page waits for all of them."""

_PATIENT_SECONDS = 5.0
_SPARE_SECONDS = 0.1
_TAKE_UP = timedelta(seconds=60)
"""A server looks for new versions every few seconds, and takes some more to load one."""

# It tells of every request: beside an answer that is meant for a script, where whoever asks writes its log there.
logging.getLogger("httpx").setLevel(logging.WARNING)

_MAX_BYTES = 4 << 20
_MAX_CHARACTERS = 300


@dataclass(frozen=True)
class Replica:
    """What one model server answered when it was asked.

    Attributes:
      address: where.
      version: what a request is answered with that names no version, the greatest that is available; None for nothing.
      since: when the server loaded it; None where it does not say, as TensorFlow Serving does not.
      loading: the versions that it is about to make available.
      refused: the versions that it could not load, each with why.
      has_page: whether it is our server, which has a page for people.
      warning: what our server says is amiss with its `models.config`; empty if nothing, and of TensorFlow Serving.
      workers: what each of its processes answers with, None for one that does not; empty where there is only one.
      problem: why it could not be asked; empty where it could.
      state: how that stands to what lineage says.
      text: the same in words, to be read after the address.
    """

    address: str
    version: int | None = None
    since: datetime | None = None
    loading: tuple[int, ...] = ()
    refused: Mapping[int, str] = field(default_factory=dict)
    has_page: bool = False
    warning: str = ""
    workers: tuple[int | None, ...] = ()
    problem: str = ""
    state: State = "unknown"
    text: str = ""


@dataclass(frozen=True)
class Observation:
    """What should serve, by lineage, and what every model server answers with.

    Attributes:
      expected: what should; None before the first push, or where lineage could not be asked.
      replicas: in the order of `SERVING_URLS`.
    """

    expected: Reign | None
    replicas: tuple[Replica, ...]

    @property
    def state(self) -> State:
        """The worst of the replicas'."""
        return min((one.state for one in self.replicas), key=get_args(State).index, default="unasked")

    @property
    def is_right(self) -> bool:
        """Whether every model server answers as it should, or will in a moment; nobody need answer before a push."""
        faults: set[State] = {"differs", "nothing", "unreachable", "unknown"}
        if self.expected is None:
            faults -= {"unreachable"}
        return not faults & {one.state for one in self.replicas}

    @property
    def verdict(self) -> str:
        """What should serve, and whether it does, in words."""
        if self.state == "unknown":
            return "what should serve is not known"
        if self.expected is None:
            return "nothing was pushed yet, and nothing need answer" if self.is_right else "nothing was pushed yet"
        night = f" of night {self.expected.night}" if self.expected.night else ""
        subject, since = f"version {self.expected.version}{night}", tell_moment(self.expected.since)
        if self.state == "agrees":
            return f"{subject} serves, since {since}"
        ending = {"loading": "is being loaded", "unasked": "no model server is asked (SERVING_URLS=none)"}
        some = any(one.state == "agrees" for one in self.replicas)
        fault = "not every model server answers with it" if some else "no model server answers with it"
        return f"{subject} should serve since {since}, and {ending.get(self.state, fault)}"

    @property
    def text(self) -> str:
        """The verdict, and what each model server answers with, in one line."""
        return "; ".join([self.verdict, *(f"{one.address} {one.text or tell(one)}" for one in self.replicas)])


def tell(replica: Replica) -> str:
    """What a model server answers with, in words, whatever should."""
    if replica.problem:
        return f"cannot be asked: {replica.problem}"
    since = f", loaded {tell_moment(replica.since)}" if replica.since else ""
    return "answers nothing" if replica.version is None else f"answers {replica.version}{since}"


def tell_moment(moment: datetime) -> str:
    """A moment for a person."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def own_address(settings: Settings) -> str:
    """Where the service's own model server answers, for a browser on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.serving_host, settings.serving_host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.serving_port}"


def find_addresses(settings: Settings, limit_seconds: float = _PATIENT_SECONDS) -> dict[str, str]:
    """The model servers that are asked, each with why it cannot be, empty if it can.

    Args:
      settings: where they are; behind a name that begins with `dns+` there is one at each of its addresses.
      limit_seconds: how long a look at names may take.
    """
    if settings.serving_urls is None:
        return {own_address(settings): ""}
    deadline = time.monotonic() + limit_seconds
    found: dict[str, str] = {}
    for address in settings.serving_urls:
        found |= _look_up(address, deadline) if address.startswith(EACH) else {address: ""}
    return found


def _look_up(address: str, deadline: float) -> dict[str, str]:
    """The addresses of all the servers behind a name."""
    url = httpx.URL(address.removeprefix(EACH))
    answered: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()

    def resolve() -> None:
        try:
            answers = socket.getaddrinfo(url.host, url.port or 80, type=socket.SOCK_STREAM)
            answered.put(sorted({str(answer[4][0]) for answer in answers}))
        except OSError as error:
            answered.put(error)

    # Left behind when the time is up, as whoever asks a server.
    threading.Thread(target=resolve, daemon=True).start()
    try:
        hosts = answered.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        return {address: f"nobody says in time where {url.host} is"}
    if isinstance(hosts, OSError):
        return {address: f"{url.host}: {hosts.strerror or hosts}"}
    return {str(url.copy_with(host=host)).rstrip("/"): "" for host in hosts}


def observe(settings: Settings, source: Source | None = None, limit_seconds: float = _PATIENT_SECONDS) -> Observation:
    """Asks every model server which version answers, and sets it beside what lineage says.

    Args:
      settings: where the model servers, MLMD and the pushed models are.
      source: lineage, where it is open already.
      limit_seconds: what has not answered by then is taken not to.

    Raises:
      LineageError: lineage cannot be read; a model server that does not answer is no error.
    """
    with lineage.open_lineage(source or settings) as reader:
        expected = lineage.serving_version(reader)
        replicas = ask(settings, limit_seconds)
        has_more = any(one.version is not None and one.version != (expected and expected.version) for one in replicas)
        pushed = lineage.pushed_versions(reader) if has_more else {}
    now = datetime.now(UTC)
    is_new = functools.partial(_was_pushed_lately, settings, now=now)
    return Observation(expected, tuple(_judge(one, expected, pushed, is_new, now) for one in replicas))


def ask(settings: Settings, limit_seconds: float = _PATIENT_SECONDS) -> tuple[Replica, ...]:
    """Asks every model server at once which version answers; one that does not answer in time holds nobody up."""
    deadline = time.monotonic() + limit_seconds
    addresses = find_addresses(settings, limit_seconds / 2)
    asked = [address for address, problem in addresses.items() if not problem]
    answered: queue.SimpleQueue[Replica] = queue.SimpleQueue()
    for address in asked:
        # Left behind when the time is up, whatever it hangs at, be it the name of a host: so it must not keep the
        # process from ending.
        threading.Thread(
            target=lambda address: answered.put(ask_one(settings, address, deadline)), args=(address,), daemon=True
        ).start()
    silent = f"no answer within {limit_seconds:g} s"
    replicas = {address: Replica(address, problem=problem or silent) for address, problem in addresses.items()}
    for _ in asked:
        try:
            replica = answered.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        replicas[replica.address] = replica
    return tuple(replicas.values())


def ask_one(settings: Settings, address: str, deadline: float | None = None) -> Replica:
    """Asks one model server which version answers.

    Args:
      settings: the token that lets one in.
      address: of the server.
      deadline: by the monotonic clock. Default: a few seconds from now.
    """
    deadline = deadline or time.monotonic() + _PATIENT_SECONDS
    token = settings.serving_token
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
    try:
        with httpx.Client(headers=headers, verify=_trust(), trust_env=False) as client:
            replica = _read_status(address, *_get(client, f"{address}/v1/models/{MODEL_NAME}", deadline))
            # What it says besides can be done without.
            with suppress(httpx.HTTPError, TypeError, ValueError):
                replica = _add_details(replica, *_get(client, f"{address}/version", deadline - _SPARE_SECONDS))
                if replica.has_page:
                    _, ready = _get(client, f"{address}/readyz", deadline - _SPARE_SECONDS)
                    replica = replace(replica, warning=_find_warning(ready))
            return replica
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        problem = "no answer in time" if isinstance(error, httpx.TimeoutException) else _shorten(str(error))
        return Replica(address, problem=problem or "it hangs up")


def _get(client: httpx.Client, address: str, deadline: float) -> tuple[int, Any]:
    """The status of an answer and the JSON in it; None where there is none."""
    body = b""
    with client.stream("GET", address, timeout=max(0.01, deadline - time.monotonic())) as answer:
        # The limit is for each read: byte by byte an answer could go on for ever.
        for chunk in answer.iter_bytes():
            body += chunk
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout("")
            if len(body) > _MAX_BYTES:
                raise ValueError("its answer does not end; is it a model server?")
    try:
        return answer.status_code, json.loads(body)
    except ValueError:
        return answer.status_code, None


def _read_status(address: str, status: int, document: Any) -> Replica:
    """Reads the answer of the status API.

    Raises:
      ValueError: it is none.
    """
    if status in (401, 403):
        raise ValueError("it does not let us in; set SERVING_TOKEN to the token that it wants")
    if status == 404 and isinstance(document, dict) and "error" in document:
        # It knows no version of the model.
        return Replica(address)
    if status != 200:
        raise ValueError(f"it answers with HTTP status {status}")
    try:
        entries = {int(entry["version"]): entry for entry in document["model_version_status"]}
        states = {version: str(entry["state"]) for version, entry in entries.items()}
        refused = {
            version: _shorten(entry["status"].get("error_message") or entry["status"]["error_code"])
            for version, entry in entries.items()
            if entry["state"] == "END" and entry.get("status", {}).get("error_code", "OK") != "OK"
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ValueError("it does not speak TensorFlow Serving's status API; is it a model server?") from None
    available = [version for version, state in states.items() if state == "AVAILABLE"]
    loading = tuple(sorted(version for version, state in states.items() if state in ("START", "LOADING")))
    return Replica(address, max(available, default=None), loading=loading, refused=refused)


def _add_details(replica: Replica, status: int, document: Any) -> Replica:
    """What our server says of itself besides; TensorFlow Serving knows no such address."""
    if not isinstance(document, dict):
        return replica
    if status == 404 and str(document.get("error", "")).startswith("Servable not found"):
        return replace(replica, has_page=True)
    if status != 200 or "loaded_at" not in document:
        return replica
    # Another version may have come between the two questions.
    is_same = document.get("version") == str(replica.version)
    return replace(
        replica,
        has_page=True,
        since=datetime.fromisoformat(document["loaded_at"]) if is_same else replica.since,
        workers=tuple(None if one is None else int(one) for one in document.get("workers", ())),
    )


def _find_warning(ready: Any) -> str:
    """What `/readyz` of our server says of its config file: in `problems`, or where it serves nothing in `error`."""
    if not isinstance(ready, dict):
        return ""
    problems = ready.get("problems") or [str(ready.get("error", ""))]
    return _shorten("; ".join(one for one in problems if POLICY_FILE in one))


def _judge(
    replica: Replica, expected: Reign | None, pushed: Mapping[int, bool], is_new: Callable[[int], bool], now: datetime
) -> Replica:
    """A replica with how what it answers stands to what should serve.

    Args:
      replica: as it answered.
      expected: what should serve.
      pushed: every version that lineage knows, each with whether it was rolled back.
      is_new: whether a version came to lie in the folder a moment ago.
      now: the moment.
    """
    version = replica.version
    answers = "answers nothing" if version is None else f"answers {version}"

    def judged(state: State, text: str) -> Replica:
        return replace(replica, state=state, text=f"{text}. It says: {replica.warning}" if replica.warning else text)

    if replica.problem:
        return judged("unreachable", tell(replica))
    if version == (expected and expected.version):
        astray = [one for one in replica.workers if one != version]
        if not astray:
            return judged("agrees", tell(replica))
        is_late = expected is None or now - expected.since >= _TAKE_UP
        others = ", ".join("nothing" if one is None else str(one) for one in astray)
        text = f"{answers}, but {len(astray)} of its {len(replica.workers)} workers with: {others}"
        return judged("differs" if is_late else "loading", text)
    is_unknown = version is not None and version not in pushed
    if is_unknown and version is not None and is_new(version):
        return judged("loading", f"{answers}, whose push is being recorded")
    if expected is not None and expected.version in replica.loading:
        return judged("loading", f"loads {expected.version}, and meanwhile {answers}")
    if expected is not None and expected.version in replica.refused:
        return judged(
            "nothing" if version is None else "differs",
            f"{answers}: it cannot load {expected.version}: {replica.refused[expected.version]}. "
            f"`retraining run --night {expected.night} --force` makes that night's model anew, "
            '`retraining rollback --reason "..."` goes back to the version before',
        )
    if expected is not None and now - expected.since < _TAKE_UP:
        return judged("loading", f"has not taken up {expected.version} yet, and meanwhile {answers}")
    if expected is None:
        return judged("differs", f"{answers}, of which lineage knows no push")
    why = (
        f"it does not see {expected.version}: compare its folder, and the models.config beside that, with SERVING_DIR"
        if not is_unknown
        else "lineage knows no push of it: clear the Pusher of its night, or move it out of SERVING_DIR"
    )
    rolled_back = ", which was rolled back" if version is not None and pushed.get(version) else ""
    return judged("nothing" if version is None else "differs", f"{answers}{rolled_back}: {why}")


def _was_pushed_lately(settings: Settings, version: int, now: datetime) -> bool:
    try:
        path = settings.serving_dir / str(version)
        # A folder on object storage has no time, and a version is there when its model is.
        appeared = (path / SAVED_MODEL_FILE if is_object(path) else path).stat().st_mtime
    except OSError:
        return False
    return now.timestamp() - appeared < _TAKE_UP.total_seconds()


def _shorten(text: str) -> str:
    """A message of a server as one line of what can be printed."""
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return line if len(line) <= _MAX_CHARACTERS else f"{line[:_MAX_CHARACTERS]}..."


@functools.cache
def _trust() -> ssl.SSLContext:
    """Whom to trust with https: whom this machine trusts; read once, for it takes longer than the answer."""
    return ssl.create_default_context()
