"""The program that listens: HTTP by uvicorn, and gRPC beside it on the same event loop."""

import logging
import socket
import sys

from starlette.applications import Starlette
from uvicorn.config import STARTUP_FAILURE

from serving.connections import configure
from serving.ending import EndingServer
from serving.grpc_server import GrpcServer, PortError
from serving.settings import Settings

log = logging.getLogger(__name__)


class Listener(EndingServer):
    """Both ports are had before either is answered, and both stop at once."""

    def __init__(self, app: Starlette, settings: Settings) -> None:
        server = app.state.server
        super().__init__(configure(app, settings, server.readiness), server.readiness, settings)
        self._grpc: GrpcServer = server.grpc

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes the ports and starts the application; ends the process if a port is taken."""
        try:
            self._grpc.bind()
        except PortError as error:
            log.error("%s", error)
            sys.exit(STARTUP_FAILURE)
        try:
            await super().startup(sockets)
        except SystemExit:
            # The port of HTTP is taken.
            await self._grpc.abandon()
            raise
        await self._grpc.start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets the calls and requests under way end; the application waits for the last before it ends itself."""
        self._grpc.begin_stop()
        await super().shutdown(sockets)
