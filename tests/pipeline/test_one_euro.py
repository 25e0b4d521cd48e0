"""The One-Euro filter: values worked out by hand, the paper's algorithm written down a second time, and symmetries."""

import math

import numpy as np
import pytest

from pipeline.one_euro import OneEuro, OneEuroOptions

HALF_HZ = 10 / (2 * math.pi)  # at steps of 0.1 s, 2 pi cutoff step = 1, so that a filter goes half of the way


def run(options: OneEuroOptions, values: np.ndarray, times: np.ndarray, *, scale: float = 1.0) -> np.ndarray:
    filtering = OneEuro(options)
    return np.array([filtering.update(value, time, scale=scale) for value, time in zip(values, times, strict=True)])


def wander(count: int = 60, points: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Points (T, N, 3) that wander, at uneven times (T,)."""
    rng = np.random.default_rng(1)
    return rng.normal(size=(count, points, 3)).cumsum(0), rng.uniform(0.01, 0.1, count).cumsum()


def test_a_fixed_cut_off_by_hand():
    values = np.array([[0.0], [1.0], [1.0], [1.0]])
    filtered = run(OneEuroOptions(HALF_HZ, 0.0), values, np.arange(4) / 10)
    np.testing.assert_allclose(filtered[:, 0], [0, 0.5, 0.75, 0.875])


def test_a_cut_off_that_rises_with_speed_by_hand():
    # Velocity: half of the way from 0 to 10, stays at 5, then half of the way to (1.05 - 0.75) / 0.1 = 3, which is 4.
    # Cut-off: 2 speed / 2 pi, so that 2 pi cutoff step is 1, 1 and 0.8, and the share 1/2, 1/2 and 0.8 / 1.8 = 4/9.
    options = OneEuroOptions(0.0, 2 / (2 * math.pi), speed_hz=HALF_HZ)
    filtered = run(options, np.array([[0.0], [1.0], [1.0], [1.05]]), np.arange(4) / 10)
    np.testing.assert_allclose(filtered[:, 0], [0, 0.5, 0.75, 0.75 + 0.3 * 4 / 9])


def test_the_algorithm_of_the_paper():
    values, times = wander(points=1)
    values = values[..., :1]

    def alpha(rate: float, cutoff: float) -> float:
        tau = 1 / (2 * math.pi * cutoff)
        return 1 / (1 + tau * rate)

    mincutoff, beta, dcutoff = 0.8, 0.7, 1.3
    expected, hatx, hatdx = [float(values[0, 0, 0])], float(values[0, 0, 0]), 0.0
    for row in range(1, len(values)):
        x, rate = float(values[row, 0, 0]), 1 / (times[row] - times[row - 1])
        dx = (x - hatx) * rate
        hatdx = alpha(rate, dcutoff) * dx + (1 - alpha(rate, dcutoff)) * hatdx
        share = alpha(rate, mincutoff + beta * abs(hatdx))
        hatx = share * x + (1 - share) * hatx
        expected.append(hatx)
    np.testing.assert_allclose(run(OneEuroOptions(mincutoff, beta, dcutoff), values, times)[:, 0, 0], expected)


def test_one_who_rests_shakes_less_and_one_who_runs_lags_little():
    rng, times = np.random.default_rng(0), np.arange(90) / 30
    shaking = rng.normal(size=(90, 1, 2)) / 20
    calm = run(OneEuroOptions(1.0, 0.5), shaking, times)
    assert calm[30:].std() < 0.5 * shaking[30:].std()
    running = np.stack([100 * times, 0 * times], -1)[:, None]
    slow, quick = (run(OneEuroOptions(1.0, beta), running, times)[-1, 0, 0] for beta in (0.0, 0.5))
    # A first-order filter lags by about 1 / (2 pi cutoff): 0.16 s at 1 Hz, at 51 Hz less than a frame.
    assert running[-1, 0, 0] - slow == pytest.approx(100 / (2 * np.pi), rel=0.02)
    assert running[-1, 0, 0] - quick < 1


def test_no_smoothing_gives_back_what_comes():
    values, times = wander()
    np.testing.assert_array_equal(run(OneEuroOptions(math.inf, 0.0), values, times), values)


def test_the_axes_do_not_matter():
    values, times = wander()
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))
    options = OneEuroOptions(1.0, 0.3)
    np.testing.assert_allclose(run(options, values @ turn + 5.0, times), run(options, values, times) @ turn + 5.0)


def test_the_unit_of_length_does_not_matter_with_its_scale():
    values, times = wander()
    options = OneEuroOptions(1.0, 0.3)
    np.testing.assert_allclose(run(options, 1000 * values, times, scale=1000.0), 1000 * run(options, values, times))
    assert not np.allclose(run(options, 1000 * values, times), 1000 * run(options, values, times))


def test_points_do_not_touch_each_other_and_unknown_ones_start_anew():
    values, times = wander()
    options = OneEuroOptions(1.0, 0.3)
    whole = run(options, values, times)
    holed = values.copy()
    holed[20:25, 1] = np.nan
    holed[22, 1] = np.inf
    filtered = run(options, holed, times)
    np.testing.assert_array_equal(filtered[:, [0, 2, 3]], whole[:, [0, 2, 3]])
    assert np.isnan(filtered[20:25, 1]).all()
    np.testing.assert_allclose(filtered[25:, 1], run(options, values[25:], times[25:])[:, 1])


def test_what_came_and_what_went_out_is_left_alone():
    filtering, value = OneEuro(OneEuroOptions(1.0, 0.3)), np.ones((2, 2))
    out = filtering.update(value, 0.0)
    out += 100
    np.testing.assert_array_equal(filtering.update(value, 0.1), value)
    np.testing.assert_array_equal(value, 1)


@pytest.mark.parametrize("time_s", [1.0, 0.5, math.nan])
def test_time_must_go_on(time_s):
    filtering = OneEuro(OneEuroOptions(1.0, 0.3))
    filtering.update(np.zeros((1, 2)), 1.0)
    with pytest.raises(ValueError, match=r"time goes from 1\.0 to"):
        filtering.update(np.zeros((1, 2)), time_s)
