"""The program that listens: HTTP by uvicorn, and gRPC beside it on the same event loop."""

import logging
import socket
import sys

from starlette.applications import Starlette
from uvicorn.config import STARTUP_FAILURE

from serving.connections import configure
from serving.ending import EndingServer
from serving.grpc_server import GrpcServer
from serving.ports import PortError
from serving.settings import Settings

log = logging.getLogger(__name__)


class Listener(EndingServer):
    """Both ports are had before either is answered, and both stop at once."""

    def __init__(self, app: Starlette, settings: Settings) -> None:
        server = app.state.server
        config = configure(app, settings, server.readiness)
        super().__init__(config, server.readiness, settings, is_worker=server.siblings is not None)
        self._grpc: GrpcServer = server.grpc

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes the ports and starts the application; ends the process if a port is taken."""
        if not self._is_worker:
            self._bind()
        try:
            await super().startup(sockets)
        except SystemExit:
            # The port of HTTP is taken.
            await self._grpc.abandon()
            raise
        if self._is_worker:
            # From then on it has its share of the calls, for which it had no model before.
            self._bind()
        await self._grpc.start()

    def _bind(self) -> None:
        try:
            self._grpc.bind()
        except PortError as error:
            log.error("%s", error)
            sys.exit(STARTUP_FAILURE)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets the calls and requests under way end; the application waits for the last before it ends itself."""
        self._grpc.begin_stop()
        await super().shutdown(sockets)
