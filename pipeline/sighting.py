"""One person in one frame, as the finder and as the detector see him or her, and how alike two sightings are."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.crop import Region, region_of

SURE = 0.15  # score from which on a joint says where someone is
FEWEST_JOINTS = 3  # that tell a region
TOLERANCE = 0.1  # of likeness: part of the person's extent by which a joint may be off


@dataclass(frozen=True)
class Found:
    """A person in a frame: the region, frame pixels, and how sure it is that someone is there, 0 to 1."""

    region: Region
    score: float


@dataclass(frozen=True)
class Sighting:
    """One person in one frame: joints (J, 2) in frame pixels and scores (J,)."""

    xy: np.ndarray
    score: np.ndarray

    @cached_property
    def sure(self) -> np.ndarray:
        """Which joints (J,) are seen well enough to go by."""
        return self.score >= SURE

    @cached_property
    def region(self) -> Region | None:
        """The square around the joints that are seen; None if these are too few."""
        return region_of(self.xy[self.sure]) if self.sure.sum() >= FEWEST_JOINTS else None

    def moved(self, shift: np.ndarray) -> "Sighting":
        """The same person (2,) pixels further on."""
        return Sighting(self.xy + shift, self.score)


def likeness(one: Sighting, other: Sighting) -> float:
    """How alike two poses are, 1 for the same and towards 0 for different ones; 0 if no joint is seen in both.

    The mean over the joints seen in both of exp(-d^2 / 2 s^2), d being a joint's distance and s a tenth of the larger
    pose's extent: object keypoint similarity (COCO) with one width for all joints.
    """
    both = one.sure & other.sure
    if not both.any():
        return 0.0
    extent = max(float(np.ptp(pose.xy[both], axis=0).max()) for pose in (one, other))
    distance = np.linalg.norm(one.xy[both] - other.xy[both], axis=-1)
    return float(np.exp(-((distance / max(TOLERANCE * extent, 1.0)) ** 2) / 2).mean())
