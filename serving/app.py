"""The web application: TensorFlow Serving's API, what people and machines ask beside it, and who may ask."""

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from serving.access import check_token
from serving.accounting import Accounting
from serving.batching import Batcher
from serving.body import read_body, work_on
from serving.document import drop, encode, parse_json, shorten_float
from serving.errors import ServingError, invalid, to_text
from serving.grpc_server import GrpcServer
from serving.metrics import Metrics, join_pages
from serving.model import Model
from serving.open_inference import OpenInference
from serving.open_inference_http import OpenInferenceHttp
from serving.openapi import write_openapi
from serving.readiness import Readiness
from serving.replies import Handler, answer_failure, answer_http_error, internal_error, send_constant, to_error, to_json
from serving.request_log import TITLE, RequestLog
from serving.rest import RestApi
from serving.settings import MODEL_NAME, Settings
from serving.siblings import METRICS, STATE, Siblings
from serving.source import open_source
from serving.turns import Turns
from serving.versions import Versions

log = logging.getLogger(__name__)

# The class order of every probability vector of the pushed models.
LABELS = ("negative", "neutral", "positive")
TEXT_SIGNATURE = "predict_text"
MAX_RELATED = 50
# How long the server waits for its first versions before it listens all the same.
FIRST_LOOK_SECONDS = 30.0
# What the push notes of a model, as far as /version tells it.
ABOUT = ("model_id", "code", "data", "settings", "verdict", "reason", "pushed_at")

_PAGE = Path(__file__).with_name("page.html")
_PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Server:
    """Everything that one running server holds."""

    def __init__(self, settings: Settings, siblings: Siblings | None = None) -> None:
        self.settings = settings
        self.siblings = siblings
        self.metrics = Metrics()
        self.versions = Versions(
            open_source(settings),
            MODEL_NAME,
            settings.keep_versions,
            settings.poll_seconds,
            self.metrics,
            load_seconds=settings.load_seconds,
        )
        # As many bytes as the large requests that may wait can have.
        self.turns = Turns(
            settings.max_large_waiting, settings.max_large_waiting * settings.max_body_bytes, settings.timeout_seconds
        )
        self.batcher = Batcher(
            settings.max_batch,
            self.turns,
            lambda signature, rows: self.metrics.batch_rows.labels(signature).observe(rows),
        )
        self.readiness = Readiness(self.versions)
        self.accounting = Accounting(self.metrics)
        self.accounting.request_log = RequestLog.open(settings, self.metrics.lost_rows)
        self.rest = RestApi(self.versions, self.batcher)
        self.open_inference = OpenInferenceHttp(
            OpenInference(MODEL_NAME, self.versions, self.batcher, self.readiness),
            self.accounting,
            self._read,
            self._respond,
        )
        self.grpc = GrpcServer(
            settings, self.versions, self.batcher, self.turns, self.accounting, self.metrics, self.readiness
        )

    @contextlib.asynccontextmanager
    async def run(self, _: Starlette) -> AsyncIterator[None]:
        """Starts the threads before the first request and ends them after the last."""
        # What was imported stays; collecting what dropped models leave behind need not look at it.
        gc.collect()
        gc.freeze()
        if self.siblings:
            await self.siblings.start({STATE: self._tell_state, METRICS: self._tell_metrics})
        self.versions.start()
        # Who listens has its share of the requests, and others may have a model already.
        await asyncio.to_thread(self.versions.wait_until_looked, FIRST_LOOK_SECONDS)
        yield
        if self.siblings:
            await self.siblings.stop()
        await self.grpc.stop()
        await asyncio.to_thread(self.versions.stop)
        await asyncio.to_thread(self.turns.stop)
        if self.accounting.request_log:
            self.accounting.request_log.close()

    async def tensorflow_api(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Everything under /v1."""
        request = Request(scope, receive)
        await (await self._respond(request, "/v1", self._rest))(scope, receive, send)

    async def predict(self, request: Request) -> Response:
        """POST /predict: a title's label, for people."""
        return await self._respond(request, "/predict", self._predict)

    async def related(self, request: Request) -> Response:
        """POST /related: the headlines nearest to a title, of those that the model was trained on."""
        return await self._respond(request, "/related", self._related)

    async def version(self, request: Request) -> Response:
        """GET /version: which model answers, and where it comes from."""
        return await self._respond(request, "/version", self._version)

    async def prometheus(self, request: Request) -> Response:
        """GET /metrics: what Prometheus reads."""
        return await self._respond(request, "/metrics", self._metrics)

    async def healthz(self, _: Request) -> Response:
        """GET /healthz: whether the server's own parts run; a model need not be there, nor all be as it should."""
        problems = await self._find_problems()
        if not self.versions.is_watching:
            return to_error(ServingError("UNAVAILABLE", "nothing looks for new versions any more; restart the server"))
        if self.versions.is_lost:
            return to_error(ServingError("UNAVAILABLE", "; ".join(problems)))
        return to_json({"status": "ok", "problems": problems})

    async def readyz(self, _: Request) -> Response:
        """GET /readyz: whether requests should be sent here, and what is not as somebody may think."""
        problems = await self._find_problems()
        loaded = self.versions.loaded
        if loaded and not self.readiness.is_leaving:
            return to_json({"status": "ok", "versions": [str(version) for version in loaded], "problems": problems})
        reason = self.readiness.problem or f"no version of {MODEL_NAME} is loaded"
        return to_error(ServingError("UNAVAILABLE", "; ".join([reason, *problems])))

    async def _respond(self, request: Request, path: str, handle: Handler) -> Response:
        """Lets in who may come, answers, turns what goes wrong into an answer, and counts."""
        visit = self.turns.begin(request.receive)
        try:
            check_token(request.headers.get("authorization", ""), self.settings.token)
            response = await handle(request)
        except ServingError as error:
            response = to_error(error)
        except ClientDisconnect:
            response = to_error(ServingError("CANCELLED", "the client has gone"))
        except Exception:
            # The request may hold what people typed, so it is not logged.
            log.exception("%s %s failed", request.method, path)
            response = to_error(internal_error())
        finally:
            visit.end()
        self.metrics.requests.labels(path, response.status_code).inc()
        return response

    async def _rest(self, request: Request) -> Response:
        started = time.perf_counter()
        body = await self._read(request) if request.method == "POST" else b""
        path = request.scope.get("raw_path", request.url.path.encode()).decode("latin-1").partition("?")[0]
        answer = await self.rest.answer(request.method, path, body)
        if answer.run:
            await self.accounting.add(*answer.run, started)
        return Response(answer.body, media_type="application/json")

    async def _predict(self, request: Request) -> Response:
        started = time.perf_counter()
        title = await work_on(await self._read(request), self._read_predict)
        model = self.versions.find(MODEL_NAME)
        signature = model.find_signature(TEXT_SIGNATURE)
        inputs = {TITLE: np.array([title.encode()], object)}
        outputs = await self.batcher.run(model, signature, inputs)
        await self.accounting.add(model, signature, inputs, outputs, started)
        probabilities = map(shorten_float, outputs["probabilities"][0].tolist())
        return to_json(
            {
                "label": outputs["label"][0].decode(),
                "confidence": shorten_float(outputs["confidence"][0].item()),
                "probabilities": dict(zip(LABELS, probabilities, strict=True)),
                "version": str(model.version),
            }
        )

    async def _related(self, request: Request) -> Response:
        title, count = await work_on(await self._read(request), self._read_related)
        model = self.versions.find(MODEL_NAME)
        if model.related is None:
            raise ServingError(
                "NOT_FOUND", f"version {model.version} has no related headlines: {model.related_problem}"
            )
        headlines = await asyncio.to_thread(model.related.find, title, count)
        return to_json({"related": [asdict(headline) for headline in headlines], "version": str(model.version)})

    async def _version(self, _: Request) -> Response:
        model = self.versions.find(MODEL_NAME)
        description = describe(model, MODEL_NAME, self.versions.loaded)
        if self.siblings:
            told = await self.siblings.ask(STATE)
            description["workers"] = [(one.answer or [None])[0] for one in told.values()]
        return to_json(description)

    async def _metrics(self, _: Request) -> Response:
        if self.siblings:
            told = await self.siblings.ask(METRICS)
            page = await asyncio.to_thread(join_pages, {number: one.answer for number, one in told.items()})
        else:
            page = self.metrics.write()
        return Response(page, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _find_problems(self) -> list[str]:
        problems = [to_text(problem) for problem in self.versions.problems]
        return [*problems, *await self.siblings.find_problems()] if self.siblings else problems

    async def _tell_state(self) -> list[str]:
        return [str(version) for version in self.versions.loaded]

    async def _tell_metrics(self) -> str:
        return self.metrics.write().decode()

    async def _read(self, request: Request) -> bytes:
        return await read_body(request, self.settings.max_body_bytes, self.settings.timeout_seconds)

    def _read_predict(self, body: bytes) -> str:
        document = parse_json(body)
        try:
            return self._read_title(document)
        finally:
            drop(document)

    def _read_related(self, body: bytes) -> tuple[str, int]:
        document = parse_json(body)
        try:
            title, count = self._read_title(document), document.get("n", 5)
            # A number without a fraction is whole however it is written, as in JSON Schema.
            if type(count) not in (int, float) or count % 1 or not 1 <= count <= MAX_RELATED:
                raise invalid(f"'n' must be a whole number from 1 to {MAX_RELATED}")
            return title, int(count)
        finally:
            drop(document)

    def _read_title(self, document: dict[str, Any]) -> str:
        title = document.get("title")
        if not isinstance(title, str) or not title.strip():
            raise invalid('\'title\' must be a text, such as {"title": "Chuva forte em São Paulo"}')
        if len(title) > self.settings.max_title_characters:
            raise invalid(f"'title' has {len(title)} characters; at most {self.settings.max_title_characters} are read")
        try:
            encode(title).decode()
        except UnicodeDecodeError:
            raise invalid("'title' must be UTF-8") from None
        return title


def describe(model: Model, name: str, loaded: list[int]) -> dict[str, Any]:
    """What /version says: the model, its night, and what the push wrote down about it."""
    return {
        "model": name,
        "version": str(model.version),
        "night": model.night,
        **{key: model.about.get(key) for key in ABOUT},
        "related": len(model.related) if model.related else 0,
        "loaded_at": model.loaded_at.isoformat(timespec="seconds"),
        "loaded_versions": [str(version) for version in loaded],
    }


def create_app(settings: Settings, siblings: Siblings | None = None) -> Starlette:
    """The application of one server, or of one of its workers."""
    server = Server(settings, siblings)
    app = Starlette(
        routes=[
            # TensorFlow Serving takes an address in any case; what follows is matched by RestApi.
            *(Route(f"/{root}/{{path:path}}", _Endpoint(server.tensorflow_api)) for root in ("v1", "V1")),
            *server.open_inference.routes(),
            Route("/predict", server.predict, methods=["POST"]),
            Route("/related", server.related, methods=["POST"]),
            Route("/version", server.version),
            Route("/healthz", server.healthz),
            Route("/readyz", server.readyz),
            Route("/metrics", server.prometheus),
            Route("/", send_constant(_PAGE.read_bytes, "text/html", {"content-security-policy": _PAGE_POLICY})),
            Route("/openapi.json", send_constant(lambda: write_openapi(settings), "application/json", {})),
        ],
        exception_handlers={HTTPException: answer_http_error, Exception: answer_failure},
        lifespan=server.run,
    )
    # Starlette would send a client that asks for `/version/` wherever its Host header says.
    app.router.redirect_slashes = False
    app.state.server = server
    return app


class _Endpoint:
    """An endpoint that takes every HTTP method: Starlette takes a plain function for a GET."""

    def __init__(self, answer: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(scope, receive, send)
