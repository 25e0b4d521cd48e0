"""Cleaning a 2D track: left and right are put back, short gaps and outliers filled, the rest smoothed.

All filters run forwards and backwards (no lag), at the clip's real frame rate, and never across a gap in which the
person was away. What was not observed stays marked. The same smoothing serves 3D paths.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from pipeline.low_pass import ORDER, low_pass
from pipeline.poses import Track2D


@dataclass(frozen=True)
class CleanOptions:
    """Sports2D's defaults where it has one."""

    unsure: float = 0.2  # a joint with a lower score does not count as observed
    gap_s: float = 0.35  # longer absences of the person cut the track into parts
    jump: float = 0.7  # and so does a move of the whole person, from frame to frame, by this share of the body's extent
    blip_s: float = 0.25  # parts shorter than this, and than half the longest, are false sightings and left out
    exchange: float = 5.0  # nats that speak against left and right changing places; infinite: they never do
    exchanged_per_s: float = 4.0  # and against every second that they have changed places
    close: float = 0.02  # a pair of joints closer than this share of the body's extent does not tell left from right
    lost_s: float = 0.2  # after a longer time without a telling pair, who is left is as the detector says
    window: int = 7  # frames, of the Hampel filter
    outlier: float = 3.0  # robust standard deviations from the window's median that make an outlier
    fill_s: float = 0.35  # joints not observed for longer are not filled in; under 10 frames at 30 per second
    cutoff_hz: float = 6.0  # of the Butterworth low-pass; infinite: none
    # The same for the lifted pose. Every frame is lifted by itself, and what is little noise in 2D is much along the
    # line of sight. Against 6 Hz, 3 Hz is 40 % less acceleration error and 2 mm more at most in fast limbs.
    lifted_hz: float = 3.0


# How much is done to a track, by name. 'off' leaves out false sightings alone and keeps what the detector said.
SMOOTHING: dict[str, CleanOptions] = {
    "off": CleanOptions(exchange=np.inf, outlier=np.inf, fill_s=0.0, cutoff_hz=np.inf, lifted_hz=np.inf),
    "light": CleanOptions(),
    "strong": CleanOptions(cutoff_hz=3.0, lifted_hz=2.0),
}


@dataclass(frozen=True)
class CleanTrack2D(Track2D):
    """A track after cleaning, and which of its joints were not observed.

    filled  (T, J) bool  the joint was missing, unsure or an outlier. Gaps up to the limit are filled in, positions and
                         scores; in longer ones both are as the detector has them, with low scores or NaN.
    """

    filled: np.ndarray

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.filled.shape != self.score.shape:
            raise ValueError(f"filled {self.filled.shape} does not match score {self.score.shape}")

    def select(self, rows: np.ndarray) -> "CleanTrack2D":
        """The track with these rows only."""
        chosen = {name: getattr(self, name)[rows] for name in ("frame", "time_s", "xy", "score", "filled")}
        return replace(self, **chosen)


def clean(track: Track2D, options: CleanOptions = CleanOptions()) -> CleanTrack2D:
    """The track without false sightings, with left and right put back, short gaps filled, every coordinate smoothed.

    A joint counts as observed where it is finite, its score is not below `unsure`, and it is no outlier. Between
    observations at most `fill_s` apart the others are set on the straight line, position and score alike: such a joint
    is about as good as those beside it, so the lifter may trust it and it is drawn. Longer gaps are left as they are,
    unsmoothed: a line across them would be made up, and a low score tells the lifter and the drawing to mind. Rows
    without any finite joint are left out.
    """
    track = replace(track, xy=np.where(np.isfinite(track.xy).all(-1, keepdims=True), track.xy, np.nan))
    track = track.select(np.flatnonzero(np.isfinite(track.xy).any((1, 2))))
    track = without_blips(track, options)
    xy, score, observed = track.xy.copy(), track.score.copy(), np.zeros(track.score.shape, bool)
    for part in parts(track, options):
        some = sides_put_back(track.select(np.arange(len(track))[part]), options)
        observed[part] = _observed(some, options)
        both = np.concatenate([some.xy, some.score[..., None]], -1)
        both, filled = fill_gaps(both, observed[part], some.time_s, limit_s=options.fill_s)
        xy[part] = _smooth_known(both[..., :2], observed[part] | filled, some.time_s, options=options)
        score[part] = both[..., 2]
    return CleanTrack2D(track.skeleton, track.frame, track.time_s, xy, score, track.size, ~observed)


# Parts


def parts(track: Track2D, options: CleanOptions) -> list[slice]:
    """The stretches of a track in which one person is followed: without a long absence or a jump to another place."""
    absent = np.diff(track.time_s) > options.gap_s
    centre, extent = np.nanmedian(track.xy, 1), _extents(track.xy)
    moved = np.linalg.norm(np.diff(centre, axis=0), axis=-1)
    jumped = moved > options.jump * np.maximum(extent[1:], extent[:-1])
    cuts = np.flatnonzero(absent | jumped) + 1
    bounds = [0, *cuts.tolist(), len(track)]
    return [slice(start, stop) for start, stop in pairwise(bounds) if stop > start]


def lasting(tracks: Sequence[Track2D], options: CleanOptions = CleanOptions()) -> list[Track2D]:
    """The tracks of one clip without those so short that something else was taken for a person."""
    spans = [float(track.time_s[-1] - track.time_s[0]) if len(track) else 0.0 for track in tracks]
    least = min(options.blip_s, 0.5 * max(spans, default=0.0))
    return [track for track, span in zip(tracks, spans, strict=True) if span >= least]


def without_blips(track: Track2D, options: CleanOptions) -> Track2D:
    """The track without the short parts in which something else was taken for a person."""
    found = parts(track, options)
    lasting = [float(track.time_s[part][-1] - track.time_s[part][0]) for part in found]
    least = min(options.blip_s, 0.5 * max(lasting, default=0.0))
    rows = [np.arange(len(track))[part] for part, span in zip(found, lasting, strict=True) if span >= least]
    return track.select(np.concatenate(rows) if rows else np.arange(0))


def _extents(xy: np.ndarray) -> np.ndarray:
    """The longer side (T,) of the box around the joints (T, J, 2) of each frame that are not NaN."""
    return (np.nanmax(xy, 1) - np.nanmin(xy, 1)).max(-1)


# Left and right


def sides_put_back(track: Track2D, options: CleanOptions) -> Track2D:
    """The track (one part) with the joints that the detector gave to the wrong side given to the other."""
    wrong = exchanged(track, options)
    other = list(track.skeleton.flip)
    xy = np.where(wrong[..., None], track.xy[:, other], track.xy)
    return replace(track, xy=xy, score=np.where(wrong, track.score[:, other], track.score))


def exchanged(track: Track2D, options: CleanOptions) -> np.ndarray:
    """Which joints (T, J) of a part stand on the wrong side.

    Every pair of joints (ankles, knees, ...) is as the detector has it or exchanged, in each frame; the cheapest course
    over all frames is found by dynamic programming (Viterbi 1967). A whole leg that is exchanged is three pairs.
    Motion is charged by how far each joint is from going on at the same velocity, changes and exchanged frames by the
    options. So the side that the detector gives for most of the time wins. Frames in which the pair is not observed, or
    too close to tell, take no part and go with the frames before and after.
    """
    pairs = [(joint, other) for joint, other in enumerate(track.skeleton.flip) if joint < other]
    wrong = np.zeros(track.score.shape, bool)
    if len(track) < 3:
        return wrong
    extent = float(np.median(_extents(track.xy)))
    apart = np.linalg.norm(track.xy - track.xy[:, list(track.skeleton.flip)], axis=-1) >= options.close * extent
    telling = apart & (track.score >= options.unsure)
    rows = [np.flatnonzero(telling[:, pair].all(1)) for pair in pairs]
    costs = np.zeros((len(track), len(pairs), 2, 2, 2))
    for index, (pair, seen) in enumerate(zip(pairs, rows, strict=True)):
        if len(seen) >= 3:
            sides = track.xy[seen][:, pair]
            costs[: len(seen), index] = _side_costs(sides, track.time_s[seen], extent=extent, options=options)
    states = _cheapest(costs)
    for index, (pair, seen) in enumerate(zip(pairs, rows, strict=True)):
        if len(seen) >= 3:
            course = np.interp(np.arange(len(track)), seen, states[: len(seen), index])
            wrong[:, pair] = (course > 0.5)[:, None]
    return wrong


def _side_costs(sides: np.ndarray, time_s: np.ndarray, *, extent: float, options: CleanOptions) -> np.ndarray:
    """Costs (T, 2, 2, 2), nats, of a pair of joints (T, 2, 2) being exchanged (1) or not (0) at t - 2, t - 1 and t."""
    steps = np.diff(time_s)
    lost = steps > options.lost_s
    changing = np.concatenate([[0.0], np.where(lost, 0.0, options.exchange)])
    lasting = options.exchanged_per_s * np.minimum(np.concatenate([[np.median(steps)], steps]), options.lost_s)
    changed = np.array([[False, True], [True, False]])  # from t - 1 to t
    costs = np.where(changed, changing[:, None, None], 0.0)[:, None] + lasting[:, None, None, None] * (0.0, 1.0)
    motion = _motion_costs(np.stack([sides, sides[:, ::-1]], 1), steps, lost=lost, least=0.005 * extent)
    return costs + np.concatenate([np.zeros((2, 2, 2, 2)), motion])


def _motion_costs(places: np.ndarray, steps: np.ndarray, *, lost: np.ndarray, least: float) -> np.ndarray:
    """Costs (T - 2, 2, 2, 2), nats, of the motion through places (T, state, side, 2) in steps (T - 1,) of time.

    A joint's distance from where its velocity would have taken it has the negative log-likelihood of a Cauchy
    distribution in the plane, 1.5 log(1 + (r / scale)^2), so that one far jump is cheaper than two half as far: an
    outlier of one joint is not taken for an exchange of two. The scale is the track's own median distance.
    """
    # A joint goes no further in a long step than in the short one before it; there the scale is larger instead.
    ratio = np.minimum(steps[1:] / steps[:-1], 1.0).reshape(-1, 1, 1, 1, 1, 1)
    before, last, now = places[:-2, :, None, None], places[1:-1, None, :, None], places[2:, None, None, :]
    off = np.linalg.norm(now - last - ratio * (last - before), axis=-1)  # (T - 2, 2, 2, 2, side)
    known = ~(lost[1:] | lost[:-1])
    if not known.any():
        return np.zeros(off.shape[:-1])
    scale = max(float(np.median(off[known, 0, 0, 0])), least)
    scales = scale * np.maximum(steps[1:] / np.median(steps), 1.0).reshape(-1, 1, 1, 1, 1)
    return known[:, None, None, None] * 1.5 * np.log1p((off / scales) ** 2).sum(-1)


def _cheapest(costs: np.ndarray) -> np.ndarray:
    """The states s (T, P), 0 or 1, with the least sum of costs[t, p, s[t - 2], s[t - 1], s[t]] (T, P, 2, 2, 2).

    Before the first row the states are 0.
    """
    frames, count = costs.shape[:2]
    total = costs[0, :, 0, 0][:, :, None] + costs[1, :, 0]  # (P, state before, state now)
    back = np.zeros((frames, count, 2, 2), np.int8)
    for t in range(2, frames):
        ways = total[..., None] + costs[t]
        back[t], total = ways.argmin(1), ways.min(1)
    states = np.zeros((frames, count), np.int8)
    states[-2], states[-1] = np.divmod(total.reshape(count, 4).argmin(1), 2)
    for t in range(frames - 1, 1, -1):
        states[t - 2] = back[t, np.arange(count), states[t - 1], states[t]]
    return states


# Gaps and outliers


def _observed(track: Track2D, options: CleanOptions) -> np.ndarray:
    """Which joints (T, J) of a part were seen well. Outliers are judged by the sure joints before and after."""
    sure = np.isfinite(track.xy).all(-1) & (track.score >= options.unsure)
    bridged, _ = fill_gaps(track.xy, sure, track.time_s, limit_s=np.inf)
    return sure & ~outliers(bridged, window=options.window, limit=options.outlier)


def outliers(xy: np.ndarray, *, window: int, limit: float) -> np.ndarray:
    """Which joints (T, J) of a path (T, J, 2) are far from the median of `window` frames around them (Hampel 1974).

    The spread is 1.4826 times the median absolute deviation, and at least 1 % of the body's extent, so that a person
    who stands still has no outliers of a pixel. Near the ends it is the first or last whole window. A joint that is NaN
    is no outlier.
    """
    if len(xy) < window:
        return np.zeros(xy.shape[:2], bool)
    # Joint by joint: the windows of all at once would be the most that a long clip keeps in memory.
    each = [_window_medians(path, window) for path in xy.swapaxes(0, 1)]
    median, deviation = (np.stack(values, 1) for values in zip(*each, strict=True))
    floor = 0.01 * float(np.median(_extents(xy)))
    return np.linalg.norm(xy - median, axis=-1) > limit * np.maximum(1.4826 * deviation, floor)


def _window_medians(path: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Median (T, 2) of the frames around each of a joint's path (T, 2), and the median absolute deviation (T,)."""
    around = np.lib.stride_tricks.sliding_window_view(path, window, axis=0)  # (T - window + 1, 2, window)
    median = np.median(around, -1)
    deviation = np.median(np.abs(around - median[..., None]), -1).max(-1)
    nearest = np.clip(np.arange(len(path)) - window // 2, 0, len(around) - 1)
    return median[nearest], deviation[nearest]


def fill_gaps(
    path: np.ndarray, observed: np.ndarray, time_s: np.ndarray, *, limit_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """The path (T, J, D) with joints that were not observed (T, J) filled in, and where (T, J) that was done.

    A joint is set on the line between its observations before and after if these are at most `limit_s` apart. At the
    path's ends it keeps the place of the nearest observation, if the end is no further away than that.
    """
    path, done = path.copy(), np.zeros(observed.shape, bool)
    for joint in range(path.shape[1]):
        known, missing = np.flatnonzero(observed[:, joint]), np.flatnonzero(~observed[:, joint])
        if len(known) == 0:
            continue
        bounds = time_s[[0, *known, len(path) - 1]]
        gap = np.searchsorted(known, missing)
        missing = missing[bounds[gap + 1] - bounds[gap] <= limit_s]
        for axis in range(path.shape[2]):
            path[missing, joint, axis] = np.interp(time_s[missing], time_s[known], path[known, joint, axis])
        done[missing, joint] = True
    return path, done


# Smoothing


def _smooth_known(path: np.ndarray, known: np.ndarray, time_s: np.ndarray, *, options: CleanOptions) -> np.ndarray:
    """The path (T, J, D) with every joint smoothed where it is known (T, J), each stretch for itself."""
    path = path.copy()
    for joint in range(path.shape[1]):
        bounds = [0, *(np.flatnonzero(np.diff(known[:, joint])) + 1).tolist(), len(path)]
        for start, stop in pairwise(bounds):
            if known[start, joint]:
                stretch = slice(start, stop)
                path[stretch, joint] = smooth(path[stretch, joint], time_s[stretch], cutoff_hz=options.cutoff_hz)
    return path


def smooth(path: np.ndarray, time_s: np.ndarray, *, cutoff_hz: float) -> np.ndarray:
    """A path (T, ...) through a zero-phase Butterworth low-pass at the clip's real rate.

    The filter runs over evenly spaced times, so that missing frames and a varying rate do not bend the path. Too short
    a path, or one whose rate is not above twice the cut-off, comes back as it is.
    """
    steps = np.diff(time_s)
    if len(steps) < 3 * ORDER:
        return path
    # As many even steps as frames, with the missing ones; at most ten times as many, should the times be nonsense.
    count = min(round(np.round(steps / np.median(steps)).sum()), 10 * len(steps))
    rate = count / (time_s[-1] - time_s[0])
    if rate <= 2 * cutoff_hz:
        return path
    even = np.linspace(time_s[0], time_s[-1], count + 1)
    # What lies beyond the ends is made up from what lies within: three periods of the cut-off, after which the filter
    # has forgotten where it started.
    padding = min(count, max(3 * ORDER, round(3 * rate / cutoff_hz)))
    columns = [np.interp(even, time_s, column) for column in path.reshape(len(path), -1).T]
    smoothed = low_pass(np.stack(columns, -1), cutoff=cutoff_hz / rate, padding=padding)
    return np.stack([np.interp(time_s, even, column) for column in smoothed.T], -1).reshape(path.shape)


def jitter(points: np.ndarray, time_s: np.ndarray, *, within: Sequence[slice] = (slice(None),)) -> float:
    """How much joints (T, J, D) shake: the mean of |x[t - 1] - 2 x[t] + x[t + 1]|, in their unit per frame squared.

    Without the truth this stands in for the acceleration error; real acceleration is in it too, so compare the same
    clip before and after. Only frames of one of the stretches `within` count, and only those that follow one another:
    no step is longer than 1.5 times the usual one. Joints that are not finite are left out. NaN if nothing remains.
    """
    usual = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 0.0
    shakes = [np.zeros(0)]
    for stretch in within:
        even = np.diff(time_s[stretch]) <= 1.5 * usual
        bends = np.linalg.norm(np.diff(points[stretch], 2, axis=0), axis=-1)[even[1:] & even[:-1]]
        shakes.append(bends[np.isfinite(bends)])
    shaken = np.concatenate(shakes)
    return float(shaken.mean()) if len(shaken) else float("nan")
