"""Decoded video frames as a player shows them: upright, with square pixels, in BGR or as planes."""

import math
from typing import Any

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter
from av.video.stream import VideoStream

from pipeline.limits import max_pixels
from pipeline.planes import BT601, BT709, BT2020, EXACTLY, FCC, SMPTE240M, Planes, from_bgr, plane_of, to_bt709

# YCbCr matrices that clips name, in the numbers of the standard H.273.
MATRICES = {1: BT709, 4: FCC, 5: BT601, 6: BT601, 7: SMPTE240M, 9: BT2020, 10: BT2020}
QUICKLY = 0x2  # bilinear; 2 to 4 times as fast as EXACTLY
PLAIN = ("yuv420p", "yuvj420p")  # formats of planes that only have to be turned, and given other colours at most
HD_LINES = 720  # a clip that names no matrix is taken for BT.709 from here up and for BT.601 below, as players do
ODDEST_PIXEL = 4  # times as wide as high, or the reverse; beyond, the header is wrong


class Upright:
    """Turns the frames of one stream into images that all have the size of the first.

    width, height  of the images, pixels
    rotation       0, 90, 180 or 270: degrees clockwise from the stored to the upright frame
    """

    def __init__(self, first: VideoFrame, stream: VideoStream) -> None:
        aspect = stream.sample_aspect_ratio or 1
        if not 1 / ODDEST_PIXEL <= aspect <= ODDEST_PIXEL or first.width * aspect * first.height > max_pixels():
            aspect = 1
        self._stored = max(round(first.width * aspect), 1), first.height
        (self._xx, self._xy), (self._yx, self._yy) = _turn(first, stream)
        self._transposed = abs(self._xx) < abs(self._yx)
        self.width, self.height = self._stored[::-1] if self._transposed else self._stored
        self.rotation = round(math.degrees(math.atan2(self._yx, self._xx)) / 90) * 90 % 360
        self._odd = any(side % 2 for side in self._stored)
        self._scaler, self._coder = VideoReformatter(), VideoReformatter()

    def image(self, frame: VideoFrame, *, exact: bool = True) -> np.ndarray:
        """The frame as an image (height, width, 3) uint8, BGR.

        If it need not be exact, grey is not quite grey, and colours may change in steps of two pixels: by some 0.3 of
        256 levels on average, without a bias, but by 20 to 60 at edges between strong colours.
        """
        width, height = self._stored
        bgr = self._scaler.reformat(
            frame,
            width=width,
            height=height,
            format="bgr24",
            src_colorspace=_matrix(frame),  # always named: the scaler refuses a reserved or rare one
            dst_colorspace=BT601,  # of no meaning for BGR, but older scalers ignore the one if both are the same
            interpolation=EXACTLY if exact else QUICKLY,
        )
        return self._upright(plane_of(bgr, 0, channels=3))

    def planes(self, frame: VideoFrame) -> Planes:
        """The frame as planes (height, width), not to be changed: they may be the decoder's own.

        Frames that are scaled, have odd sides, whose planes cannot be turned alike, or another format go by BGR.
        """
        if frame.format.name not in PLAIN or (frame.width, frame.height) != self._stored or self._odd:
            return from_bgr(self.image(frame), self._coder)
        full_range = frame.format.name == "yuvj420p" or frame.color_range == ColorRange.JPEG
        planes = Planes(*map(self._upright, Planes.of(frame)))
        return to_bt709(planes, matrix=_matrix(frame), full_range=full_range)

    def _upright(self, image: np.ndarray) -> np.ndarray:
        across, down = self._xx, self._yy
        if self._transposed:
            image = cv2.transpose(image)
            across, down = self._xy, self._yx
        if across < 0:
            image = cv2.flip(image, 1)
        if down < 0:
            image = cv2.flip(image, 0)
        return image


def _matrix(frame: VideoFrame) -> int:
    """The matrix of a frame, which not all clips name."""
    return MATRICES.get(frame.colorspace) or (BT709 if frame.height >= HD_LINES else BT601)


def _turn(frame: VideoFrame, stream: VideoStream) -> tuple[tuple[float, float], tuple[float, float]]:
    """The matrix that takes stored positions (x, y) to upright ones, up to scale and shift."""
    try:
        matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # side data of a kind that the library cannot name; its own reading knows no mirrored frames
        return _rotation(-frame.rotation)
    if matrix is None:
        tag = stream.metadata.get("rotate") or stream.metadata.get("ROTATE") or "0"
        return _rotation(int(tag) if tag.lstrip("-").isdecimal() else 0)
    x_to_x, x_to_y, _, y_to_x, y_to_y, *_ = np.frombuffer(matrix, np.int32).astype(float)
    return (x_to_x, y_to_x), (x_to_y, y_to_y)


def _rotation(degrees: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """The matrix of a clockwise rotation, for y that points down."""
    angle = math.radians(degrees)
    return (math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle))
