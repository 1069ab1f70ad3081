"""Work ahead in threads: order, how far ahead, errors, and nothing begun after one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from lake.ahead import in_order


def test_results_come_in_order_whatever_takes_longest() -> None:
    assert list(in_order(lambda n: time.sleep(0.02 / (n + 1)) or n, range(9), 3)) == list(range(9))


def test_as_many_are_worked_on_at_once_and_no_more_are_begun() -> None:
    barrier, begun = threading.Barrier(3), list[int]()

    def work(number: int) -> int:
        begun.append(number)
        if number < 3:
            barrier.wait(timeout=10)  # passes only if three are under way
        return number

    results = in_order(work, range(50), 3)
    assert next(results) == 0
    time.sleep(0.05)
    assert len(begun) <= 4
    assert list(results) == list(range(1, 50))


def test_one_thread_works_when_asked() -> None:
    begun: list[int] = []
    results = in_order(lambda n: begun.append(n) or threading.current_thread(), range(3), 1)
    assert next(results) is threading.main_thread()
    assert begun == [0]


def test_an_error_comes_in_its_place_and_the_rest_is_not_begun() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 4:
            raise ValueError("four")
        return number

    def taken(results: Iterator[int]) -> Iterator[int]:
        with pytest.raises(ValueError, match="four"):
            yield from results

    assert list(taken(in_order(work, range(100), 2))) == [0, 1, 2, 3]
    assert len(begun) < 10
