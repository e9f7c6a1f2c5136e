"""How requests are run together: with a signature whose model only notes what it is given."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import create_autospec

import numpy as np
import pytest
import tensorflow as tf

from serving.batching import Batcher
from serving.errors import ServingError, invalid
from serving.model import Model, Signature
from serving.turns import Turns


class Doubling:
    """Doubles its numbers; refuses negative ones."""

    def __init__(self, by_rows: bool = True) -> None:
        self.runs: list[int] = []
        self.threads: set[str] = set()
        self.call: Callable[[np.ndarray], np.ndarray] = self.double
        self.signature = Signature(
            name="double",
            method="tensorflow/serving/predict",
            inputs={"x": tf.float64},
            outputs=("y",),
            by_rows=by_rows,
            _shapes={"x": None},
            _call=lambda numbers: [self.call(numbers)],
        )

    def double(self, numbers: np.ndarray) -> np.ndarray:
        self.runs.append(numbers.size)
        self.threads.add(threading.current_thread().name)
        if (numbers < 0).any():
            raise invalid("negative")
        return numbers * 2


class Opened(Doubling):
    """Doubles a single number at once, and more of them only when it has been opened."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.opened = threading.Event(), threading.Event()

    def double(self, numbers: np.ndarray) -> np.ndarray:
        if numbers.size > 1:
            self.begun.set()
            assert self.opened.wait(60)
        return super().double(numbers)


MODEL = create_autospec(Model, instance=True)


@pytest.fixture
def make() -> Iterator[Callable[..., Batcher]]:
    with contextlib.ExitStack() as stack:

        def make(max_batch: int = 32, max_large: int = 2, seconds: float = 30.0, max_bytes: int = 1 << 30) -> Batcher:
            turns = Turns(max_large, max_bytes, seconds)
            stack.callback(turns.stop)
            return Batcher(max_batch, turns, lambda signature, rows: None)

        yield make


def run_all(batcher: Batcher, doubling: Doubling, arrays: list[np.ndarray]) -> list[Any]:
    """What comes of several requests that are there at the same moment."""

    async def main() -> list[Any]:
        runs = (batcher.run(MODEL, doubling.signature, {"x": array}) for array in arrays)
        return await asyncio.gather(*runs, return_exceptions=True)

    return asyncio.run(main())


def test_requests_of_the_same_moment_are_run_together_and_get_their_own_answers(make: Callable[..., Batcher]) -> None:
    doubling = Doubling()
    results = run_all(make(), doubling, [np.array([number, number + 0.5]) for number in range(8)])
    assert doubling.runs == [16]
    assert [result["y"].tolist() for result in results] == [[2 * n, 2 * n + 1] for n in range(8)]


def test_a_batch_has_at_most_so_many_rows(make: Callable[..., Batcher]) -> None:
    doubling = Doubling()
    results = run_all(make(max_batch=4), doubling, [np.array([number]) for number in range(10)])
    assert doubling.runs == [4, 4, 2]
    assert [result["y"].item() for result in results] == [2 * number for number in range(10)]


def test_a_request_alone_is_run_without_waiting(make: Callable[..., Batcher]) -> None:
    doubling = Doubling()
    batcher = make()

    async def main() -> None:
        request = asyncio.create_task(batcher.run(MODEL, doubling.signature, {"x": np.array([1])}))
        # The loop's first turn hands the request over, its second runs it.
        for _ in range(2):
            assert doubling.runs == []
            await asyncio.sleep(0)
        assert doubling.runs == [1]
        await request

    asyncio.run(main())


def test_requests_of_another_shape_or_without_rows_are_run_apart(make: Callable[..., Batcher]) -> None:
    doubling = Doubling()
    arrays = [np.array([1]), np.array([[1, 2]]), np.array([3]), np.array(4), np.array([])]
    results = run_all(make(), doubling, arrays)
    assert sorted(doubling.runs) == [0, 1, 2, 2]
    assert [result["y"].tolist() for result in results] == [[2], [[2, 4]], [6], 8, []]
    whole = Doubling(by_rows=False)
    run_all(make(), whole, [np.array([1]), np.array([2])])
    assert whole.runs == [1, 1]


def test_one_bad_request_does_not_fail_the_others_of_its_batch(make: Callable[..., Batcher]) -> None:
    doubling = Doubling()
    good, bad, other = run_all(make(), doubling, [np.array([1]), np.array([-1]), np.array([2])])
    assert (good["y"].item(), other["y"].item()) == (2, 4)
    assert isinstance(bad, ServingError)
    assert bad.message == "negative"
    assert doubling.runs == [3, 1, 1, 1]


def test_outputs_that_are_not_by_row_are_not_split(make: Callable[..., Batcher]) -> None:
    doubling = Doubling()
    doubling.call = lambda numbers: np.array(numbers.size)
    results = run_all(make(), doubling, [np.array([1]), np.array([1])])
    assert [result["y"].item() for result in results] == [1, 1]


def test_a_large_request_is_run_in_pieces_by_another_thread(make: Callable[..., Batcher]) -> None:
    doubling = Doubling()
    (result,) = run_all(make(), doubling, [np.arange(1100)])
    assert doubling.runs == [512, 512, 76]
    assert result["y"].tolist() == list(range(0, 2200, 2))
    assert threading.current_thread().name not in doubling.threads


def test_a_large_request_that_takes_too_long_is_given_up_and_its_rest_not_run(make: Callable[..., Batcher]) -> None:
    large = Opened()
    batcher = make(seconds=1)

    async def main() -> None:
        with pytest.raises(ServingError, match="Timed out waiting for notification") as caught:
            await batcher.run(MODEL, large.signature, {"x": np.arange(512 * 20)})
        assert caught.value.http_status == 504
        large.opened.set()

    asyncio.run(main())
    batcher._turns.stop()
    assert large.runs == [512]


def test_a_large_request_that_nobody_waits_for_any_more_is_not_run_to_its_end(make: Callable[..., Batcher]) -> None:
    large = Opened()
    batcher = make()

    async def main() -> None:
        request = asyncio.create_task(batcher.run(MODEL, large.signature, {"x": np.arange(512 * 20)}))
        await asyncio.to_thread(large.begun.wait, 60)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        large.opened.set()

    asyncio.run(main())
    batcher._turns.stop()
    assert large.runs == [512]


def test_more_large_requests_than_allowed_are_refused(make: Callable[..., Batcher]) -> None:
    doubling = Doubling()
    results = run_all(make(max_large=2), doubling, [np.arange(600)] * 4)
    refused = [result for result in results if isinstance(result, ServingError)]
    assert [(error.http_status, error.message) for error in refused] == [
        (503, "The batch scheduling queue to which this task was submitted is full")
    ] * 2
    assert len(results) - len(refused) == 2


def test_a_request_of_many_bytes_is_run_in_pieces_by_another_thread_however_few_its_rows(
    make: Callable[..., Batcher],
) -> None:
    doubling = Doubling()
    (result,) = run_all(make(), doubling, [np.ones((10, 2000))])  # 16 kB a row, 64 kB a piece
    assert doubling.runs == [4 * 2000, 4 * 2000, 2 * 2000]
    assert result["y"].shape == (10, 2000)
    assert threading.current_thread().name not in doubling.threads


def test_a_row_that_is_larger_than_a_piece_is_run_by_itself(make: Callable[..., Batcher]) -> None:
    doubling = Doubling()
    run_all(make(), doubling, [np.ones((3, 20_000))])
    assert doubling.runs == [20_000] * 3


def test_a_large_request_without_rows_is_run_whole_by_another_thread(make: Callable[..., Batcher]) -> None:
    doubling = Doubling(by_rows=False)
    (result,) = run_all(make(), doubling, [np.ones(100_000)])
    assert doubling.runs == [100_000]
    assert result["y"].size == 100_000
    assert threading.current_thread().name not in doubling.threads


def test_texts_count_by_their_bytes(make: Callable[..., Batcher]) -> None:
    doubling = Doubling()
    sizes: list[int] = []
    doubling.call = lambda texts: (sizes.append(len(texts)), texts)[1]
    texts = np.array([b"x" * 40_000, b"y" * 40_000, b"z", b"z"], object)
    (result,) = run_all(make(), doubling, [texts])
    assert sizes == [1, 3]
    assert result["y"].tolist() == texts.tolist()


def test_a_batch_has_at_most_so_many_bytes(make: Callable[..., Batcher]) -> None:
    doubling = Doubling()
    run_all(make(), doubling, [np.ones((1, 1000))] * 4)  # 8 kB each, 16 kB together
    assert doubling.runs == [2000, 2000]


def test_more_bytes_of_large_requests_than_allowed_are_refused(make: Callable[..., Batcher]) -> None:
    results = run_all(make(max_large=9, max_bytes=100_000), Doubling(), [np.ones((10, 1000))] * 2)
    assert [isinstance(result, ServingError) for result in results] == [False, True]
    assert results[1].message == "The batch scheduling queue to which this task was submitted is full"


def test_large_requests_wait_for_one_another_in_order_and_small_ones_overtake_them(
    make: Callable[..., Batcher],
) -> None:
    doubling, batcher = Opened(), make(max_large=3)
    ended: list[str] = []

    async def run(name: str, rows: int) -> None:
        await batcher.run(MODEL, doubling.signature, {"x": np.ones(rows)})
        ended.append(name)

    async def main() -> None:
        large = [asyncio.create_task(run(name, rows)) for name, rows in (("a", 2000), ("b", 33), ("c", 600))]
        await asyncio.sleep(0)
        await run("small", 1)
        doubling.opened.set()
        await asyncio.gather(*large)

    asyncio.run(main())
    assert ended == ["small", "a", "b", "c"]


def test_a_small_request_that_nobody_waits_for_is_not_run(make: Callable[..., Batcher]) -> None:
    doubling, batcher = Doubling(), make()

    async def main() -> None:
        first = asyncio.create_task(batcher.run(MODEL, doubling.signature, {"x": np.ones(1)}))
        await asyncio.sleep(0)
        first.cancel()
        await batcher.run(MODEL, doubling.signature, {"x": np.ones(3)})

    asyncio.run(main())
    assert doubling.runs == [3]
    late = Doubling()
    (result,) = run_all(make(seconds=-1), late, [np.array([1])])
    assert (result.message, late.runs) == ("Timed out waiting for notification", [])
