"""Cleaning fills what was missed and smooths what shakes, without lag and at the clip's real rate."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.clean import CleanOptions, clean, filled, outliers, parts, smooth
from pipeline.poses import Track2D
from pipeline.skeleton import LSP14

ROUNDING = 1e-3  # pixels: what is left of the start of the filter
RATES = (25.0, 30000 / 1001, 60.0, 240.0)
BODY = np.random.default_rng(0).uniform(-60, 60, (len(LSP14), 2))  # joints about the body's middle, pixels


def track(path: np.ndarray, time_s: np.ndarray, *, score: np.ndarray | None = None) -> Track2D:
    """A body whose middle is at path (T, 2) at these times; all joints are sure unless said otherwise."""
    xy = path[:, None, :] + BODY
    return Track2D(
        LSP14, np.arange(len(time_s)), time_s, xy, np.ones(xy.shape[:2]) if score is None else score, (640, 360)
    )


def line(time_s: np.ndarray) -> np.ndarray:
    """Straight on: 200 px/s to the right, 50 px/s up."""
    return np.stack([100 + 200 * time_s, 300 - 50 * time_s], -1)


def sway(time_s: np.ndarray, *, hz: float, amplitude: float = 20.0) -> np.ndarray:
    """To and fro sideways."""
    return np.stack([300 + amplitude * np.sin(2 * np.pi * hz * time_s), np.full(len(time_s), 200.0)], -1)


def times(rate: float, seconds: float) -> np.ndarray:
    return np.arange(round(rate * seconds)) / rate


@pytest.mark.parametrize("rate", RATES)
def test_straight_motion_is_unchanged(rate):
    moving = track(line(times(rate, 3)), times(rate, 3))
    np.testing.assert_allclose(clean(moving).xy, moving.xy, atol=ROUNDING)


@pytest.mark.parametrize("rate", RATES)
def test_straight_motion_is_unchanged_when_frames_are_missing(rate):
    time_s = times(rate, 3)
    here = np.ones(len(time_s), bool)
    here[[20, 40, 41, 42, 43, 44, 45]] = False  # less than the gap that cuts a track
    moving = track(line(time_s[here]), time_s[here])
    assert len(parts(moving, CleanOptions())) == 1
    np.testing.assert_allclose(clean(moving).xy, moving.xy, atol=ROUNDING)


def test_real_timestamps_count_where_the_rate_varies():
    time_s = np.cumsum(np.random.default_rng(0).uniform(0.02, 0.06, 100))
    moving = track(line(time_s), time_s)
    np.testing.assert_allclose(clean(moving).xy, moving.xy, atol=ROUNDING)


def test_times_rounded_to_milliseconds_do_no_harm():
    time_s = times(30000 / 1001, 4)
    exact = clean(track(sway(time_s, hz=1.0), time_s))
    rounded = clean(track(sway(time_s, hz=1.0), np.round(time_s, 3)))
    assert np.abs(exact.xy - rounded.xy).max() < 0.1


def gain(hz: float, *, rate: float, cutoff_hz: float) -> float:
    """Of a digital Butterworth filter of order 2, run forwards and backwards: |H|^2, frequencies warped by tan."""
    return 1 / (1 + (np.tan(np.pi * hz / rate) / np.tan(np.pi * cutoff_hz / rate)) ** 4)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("hz", [1.0, 3.0, 6.0, 9.0, 11.0])
def test_frequency_response_by_the_formula(rate, hz):
    time_s = times(rate, 8)
    smoothed = smooth(sway(time_s, hz=hz), time_s, cutoff_hz=6.0, order=4)
    middle = slice(len(time_s) // 4, -len(time_s) // 4)
    expected = 300 + gain(hz, rate=rate, cutoff_hz=6.0) * (sway(time_s, hz=hz)[middle, 0] - 300)
    np.testing.assert_allclose(smoothed[middle, 0], expected, atol=1e-3)


@pytest.mark.parametrize("rate", RATES)
def test_movement_is_kept_and_shaking_is_not(rate):
    assert gain(1.5, rate=rate, cutoff_hz=6.0) > 0.99
    assert gain(11.0, rate=rate, cutoff_hz=6.0) < 0.1
    time_s = times(rate, 6)
    moved = clean(track(sway(time_s, hz=1.5), time_s))
    assert np.abs(moved.xy - track(sway(time_s, hz=1.5), time_s).xy)[20:-20].max() < 0.5
    shaken = clean(track(sway(time_s, hz=11.0, amplitude=1.0), time_s))
    assert np.abs(shaken.xy[20:-20, 0, 0] - 300 - BODY[0, 0]).max() < 0.1


@pytest.mark.parametrize("rate", RATES)
def test_a_symmetric_movement_stays_symmetric(rate):
    time_s = np.arange(-60, 61) / rate + 100
    bump = np.stack([80 * np.exp(-(((time_s - 100) / 0.2) ** 2)), np.zeros(121)], -1)
    xy = clean(track(bump, time_s)).xy
    np.testing.assert_allclose(xy, xy[::-1], atol=ROUNDING)
    assert (xy[..., 0].argmax(0) == 60).all()
    assert xy[60, 0, 0] - BODY[0, 0] > 70


def test_a_spike_is_removed_and_only_that_joint_is_touched():
    time_s = times(30, 3)
    still = track(line(time_s), time_s)
    xy = still.xy.copy()
    xy[40, 3] += (80, -50)
    cleaned = clean(replace(still, xy=xy))
    np.testing.assert_allclose(cleaned.xy, still.xy, atol=ROUNDING)


def test_outliers_by_hand():
    # One joint along x, the second still. The body's extent is about 10, so the floor is 0.1.
    x = np.array([0.0, 1, 2, 9, 4, 5, 6])
    xy = np.zeros((7, 2, 2))
    xy[:, 0, 0] = x
    xy[:, 1, 1] = 10
    # At 9 the window is (2, 9, 4): median 4, deviations (2, 5, 0), their median 2, limit 2 * 1.4826 * 2 = 5.9 > 5.
    assert not outliers(xy, window=3, limit=2.0).any()
    assert outliers(xy, window=3, limit=1.6)[:, 0].tolist() == [False, False, False, True, False, False, False]
    # With 7 the window is 0 1 2 9 4 5 6: median 4, deviations 4 3 2 5 0 1 2, their median 2, limit 1 * 2.97 < 5.
    assert outliers(xy, window=7, limit=1.0)[:, 0].tolist() == [False, False, False, True, False, False, False]
    assert not outliers(xy[:6], window=7, limit=0.1).any()  # shorter than the window


def test_a_jitter_of_a_pixel_is_no_outlier():
    xy = np.tile(BODY, (30, 1, 1))
    xy[10, 0] += 0.9
    floor = 0.01 * np.ptp(BODY, axis=0).max()  # about 1.1 px
    assert not outliers(xy, window=7, limit=3.0).any()
    xy[10, 0] += 3 * floor
    assert np.argwhere(outliers(xy, window=7, limit=3.0)).tolist() == [[10, 0]]


def test_unsure_joints_lie_on_the_line_between_sure_ones():
    time_s = np.array([0.0, 0.1, 0.2, 0.4, 0.5])
    xy = np.zeros((5, 2, 2))
    xy[:, 0] = [(0, 0), (99, 99), (99, 99), (8, -4), (10, 0)]
    xy[:, 1] = 7.0
    sure = np.ones((5, 2), bool)
    sure[[1, 2], 0] = False
    result = filled(xy, sure, time_s)
    # a quarter and a half of the way in time
    np.testing.assert_allclose(result[:, 0], [(0, 0), (2, -1), (4, -2), (8, -4), (10, 0)])
    assert (result[:, 1] == 7).all()
    assert xy[1, 0, 0] == 99  # the input stays


def test_unsure_joints_at_the_ends_keep_the_nearest_sure_place():
    xy = np.arange(12.0).reshape(6, 1, 2)
    sure = np.array([[False], [False], [True], [True], [False], [False]])
    assert filled(xy, sure, np.arange(6.0))[:, 0, 0].tolist() == [4, 4, 4, 6, 6, 6]


@pytest.mark.parametrize("known", [0, 1])
def test_a_joint_that_is_hardly_ever_sure_is_left(known):
    xy = np.arange(12.0).reshape(6, 1, 2)
    sure = np.arange(6)[:, None] < known
    np.testing.assert_array_equal(filled(xy, sure, np.arange(6.0)), xy)


def test_low_scores_make_a_joint_unsure():
    time_s = times(30, 2)
    score = np.ones((60, len(LSP14)))
    score[20:26, 5] = 0.1
    xy = track(line(time_s), time_s).xy
    xy[20:26, 5] = 0
    wrong = replace(track(line(time_s), time_s, score=score), xy=xy)
    cleaned = clean(wrong)
    np.testing.assert_allclose(cleaned.xy, track(line(time_s), time_s).xy, atol=ROUNDING)
    np.testing.assert_array_equal(cleaned.score, score)


def test_absences_cut_the_track_by_hand():
    time_s = np.array([0.0, 0.1, 0.2, 0.7, 0.8, 2.0])
    cut = track(np.full((6, 2), 200.0), time_s)
    for gap_s, expected in [
        (0.35, [slice(0, 3), slice(3, 5), slice(5, 6)]),
        (1.0, [slice(0, 5), slice(5, 6)]),
        (2.0, [slice(0, 6)]),
    ]:
        assert parts(cut, CleanOptions(gap_s=gap_s)) == expected


def test_a_jump_to_another_place_cuts_the_track_by_hand():
    extent = np.ptp(BODY, axis=0).max()
    place = np.full((6, 2), 200.0)
    place[4:, 0] += 0.8 * extent
    jumping = track(place, times(30, 0.2))
    assert parts(jumping, CleanOptions(jump=0.7)) == [slice(0, 4), slice(4, 6)]
    assert parts(jumping, CleanOptions(jump=0.9)) == [slice(0, 6)]


def test_a_blip_is_left_out_unless_it_is_all_there_is():
    time_s = np.concatenate([times(30, 2), 4 + times(30, 0.1)])
    cleaned = clean(track(np.full((63, 2), 200.0), time_s))
    assert cleaned.frame.tolist() == list(range(60))
    short = track(np.full((3, 2), 200.0), times(30, 0.1))
    assert len(clean(short)) == 3


def test_nothing_is_smoothed_or_filled_across_an_absence():
    time_s = np.concatenate([times(30, 1), 5 + times(30, 1)])
    place = np.where(time_s[:, None] < 3, (100.0, 100.0), (500.0, 200.0))
    score = np.ones((60, len(LSP14)))
    score[28:33, 2] = 0.0
    cleaned = clean(track(place, time_s, score=score))
    np.testing.assert_allclose(cleaned.xy, track(place, time_s).xy, atol=1e-6)


@pytest.mark.parametrize("frames", [0, 1, 2, 6, 12])
def test_short_tracks_are_untouched(frames):
    rng = np.random.default_rng(0)
    short = track(rng.uniform(0, 3, (frames, 2)), np.arange(frames) / 30)
    cleaned = clean(short)
    np.testing.assert_array_equal(cleaned.xy, short.xy)
    assert cleaned.xy.shape == (frames, 14, 2)


def test_a_rate_too_low_for_the_cut_off_is_not_smoothed():
    time_s = times(10, 5)
    shaking = track(sway(time_s, hz=4.0, amplitude=1.0), time_s)
    np.testing.assert_array_equal(clean(shaking).xy, shaking.xy)


def test_the_rest_of_the_track_stays_and_the_input_too():
    time_s = times(30, 2)
    before = track(sway(time_s, hz=7.0), time_s)
    xy = before.xy.copy()
    after = clean(before)
    assert after.skeleton is before.skeleton
    assert after.size == before.size
    for name in ("frame", "time_s", "score"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    np.testing.assert_array_equal(before.xy, xy)
    assert not np.allclose(after.xy, xy)


def test_cleaning_does_not_depend_on_place_or_resolution():
    rng = np.random.default_rng(1)
    time_s = times(30, 3)
    path = line(time_s) + rng.standard_t(2, (90, 2)) * 3
    score = rng.uniform(0, 1, (90, len(LSP14)))
    small = track(path, time_s, score=score)
    large = replace(small, xy=2.5 * small.xy + 77)
    np.testing.assert_allclose(clean(large).xy, 2.5 * clean(small).xy + 77, atol=1e-6)
