"""Runs requests on the model: those that came at the same moment together, without waiting for any to come."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.model import Model, Signature
from serving.tensors import Tensors
from serving.turns import Turns, Visit, check, find_visit, timed_out

# A large request is run by a thread, in pieces of at most so much, so that small ones need not wait for it and it ends
# soon after its client has gone.
_PIECE_ROWS = 512
_PIECE_BYTES = 64 << 10
# What is run on the event loop together: 32 titles of 500 characters, which take as long as 200 usual ones.
_MAX_BATCH_BYTES = 16 << 10
# More values than this are not counted byte by byte.
_MAX_BATCH_VALUES = 1 << 10


@dataclass(slots=True)
class _Job:
    model: Model  # kept alive while its session is in use
    signature: Signature
    inputs: Tensors
    rows: int  # 0: cannot be run with others, nor in pieces
    size: int  # bytes
    kind: Any  # jobs of the same kind fit in one batch
    deadline: float  # on the monotonic clock
    done: asyncio.Future[Tensors]


class Batcher:
    """Runs small requests on the event loop and large ones beside it.

    Whatever the loop read from its connections in one turn is run in the next, together. Handing each run to a thread
    costs more than it frees: the two fight for the interpreter, and a run takes a few milliseconds at most.
    """

    def __init__(self, max_batch: int, turns: Turns, observe: Callable[[str, int], None]) -> None:
        """Sets the limits.

        Args:
          max_batch: most rows that are run together; a request of more is a large one.
          turns: where large ones are run, one after another.
          observe: called with the signature's name and the rows of each run.
        """
        self._max_batch = max_batch
        self._turns = turns
        self._observe = observe
        self._waiting: list[_Job] = []

    async def run(self, model: Model, signature: Signature, inputs: Tensors) -> Tensors:
        """Runs a signature, together with what else has come for it.

        Args:
          model: the model of the signature.
          signature: what to run.
          inputs: a tensor for each of its inputs.

        Returns:
          A tensor for each of its outputs.

        Raises:
          ServingError: TensorFlow's error, too many large requests wait, the time is up, or the client has gone.
        """
        loop = asyncio.get_running_loop()
        sizes = {tensor.shape[0] if tensor.ndim else 0 for tensor in inputs.values()}
        rows = sizes.pop() if signature.by_rows and len(sizes) == 1 else 0
        size = _count_bytes(inputs)
        kind = (id(model), signature.name, *((tensor.ndim, tensor.shape[1:]) for tensor in inputs.values()))
        visit = find_visit()
        deadline = visit.deadline if visit else time.monotonic() + self._turns.timeout_seconds
        job = _Job(model, signature, inputs, rows, size, kind, deadline, loop.create_future())
        if rows > self._max_batch or size > _MAX_BATCH_BYTES:
            return await self._run_large(job, visit)
        self._waiting.append(job)
        if len(self._waiting) == 1:
            loop.call_soon(self._run_batch, loop)
        return await job.done

    async def _run_large(self, job: _Job, visit: Visit | None) -> Tensors:
        if visit:
            return await visit.do(self._run_in_pieces, job)
        # Asked over a protocol that has no visits: its client's leaving cancels the task.
        visit = self._turns.begin()
        try:
            visit.hold(job.size)
            return await visit.do(self._run_in_pieces, job)
        finally:
            visit.end()

    def _run_in_pieces(self, job: _Job) -> Tensors:
        pieces = []
        for start, end in _cut(job):
            check()
            rows = {name: tensor[start:end] for name, tensor in job.inputs.items()} if job.rows else job.inputs
            pieces.append(self._run(job, rows))
        if len(pieces) == 1:
            return pieces[0]
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in job.signature.outputs}

    def _run_batch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Runs the first that waits with all that fit to it; the others get the next turn."""
        first, rows, size = self._waiting[0], 0, 0
        batch: list[_Job] = []
        rest: list[_Job] = []
        for job in self._waiting:
            fits = job is first or (
                first.rows
                and job.rows
                and job.kind == first.kind
                and rows + job.rows <= self._max_batch
                and size + job.size <= _MAX_BATCH_BYTES
            )
            (batch if fits else rest).append(job)
            rows, size = (rows + job.rows, size + job.size) if fits else (rows, size)
        self._waiting = rest
        if rest:
            loop.call_soon(self._run_batch, loop)
        batch = _find_awaited(batch)
        if batch and (len(batch) == 1 or not self._run_together(batch)):
            # Also after a failure: one bad request must not fail the others.
            for job in batch:
                try:
                    _settle(job, self._run(job, job.inputs))
                except Exception as error:
                    if not job.done.done():
                        job.done.set_exception(error)

    def _run_together(self, batch: list[_Job]) -> bool:
        """Runs several jobs of a kind as one; returns whether that went well."""
        try:
            joined = {name: np.concatenate([job.inputs[name] for job in batch]) for name in batch[0].inputs}
            outputs = self._run(batch[0], joined)
        except Exception:
            return False  # whatever it was, it comes again where it belongs, when each is run by itself
        total = sum(job.rows for job in batch)
        if any(not tensor.ndim or len(tensor) != total for tensor in outputs.values()):
            return False
        start = 0
        for job in batch:
            _settle(job, {name: tensor[start : start + job.rows] for name, tensor in outputs.items()})
            start += job.rows
        return True

    def _run(self, job: _Job, inputs: Tensors) -> Tensors:
        self._observe(job.signature.name, len(next(iter(inputs.values()))) if job.rows else 1)
        return job.signature.run(inputs)


def _settle(job: _Job, outputs: Tensors) -> None:
    if not job.done.done():  # its client may have gone
        job.done.set_result(outputs)


def _find_awaited(batch: list[_Job]) -> list[_Job]:
    """Those of the jobs that somebody still waits for; the others are not run."""
    now = time.monotonic()
    for job in batch:
        if now > job.deadline and not job.done.done():
            job.done.set_exception(timed_out())
    return [job for job in batch if not job.done.done()]


def _cut(job: _Job) -> Iterator[tuple[int, int]]:
    """Yields the rows, from and to, of each piece of a job; a row that is larger than a piece is one by itself."""
    start = 0
    while start < job.rows or not start:
        end, size = start, 0
        for more in _count_bytes_by_row(job, start, min(job.rows, start + _PIECE_ROWS)):
            if end > start and size + more > _PIECE_BYTES:
                break
            end, size = end + 1, size + more
        yield start, end
        start = max(end, 1)


def _count_bytes(inputs: Tensors) -> int:
    size = 0
    for tensor in inputs.values():
        if tensor.dtype != object:
            size += tensor.nbytes
        elif tensor.size > _MAX_BATCH_VALUES:
            size += max(tensor.nbytes, _MAX_BATCH_BYTES + 1)
        else:
            size += sum(map(len, tensor.ravel().tolist()))
    return size


def _count_bytes_by_row(job: _Job, start: int, end: int) -> list[int]:
    """The bytes of each of these rows."""
    sizes = np.zeros(end - start, int)
    for tensor in job.inputs.values() if job.rows else ():
        if tensor.dtype == object:
            sizes += [sum(map(len, row.ravel())) if tensor.ndim > 1 else len(row) for row in tensor[start:end]]
        else:
            sizes += tensor.nbytes // len(tensor)
    return list(sizes)
