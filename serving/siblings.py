"""The workers of one server as one: what each of them serves and counts, whichever of them is asked.

Each tells it on a socket of its own, to processes of its own user. Who connects writes a word and reads JSON. Such a
socket has a name and no file (https://man7.org/linux/man-pages/man7/unix.7.html), so that nothing is left of it.
"""

import asyncio
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

STATE, METRICS = "state", "metrics"
"""What can be asked: the loaded versions, the newest first, as a list of texts; the page for Prometheus, as a text."""
# A page waits for half a second, and asks for the state twice.
_ANSWER_SECONDS = {STATE: 0.2, METRICS: 1.0}


@dataclass(frozen=True)
class Told:
    """What a worker has told of itself.

    Attributes:
      answer: to what was asked; None if it did not answer.
      problem: why not; empty if it did.
    """

    answer: Any = None
    problem: str = ""


class Siblings:
    """The workers of one server, as seen by one of them."""

    def __init__(self, group: str, number: int, count: int) -> None:
        """Asks nobody yet.

        Args:
          group: what all of them are called, and nobody else.
          number: which of them this is, from 1.
          count: how many there are.
        """
        self.number = number
        self._group = group
        self._count = count
        self._answers: dict[str, Callable[[], Awaitable[Any]]] = {}
        self._server: asyncio.Server | None = None

    @property
    def name(self) -> str:
        """What this one is called in the log."""
        return f"worker {self.number}/{self._count}"

    async def start(self, answers: dict[str, Callable[[], Awaitable[Any]]]) -> None:
        """Begins to tell the others.

        Args:
          answers: what gives the answer, by what can be asked.
        """
        self._answers = answers
        listener = _make_socket()
        listener.bind(self._name_of(self.number))
        self._server = await asyncio.start_unix_server(self._tell, sock=listener)

    async def stop(self) -> None:
        """Tells nobody any more."""
        if self._server:
            self._server.close()
            await self._server.wait_closed()

    async def ask(self, what: str) -> dict[int, Told]:
        """What all of them tell, this one included, by their number; one that hangs holds nobody up for long."""
        numbers = range(1, self._count + 1)
        told = await asyncio.gather(*(self._ask(number, what) for number in numbers))
        return dict(zip(numbers, told, strict=True))

    async def find_problems(self) -> list[str]:
        """What is not as it should be among them: a line for each that does not answer, or not as this one does."""
        told = await self.ask(STATE)
        own = told[self.number].answer
        problems = []
        for number, one in told.items():
            if one.problem:
                problems.append(f"worker {number} of {self._count} does not answer: {one.problem}")
            elif own is not None and one.answer[:1] != own[:1]:
                problems.append(
                    f"worker {number} of {self._count} answers with {_name(one.answer)}, worker {self.number} with "
                    f"{_name(own)}"
                )
        return problems

    async def _ask(self, number: int, what: str) -> Told:
        if number == self.number:
            return Told(await self._answers[what]())
        seconds = _ANSWER_SECONDS[what]
        connection = _make_socket()
        try:
            async with asyncio.timeout(seconds):
                await asyncio.get_running_loop().sock_connect(connection, self._name_of(number))
                reader, writer = await asyncio.open_unix_connection(sock=connection)
                writer.write(f"{what}\n".encode())
                return Told(json.loads(await reader.read()))
        except TimeoutError:
            return Told(problem=f"not within {seconds:g} s")
        except ConnectionRefusedError:
            return Told(problem="it is starting, or has ended")
        except OSError as error:
            return Told(problem=str(error.strerror or error))
        except ValueError:
            return Told(problem="it ended amid its answer")
        finally:
            connection.close()

    async def _tell(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(max(_ANSWER_SECONDS.values())):
                what = (await reader.readline()).decode().strip()
                if what in self._answers and _find_user(writer) == os.geteuid():
                    writer.write(json.dumps(await self._answers[what]()).encode())
                    await writer.drain()
        except (TimeoutError, OSError):
            # Who asked has gone.
            pass
        finally:
            writer.close()

    def _name_of(self, number: int) -> str:
        return f"\0headlines-serving {self._group} {number}"


def _make_socket() -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.setblocking(False)
    return made


def _find_user(writer: asyncio.StreamWriter) -> int:
    """Who is at the other end: a name that has no file can be connected to by everybody."""
    credentials = struct.Struct("3i")
    peer = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    return int(credentials.unpack(peer)[1])


def _name(versions: list[str]) -> str:
    return f"version {versions[0]}" if versions else "none"
