"""Cleaning puts left and right back, fills what was missed and smooths what shakes, without lag, at the real rate."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from pipeline.clean import (
    SMOOTHING,
    CleanOptions,
    CleanTrack2D,
    _cheapest,
    clean,
    exchanged,
    fill_gaps,
    jitter,
    outliers,
    parts,
    sides_put_back,
    smooth,
)
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
    smoothed = smooth(sway(time_s, hz=hz), time_s, cutoff_hz=6.0)
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
    # With 7 there is one window, 0 1 2 9 4 5 6: median 4, deviations 4 3 2 5 0 1 2, their median 2, limit 1.5 * 2.97.
    assert outliers(xy, window=7, limit=1.5)[:, 0].tolist() == [False, False, False, True, False, False, False]
    assert outliers(xy, window=7, limit=1.0)[:, 0].tolist() == [True, True, False, True, False, False, False]
    assert not outliers(xy[:6], window=7, limit=0.1).any()  # shorter than the window


def test_a_jitter_of_a_pixel_is_no_outlier():
    xy = np.tile(BODY, (30, 1, 1))
    xy[10, 0] += 0.9
    floor = 0.01 * np.ptp(BODY, axis=0).max()  # about 1.1 px
    assert not outliers(xy, window=7, limit=3.0).any()
    xy[10, 0] += 3 * floor
    assert np.argwhere(outliers(xy, window=7, limit=3.0)).tolist() == [[10, 0]]


@pytest.mark.parametrize("frame", [0, 1, 58, 59])
def test_a_spike_near_an_end_is_removed_too(frame):
    moving = track(line(times(30, 2)), times(30, 2))
    xy = moving.xy.copy()
    xy[frame, 3] += (80, -50)
    cleaned = clean(replace(moving, xy=xy))
    assert np.argwhere(cleaned.filled).tolist() == [[frame, 3]]
    assert np.abs(cleaned.xy - moving.xy).max() < 8  # at the very end a frame's way, 7 px, is not known


def test_unsure_joints_lie_on_the_line_between_sure_ones():
    time_s = np.array([0.0, 0.1, 0.2, 0.4, 0.5])
    xy = np.zeros((5, 2, 2))
    xy[:, 0] = [(0, 0), (99, 99), (99, 99), (8, -4), (10, 0)]
    xy[:, 1] = 7.0
    sure = np.ones((5, 2), bool)
    sure[[1, 2], 0] = False
    result, done = fill_gaps(xy, sure, time_s, limit_s=0.41)
    # a quarter and a half of the way in time
    np.testing.assert_allclose(result[:, 0], [(0, 0), (2, -1), (4, -2), (8, -4), (10, 0)])
    assert (result[:, 1] == 7).all()
    np.testing.assert_array_equal(done, ~sure)
    assert xy[1, 0, 0] == 99  # the input stays


def test_a_gap_longer_than_the_limit_is_left_as_it_is():
    time_s = np.array([0.0, 0.1, 0.2, 0.4, 0.5])
    xy = np.array([0.0, 99, 99, 8, 10]).reshape(5, 1, 1)
    sure = np.array([True, False, False, True, True])[:, None]
    result, done = fill_gaps(xy, sure, time_s, limit_s=0.39)
    np.testing.assert_array_equal(result, xy)
    assert not done.any()


def test_unsure_joints_at_the_ends_keep_the_nearest_sure_place_for_a_while():
    xy = np.arange(12.0).reshape(6, 1, 2)
    sure = np.array([[False], [False], [True], [True], [False], [False]])
    result, done = fill_gaps(xy, sure, np.arange(6.0), limit_s=2.0)
    assert result[:, 0, 0].tolist() == [4, 4, 4, 6, 6, 6]
    np.testing.assert_array_equal(done, ~sure)
    assert not fill_gaps(xy, sure, np.arange(6.0), limit_s=1.9)[1].any()


def test_a_joint_that_is_never_sure_is_left():
    xy = np.arange(12.0).reshape(6, 1, 2)
    result, done = fill_gaps(xy, np.zeros((6, 1), bool), np.arange(6.0), limit_s=np.inf)
    np.testing.assert_array_equal(result, xy)
    assert not done.any()


def with_gap(*, frames: slice, score: float, place: float) -> Track2D:
    """Two seconds at 30 frames per second in which joint 5 has this score and place (both axes) in some frames."""
    moving = track(line(times(30, 2)), times(30, 2))
    xy, scores = moving.xy.copy(), moving.score.copy()
    xy[frames, 5], scores[frames, 5] = place, score
    return replace(moving, xy=xy, score=scores)


@pytest.mark.parametrize(("score", "place"), [(0.1, 0.0), (0.9, np.nan), (0.0, np.inf)])
def test_short_gaps_are_filled_in_and_marked(score, place):
    gap = slice(20, 29)  # nine frames: observations are 0.333 s apart
    cleaned = clean(with_gap(frames=gap, score=score, place=place))
    np.testing.assert_allclose(cleaned.xy, track(line(times(30, 2)), times(30, 2)).xy, atol=ROUNDING)
    np.testing.assert_array_equal(cleaned.score, 1.0)  # like the observations on both sides
    expected = np.zeros((60, len(LSP14)), bool)
    expected[gap, 5] = True
    np.testing.assert_array_equal(cleaned.filled, expected)


@pytest.mark.parametrize(("score", "place"), [(0.1, 0.0), (0.1, np.nan)])
def test_long_gaps_stay_as_the_detector_has_them_and_are_marked(score, place):
    gap = slice(20, 30)
    cleaned = clean(with_gap(frames=gap, score=score, place=place))
    np.testing.assert_array_equal(cleaned.xy[gap, 5], np.full((10, 2), place))
    np.testing.assert_array_equal(cleaned.score[gap, 5], score)
    assert cleaned.filled[gap, 5].all()
    assert cleaned.filled.sum() == 10
    # what is smoothed beside the gap knows nothing of it
    other = np.delete(cleaned.xy, np.arange(20, 30), 0)
    expected = np.delete(track(line(times(30, 2)), times(30, 2)).xy, np.arange(20, 30), 0)
    np.testing.assert_allclose(other, expected, atol=ROUNDING)


def test_the_limit_of_gaps_is_one_of_time_not_of_frames():
    for rate, frames, kept in [(30, 9, 0), (60, 19, 0), (60, 21, 21), (240, 80, 0)]:
        time_s = times(rate, 2)
        score = np.ones((len(time_s), len(LSP14)))
        score[40 : 40 + frames, 2] = 0.0
        cleaned = clean(track(line(time_s), time_s, score=score))
        assert cleaned.filled.sum() == frames
        assert (cleaned.score == 0).sum() == kept


def test_filled_scores_lie_between_those_of_the_observations():
    moving = with_gap(frames=slice(20, 23), score=0.0, place=0.0)
    moving.score[23:, 5] = 0.6
    np.testing.assert_allclose(clean(moving).score[19:24, 5], [1.0, 0.9, 0.8, 0.7, 0.6])


def test_rows_in_which_no_joint_is_finite_are_left_out():
    moving = track(line(times(30, 2)), times(30, 2))
    xy = moving.xy.copy()
    xy[[0, 30]] = np.nan
    cleaned = clean(replace(moving, xy=xy))
    assert cleaned.frame.tolist() == [*range(1, 30), *range(31, 60)]
    assert np.isfinite(cleaned.xy).all()


def test_a_clean_track_keeps_its_marks_when_rows_are_selected():
    cleaned = clean(with_gap(frames=slice(20, 22), score=0.0, place=0.0))
    chosen = cleaned.select(np.array([19, 21, 40]))
    assert isinstance(chosen, CleanTrack2D)
    assert chosen.frame.tolist() == [19, 21, 40]
    assert chosen.filled[:, 5].tolist() == [False, True, False]
    with pytest.raises(ValueError, match=r"filled \(2, 14\) does not match score \(3, 14\)"):
        replace(chosen, filled=chosen.filled[:2])


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


# Left and right

SMALL = 0.05  # share of the body's extent, about 9 cm: pairs closer than this are hard to tell apart by anyone
PAIRS = {joint[2:]: (LSP14.index(f"r_{joint[2:]}"), LSP14.index(f"l_{joint[2:]}")) for joint in LSP14.joints[:3]}
PAIRS |= {name: (LSP14.index(f"r_{name}"), LSP14.index(f"l_{name}")) for name in ("wrist", "elbow", "shoulder")}
LEG, ARM = ("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist")
# Detections of Human3.6M by a stacked hourglass, per 1,000 frames
SWAPS = {"ankle": 1.6, "knee": 1.4, "shoulder": 0.9, "elbow": 0.9, "wrist": 0.7, "hip": 0.6}


def bone(length: float, angle: np.ndarray) -> np.ndarray:
    """The way to the next joint (T, 3), mm forward, left and up: hanging down, swung forward by this angle (rad)."""
    return np.stack([length * np.sin(angle), np.zeros(len(angle)), -length * np.cos(angle)], -1)


def walk(time_s: np.ndarray, heading: np.ndarray | float, *, across: float = 0.0) -> np.ndarray:
    """Joints (T, 14, 2), px, of someone of 1.7 m and 300 px who walks with 0.9 strides per second.

    The heading (rad) is 0 for walking to the right and -pi / 2 towards the camera; `across` is the speed over the
    picture, px/s. The camera looks down by 10 degrees from afar.
    """
    heading = np.broadcast_to(heading, time_s.shape)
    joints = {}
    for side, sign, phase in (("l_", 1.0, 0.0), ("r_", -1.0, np.pi)):
        stride = 2 * np.pi * 0.9 * time_s + phase
        thigh = 0.45 * np.sin(stride) + 0.1
        joints[side + "hip"] = np.array([0.0, 90 * sign, 900.0]) + np.zeros((len(time_s), 3))
        joints[side + "knee"] = joints[side + "hip"] + bone(430, thigh)
        joints[side + "ankle"] = joints[side + "knee"] + bone(420, thigh - 0.5 - 0.45 * np.cos(stride))
        joints[side + "shoulder"] = np.array([0.0, 170 * sign, 1400.0]) + np.zeros((len(time_s), 3))
        joints[side + "elbow"] = joints[side + "shoulder"] + bone(280, -0.4 * np.sin(stride))
        joints[side + "wrist"] = joints[side + "elbow"] + bone(250, 0.3 - 0.5 * np.sin(stride))
    joints["neck"] = (joints["l_shoulder"] + joints["r_shoulder"]) / 2
    joints["head_top"] = joints["neck"] + (0.0, 0.0, 300.0)
    body = np.stack([joints[name] for name in LSP14.joints], 1)
    cos, sin = np.cos(heading)[:, None], np.sin(heading)[:, None]
    right, away = cos * body[..., 0] - sin * body[..., 1], sin * body[..., 0] + cos * body[..., 1]
    down = -np.cos(0.17) * body[..., 2] - np.sin(0.17) * away
    return np.stack([right, down], -1) * (300 / 1700) + (400, 400) + (across * time_s)[:, None, None] * (1, 0)


def noise(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Heavy-tailed: 1.5 px of every detection, and 20 px and more of one in a hundred."""
    far = (rng.random(shape[:2]) < 0.01)[..., None] * 20 * rng.standard_t(3, shape)
    return 1.5 * rng.standard_normal(shape) + far


def exchange(xy: np.ndarray, *, times: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The joints with pairs and whole limbs exchanged for 1 to 12 frames, at `times` the usual rate; where (T, J)."""
    wrong = np.zeros(xy.shape[:2], bool)
    for name, rate in SWAPS.items():
        for start in np.flatnonzero(rng.random(len(xy)) < times * rate / 1000):
            limb = LEG if name in LEG else ARM
            for other in limb if rng.random() < 0.3 else (name,):
                wrong[start : start + rng.integers(1, 13), PAIRS[other]] ^= True
    return np.where(wrong[..., None], xy[:, list(LSP14.flip)], xy), wrong


def apart(xy: np.ndarray) -> np.ndarray:
    """Which joints (T, J) are far enough from their other side to tell."""
    extent = np.median(np.ptp(xy, axis=1).max(-1))
    return np.linalg.norm(xy - xy[:, list(LSP14.flip)], axis=-1) > SMALL * extent


def of_points(xy: np.ndarray, time_s: np.ndarray) -> Track2D:
    return Track2D(LSP14, np.arange(len(xy)), time_s, xy, np.ones(xy.shape[:2]), (800, 600))


def turning(time_s: np.ndarray) -> np.ndarray:
    """Headings of someone who goes this way and that, and turns right round every few seconds."""
    return 2 * np.pi * time_s / 7 + 1.5 * np.sin(time_s)


def test_the_walker_of_these_tests_is_a_person():
    xy = walk(times(30, 4), 0.0)
    heights = xy[:, PAIRS["ankle"]].max(1)[:, 1] - xy[:, LSP14.index("head_top"), 1]
    assert 270 < heights.min() < heights.max() < 310
    gap = xy[:, PAIRS["ankle"][0], 0] - xy[:, PAIRS["ankle"][1], 0]
    assert gap.max() > 80  # a stride
    assert gap.min() < -80


@pytest.mark.parametrize("rate", [25, 30, 60])
def test_exchanges_of_left_and_right_are_repaired(rate):
    rng = np.random.default_rng(rate)
    time_s = times(rate, 100)
    true = walk(time_s, turning(time_s))
    seen = true + noise(true.shape, rng)
    mixed, wrong = exchange(seen, times=2, rng=rng)
    found = exchanged(of_points(mixed, time_s), CleanOptions())
    matter = wrong & apart(true)
    assert matter.sum() > 200
    assert (found & matter).sum() > 0.95 * matter.sum()
    assert (found & wrong).sum() > 0.85 * wrong.sum()
    assert (found & ~wrong & apart(true)).sum() < 0.0005 * wrong.size


@pytest.mark.parametrize("limb", [LEG, ARM, ("ankle",), ("knee", "ankle"), ("wrist",), ("elbow", "wrist")])
def test_one_exchange_is_repaired_exactly(limb):
    time_s = times(30, 3)
    true = walk(time_s, -1.2)  # towards the camera
    true += np.random.default_rng(0).normal(scale=0.5, size=true.shape)
    wrong = np.zeros(true.shape[:2], bool)
    for name in limb:
        wrong[40:47, PAIRS[name]] = True
    before = of_points(np.where(wrong[..., None], true[:, list(LSP14.flip)], true), time_s)
    before = replace(before, score=np.where(wrong, 0.5, 0.8))
    before.score[41, PAIRS[limb[-1]]] = (0.3, 0.6)
    np.testing.assert_array_equal(exchanged(before, CleanOptions()), wrong)
    after = sides_put_back(before, CleanOptions())
    np.testing.assert_array_equal(after.xy, true)
    assert after.score[41, PAIRS[limb[-1]]].tolist() == [0.6, 0.3]  # a score goes with its place


@pytest.mark.parametrize("rate", [25, 30, 60])
@pytest.mark.parametrize("heading", [0.0, 0.3, np.pi])
def test_legs_that_cross_are_not_exchanged(rate, heading):
    time_s = times(rate, 5)
    crossing = walk(time_s, heading, across=240)
    gap = crossing[:, PAIRS["ankle"][0], 0] - crossing[:, PAIRS["ankle"][1], 0]
    assert (np.diff(np.sign(gap)) != 0).sum() >= 8
    assert not exchanged(of_points(crossing, time_s), CleanOptions()).any()


@pytest.mark.parametrize("seconds", [0.5, 1.0, 3.0])
def test_someone_who_turns_round_is_not_exchanged(seconds):
    time_s = times(30, 6)
    heading = np.pi / 2 + 2 * np.pi * np.clip((time_s - 2) / seconds, 0, 1)
    assert not exchanged(of_points(walk(time_s, heading), time_s), CleanOptions()).any()


def test_nothing_is_exchanged_in_ten_thousand_good_frames():
    time_s = times(30, 334)
    true = walk(time_s, turning(time_s))
    shaken = true + np.random.default_rng(0).normal(scale=1.5, size=true.shape)
    for xy in (true, shaken):
        assert len(xy) > 10_000
        assert not exchanged(of_points(xy, time_s), CleanOptions()).any()


def test_an_outlier_of_one_joint_is_no_exchange():
    time_s = times(30, 3)
    xy = walk(time_s, -1.2)
    right, left = PAIRS["ankle"]
    xy[40, right] = xy[40, left]  # both on one leg
    xy[60, right] = 2 * xy[60, left] - xy[60, right]  # beyond the other leg
    assert not exchanged(of_points(xy, time_s), CleanOptions()).any()


@pytest.mark.parametrize("first", [True, False])
def test_the_side_that_the_detector_gives_most_of_the_time_wins(first):
    time_s = times(30, 4)
    true = walk(time_s, -1.2)
    wrong = np.zeros(true.shape[:2], bool)
    some = slice(0, 45) if first else slice(75, 120)
    for name in LEG:
        wrong[some, PAIRS[name]] = True
    mixed = np.where(wrong[..., None], true[:, list(LSP14.flip)], true)
    np.testing.assert_array_equal(exchanged(of_points(mixed, time_s), CleanOptions()), wrong)


def test_who_is_left_is_as_the_detector_says_after_a_time_in_which_both_joints_were_one():
    time_s = times(30, 3)
    true = walk(time_s, -1.2)
    right, left = PAIRS["ankle"]
    mixed = true.copy()
    mixed[45:] = true[45:][:, list(LSP14.flip)]
    assert exchanged(of_points(mixed, time_s), CleanOptions())[:, right].any()
    mixed[40:50, right] = mixed[40:50, left]
    assert not exchanged(of_points(mixed, time_s), CleanOptions())[:, [right, left]].any()


def test_frames_that_do_not_tell_go_with_those_beside_them():
    time_s = times(30, 3)
    true = walk(time_s, -1.2)
    right, left = PAIRS["ankle"]
    wrong = np.zeros(true.shape[:2], bool)
    wrong[40:50, [right, left]] = True
    before = of_points(np.where(wrong[..., None], true[:, list(LSP14.flip)], true), time_s)
    before.score[44, right] = 0.1
    before.xy[45, left] = np.nan
    before.xy[46, right] = before.xy[46, left]
    np.testing.assert_array_equal(exchanged(before, CleanOptions()), wrong)


def test_the_least_cost_is_found_by_trying_all():
    rng = np.random.default_rng(0)
    costs = rng.uniform(0, 1, (7, 3, 2, 2, 2))
    found = _cheapest(costs)
    for pair in range(3):
        sums = {
            states: sum(costs[(t, pair, *((0, 0, *states)[t : t + 3]))] for t in range(7))
            for states in product((0, 1), repeat=7)
        }
        assert tuple(found[:, pair]) == min(sums, key=sums.__getitem__)


# How much


def test_off_keeps_what_the_detector_said():
    rng = np.random.default_rng(2)
    time_s = np.concatenate([times(30, 3), 5 + times(30, 0.1)])
    true = walk(time_s, turning(time_s))
    mixed, _ = exchange(true + noise(true.shape, rng), times=20, rng=rng)
    raw = replace(of_points(mixed, time_s), score=rng.uniform(0, 1, true.shape[:2]))
    kept = clean(raw, SMOOTHING["off"])
    np.testing.assert_array_equal(kept.xy, mixed[:90])  # the last three frames were something else
    np.testing.assert_array_equal(kept.score, raw.score[:90])
    np.testing.assert_array_equal(kept.filled, raw.score[:90] < 0.2)


def test_light_is_the_default_and_strong_smooths_at_half_the_frequency():
    assert SMOOTHING["light"] == CleanOptions()
    time_s = times(30, 8)
    swaying = track(sway(time_s, hz=3.0), time_s)
    middle = slice(60, -60)
    for name, cutoff_hz in [("light", 6.0), ("strong", 3.0)]:
        expected = 300 + BODY[0, 0] + gain(3.0, rate=30, cutoff_hz=cutoff_hz) * 20 * np.sin(6 * np.pi * time_s)
        np.testing.assert_allclose(clean(swaying, SMOOTHING[name]).xy[middle, 0, 0], expected[middle], atol=1e-3)


@pytest.mark.parametrize("rate", [25, 30, 60])
def test_cleaning_comes_closer_to_the_truth_and_shakes_less(rate):
    rng = np.random.default_rng(rate)
    time_s = times(rate, 40)
    true = walk(time_s, turning(time_s))
    mixed, _ = exchange(true + noise(true.shape, rng), times=1, rng=rng)
    cleaned = {name: clean(of_points(mixed, time_s), options).xy for name, options in SMOOTHING.items()}
    error = {name: np.sqrt(((xy - true) ** 2).sum(-1).mean()) for name, xy in cleaned.items()}
    shake = {name: jitter(xy, time_s) for name, xy in cleaned.items()}
    assert error["light"] < 0.5 * error["off"]
    assert error["strong"] < 0.6 * error["off"]
    assert shake["strong"] < shake["light"] < 0.35 * shake["off"]


@pytest.mark.parametrize("name", ["light", "strong"])
@pytest.mark.parametrize("rate", [25, 30, 60])
def test_cleaning_does_not_lag(rate, name):
    time_s = times(rate, 20)
    true = walk(time_s, 0.0)
    ankle = PAIRS["ankle"][0]
    seen = of_points(true + np.random.default_rng(0).normal(size=true.shape), time_s)
    smoothed = clean(seen, SMOOTHING[name]).xy[:, ankle, 0]
    stride = np.exp(-2j * np.pi * 0.9 * time_s)  # 18 whole strides: the phase of the first harmonic tells the lag
    lag_s = np.angle((true[:, ankle, 0] * stride).sum() / (smoothed * stride).sum()) / (2 * np.pi * 0.9)
    assert abs(lag_s) < 0.001


def test_jitter_by_hand():
    x = np.array([0.0, 1, 3, 3, 3, 9])  # second differences 1, -2, 0, 6
    points = np.zeros((6, 1, 2))
    points[:, 0, 0] = x
    time_s = np.arange(6) / 30
    assert jitter(points, time_s) == pytest.approx(9 / 4)
    assert jitter(points * (3, 0), time_s) == pytest.approx(27 / 4)
    assert jitter(points, time_s, within=[slice(0, 4), slice(4, 6)]) == pytest.approx(3 / 2)
    late = time_s.copy()
    late[5] += 1 / 30  # the last frame does not follow the one before
    assert jitter(points, late) == pytest.approx(3 / 3)
    points[0] = np.nan
    assert jitter(points, time_s) == pytest.approx(8 / 3)


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_jitter_of_hardly_any_frames_is_not_known(frames):
    assert np.isnan(jitter(np.zeros((frames, 3, 3)), np.arange(frames) / 30))
    assert np.isnan(jitter(np.full((9, 3, 3), np.nan), np.arange(9) / 30))


def test_even_motion_does_not_shake():
    assert jitter(track(line(times(30, 2)), times(30, 2)).xy, times(30, 2)) < 1e-9
