"""Reading ahead: order, errors, an early end, and how much is held."""

import gc
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from pipeline.ahead import AHEAD, read_ahead
from pipeline.video import read_frames
from tests.pipeline.clips import make_clip


def threads() -> int:
    return sum(thread.name == "read_ahead" for thread in threading.enumerate())


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    assert threads() == 0
    yield
    assert threads() == 0


def wait_until(condition) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("waited for five seconds")


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_the_same_items_in_the_same_order(limit):
    assert list(read_ahead(iter(range(50)), limit=limit)) == list(range(50))
    assert list(read_ahead([None, 0, None], limit=limit)) == [None, 0, None]  # none of which ends anything
    assert list(read_ahead([], limit=limit)) == []


def test_items_are_made_in_another_thread():
    makers = list(read_ahead(threading.current_thread().name for _ in range(3)))
    assert makers == ["read_ahead"] * 3


def test_no_more_are_held_than_allowed():
    made = []

    def items() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            yield number

    held = read_ahead(items(), limit=3)
    assert next(held) == 0
    wait_until(lambda: len(made) == 5)  # the one that was taken, three that wait, and one that finds no room
    time.sleep(0.1)
    assert len(made) == 5
    assert list(held) == list(range(1, 20))


def test_nothing_is_made_before_it_is_asked_for():
    made = []
    held = read_ahead(made.append(number) or number for number in range(3))
    time.sleep(0.05)
    assert made == []
    assert next(held) == 0
    assert list(held) == [1, 2]


def test_an_error_comes_after_the_items_before_it():
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("damaged")

    held = read_ahead(items())
    time.sleep(0.05)
    assert [next(held), next(held)] == [1, 2]
    with pytest.raises(ValueError, match="damaged"):
        next(held)
    assert list(held) == []


def test_an_error_of_the_first_step():
    def items() -> Iterator[int]:
        raise ValueError("no such file")
        yield 1

    with pytest.raises(ValueError, match="no such file"):
        next(read_ahead(items()))


@pytest.mark.parametrize("how", ["close", "forget", "error"])
def test_an_early_end_stops_the_thread_and_closes_what_it_read(how):
    closed = []

    def items() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            closed.append(threading.current_thread().name)

    def use() -> None:
        held = read_ahead(items(), limit=2)
        assert next(held) == 0
        if how == "close":
            held.close()
            assert threads() == 0
            assert list(held) == []
        if how == "error":
            raise KeyError("in the loop")

    if how == "error":
        with pytest.raises(KeyError):
            use()
    else:
        use()
    gc.collect()
    wait_until(lambda: threads() == 0)
    assert closed == ["read_ahead"]  # where it ran, as a decoder must


def test_frames_of_a_clip(tmp_path):
    rng = np.random.default_rng(0)
    clip = make_clip(tmp_path / "in.mp4", images=list(rng.integers(0, 256, (3 * AHEAD, 48, 64, 3), dtype=np.uint8)))
    one, other = list(read_frames(clip)), list(read_ahead(read_frames(clip)))
    assert [(frame.index, frame.time_s) for frame in one] == [(frame.index, frame.time_s) for frame in other]
    for before, after in zip(one, other, strict=True):
        np.testing.assert_array_equal(before.image, after.image)


def test_a_limit_of_nothing():
    with pytest.raises(ValueError, match="at least one item must be allowed to wait, not 0"):
        next(read_ahead([1], limit=0))
