"""Cleaning a 2D track: unsure joints and outliers are filled from their neighbours in time, the rest is smoothed.

All filters run forwards and backwards (no lag), at the clip's real frame rate, and never across a gap in which the
person was away.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.signal import butter, sosfiltfilt

from pipeline.poses import Track2D


@dataclass(frozen=True)
class CleanOptions:
    """Sports2D's defaults where it has one."""

    unsure: float = 0.2  # a joint with a lower score is filled from its neighbours in time
    gap_s: float = 0.35  # longer absences of the person cut the track into parts
    window: int = 7  # frames, of the Hampel filter
    outlier: float = 3.0  # robust standard deviations from the window's median that make an outlier
    cutoff_hz: float = 6.0  # of the Butterworth low-pass
    order: int = 4


def parts(track: Track2D, *, gap_s: float) -> list[slice]:
    """The stretches of a track without an absence longer than gap_s."""
    cuts = np.flatnonzero(np.diff(track.time_s) > gap_s) + 1
    bounds = [0, *cuts.tolist(), len(track)]
    return [slice(start, stop) for start, stop in zip(bounds, bounds[1:], strict=False) if stop > start]


def clean(track: Track2D, options: CleanOptions = CleanOptions()) -> Track2D:  # noqa: B008
    """The track with outliers and unsure joints filled and every coordinate smoothed. Scores stay as they are."""
    xy = track.xy.copy()
    for part in parts(track, gap_s=options.gap_s):
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

    Too short a path, or one whose rate is not above twice the cut-off, comes back as it is.
    """
    steps = np.diff(time_s)
    if len(steps) < 3 * order or cutoff_hz >= 0.5 / np.median(steps):
        return path
    # Half the order, since running forwards and backwards doubles it.
    sections = butter(order // 2, cutoff_hz, fs=1 / np.median(steps), output="sos")
    smoothed: np.ndarray = sosfiltfilt(sections, path, axis=0, padlen=min(len(path) - 1, 3 * order))
    return smoothed
