"""Cleaning a 2D track: unsure joints and outliers are filled from their neighbours in time, the rest is smoothed.

All filters run forwards and backwards (no lag), at the clip's real frame rate, and never across a gap in which the
person was away.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.signal import butter, sosfiltfilt

from pipeline.poses import Track2D


@dataclass(frozen=True)
class CleanOptions:
    """Sports2D's defaults where it has one."""

    unsure: float = 0.2  # a joint with a lower score is filled from its neighbours in time
    gap_s: float = 0.35  # longer absences of the person cut the track into parts
    jump: float = 0.7  # and so does a move of the whole person, from frame to frame, by this share of the body's extent
    blip_s: float = 0.25  # parts shorter than this, and than half the longest, are false sightings and left out
    window: int = 7  # frames, of the Hampel filter
    outlier: float = 3.0  # robust standard deviations from the window's median that make an outlier
    cutoff_hz: float = 6.0  # of the Butterworth low-pass
    order: int = 4


def parts(track: Track2D, options: CleanOptions) -> list[slice]:
    """The stretches of a track in which one person is followed: without a long absence or a jump to another place."""
    absent = np.diff(track.time_s) > options.gap_s
    centre, extent = np.median(track.xy, 1), np.ptp(track.xy, axis=1).max(-1)
    moved = np.linalg.norm(np.diff(centre, axis=0), axis=-1)
    jumped = moved > options.jump * np.maximum(extent[1:], extent[:-1])
    cuts = np.flatnonzero(absent | jumped) + 1
    bounds = [0, *cuts.tolist(), len(track)]
    return [slice(start, stop) for start, stop in pairwise(bounds) if stop > start]


def without_blips(track: Track2D, options: CleanOptions) -> Track2D:
    """The track without the short parts in which something else was taken for a person."""
    found = parts(track, options)
    lasting = [float(track.time_s[part][-1] - track.time_s[part][0]) for part in found]
    least = min(options.blip_s, 0.5 * max(lasting, default=0.0))
    rows = [np.arange(len(track))[part] for part, span in zip(found, lasting, strict=True) if span >= least]
    return track.select(np.concatenate(rows) if rows else np.arange(0))


def clean(track: Track2D, options: CleanOptions = CleanOptions()) -> Track2D:
    """The track without false sightings, outliers and unsure joints filled, and every coordinate smoothed.

    Scores stay as they are.
    """
    track = without_blips(track, options)
    xy = track.xy.copy()
    for part in parts(track, options):
        sure = track.score[part] >= options.unsure
        sure &= ~outliers(xy[part], window=options.window, limit=options.outlier)
        xy[part] = smooth(
            filled(xy[part], sure, track.time_s[part]),
            track.time_s[part],
            cutoff_hz=options.cutoff_hz,
            order=options.order,
        )
    return replace(track, xy=xy)


def outliers(xy: np.ndarray, *, window: int, limit: float) -> np.ndarray:
    """Which joints (T, J) of a path (T, J, 2) are far from the median of `window` frames around them (Hampel 1974).

    The spread is 1.4826 times the median absolute deviation, and at least 1 % of the body's extent, so that a person
    who stands still has no outliers of a pixel.
    """
    if len(xy) < window:
        return np.zeros(xy.shape[:2], bool)
    half = window // 2
    padded = np.pad(xy, ((half, half), (0, 0), (0, 0)), mode="edge")
    around = np.lib.stride_tricks.sliding_window_view(padded, window, axis=0)  # (T, J, 2, window)
    median = np.median(around, -1)
    deviation = np.median(np.abs(around - median[..., None]), -1).max(-1)
    floor = 0.01 * float(np.median(np.ptp(xy, axis=1).max(-1)))
    return np.linalg.norm(xy - median, axis=-1) > limit * np.maximum(1.4826 * deviation, floor)


def filled(xy: np.ndarray, sure: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """The path (T, J, 2) with joints that are not sure (T, J) set on the line between the sure ones before and after.

    A joint that is sure in fewer than two frames is left as it is.
    """
    result = xy.copy()
    for joint in range(xy.shape[1]):
        known = sure[:, joint]
        if 2 <= known.sum() < len(xy):
            for axis in range(xy.shape[2]):
                result[~known, joint, axis] = np.interp(time_s[~known], time_s[known], xy[known, joint, axis])
    return result


def smooth(path: np.ndarray, time_s: np.ndarray, *, cutoff_hz: float, order: int) -> np.ndarray:
    """A path (T, ...) through a zero-phase Butterworth low-pass of that order at the clip's real rate.

    The filter runs over evenly spaced times, so that missing frames and a varying rate do not bend the path. Too short
    a path, or one whose rate is not above twice the cut-off, comes back as it is.
    """
    steps = np.diff(time_s)
    if len(steps) < 3 * order:
        return path
    # As many even steps as frames, with the missing ones; at most ten times as many, should the times be nonsense.
    count = min(round(np.round(steps / np.median(steps)).sum()), 10 * len(steps))
    rate = count / (time_s[-1] - time_s[0])
    if rate <= 2 * cutoff_hz:
        return path
    even = np.linspace(time_s[0], time_s[-1], count + 1)
    # Half the order, since running forwards and backwards doubles it. What lies beyond the ends is made up from what
    # lies within: three periods of the cut-off, after which the filter has forgotten where it started.
    sections = butter(order // 2, cutoff_hz, fs=rate, output="sos")
    padding = min(count, max(3 * order, round(3 * rate / cutoff_hz)))
    columns = [np.interp(even, time_s, column) for column in path.reshape(len(path), -1).T]
    smoothed = sosfiltfilt(sections, columns, padlen=padding)
    return np.stack([np.interp(time_s, even, column) for column in smoothed], -1).reshape(path.shape)
