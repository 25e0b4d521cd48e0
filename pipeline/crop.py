"""The square region of a frame that the detector looks at, and the exact way there and back.

An integer coordinate is the centre of a pixel, so resizing by a factor s maps p to (p + 0.5) * s - 0.5. A crop of
N pixels covers a region of side S around its centre c: crop = (frame - c) * N / S + (N - 1) / 2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

BOX_MARGIN = 1.25  # side of a person's region over the longer side of the joints' bounding box


@dataclass(frozen=True)
class Region:
    """A square of a frame: centre (x, y) and side, in frame pixels."""

    x: float
    y: float
    side: float

    def to_crop(self, points: np.ndarray, size: int) -> np.ndarray:
        """Frame points (..., 2) in pixels of the crop of `size` x `size`."""
        return (points - (self.x, self.y)) * (size / self.side) + (size - 1) / 2

    def to_frame(self, points: np.ndarray, size: int) -> np.ndarray:
        """Crop points (..., 2) in pixels of the frame: the exact inverse of `to_crop`."""
        return (points - (size - 1) / 2) * (self.side / size) + (self.x, self.y)

    def cut(self, image: np.ndarray, size: int) -> np.ndarray:
        """The region of an image (H, W, 3) uint8 as a crop (size, size, 3); outside the image it is black."""
        return self.cuts(image, size, zooms=(1.0,))[0]

    def cuts(self, image: np.ndarray, size: int, *, zooms: Sequence[float]) -> np.ndarray:
        """Like `cut`, of the middle of the region, its side times each of `zooms`, at most 1: (Z, size, size, 3).

        What is to become much smaller is halved first, as bilinear sampling would skip pixels; once for all of them.
        """
        crops = np.zeros((len(zooms), size, size, 3), image.dtype)
        height, width = image.shape[:2]
        times = halvings(size / self.side)
        x, y = self._touched(self.x, width, multiple=2**times), self._touched(self.y, height, multiple=2**times)
        if x.stop <= x.start or y.stop <= y.start:
            return crops
        part = halved(image[y, x], times)
        if times:  # smoothed a little, so that a bilinear sample of every other pixel still tells of all
            part = cv2.GaussianBlur(part, (3, 3), 0)
        sx, sy = part.shape[1] / (x.stop - x.start), part.shape[0] / (y.stop - y.start)
        for crop, zoom in zip(crops, zooms, strict=True):
            # crop pixel -> frame pixel -> pixel of the part, all with centres at integers
            step, shift = zoom * self.side / size, (size - 1) / 2
            inverse = np.array(
                [
                    [step * sx, 0, (self.x - shift * step - x.start + 0.5) * sx - 0.5],
                    [0, step * sy, (self.y - shift * step - y.start + 0.5) * sy - 0.5],
                ]
            )
            cv2.warpAffine(part, inverse, (size, size), dst=crop, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        return crops

    def _touched(self, centre: float, length: int, *, multiple: int) -> slice:
        """The pixels along an axis of an image of that length that the region touches, and a block of so many more at
        each end, which smoothing and magnifying need; whole blocks, but for the image's end.
        """
        # Pixel p reaches from p - 0.5 to p + 0.5.
        first = math.floor((centre - self.side / 2 + 0.5) / multiple) - 1
        last = math.ceil((centre + self.side / 2 + 0.5) / multiple) + 1
        return slice(max(first * multiple, 0), min(last * multiple, length))


def halvings(factor: float) -> int:
    """How often to halve an image before it is sampled at `factor` of its size: until half of it or more is left."""
    return max(math.ceil(-math.log2(factor)) - 1, 0)


def halved(image: np.ndarray, times: int) -> np.ndarray:
    """An image (H, W, 3) uint8 halved so often, by means of 2 x 2 pixels: the quickest way to shrink.

    It shows all that it did: an odd side of 2 n + 1 pixels becomes n + 1, each a little less than two wide.
    """
    for _ in range(times):
        size = ((image.shape[1] + 1) // 2, (image.shape[0] + 1) // 2)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return image


def region_of(points: np.ndarray, *, margin: float = BOX_MARGIN) -> Region:
    """The square region around points (N, 2): centred on their bounding box, its longer side times `margin`."""
    low, high = points.min(0), points.max(0)
    centre = (low + high) / 2
    side = max(float((high - low).max()), 1.0) * margin
    return Region(float(centre[0]), float(centre[1]), side)


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union (M, N) of squares (M, 3) and (N, 3), each x, y, side."""
    one, two = first[:, None], second[None]
    half = (one[..., 2:] + two[..., 2:]) / 2
    shorter = np.minimum(one[..., 2:], two[..., 2:])
    common = np.clip(half - np.abs(one[..., :2] - two[..., :2]), 0, shorter).prod(-1)
    return common / (one[..., 2] ** 2 + two[..., 2] ** 2 - common)
