"""Stages timed by hand: a clock that is turned on by what is done."""

from dataclasses import dataclass

import pytest

from pipeline import stopwatch
from pipeline.stopwatch import Stopwatch


class Clock:
    """Time that passes only when work is done: on the clock, and half of it on the processor."""

    def __init__(self) -> None:
        self.wall = 0.0

    def perf_counter(self) -> float:
        return self.wall

    def process_time(self) -> float:
        return self.wall / 2

    def work(self, seconds: float) -> float:
        self.wall += seconds
        return seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(stopwatch, "time", clock)
    return clock


def test_a_stage_by_hand(clock):
    watch = Stopwatch()
    work = watch.timed("work", clock.work)
    for watch.frame, seconds in enumerate((0.1, 0.2, 0.6)):
        assert work(seconds) == seconds
    watch.frame = None
    work(0.3)
    figures = watch.figures("work", frames=3)
    expected = {"calls": 4, "ms": 400, "median_ms": 200, "cpu_ms": 200, "frames_per_s": 2.5}
    assert figures == pytest.approx(expected)
    assert watch.seconds() == pytest.approx(1.2)


def test_frames_without_a_call_count_as_nothing(clock):
    watch = Stopwatch()
    watch.frame = 1
    watch.timed("search", clock.work)(0.3)
    figures = watch.figures("search", frames=3)
    assert figures["ms"] == pytest.approx(100)
    assert figures["median_ms"] == 0


def test_a_stage_that_never_ran_and_one_of_the_whole_clip(clock):
    watch = Stopwatch()
    nothing = {"calls": 0, "ms": 0, "median_ms": None, "cpu_ms": 0, "frames_per_s": None}
    assert watch.figures("never", frames=5) == nothing
    watch.timed("once", clock.work)(0.5)
    once = {"calls": 1, "ms": 100, "median_ms": None, "cpu_ms": 50, "frames_per_s": 10}
    assert watch.figures("once", frames=5) == pytest.approx(once)


def test_what_is_within_a_stage_counts_once(clock):
    watch = Stopwatch()
    inner = watch.timed("inner", clock.work)

    def outer() -> None:
        clock.work(0.1)
        inner(0.2)
        inner(0.3)
        clock.work(0.4)

    def outermost() -> None:
        watch.timed("outer", outer)()
        clock.work(1.0)

    watch.timed("outermost", outermost)()
    found = [watch.figures(stage, frames=1)["ms"] for stage in ("inner", "outer", "outermost")]
    assert found == pytest.approx([500, 500, 1000])
    assert watch.figures("outermost", frames=1)["cpu_ms"] == pytest.approx(500)


def test_an_error_passes_and_its_time_counts(clock):
    watch = Stopwatch()

    def fails() -> None:
        clock.work(0.2)
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        watch.timed("fails", fails)()
    assert watch.figures("fails", frames=1)["ms"] == pytest.approx(200)
    watch.timed("next", clock.work)(0.1)
    assert watch.figures("next", frames=1)["ms"] == pytest.approx(100)


def test_what_a_device_has_not_finished_belongs_to_the_stage(clock):
    watch = Stopwatch(settle=lambda: clock.work(0.7))
    watch.timed("network", clock.work)(0.1)
    assert watch.figures("network", frames=1)["ms"] == pytest.approx(800)


def test_methods_are_watched_on_a_copy(clock):
    @dataclass(frozen=True)
    class Worker:
        speed: float
        done: list[float]

        def part(self, seconds: float) -> float:
            self.done.append(clock.work(seconds / self.speed))
            return self.speed

        def whole(self) -> float:
            clock.work(1.0)
            return self.part(4.0)

    worker, watch = Worker(2.0, []), Stopwatch()
    twin = watch.watched(worker, part="part")
    assert twin.whole() == worker.whole() == 2.0
    assert twin.done is worker.done
    assert len(worker.done) == 2
    figures = watch.figures("part", frames=1)
    assert (figures["calls"], figures["ms"]) == (1, pytest.approx(2000))  # by the twin alone
