"""Runs requests on the model: those that came at the same moment together, without waiting for any to come."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.errors import ServingError
from serving.model import Model, Signature
from serving.tensors import Tensors

# A request of more rows than a batch is run by a thread, in pieces, so that small ones need not wait for it.
_PIECE_ROWS = 512


@dataclass(slots=True)
class _Job:
    model: Model  # kept alive while its session is in use
    signature: Signature
    inputs: Tensors
    rows: int  # 0: cannot be run with others, nor in pieces
    kind: Any  # jobs of the same kind fit in one batch
    done: asyncio.Future[Tensors]


class Batcher:
    """Runs small requests on the event loop and large ones beside it.

    Whatever the loop read from its connections in one turn is run in the next, together. Handing each run to a thread
    costs more than it frees: the two fight for the interpreter, and a run takes a few milliseconds at most.
    """

    def __init__(
        self, max_batch: int, max_large_waiting: int, timeout_seconds: float, observe: Callable[[str, int], None]
    ) -> None:
        """Sets the limits; the thread starts with the first large request.

        Args:
          max_batch: most rows that are run together; a request of more is a large one.
          max_large_waiting: most large requests at a time.
          timeout_seconds: how long a large request may take.
          observe: called with the signature's name and the rows of each run.
        """
        self._max_batch = max_batch
        self._max_large_waiting = max_large_waiting
        self._timeout_seconds = timeout_seconds
        self._observe = observe
        self._waiting: list[_Job] = []
        self._large_waiting = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="large-requests")

    def stop(self) -> None:
        """Gives up the large requests that wait."""
        self._thread.shutdown(cancel_futures=True)

    async def run(self, model: Model, signature: Signature, inputs: Tensors) -> Tensors:
        """Runs a signature, together with what else has come for it.

        Args:
          model: the model of the signature.
          signature: what to run.
          inputs: a tensor for each of its inputs.

        Returns:
          A tensor for each of its outputs.

        Raises:
          ServingError: TensorFlow's error, too many large requests wait, or the time is up.
        """
        loop = asyncio.get_running_loop()
        sizes = {tensor.shape[0] if tensor.ndim else 0 for tensor in inputs.values()}
        rows = sizes.pop() if signature.by_rows and len(sizes) == 1 else 0
        kind = (id(model), signature.name, *((tensor.ndim, tensor.shape[1:]) for tensor in inputs.values()))
        job = _Job(model, signature, inputs, rows, kind, loop.create_future())
        if rows > self._max_batch:
            return await self._run_large(job)
        self._waiting.append(job)
        if len(self._waiting) == 1:
            loop.call_soon(self._run_batch, loop)
        return await job.done

    async def _run_large(self, job: _Job) -> Tensors:
        if self._large_waiting >= self._max_large_waiting:
            raise ServingError("UNAVAILABLE", "The batch scheduling queue to which this task was submitted is full")
        self._large_waiting += 1
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await asyncio.get_running_loop().run_in_executor(self._thread, self._run_in_pieces, job)
        except TimeoutError:
            raise ServingError("DEADLINE_EXCEEDED", "Timed out waiting for notification") from None
        finally:
            job.done.cancel()
            self._large_waiting -= 1

    def _run_in_pieces(self, job: _Job) -> Tensors:
        pieces = []
        for start in range(0, job.rows, _PIECE_ROWS):
            if job.done.cancelled():  # its time is up
                break
            pieces.append(
                self._run(job, {name: rows[start : start + _PIECE_ROWS] for name, rows in job.inputs.items()})
            )
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in job.signature.outputs}

    def _run_batch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Runs the first that waits with all that fit to it; the others get the next turn."""
        first, rows = self._waiting[0], 0
        batch: list[_Job] = []
        rest: list[_Job] = []
        for job in self._waiting:
            fits = job is first or (
                first.rows and job.rows and job.kind == first.kind and rows + job.rows <= self._max_batch
            )
            (batch if fits else rest).append(job)
            rows += job.rows if fits else 0
        self._waiting = rest
        if rest:
            loop.call_soon(self._run_batch, loop)
        if len(batch) == 1 or not self._run_together(batch):
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
