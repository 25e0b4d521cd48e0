"""Where a clip cuts to another scene: frame by frame, from small pictures of the frames."""

from collections import deque

import cv2
import numpy as np

SIZE = 48, 27  # pixels of the small pictures
ROWS = 6  # of the frame at least for each row of a small picture: more change its pixels by less than a camera's noise
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
        some = image[:: max(len(image) // (ROWS * SIZE[1]), 1)]
        shrunk = cv2.resize(some, SIZE, interpolation=cv2.INTER_AREA)
        small = cv2.cvtColor(shrunk, cv2.COLOR_BGR2HSV).astype(np.float32)
        small[..., 0] = small[..., 0] * np.minimum(small[..., 1], 64.0) / 64.0  # grey has no hue
        last, self._last = self._last, small
        if last is None or last.shape != small.shape:
            return False
        change = float(np.abs(small - last).mean())
        cut = len(self._changes) >= FEWEST and change >= max(LEAST, TIMES * float(np.median(self._changes)))
        self._changes.append(change)
        return cut
