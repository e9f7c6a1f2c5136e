"""The Open Inference (V2) protocol over HTTP: its addresses, its header, its probes."""

import time
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.accounting import Accounting
from serving.document import to_body
from serving.errors import HTTP_STATUS, ServingError
from serving.open_inference import OpenInference
from serving.replies import Handler, to_json

# Says how long the JSON is that bytes follow; kserve's constants.py writes it in lower case.
HEADER_LENGTH = "inference-header-content-length"


class OpenInferenceHttp:
    """The routes under /v2."""

    def __init__(
        self,
        protocol: OpenInference,
        accounting: Accounting,
        read: Callable[[Request], Awaitable[bytes]],
        respond: Callable[[Request, str, Handler], Awaitable[Response]],
    ) -> None:
        """Answers nothing yet: `routes` does.

        Args:
          protocol: what answers.
          accounting: counts the answers that a model gave.
          read: reads the body of a request.
          respond: lets in who may come, turns errors into answers and counts; its second argument is the path to count.
        """
        self._protocol = protocol
        self._accounting = accounting
        self._read = read
        self._respond = respond

    def routes(self) -> list[Route]:
        """What the web application answers under /v2."""
        model = "/v2/models/{model}"
        return [
            *(Route(path, self._guard(self._metadata), methods=["GET"]) for path in ("/v2", "/v2/")),
            Route("/v2/health/live", self._live, methods=["GET"]),
            Route("/v2/health/ready", self._ready, methods=["GET"]),
            Route("/v2/models", self._guard(self._models), methods=["GET"]),
            *(
                route
                for path in (model, model + "/versions/{version}")
                for route in (
                    Route(path, self._guard(self._model), methods=["GET"]),
                    Route(path + "/ready", self._guard(self._model_ready), methods=["GET"]),
                    Route(path + "/infer", self._guard(self._infer), methods=["POST"]),
                )
            ),
            *(
                Route(f"/v2/repository/models/{{model}}/{verb}", self._guard(self._repository), methods=["POST"])
                for verb in ("load", "unload")
            ),
        ]

    def _guard(self, handle: Handler) -> Handler:
        async def answer(request: Request) -> Response:
            return await self._respond(request, "/v2", handle)

        return answer

    async def _metadata(self, _: Request) -> Response:
        return to_json(self._protocol.server)

    # The two probes need no token, as /healthz and /readyz; the words are of kserve's errors.py.
    async def _live(self, _: Request) -> Response:
        return to_json({"live": True}) if self._protocol.is_live else _unavailable("Server is not live.")

    async def _ready(self, _: Request) -> Response:
        return to_json({"ready": True}) if self._protocol.is_ready else _unavailable("Server is not ready.")

    async def _models(self, _: Request) -> Response:
        return to_json(self._protocol.models)

    async def _model(self, request: Request) -> Response:
        return to_json(self._protocol.describe(*_spec(request)))

    async def _model_ready(self, request: Request) -> Response:
        return to_json(self._protocol.check_ready(*_spec(request)))

    async def _infer(self, request: Request) -> Response:
        started = time.perf_counter()
        body = await self._read(request)
        answer = await self._protocol.infer(*_spec(request), body, request.headers.get(HEADER_LENGTH))
        await self._accounting.add(*answer.run, started)
        if answer.json_bytes is None:
            return Response(answer.body, media_type="application/json")
        headers = {HEADER_LENGTH: str(answer.json_bytes)}
        return Response(answer.body, headers=headers, media_type="application/octet-stream")

    async def _repository(self, _: Request) -> Response:
        raise ServingError(
            "UNIMPLEMENTED",
            "models are not loaded or unloaded by request: push a version into the folder of pushed models, or "
            "name those to serve in models.config",
        )


def _spec(request: Request) -> tuple[str, str | None]:
    return request.path_params["model"], request.path_params.get("version")


def _unavailable(message: str) -> Response:
    return Response(to_body({"error": message}), HTTP_STATUS["UNAVAILABLE"], media_type="application/json")
