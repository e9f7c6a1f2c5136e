"""Turns: large work is done for one request after another, on a thread, while the event loop answers small ones.

What a request may cost others is decided here: how many large ones wait, how many bytes they hold, for how long, and
that nothing more is done for a client that has gone.
"""

import asyncio
import contextlib
import contextvars
import gc
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from serving.errors import ServingError

Result = TypeVar("Result")
# The longest that a piece of large work waits for small requests: about as long as it takes itself.
_PAUSES, _PAUSE_SECONDS = 10, 0.0005
# How long others wait for a chunk of a body whose client sends it slowly.
_CHUNK_SECONDS = 0.01
# What ASGI tells a request by: https://asgi.readthedocs.io/en/latest/specs/www.html.
Receive = Callable[[], Awaitable[Any]]
_current: contextvars.ContextVar["Visit | None"] = contextvars.ContextVar("visit", default=None)
# Only the thread may wait: the event loop is what it waits for.
_is_on_thread: contextvars.ContextVar[bool] = contextvars.ContextVar("is_on_thread", default=False)


class Visit:
    """One request's stay in the server: until when it may last, what it holds, and whether anybody waits for it."""

    __slots__ = ("_held_bytes", "_is_quick", "_left", "_problem", "_receive", "_turns", "deadline", "start")

    def __init__(self, turns: "Turns", receive: Receive | None) -> None:
        self.deadline = time.monotonic() + turns.timeout_seconds
        self._turns = turns
        self._receive = receive
        self._left: asyncio.Task[None] | None = None
        self._held_bytes = 0
        self._is_quick = False
        # Made anew wherever it is raised: one that is kept would keep the frames through which it came.
        self._problem: Callable[[], ServingError] | None = None
        # Done when its turn has come; None before it needs one.
        self.start: asyncio.Future[None] | None = None

    def hold(self, size: int) -> None:
        """Counts bytes that are kept for the request until it ends.

        Raises:
          ServingError: all requests together would hold too many.
        """
        self._turns.hold(size)
        self._held_bytes += size

    async def read(self, stream: AsyncGenerator[bytes, None]) -> bytes:
        """The next chunk of a large body: one client after another sends one, and small requests come before them."""
        return await self._turns.read(stream)

    def hurry(self) -> None:
        """Lets large work give way until the visit ends, or is large itself: its request is read, and is small."""
        if not self._is_quick:
            self._is_quick = True
            self._turns.quick += 1

    def check(self) -> None:
        """Ends work that nobody waits for any more, and gives way; work that takes long calls it now and then.

        Raises:
          ServingError: the time is up, or the client has gone.
        """
        if _is_on_thread.get():
            self._turns.give_way()
        if self._problem:
            raise self._problem()
        if time.monotonic() > self.deadline:
            raise timed_out()

    async def do(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """What `work` gives, done on the thread when it is this request's turn; it keeps the turn until it ends.

        Raises:
          ServingError: too many wait, the time is up, the client has gone, or the work's own.
        """
        if self._problem:
            raise self._problem()
        loop = asyncio.get_running_loop()
        if self._receive and not self._left:
            self._left = loop.create_task(_wait_until_gone(self._receive))
        if not self.start:
            self._calm_down()
            self._turns.join(self)
        # Of several works at a time, as of a MultiInference, none comes before the turn.
        if self.start and not self.start.done():
            await self._wait(self.start)
        context = contextvars.copy_context()
        context.run(_current.set, self)
        context.run(_is_on_thread.set, True)
        return await self._wait(loop.run_in_executor(self._turns.thread, context.run, self._do, work, arguments))

    def end(self) -> None:
        """Gives back all that it held, and the turn to the next; what is still done for it ends."""
        self._calm_down()
        self._problem = self._problem or _gone
        if self._left:
            self._left.cancel()
        self._turns.leave(self, self._held_bytes)

    def _calm_down(self) -> None:
        self._turns.quick -= self._is_quick
        self._is_quick = False

    def _do(self, work: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
        self.check()
        return work(*arguments)

    async def _wait(self, future: asyncio.Future[Result]) -> Result:
        """Waits for no longer than somebody else waits for the answer."""
        try:
            waits: set[asyncio.Future[Any]] = {future, self._left} if self._left else {future}
            await asyncio.wait(
                waits, timeout=max(0.0, self.deadline - time.monotonic()), return_when=asyncio.FIRST_COMPLETED
            )
        except BaseException:
            self._give_up(future, _gone)
            raise
        if future.done():
            return future.result()
        problem = _gone if self._left and self._left.done() else timed_out
        self._give_up(future, problem)
        raise problem()

    def _give_up(self, future: asyncio.Future[Any], problem: Callable[[], ServingError]) -> None:
        self._problem = problem
        future.cancel()


class Turns:
    """The thread that does the large work, and who waits for it."""

    def __init__(self, max_waiting: int, max_bytes: int, timeout_seconds: float) -> None:
        """Sets the limits; the thread starts with the first large request.

        Args:
          max_waiting: most large requests at a time, whether they wait or have the turn.
          max_bytes: most bytes that all requests hold together, as far as they `hold` them.
          timeout_seconds: how long a visit may last.
        """
        self.timeout_seconds = timeout_seconds
        # One thread: each more that wants the interpreter would let the event loop wait its turn for it once more.
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="large-requests")
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        self._held_bytes = 0
        self._reading = asyncio.Lock()
        # How many small requests are being answered just now.
        self.quick = 0
        # In the order of their coming; the first has the turn.
        self._queue: deque[Visit] = deque()

    def begin(self, receive: Receive | None = None) -> Visit:
        """A visit, which is this task's from here on.

        Args:
          receive: ASGI's, from which all of the body is read before the first large work; None if the task is cancelled
            when its client goes.
        """
        visit = Visit(self, receive)
        _current.set(visit)
        return visit

    def stop(self) -> None:
        """Gives up the large requests that wait."""
        self.thread.shutdown(cancel_futures=True)

    def hold(self, size: int) -> None:
        """Counts bytes that are kept.

        Raises:
          ServingError: they are too many.
        """
        if self._held_bytes + size > self._max_bytes:
            raise _full()
        self._held_bytes += size

    def give_way(self) -> None:
        """Lets the thread wait while small requests are answered, though not for ever.

        To answer one, the event loop needs the interpreter several times, and each time would wait for it.
        """
        for _ in range(_PAUSES):
            if not self.quick:
                return
            time.sleep(_PAUSE_SECONDS)

    async def read(self, stream: AsyncGenerator[bytes, None]) -> bytes:
        """The next chunk of a stream, when it is its turn to be read; one that does not come loses its turn."""
        async with self._reading:
            if self.quick:
                await asyncio.sleep(_PAUSE_SECONDS)
            chunk = asyncio.ensure_future(anext(stream))
            try:
                await asyncio.wait({chunk}, timeout=_CHUNK_SECONDS)
            except BaseException:
                chunk.cancel()
                raise
        return await chunk

    def join(self, visit: Visit) -> None:
        """Puts a visit at the end of the queue; its `start` is done when its turn has come.

        Raises:
          ServingError: too many wait.
        """
        if len(self._queue) >= self._max_waiting:
            raise _full()
        visit.start = asyncio.get_running_loop().create_future()
        self._queue.append(visit)
        self._start_first()

    def leave(self, visit: Visit, held_bytes: int) -> None:
        """Takes a visit out of the queue, wherever it is, with what it held."""
        self._held_bytes -= held_bytes
        if visit.start:
            visit.start.cancel()
            visit.start = None
            self._queue.remove(visit)
            self._start_first()

    def _start_first(self) -> None:
        if self._queue and (start := self._queue[0].start) and not start.done():
            start.set_result(None)


def find_visit() -> Visit | None:
    """The visit that this task, or this work on the thread, belongs to."""
    return _current.get()


def check() -> None:
    """Ends work that nobody waits for any more, as `Visit.check`; outside of a visit nothing."""
    if visit := _current.get():
        visit.check()


async def do_in_turn(is_large: bool, work: Callable[..., Result], *arguments: Any) -> Result:
    """What `work` gives: on the event loop, or beside it, in its turn, if it is large.

    Args:
      is_large: whether it takes more than some milliseconds.
      work: looks at `check` now and then; it takes what it needs out of a document and drops the rest.
      *arguments: of the work.

    Raises:
      ServingError: the work's own, or that its turn does not come, or is over.
    """
    if not is_large:
        return work(*arguments)
    visit = _current.get()
    if visit is None:
        return await asyncio.to_thread(work, *arguments)
    return await visit.do(_do_uncollected, work, *arguments)


def _do_uncollected(work: Callable[..., Result], *arguments: Any) -> Result:
    with _uncollected():
        return work(*arguments)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Keeps the garbage collector away from work that makes millions of objects and drops them itself.

    It would look at each of them again and again, and nothing else runs meanwhile.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def timed_out() -> ServingError:
    """What a request gets that is not answered in time."""
    return ServingError("DEADLINE_EXCEEDED", "Timed out waiting for notification")


def _gone() -> ServingError:
    return ServingError("CANCELLED", "the client has gone")


def _full() -> ServingError:
    return ServingError("UNAVAILABLE", "The batch scheduling queue to which this task was submitted is full")
