"""What training does to a photo: which square of it is seen, turned and mirrored, and how its pixels are changed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.crop import Region
from pipeline.skeleton import Skeleton

BORDERS = (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101)


@dataclass(frozen=True)
class AugmentConfig:
    """How strongly to change photos. Fractions are of all samples unless said otherwise. The defaults are strong:
    right for hundreds of epochs. See `AUGMENTATIONS`.
    """

    scale: float = 0.3  # the person's region is scaled by exp(uniform(-scale, scale))
    shift: float = 0.12  # and moved by up to this part of its side
    rotation_deg: float = 25.0  # standard deviation, cut at twice this
    rotated: float = 0.7  # fraction that is turned at all
    wide: float = 0.15  # fraction seen from afar, anywhere in the crop: what searching a frame meets
    close: float = 0.1  # fraction cut close, most of the body outside: half bodies, and crops with nobody
    colour: float = 1.0  # strength of the changes of gamma, contrast, brightness and channel gains
    blurred: float = 0.2  # fraction blurred, or shrunk and enlarged
    noisy: float = 0.2  # fraction with sensor noise
    compressed: float = 0.2  # fraction put through JPEG of low quality
    occluded: float = 0.35  # fraction with a patch over a part of the person


# By name. A short run, or the end of a long one, learns more from photos that look like photos.
AUGMENTATIONS: dict[str, AugmentConfig] = {
    "strong": AugmentConfig(),
    "light": AugmentConfig(
        scale=0.25, shift=0.08, rotation_deg=15.0, rotated=0.6, wide=0.1, close=0.06,
        colour=0.6, blurred=0.1, noisy=0.07, compressed=0.1, occluded=0.12,
    ),
    "faint": AugmentConfig(
        scale=0.2, shift=0.06, rotation_deg=10.0, rotated=0.4, wide=0.08, close=0.05,
        colour=0.4, blurred=0.05, noisy=0.03, compressed=0.05, occluded=0.05,
    ),
    "published": AugmentConfig(  # scale, rotation, mirror and colour as the published hourglass recipes have them
        scale=0.25, shift=0.0, rotation_deg=30.0, rotated=0.6, wide=0.0, close=0.0,
        colour=0.6, blurred=0.0, noisy=0.0, compressed=0.0, occluded=0.0,
    ),
    "none": AugmentConfig(  # only the mirror
        scale=0.0, shift=0.0, rotation_deg=0.0, rotated=0.0, wide=0.0, close=0.0,
        colour=0.0, blurred=0.0, noisy=0.0, compressed=0.0, occluded=0.0,
    ),
}  # fmt: skip


def _square(
    rng: np.random.Generator, region: Region, points: np.ndarray, config: AugmentConfig
) -> tuple[np.ndarray, float]:
    """Centre and side of the square to look at, from the person's region and labelled joints."""
    centre, side = np.array([region.x, region.y]), region.side
    draw = rng.random()
    if draw < config.wide:
        side *= np.exp(rng.uniform(np.log(1.3), np.log(3.2)))
        free = (side - region.side * 0.8) / 2  # how far the person may be from the middle and still be inside
        return centre + rng.uniform(-free, free, 2), side
    if draw < config.wide + config.close:
        side *= rng.uniform(0.35, 0.85)
        return points[rng.integers(len(points))] + rng.uniform(-0.4, 0.4, 2) * side, side
    side *= np.exp(rng.uniform(-config.scale, config.scale))
    return centre + rng.uniform(-config.shift, config.shift, 2) * side, side


def similarity(centre: np.ndarray, side: float, size: int, *, degrees: float, mirrored: bool) -> np.ndarray:
    """2x3 map from a square of a photo to the pixels of a crop (size, size): turned about its centre, mirrored."""
    angle = np.deg2rad(degrees)
    linear = size / side * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    if mirrored:
        linear[0] *= -1
    return np.concatenate([linear, ((size - 1) / 2 - linear @ centre)[:, None]], 1)


def warped(
    image: np.ndarray,
    matrix: np.ndarray,
    size: tuple[int, int],
    *,
    shrunk: float,
    border: int = cv2.BORDER_CONSTANT,
    fill: Sequence[int] = (0, 0, 0),
) -> np.ndarray:
    """The photo mapped to a crop (width, height) by a 2x3 matrix that shrinks it by that factor, strongly shrunk
    ones averaged first: OpenCV's warps skip pixels (with INTER_AREA too).
    """
    if shrunk > 2:
        height, width = image.shape[:2]
        small = max(round(width * 2 / shrunk), 1), max(round(height * 2 / shrunk), 1)
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        x, y = width / small[0], height / small[1]
        matrix = matrix @ np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])
    return cv2.warpAffine(image, matrix, size, borderMode=border, borderValue=fill)


def recoloured(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """Contrast, brightness, gain of each channel, gamma and at times no colour at all, as one table per channel."""
    levels = np.arange(256, dtype=np.float32) / 255
    gamma = np.exp(strength * rng.uniform(-0.35, 0.35))
    contrast, brightness = np.exp(strength * rng.uniform(-0.35, 0.35)), strength * rng.uniform(-0.15, 0.15)
    gains = np.exp(strength * rng.normal(0, 0.08, 3))
    if rng.random() < 0.07 * strength:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    table = (levels[:, None] ** gamma - 0.5) * contrast * gains + 0.5 + brightness
    return cv2.LUT(image, (table.clip(0, 1) * 255).astype(np.uint8)[:, None, :])


def degraded(rng: np.random.Generator, image: np.ndarray, config: AugmentConfig, *, blur: float = 1.0) -> np.ndarray:
    """Blur (`blur` times some pixels), noise and compression as cameras and video make them, of an image (H, W, 3)."""
    height, width = image.shape[:2]
    if rng.random() < config.blurred:
        if rng.random() < 0.5:
            image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.8) * blur)
        else:
            part = rng.uniform(0.3, 0.8)
            small = cv2.resize(image, (int(width * part), int(height * part)), interpolation=cv2.INTER_AREA)
            image = cv2.resize(small, (width, height))
    if rng.random() < config.noisy:
        strength = np.float32(rng.uniform(2, 14))
        noise = rng.standard_normal(image.shape, np.float32) * strength
        image = cv2.add(image, noise, dtype=cv2.CV_8U)
    if rng.random() < config.compressed:
        quality = int(rng.integers(15, 60))
        jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        image = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR))
    return image


def _occlude(rng: np.random.Generator, image: np.ndarray, points: np.ndarray, patch: np.ndarray) -> None:
    """Cover a part of the person, in place, with a plain colour or a piece of another photo."""
    size = image.shape[0]
    width, height = (rng.uniform(0.08, 0.3, 2) * size).astype(int) + 1
    middle = points[rng.integers(len(points))] + rng.normal(0, 0.08 * size, 2)
    x0, y0 = (middle - (width / 2, height / 2)).clip(0, size - 1).astype(int)
    target = image[y0 : y0 + height, x0 : x0 + width]
    if rng.random() < 0.5:
        target[:] = rng.integers(0, 256, 3)
    else:
        corner_x, corner_y = rng.integers(0, [max(patch.shape[1] - width, 1), max(patch.shape[0] - height, 1)])
        piece = patch[corner_y : corner_y + height, corner_x : corner_x + width]
        target[:] = cv2.resize(piece, (target.shape[1], target.shape[0]))


def augmented_crop(
    rng: np.random.Generator,
    image: np.ndarray,
    xy: np.ndarray,
    labelled: np.ndarray,
    *,
    region: Region,
    skeleton: Skeleton,
    size: int,
    config: AugmentConfig,
    other: Callable[[], np.ndarray],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One training sample from one photo.

    image (H, W, 3) uint8 BGR; xy (J, 2) photo pixels; labelled (J,) bool; `region` the person's,
    as it is looked at without augmentation; `other` gives any other photo, for occluders.
    Returns the crop (size, size, 3) uint8 BGR, xy (J, 2) crop pixels (may lie outside the crop), labelled (J,).
    """
    centre, side = _square(rng, region, xy[labelled], config)
    turned = rng.random() < config.rotated
    degrees = float(np.clip(rng.normal(0, config.rotation_deg), -2 * config.rotation_deg, 2 * config.rotation_deg))
    mirrored = bool(rng.random() < 0.5)
    matrix = similarity(centre, side, size, degrees=degrees if turned else 0.0, mirrored=mirrored)
    border = BORDERS[rng.integers(len(BORDERS))]
    fill = rng.integers(0, 256, 3).tolist() if rng.random() < 0.5 else (0, 0, 0)
    crop = warped(image, matrix, (size, size), shrunk=side / size, border=border, fill=fill)
    points = xy @ matrix[:, :2].T + matrix[:, 2]
    if mirrored:
        points, labelled = points[list(skeleton.flip)], labelled[list(skeleton.flip)]
    crop = recoloured(rng, crop, config.colour)
    if rng.random() < config.occluded:
        _occlude(rng, crop, points[labelled], other())
    return degraded(rng, crop, config, blur=size / 128), points.astype(np.float32), labelled
