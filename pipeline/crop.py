"""The square region of a frame that the detector looks at, and the exact way there and back.

An integer coordinate is the centre of a pixel, so resizing by a factor s maps p to (p + 0.5) * s - 0.5. A crop of
N pixels covers a region of side S around its centre c: crop = (frame - c) * N / S + (N - 1) / 2.
"""

from dataclasses import dataclass

import cv2
import numpy as np

MANY = 200  # pixels across from which on averaging them down takes long
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
        scale = size / self.side
        shift = (size - 1) / 2
        matrix = np.array([[scale, 0, shift - scale * self.x], [0, scale, shift - scale * self.y]])
        if scale < 0.5:
            return self._cut_small(image, size)
        return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR)

    def _cut_small(self, image: np.ndarray, size: int) -> np.ndarray:
        """Like `cut` for strong shrinking: the image is averaged down first, as bilinear sampling would skip pixels."""
        factor = size / self.side
        # The first and one past the last pixel that the region touches; pixel p reaches from p - 0.5 to p + 0.5.
        left, top = (int(np.floor(c - self.side / 2 + 0.5)) for c in (self.x, self.y))
        right, bottom = (int(np.ceil(c + self.side / 2 + 0.5)) for c in (self.x, self.y))
        height, width = image.shape[:2]
        x0, y0, x1, y1 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        if x1 <= x0 or y1 <= y0:
            return np.zeros((size, size, 3), image.dtype)
        if factor <= 0.25 and min(x1 - x0, y1 - y0) > MANY:
            return self._cut_half(image, size, x=slice(x0 - x0 % 2, x1), y=slice(y0 - y0 % 2, y1))
        # Rounded up: with pixels larger than the crop's, the crop's outermost would blend with the black outside.
        new_size = tuple(max(int(np.ceil(n * factor - 1e-6)), 1) for n in (x1 - x0, y1 - y0))
        small = cv2.resize(image[y0:y1, x0:x1], new_size, interpolation=cv2.INTER_AREA)
        sx, sy = new_size[0] / (x1 - x0), new_size[1] / (y1 - y0)
        # crop pixel -> frame pixel -> pixel of the shrunken part, all with centres at integers
        step, shift = self.side / size, (size - 1) / 2
        inverse = np.array(
            [
                [step * sx, 0, (self.x - shift * step - x0 + 0.5) * sx - 0.5],
                [0, step * sy, (self.y - shift * step - y0 + 0.5) * sy - 0.5],
            ]
        )
        return cv2.warpAffine(small, inverse, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)

    def _cut_half(self, image: np.ndarray, size: int, *, x: slice, y: slice) -> np.ndarray:
        """Like `_cut_small` by more than four: halving first, from even columns and rows on, saves most of the time.

        Half a pixel pair at the end of an odd image is left out, which is less than a quarter of a pixel of the crop.
        """
        height, width = (n - n % 2 for n in image.shape[:2])
        part = image[y.start : min(y.stop + y.stop % 2, height), x.start : min(x.stop + x.stop % 2, width)]
        half = cv2.resize(part, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        at = ((self.x - x.start + 0.5) / 2 - 0.5, (self.y - y.start + 0.5) / 2 - 0.5)
        return Region(*at, self.side / 2).cut(half, size)


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
