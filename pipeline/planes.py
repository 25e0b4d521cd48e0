"""Pictures as video files hold them: the brightness of every pixel, and the colour that each 2 x 2 of them share.

A clip whose frames stay in this form need not be converted to BGR and back, which takes longer than to decode it, and
what nobody draws on stays as it is. All are 8 bits, BT.709 of limited range: Y 16 to 235, U and V around 128.
"""

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter

BT601, BT709, BT2020 = 5, 1, 9  # the scaler's numbers for YCbCr matrices
FCC, SMPTE240M = 4, 7
EXACTLY = 0x2 | 0x40000  # bilinear, accurately rounded; without the latter, grey is not quite grey
# The share of red and of blue in the brightness that a matrix makes, by the standard H.273.
LUMA = {BT601: (0.299, 0.114), BT709: (0.2126, 0.0722), BT2020: (0.2627, 0.0593),
        FCC: (0.30, 0.11), SMPTE240M: (0.212, 0.087)}  # fmt: skip
MIDDLE = 128  # U and V of grey


class Planes(NamedTuple):
    """A picture of H x W pixels.

    y     (H, W)                         uint8
    u, v  ((H + 1) // 2, (W + 1) // 2)   uint8
    """

    y: np.ndarray
    u: np.ndarray
    v: np.ndarray

    @classmethod
    def of(cls, frame: VideoFrame) -> "Planes":
        """The planes of a frame of a format with 8 bits and 4:2:0, whatever its colours mean, without a copy."""
        return cls(*(plane_of(frame, number) for number in range(3)))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px."""
        return self.y.shape[1], self.y.shape[0]

    def frame(self) -> VideoFrame:
        """A copy as a frame for an encoder; an odd side repeats its last pixel, as two share their colour there."""
        width, height = self.size
        frame = VideoFrame(width + width % 2, height + height % 2, "yuv420p")
        y, *colours = Planes.of(frame)
        y[:height, :width] = self.y
        y[height:, :width] = self.y[-1:]
        y[:, width:] = y[:, width - 1 : width]
        for plane, colour in zip(colours, (self.u, self.v), strict=True):
            plane[:] = colour
        return frame


def plane_of(frame: VideoFrame, number: int, *, channels: int = 1) -> np.ndarray:
    """A plane of a frame, (H, W) or with more than one channel (H, W, C), uint8: the frame's own memory."""
    plane = frame.planes[number]
    shape, strides = (plane.height, plane.width, channels), (plane.line_size, channels, 1)
    pixels: np.ndarray = np.ndarray(shape, np.uint8, memoryview(plane), strides=strides)
    return pixels if channels > 1 else pixels[..., 0]


def from_bgr(image: np.ndarray, scaler: VideoReformatter | None = None) -> Planes:
    """An image (H, W, 3) uint8 BGR as planes. A scaler that was used before for this size saves time."""
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    coded = (scaler or VideoReformatter()).reformat(
        VideoFrame.from_numpy_buffer(np.ascontiguousarray(image), "bgr24"),  # without another copy
        format="yuv420p",
        dst_colorspace=BT709,
        dst_color_range=ColorRange.MPEG,
        interpolation=EXACTLY,
    )
    y, u, v = Planes.of(coded)
    return Planes(y[:height, :width], u, v)


# Other matrices and ranges


def to_bt709(planes: Planes, *, matrix: int, full_range: bool) -> Planes:
    """Planes of a matrix in `LUMA` and a range as those of BT.709, limited: the same if they are so already.

    Between matrices grey stays grey, so colours depend on colours alone; and the brightness changes by so little with
    the colours that it makes no difference in which order that is rounded and enlarged.
    """
    if matrix == BT709 and not full_range:
        return planes
    brightness, colour = _steps(matrix, full_range)
    uv = cv2.merge([planes.u, planes.v])
    change = cv2.resize(cv2.transform(uv, colour[:1]), planes.size, interpolation=cv2.INTER_LINEAR)
    scale, shift = brightness
    y = cv2.addWeighted(planes.y, scale, change, 1.0, shift - MIDDLE)
    return Planes(y, *cv2.split(cv2.transform(uv, colour[1:])))


@cache
def _steps(matrix: int, full_range: bool) -> tuple[tuple[float, float], np.ndarray]:
    """Scale and shift of the brightness; and the matrix (3, 3) from (u, v, 1) to its change, plus 128, and u and v."""
    convert = np.linalg.inv(_to_rgb(BT709)) @ _to_rgb(matrix)
    (black, white), colours = ((0, 255), 255) if full_range else ((16, 235), 224)
    scale = 219 / (white - black)
    colour = np.array([[219.0], [224.0], [224.0]]) * convert[:, 1:] / colours
    shift = MIDDLE - MIDDLE * colour.sum(axis=1, keepdims=True)
    return (scale, 16 - black * scale), np.hstack([colour, shift])


def _to_rgb(matrix: int) -> np.ndarray:
    """From Y of 0 to 1, U and V of -0.5 to 0.5 to RGB of 0 to 1."""
    red, blue = LUMA[matrix]
    green = 1 - red - blue
    u, v = 2 * (1 - blue), 2 * (1 - red)
    return np.array([[1, 0, v], [1, -blue * u / green, -red * v / green], [1, u, 0]])


def tones(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Y, U and V of a colour in BGR."""
    y, u, v = np.linalg.solve(_to_rgb(BT709), np.array(colour[::-1]) / 255) * (219, 224, 224) + (16, MIDDLE, MIDDLE)
    return round(y), round(u), round(v)
