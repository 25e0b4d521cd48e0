"""Timestamps made fit for use: present, strictly increasing, going on where a clock is reset."""

import itertools
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from pipeline.timeline import Timeline

MILLISECOND = Fraction(1, 1000)


def ticks(stamps: list[int | None], *, origin: int = 0, period: Fraction = Fraction(40)) -> list[int]:
    timeline = Timeline(MILLISECOND, origin=origin, period=period)
    return [timeline.tick(stamp) for stamp in stamps]


def test_good_timestamps_are_kept() -> None:
    assert ticks([0, 40, 81, 500]) == [0, 40, 81, 500]
    assert ticks([1400, 1440], origin=1400) == [0, 40]
    assert ticks([-1024, 0, 1024]) == [-1024, 0, 1024]


def test_missing_ones_are_counted_without_drift() -> None:
    period = Fraction(1000 * 1001, 30_000)
    assert ticks([None] * 301, period=period)[::100] == [0, 3337, 6673, 10_010]
    assert ticks([0, None, None, 200, None]) == [0, 40, 80, 200, 240]


def test_repeated_and_disordered_ones_move_by_a_tick() -> None:
    assert ticks([0, 40, 40, 40, 120]) == [0, 40, 41, 42, 120]
    assert ticks([0, 80, 40, 120]) == [0, 80, 81, 120]


def test_a_clock_that_is_reset_goes_on() -> None:
    assert ticks([5000, 5040, 5080, 0, 40, 80], origin=5000) == [0, 40, 80, 120, 160, 200]


@given(st.lists(st.none() | st.integers(-(10**9), 10**9)), st.fractions(min_value="1/1000", max_value=10**6))
def test_always_strictly_increasing(stamps: list[int | None], period: Fraction) -> None:
    found = ticks(stamps, period=period)
    assert all(before < after for before, after in itertools.pairwise(found))


@given(st.lists(st.integers(0, 10**9), unique=True).map(sorted), st.integers(-(10**9), 10**9))
def test_increasing_ones_are_only_shifted(stamps: list[int], origin: int) -> None:
    assert ticks(stamps, origin=origin) == [stamp - origin for stamp in stamps]
