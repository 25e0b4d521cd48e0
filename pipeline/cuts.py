"""Where a clip cuts to another scene: frame by frame, from small pictures of the frames."""

import statistics
from collections import deque

import cv2
import numpy as np

SIZE = 48, 27  # pixels of the small pictures
# Across and down, each a mean of 2 x 2 pixels, in a pixel of a small picture: more change it by less than camera noise.
SAMPLES = 4
RECENT = 24  # frames whose changes are taken for usual
FEWEST = 2  # changes that must be known to say what is usual
LEAST = 18.0  # mean change of hue, saturation and value, of 255, that a cut has at least
TIMES = 4.0  # and how many times the usual change


class CutDetector:
    """Says of every frame whether a new scene starts with it.

    A cut changes the picture, in the mean over its pixels, much more than the frames before it did, and more than a
    person who moves through it can.
    """

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._changes: deque[float] = deque(maxlen=RECENT)

    def update(self, image: np.ndarray) -> bool:
        """Whether the next frame (H, W, 3) uint8 BGR is the first of another scene; never one of the clip's first."""
        some = cv2.resize(image, (SAMPLES * SIZE[0], SAMPLES * SIZE[1]), interpolation=cv2.INTER_LINEAR)
        shrunk = cv2.resize(some, SIZE, interpolation=cv2.INTER_AREA)
        small = cv2.cvtColor(shrunk, cv2.COLOR_BGR2HSV).astype(np.float32)
        small[..., 0] = small[..., 0] * np.minimum(small[..., 1], 64.0) / 64.0  # grey has no hue
        last, self._last = self._last, small
        if last is None or last.shape != small.shape:
            return False
        change = float(np.abs(small - last).mean())
        cut = len(self._changes) >= FEWEST and change >= max(LEAST, TIMES * statistics.median(self._changes))
        self._changes.append(change)
        return cut
