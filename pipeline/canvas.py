"""What can be drawn on, an image or the planes of a video frame, and the few things that can be drawn.

Places are in pixels, an integer is a pixel's centre, and colours are BGR, whatever is drawn on. A picture is a few
layers: an image has one, with a pixel for a pixel; planes have three, of which two are half as large. (U and V as one
layer would be quicker to draw, but OpenCV smooths the rims of shapes in one or three channels only, not in two.)
"""

from collections.abc import Iterable
from functools import cached_property, lru_cache

import cv2
import numpy as np

from pipeline.planes import Planes, from_bgr
from pipeline.planes import tones as planes_tones

Colour = tuple[int, int, int]
Tone = int | Colour  # of a pixel of a layer
Layers = tuple[np.ndarray, ...]

SUBPIXEL_BITS = 4  # shapes go to OpenCV in 1/16 px, so that slow motion does not creep from pixel to pixel
ROUND_CORNERS = 13  # corners of each round end of a band, and what is left of them where it is small:
FEWER, SMALL_PX = slice(None, None, 2), 3.0  # off by 0.1 px at most
# OpenCV makes shapes some 0.6 px of a layer larger to smooth their rims, which is twice as much where those are larger.
GROWTH = {1: 0.0, 2: 0.27}
TEXTS = 200  # that are kept, with the oldest forgotten

_angle = np.linspace(-np.pi / 2, np.pi / 2, ROUND_CORNERS)
_ALONG, _ACROSS = np.cos(_angle)[:, None], np.sin(_angle)[:, None]


def bands(a: np.ndarray, b: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Outlines (N, corners, 2) of bands with round ends from points a (N, 2) to b (N, 2) with radius (N,).

    A band of no length is a ball.
    """
    return _outlines(a, b, radius, _ends(a, b)).reshape(len(a), 2 * ROUND_CORNERS, 2)


def _ends(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """From b to the corners of the round end (N, ROUND_CORNERS, 2) of bands of radius 1 from a (N, 2) to b (N, 2)."""
    along = b - a
    length = np.sqrt((along * along).sum(axis=1, keepdims=True))
    along = np.where(length > 1e-6, along / np.maximum(length, 1e-6), (1.0, 0.0))
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    return _ALONG * along[:, None] + _ACROSS * across[:, None]


def _outlines(a: np.ndarray, b: np.ndarray, radius: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Outlines (N, 2, ROUND_CORNERS, 2) by their two ends."""
    arc = radius[:, None, None] * ends
    return np.stack([b[:, None] + arc, a[:, None] - arc], axis=1)


def _shapes(outlines: np.ndarray, radius: np.ndarray) -> list[np.ndarray]:
    """Outlines (N, 2, ROUND_CORNERS, 2) of bands of radius (N,), px, as `fill` takes them, small ones with fewer
    corners, as each takes time.
    """
    fixed = in_fixed_point(outlines)
    fine, coarse = (some.reshape(len(some), 2 * some.shape[2], 2) for some in (fixed, fixed[:, :, FEWER]))
    small = (radius <= SMALL_PX).tolist()
    return [coarse[number] if small[number] else fine[number] for number in range(len(fixed))]


def in_fixed_point(points: np.ndarray) -> np.ndarray:
    """Points, px, as `fill` takes them."""
    return np.rint(points * (1 << SUBPIXEL_BITS)).astype(np.int32)


def fill(layer: np.ndarray, outlines: Iterable[np.ndarray], tones: Iterable[Tone]) -> None:
    """Fill convex outlines (corners, 2), in fixed point, of an array (H, W) or (H, W, 3), in order."""
    for outline, tone in zip(outlines, tones, strict=True):
        cv2.fillConvexPoly(layer, outline, tone, cv2.LINE_AA, SUBPIXEL_BITS)


class Backdrop:
    """An image (H, W, 3) uint8 BGR, not to be changed, that is pasted again and again."""

    def __init__(self, image: np.ndarray) -> None:
        self.image = image

    @cached_property
    def planes(self) -> Planes:
        return from_bgr(self.image)


class Canvas:
    """A picture that is being made. Its parts and what is pasted start at even places: see `Canvas.part`."""

    def __init__(self, layers: Layers, steps: tuple[int, ...]) -> None:
        """`layers` are changed; `steps` tell how many pixels share one of a layer's along a side."""
        self.layers = layers
        self._steps = steps

    @classmethod
    def like(cls, picture: np.ndarray | Planes, size: tuple[int, int]) -> "Canvas":
        """A new one of a (width, height), both even, of the kind of a picture; what it shows is not defined."""
        width, height = size
        if isinstance(picture, Planes):
            y, half = np.empty((height, width), np.uint8), (height // 2, width // 2)
            return cls((y, np.empty(half, np.uint8), np.empty(half, np.uint8)), (1, 2, 2))
        return cls((np.empty((height, width, 3), np.uint8),), (1,))

    @property
    def picture(self) -> np.ndarray | Planes:
        """What was made."""
        return Planes(*self.layers) if self._has_planes else self.layers[0]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px."""
        return self.layers[0].shape[1], self.layers[0].shape[0]

    def part(self, corner: tuple[int, int], size: tuple[int, int]) -> "Canvas":
        """A canvas for a part of this one, whose upper left corner (x, y) is even, with what is there."""
        (left, top), (width, height) = corner, size
        layers = (
            layer[top // step : -(-(top + height) // step), left // step : -(-(left + width) // step)]
            for layer, step in zip(self.layers, self._steps, strict=True)
        )
        return Canvas(tuple(layers), self._steps)

    def flood(self, colour: Colour) -> None:
        """Make all of it one colour."""
        for layer, tone in zip(self.layers, self._tones(colour), strict=True):
            layer[:] = tone

    def paste(self, picture: np.ndarray | Planes | Backdrop) -> None:
        """Cover all of it with a picture of its kind, which is scaled to its size, or with a backdrop of this size."""
        if isinstance(picture, Backdrop):
            picture = picture.planes if self._has_planes else picture.image
        layers = picture if isinstance(picture, Planes) else (picture,)
        for mine, layer in zip(self.layers, layers, strict=True):
            height, width = mine.shape[:2]
            if layer.shape[:2] != (height, width):
                shrinks = height < layer.shape[0]
                way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
                layer = cv2.resize(layer, (width, height), interpolation=way)  # noqa: PLW2901
            mine[:] = layer

    def draw(
        self,
        a: np.ndarray,
        b: np.ndarray,
        radius: np.ndarray,
        colours: tuple[Colour, ...],
        order: np.ndarray | None = None,
    ) -> None:
        """Draw bands from points a (N, 2) to b (N, 2) with radius (N,) and as many colours: those of the indices
        `order`, or all, one after the other.
        """
        order = np.arange(len(a)) if order is None else order
        a, b, radius, numbers = a[order], b[order], radius[order], order.tolist()
        ends, outlines = _ends(a, b), {}
        for step in set(self._steps):
            size = np.maximum(radius / step - GROWTH[step], 0.1)
            outlines[step] = _shapes(_outlines((a + 0.5) / step - 0.5, (b + 0.5) / step - 0.5, size, ends), size)
        for layer, step, tones in zip(self.layers, self._steps, self._palette(colours), strict=True):
            fill(layer, outlines[step], [tones[number] for number in numbers])

    def write(self, text: str, place: tuple[float, float], colour: Colour, *, capital: float) -> None:
        """Write a text that starts at a place (x, y) on its base line, with capitals so many pixels high."""
        scale = capital / 22  # the font's capitals are 22 px high
        thickness = max(round(1.6 * scale), 1)
        left, top = (round(coordinate) for coordinate in place)
        mask, (x, y) = _lettering(text, scale, thickness, left % 2, top % 2)
        self.stain(mask, (left - left % 2 - x, top - top % 2 - y), colour)

    def stain(self, mask: np.ndarray, corner: tuple[int, int], colour: Colour) -> None:
        """Blend with a colour as far as a mask (h, w) uint8 says, 255 being wholly; its upper left corner is even."""
        (left, top), (width, height) = corner, self.size
        x, y = max(-left, 0), max(-top, 0)
        mask = mask[y : height - top, x : width - left] if height > top and width > left else mask[:0]
        if not mask.size:
            return
        part = self.part((left + x, top + y), (mask.shape[1], mask.shape[0]))
        for layer, tone in zip(part.layers, self._tones(colour), strict=True):
            _blend(layer, tone, mask)

    @property
    def _has_planes(self) -> bool:
        return len(self.layers) > 1

    def _tones(self, colour: Colour) -> tuple[Tone, ...]:
        """A colour as each layer has it."""
        return _planes_tones(colour) if self._has_planes else (colour,)

    def _palette(self, colours: tuple[Colour, ...]) -> tuple[tuple[Tone, ...], ...]:
        """Colours as each layer has them."""
        return _planes_palette(colours) if self._has_planes else (colours,)


_planes_tones = lru_cache(maxsize=256)(planes_tones)


@lru_cache(maxsize=64)
def _planes_palette(colours: tuple[Colour, ...]) -> tuple[tuple[Tone, ...], ...]:
    return tuple(zip(*map(_planes_tones, colours), strict=True))


def _blend(layer: np.ndarray, tone: Tone, mask: np.ndarray) -> None:
    """Blend a layer (h, w) or (h, w, 3) with a tone; the mask may be twice as large."""
    height, width = layer.shape[:2]
    if mask.shape != (height, width):
        mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)
    if layer.ndim == 3:
        mask = cv2.cvtColor(mask, cv2.COLOR_GRAY2BGR)
    cover = np.full_like(layer, tone)
    step = cv2.multiply(cv2.absdiff(layer, cover), mask, scale=1 / 255)
    # down to the tone where it is darker than the layer, up to it where it is lighter
    cv2.max(cv2.subtract(layer, step), cv2.min(cv2.add(layer, step), cover), dst=layer)


@lru_cache(maxsize=TEXTS)
def _lettering(text: str, scale: float, thickness: int, x: int, y: int) -> tuple[np.ndarray, tuple[int, int]]:
    """A text as a mask, and the even place in it from which its start on the base line is (x, y) away, 0 or 1 px."""
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    margin = 2 * thickness + 2
    left, top = margin + margin % 2, height + margin
    top += top % 2
    mask = np.zeros((top + below + margin, left + width + margin), np.uint8)
    cv2.putText(mask, text, (left + x, top + y), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thickness, cv2.LINE_AA)
    return mask, (left, top)
