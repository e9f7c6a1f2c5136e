"""The ports of a server, seen to be free before it has a model; of several workers all listen on the same ones.

The system gives each new connection to one of them. Linux does it with SO_REUSEPORT, by a hash of the connection's
addresses: https://man7.org/linux/man-pages/man7/socket.7.html.
"""

import contextlib
import errno
import socket
from collections.abc import Iterator, Mapping


class PortError(Exception):
    """A port cannot be listened on; the message says where, why, and which setting to change."""


def open_shared(host: str, port: int, setting: str) -> list[socket.socket]:
    """Sockets on a port that others of this user may share, one for each address of the host.

    Args:
      host: a name or an address.
      port: the port.
      setting: what the user sets it by.

    Raises:
      PortError: it cannot be had.
    """
    return _bind(host, port, setting, is_shared=True)


@contextlib.contextmanager
def hold(host: str, ports: Mapping[str, int]) -> Iterator[None]:
    """Sees that nobody listens on some ports, and keeps other servers away as long as the block lasts.

    Of those who share a port, a client would get now one, now the other.

    Args:
      host: a name or an address.
      ports: by the setting that the user sets each by; 0 is none.

    Raises:
      PortError: somebody listens, or is about to, or nobody can.
    """
    with contextlib.ExitStack() as held:
        for setting, port in ports.items():
            if port:
                held.enter_context(_hold(host, port, setting))
        yield


@contextlib.contextmanager
def _hold(host: str, port: int, setting: str) -> Iterator[None]:
    # A server listens only when it has its models, so that a look at the port does not show it before.
    with socket.socket(socket.AF_UNIX) as mark:
        try:
            mark.bind(f"\0headlines-serving {host}:{port}")
        except OSError as error:
            raise _error(host, port, setting, error) from None
        for one in _bind(host, port, setting, is_shared=False):
            one.close()
        yield


def _bind(host: str, port: int, setting: str, is_shared: bool) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            try:
                one = socket.socket(family, kind, protocol)
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT and family == socket.AF_INET6:
                    # A machine without IPv6; its names may have such addresses all the same.
                    continue
                raise
            sockets.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if is_shared:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                # IPv4 has a socket of its own, as in asyncio.
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(address)
    except OSError as error:
        for one in sockets:
            one.close()
        raise _error(host, port, setting, error) from None
    return sockets


def _error(host: str, port: int, setting: str, error: OSError) -> PortError:
    advice = "a free port" if error.errno == errno.EADDRINUSE else "one that can be had, or SERVING_HOST"
    return PortError(f"cannot listen on {host}:{port} ({error.strerror}); set {setting} to {advice}")
