"""A low-pass for points that must be shown at once: calm when they rest, without much lag when they are quick.

The One-Euro filter (Casiez, Roussel and Vogel 2012): an exponential filter whose cut-off rises with the speed, so that
shaking, which is seen at rest, and lag, which is seen in motion, are both small. It knows nothing of the future.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class OneEuroOptions:
    """How calm, and how quick to follow."""

    least_hz: float  # cut-off of a point at rest; infinite: no smoothing at all
    per_speed: float  # by how many Hz it rises with a unit of speed: "beta"
    speed_hz: float = 1.0  # cut-off of the speed itself


class OneEuro:
    """Filters points (..., D) that come one time after another, each by itself.

    A point's cut-off follows from the length of its velocity, so that the result does not depend on the axes.
    """

    def __init__(self, options: OneEuroOptions) -> None:
        self._options = options
        self._time_s = 0.0
        self._place: np.ndarray | None = None  # filtered; NaN for points that were not known the last time
        self._velocity = np.zeros(0)

    def update(self, points: np.ndarray, time_s: float, *, scale: float = 1.0) -> np.ndarray:
        """The points (..., D) of the next time, s, filtered; speeds count in `scale` units of length per second.

        Points that are not finite come back as NaN and start anew the next time they are known. ValueError if time does
        not go on.
        """
        points = np.where(np.isfinite(points).all(-1, keepdims=True), points, np.nan).astype(np.float64)
        step = time_s - self._time_s
        if self._place is None:
            step = 1.0  # of no meaning: there is nothing yet to come from
            self._place, self._velocity = np.full_like(points, np.nan), np.zeros_like(points)
        if not step > 0:
            raise ValueError(f"time goes from {self._time_s} to {time_s} s")
        fresh = np.isnan(self._place)
        before = np.where(fresh, points, self._place)
        velocity = np.where(fresh, 0.0, self._velocity)
        velocity = velocity + _share(self._options.speed_hz, step) * ((points - before) / step - velocity)
        speed = np.linalg.norm(velocity, axis=-1, keepdims=True) / scale
        place = before + _share(self._options.least_hz + self._options.per_speed * speed, step) * (points - before)
        self._time_s, self._place, self._velocity = time_s, place, velocity
        return place.copy()


def _share(cutoff_hz: np.ndarray | float, step: float) -> np.ndarray | float:
    """How much of the way to the new value an exponential filter goes in a step of so many seconds, 0 to 1.

    1 / (1 + tau / step) with tau = 1 / (2 pi cutoff): the smoothing factor of the paper.
    """
    return 1 - 1 / (1 + 2 * np.pi * cutoff_hz * step)
