"""The program that listens: HTTP by uvicorn, and gRPC beside it on the same event loop."""

import logging
import socket
import sys
from types import FrameType

from starlette.applications import Starlette
from uvicorn.config import STARTUP_FAILURE

from serving.connections import configure
from serving.ending import EndingServer
from serving.grpc_server import GrpcServer
from serving.ports import PortError
from serving.settings import Settings
from serving.versions import Versions

log = logging.getLogger(__name__)


class Listener(EndingServer):
    """Both ports are had before either is answered, and both stop at once."""

    def __init__(self, app: Starlette, settings: Settings) -> None:
        server = app.state.server
        config = configure(app, settings, server.readiness)
        super().__init__(config, server.readiness, settings, is_worker=server.siblings is not None)
        self._grpc: GrpcServer = server.grpc
        self._versions: Versions = server.versions

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts the application and takes the ports; ends the process if one is taken."""
        await super().startup(sockets)
        try:
            # From then on it has its share of the calls, for which it had no model before.
            self._grpc.bind()
        except PortError as error:
            log.error("%s", error)
            sys.exit(STARTUP_FAILURE)
        await self._grpc.start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Notes when the signal came, and waits no longer for versions with which to begin."""
        super().handle_exit(sig, frame)
        self._versions.end_wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets the calls and requests under way end; the application waits for the last before it ends itself."""
        self._grpc.begin_stop()
        await super().shutdown(sockets)
