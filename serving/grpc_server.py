"""How the server listens for gRPC: who may ask, how much, for how long, and what each call is counted as."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from serving.access import check_token
from serving.accounting import Accounting
from serving.batching import Batcher
from serving.document import LARGE_BYTES
from serving.errors import ServingError, invalid, to_text
from serving.grpc_health import SERVICE as HEALTH
from serving.grpc_health import Health
from serving.grpc_services import Answer, ModelService, PredictionService
from serving.metrics import Metrics
from serving.ports import PortError
from serving.readiness import Readiness
from serving.settings import MODEL_NAME, Settings
from serving.turns import Turns
from serving.versions import Versions

log = logging.getLogger(__name__)

PREDICTION = "tensorflow.serving.PredictionService"
MODEL = "tensorflow.serving.ModelService"
# The names that TensorFlow Serving itself gives its services in `--enable_grpc_healthcheck_service`
# (tensorflow_serving/model_servers/server.cc).
_SHORT_NAMES = ("PredictionService", "ModelService")
# As TensorFlow Serving cuts a message (tensorflow_serving/model_servers/grpc_status_util.cc).
_MAX_MESSAGE = 1024
# Within which gRPC says that it ended a call, once no message comes.
_END_SECONDS = 0.05
# gRPC has one code for what is too much, and one for what came too late.
_CODES = {"PAYLOAD_TOO_LARGE": "RESOURCE_EXHAUSTED", "REQUEST_TIMEOUT": "DEADLINE_EXCEEDED"}
Method = Callable[[bytes], Awaitable[Answer]]
# A grpc.aio.ServicerContext: grpcio comes without types.
Context = Any


class GrpcServer:
    """The gRPC services of one server, on the event loop that answers HTTP."""

    def __init__(
        self,
        settings: Settings,
        versions: Versions,
        batcher: Batcher,
        turns: Turns,
        accounting: Accounting,
        metrics: Metrics,
        readiness: Readiness,
    ) -> None:
        """Listens nowhere yet: `bind` does."""
        self._settings = settings
        self._turns = turns
        self._accounting = accounting
        self._metrics = metrics
        self._health = Health(("", PREDICTION, MODEL, *_SHORT_NAMES, MODEL_NAME), lambda: readiness.is_ready)
        prediction = PredictionService(versions, batcher, settings.max_body_bytes)
        model = ModelService(versions)
        self._methods: dict[str, dict[str, Method]] = {
            PREDICTION: {
                "Predict": prediction.predict,
                "Classify": prediction.classify,
                "Regress": prediction.regress,
                "MultiInference": prediction.infer_several,
                "GetModelMetadata": prediction.describe,
            },
            MODEL: {"GetModelStatus": model.show_status, "HandleReloadConfigRequest": model.reload_config},
        }
        self._server: grpc.aio.Server | None = None
        self._stopped: asyncio.Task[None] | None = None
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        # As `--port=0` of TensorFlow Serving (model_servers/main.cc), 0 is no port.
        self.address = f"{host}:{settings.grpc_port}" if settings.grpc_port else None
        self.port = 0

    def bind(self) -> None:
        """Takes the port, if gRPC is spoken.

        Raises:
          PortError: it cannot be had.
        """
        if not self.address:
            return
        server = grpc.aio.server(options=self._options(), maximum_concurrent_rpcs=self._settings.max_connections)
        server.add_generic_rpc_handlers(
            [
                *(
                    grpc.method_handlers_generic_handler(
                        service,
                        {
                            name: grpc.stream_unary_rpc_method_handler(self._handle(f"/{service}/{name}", method))
                            for name, method in methods.items()
                        },
                    )
                    for service, methods in self._methods.items()
                ),
                grpc.method_handlers_generic_handler(
                    HEALTH,
                    {
                        "Check": grpc.stream_unary_rpc_method_handler(self._check),
                        "Watch": grpc.stream_stream_rpc_method_handler(self._watch),
                    },
                ),
            ]
        )
        try:
            self.port = server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise PortError(
                f"cannot listen for gRPC on {self.address} ({error}); set SERVING_GRPC_PORT to a free port, or to 0 to "
                "do without gRPC"
            ) from None
        self._server = server

    async def start(self) -> None:
        """Begins to answer."""
        if self._server:
            await self._server.start()
            log.info("gRPC on %s:%d", self._settings.host, self.port)

    def begin_stop(self) -> None:
        """Takes no more calls and says so to who probes; calls under way have as long as any may take."""
        self._health.stop()
        if self._server and not self._stopped:
            self._stopped = asyncio.create_task(self._server.stop(self._settings.timeout_seconds))

    async def stop(self) -> None:
        """Waits until the last call is answered."""
        self.begin_stop()
        if self._stopped:
            await self._stopped

    def _options(self) -> list[tuple[str, int]]:
        milliseconds = int(self._settings.timeout_seconds * 1000)
        return [
            # Else two servers would share the port, and a client would get now one, now the other.
            ("grpc.so_reuseport", int(self._settings.workers > 1)),
            ("grpc.max_receive_message_length", self._settings.max_body_bytes),
            ("grpc.max_allowed_incoming_connections", self._settings.max_connections),
            # A client that does not begin, that is silent or that has gone is given up, as over HTTP. One that lives
            # connects again with its next call, and does not notice.
            ("grpc.server_handshake_timeout_ms", milliseconds),
            ("grpc.max_connection_idle_ms", milliseconds),
            ("grpc.keepalive_time_ms", milliseconds),
            ("grpc.keepalive_timeout_ms", milliseconds),
        ]

    def _handle(self, path: str, method: Method) -> Callable[[AsyncIterator[bytes], Context], Awaitable[Any]]:
        """Lets in who may come, answers, turns what goes wrong into a status, and counts.

        It is a method that takes a stream, as which a single message comes too: only so does it read for itself, and
        can give up a client that sends none.
        """

        async def answer(_: AsyncIterator[bytes], context: Context) -> Any:
            started = time.perf_counter()
            code = "CANCELLED"
            # gRPC cancels the task when the client goes.
            visit = self._turns.begin()
            try:
                self._check_token(context)
                body = await self._read(context)
                if len(body) > LARGE_BYTES:
                    visit.hold(len(body))
                else:
                    visit.hurry()
                answer = await method(body)
                for run in answer.runs:
                    await self._accounting.add(*run, started)
                code = "OK"
                return answer.body
            except ServingError as error:
                code, message = _CODES.get(error.code, error.code), error.message
            except asyncio.CancelledError:
                # By gRPC: the client has hung up, or its deadline has passed.
                remaining = context.time_remaining()
                code = "DEADLINE_EXCEEDED" if remaining is not None and remaining <= 0 else "CANCELLED"
                raise
            except Exception:
                # The request may hold what people typed, so it is not logged.
                log.exception("%s failed", path)
                code, message = "INTERNAL", "internal error; the server's log says more"
            finally:
                visit.end()
                self._metrics.requests.labels(path, code).inc()
            return await _abort(context, code, message)

        return answer

    async def _check(self, _: AsyncIterator[bytes], context: Context) -> bytes:
        return await self._health.check(await self._read_probe(context), context)

    async def _watch(self, _: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for state in self._health.watch(await self._read_probe(context), context):
            yield state

    async def _read_probe(self, context: Context) -> Any:
        try:
            return await self._read(context)
        except ServingError as error:
            return await _abort(context, _CODES.get(error.code, error.code), error.message)

    def _check_token(self, context: Context) -> None:
        if self._settings.token:
            metadata: Any = dict(context.invocation_metadata() or ())
            check_token(str(metadata.get("authorization", "")), self._settings.token)

    async def _read(self, context: Context) -> bytes:
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                body: Any = await context.read()
        except TimeoutError:
            raise ServingError("REQUEST_TIMEOUT", "the request's message did not come in time") from None
        if body is grpc.aio.EOF:
            # So it looks, for a moment, when gRPC ends a call: its message is too large, or its client gives it up.
            await asyncio.sleep(_END_SECONDS)
            raise invalid("the call has no message")
        return bytes(body)


async def _abort(context: Context, code: str, message: str) -> Any:
    text = to_text(message)
    text = text if len(text) <= _MAX_MESSAGE else f"{text[:_MAX_MESSAGE]}...TRUNCATED"
    await context.abort(grpc.StatusCode[code], text)
