"""What colours someone wears: enough to tell people apart who were lost from sight or crossed.

The mean colour of three places of the body, each sampled at a grid of points between joints, in CIE L*a*b*, where equal
distances look about equally different (CIE 1976).
"""

from functools import cache

import numpy as np

from pipeline.sighting import Sighting
from pipeline.skeleton import Skeleton

ALONG, ACROSS = np.linspace(0.1, 0.9, 5), np.linspace(0.2, 0.8, 5)
# Corners of each place: left and right above, left and right below.
PLACES = (
    ("l_shoulder", "r_shoulder", "l_hip", "r_hip"),
    ("l_hip", "r_hip", "l_knee", "r_knee"),
    ("l_knee", "r_knee", "l_ankle", "r_ankle"),
)
LIGHT = 0.5  # weight of lightness: shade and sun change it

# Parts of the four corners in each point of a place (25, 4).
_GRID = np.einsum("pi,qj->pqij", np.stack([1 - ALONG, ALONG], 1), np.stack([1 - ACROSS, ACROSS], 1)).reshape(-1, 4)
# Light of each value of an sRGB pixel (256,); from blue, green and red to X, Y and Z, white being 1 (IEC 61966-2-1).
_SRGB = np.arange(256) / 255
_LIGHT_OF = np.where(_SRGB <= 0.04045, _SRGB / 12.92, ((_SRGB + 0.055) / 1.055) ** 2.4)
_RGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_BGR_TO_XYZ = (_RGB_TO_XYZ / _RGB_TO_XYZ.sum(1, keepdims=True))[:, ::-1].T


def colours(image: np.ndarray, sighting: Sighting, skeleton: Skeleton) -> np.ndarray:
    """Mean L*a*b* colours (3, 3) of trunk, thighs and shins in a frame (H, W, 3) uint8 BGR; NaN for a place that is
    not seen. Lightness counts half.
    """
    corners = _corners(skeleton)
    points = np.rint(_GRID @ sighting.xy[corners]).astype(int)  # (3, 25, 2)
    border = np.array(image.shape[1::-1]) - 1
    inside = points.clip(0, border)
    used = (points == inside).all(-1) & sighting.sure[corners].all(-1)[:, None]
    sample = _lab(image[inside[..., 1], inside[..., 0]])
    count = used.sum(-1)[:, None]
    mean = np.where(used[..., None], sample, 0).sum(1) / np.maximum(count, 1)
    return np.where(count > 0, mean, np.nan) * (LIGHT, 1.0, 1.0)


@cache
def _corners(skeleton: Skeleton) -> np.ndarray:
    """Which joints are the corners of each place (3, 4)."""
    return np.array([skeleton.indices(names) for names in PLACES])


def _lab(pixels: np.ndarray) -> np.ndarray:
    """L*a*b* of pixels (..., 3) uint8 BGR. OpenCV's would take a tenth of a second the first time."""
    light = _LIGHT_OF[pixels] @ _BGR_TO_XYZ
    x, y, z = np.moveaxis(np.where(light > (6 / 29) ** 3, np.cbrt(light), light * (29 / 6) ** 2 / 3 + 4 / 29), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def colour_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Mean distance of the colours (3, 3) of two people over the places seen of both; NaN if there is none."""
    distances = np.linalg.norm(one - other, axis=-1)
    known = np.isfinite(distances)
    return float(distances[known].mean()) if known.any() else float("nan")


def blended(kept: np.ndarray, new: np.ndarray, *, share: float) -> np.ndarray:
    """Colours (3, 3) moved towards new ones by that share; where one is not known, the other's."""
    mean = kept + share * (new - kept)
    return np.where(np.isfinite(mean), mean, np.where(np.isfinite(kept), kept, new))
