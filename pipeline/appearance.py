"""What colours someone wears: enough to tell people apart who were lost from sight or crossed.

The mean colour of three places of the body, each sampled at a grid of points between joints, in CIE L*a*b*, where equal
distances look about equally different (CIE 1976).
"""

import cv2
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


def colours(image: np.ndarray, sighting: Sighting, skeleton: Skeleton) -> np.ndarray:
    """Mean L*a*b* colours (3, 3) of trunk, thighs and shins in a frame (H, W, 3) uint8 BGR; NaN for a place that is
    not seen. Lightness counts half.
    """
    result = np.full((len(PLACES), 3), np.nan)
    height, width = image.shape[:2]
    for row, names in enumerate(PLACES):
        corners = skeleton.indices(names)
        if not sighting.sure[corners].all():
            continue
        left_top, right_top, left_end, right_end = sighting.xy[corners]
        across = ACROSS[:, None, None]
        top, end = left_top + across * (right_top - left_top), left_end + across * (right_end - left_end)
        points = np.rint((top + ALONG[:, None] * (end - top)).reshape(-1, 2)).astype(int)
        points = points[((points >= 0) & (points < (width, height))).all(1)]
        if len(points):
            sample = image[points[:, 1], points[:, 0]][None].astype(np.float32) / 255
            result[row] = cv2.cvtColor(sample, cv2.COLOR_BGR2LAB)[0].mean(0)
    return result * (LIGHT, 1.0, 1.0)


def colour_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Mean distance of the colours (3, 3) of two people over the places seen of both; NaN if there is none."""
    distances = np.linalg.norm(one - other, axis=-1)
    known = np.isfinite(distances)
    return float(distances[known].mean()) if known.any() else float("nan")


def blended(kept: np.ndarray, new: np.ndarray, *, share: float) -> np.ndarray:
    """Colours (3, 3) moved towards new ones by that share; where one is not known, the other's."""
    mean = kept + share * (new - kept)
    return np.where(np.isfinite(mean), mean, np.where(np.isfinite(kept), kept, new))
