"""Where the person is: found anywhere in the frame, then followed from one frame to the next.

To find someone, the detector looks at squares of several sizes all over the frame; the joint scores say which of
them hold a person, and the best are looked at again, centred, until the region settles. To follow, the region comes
from the last keypoints. When the scores fall, the person is looked for again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.crop import Region, region_of
from pipeline.poses import Track2D
from pipeline.skeleton import LIMB_JOINTS, Skeleton

# regions of a frame (H, W, 3) -> joints (N, J, 2) in frame pixels, scores (N, J)
FindJoints = Callable[[np.ndarray, Sequence[Region]], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class TrackOptions:
    """When someone counts as found, and how hard to look."""

    found: float = 0.4  # mean score of the limb joints from which on someone is there
    kept: float = 0.28  # mean score down to which someone who is being followed still is
    joint: float = 0.15  # score from which on a joint takes part in placing the region
    search_every: int = 3  # frames between searches while nobody is there
    window_scales: tuple[float, ...] = (1.0, 0.7, 0.45)  # sides of search squares over the frame's shorter side
    candidates: int = 4  # best squares of a search that are looked at again
    prominent: int = 2  # and squares in which someone is both clear and large
    settle: int = 2  # looks that move a candidate's region onto the person
    shrink: float = 0.85  # the region's side falls at most by this factor from frame to frame


@dataclass(frozen=True)
class Sighting:
    """One person in one frame: joints (J, 2) in frame pixels and scores (J,)."""

    xy: np.ndarray
    score: np.ndarray


def search_windows(width: int, height: int, scales: Sequence[float]) -> list[Region]:
    """Squares that cover a frame: the whole of it, and each scale's squares with half of each side in common."""
    windows = [Region((width - 1) / 2, (height - 1) / 2, float(max(width, height)))]
    for scale in scales:
        side = scale * min(width, height)
        windows += [Region(x, y, side) for y in _centres(height, side) for x in _centres(width, side)]
    return windows


def _centres(length: int, side: float) -> np.ndarray:
    """Centres of squares along one side of the frame, half a square apart and within it."""
    if side >= length:
        return np.array([(length - 1) / 2])
    count = int(np.ceil((length - side) / (side / 2))) + 1
    return np.linspace(side / 2, length - side / 2, count) - 0.5


class Tracker:
    """Finds and follows the most prominent person, frame by frame."""

    def __init__(self, find_joints: FindJoints, skeleton: Skeleton, options: TrackOptions = TrackOptions()) -> None:
        self._find_joints = find_joints
        self._limbs = skeleton.indices(LIMB_JOINTS)
        self._options = options
        self._region: Region | None = None
        self._wait = 0  # frames until the next search

    def update(self, image: np.ndarray) -> Sighting | None:
        """The person in the next frame (H, W, 3) uint8 BGR, or None if nobody is seen."""
        sighting = self._look(image, [self._region])[0] if self._region else None
        if sighting is not None and self._presence(sighting) >= self._options.kept:
            self._region = self._next_region(sighting)
            return sighting
        sighting = self._search(image)
        self._region = None if sighting is None else self._region_around(sighting)
        return sighting

    def _look(self, image: np.ndarray, regions: Sequence[Region]) -> list[Sighting]:
        xy, score = self._find_joints(image, regions)
        return [Sighting(points, values) for points, values in zip(xy, score, strict=True)]

    def _presence(self, sighting: Sighting) -> float:
        return float(sighting.score[self._limbs].mean())

    def _region_around(self, sighting: Sighting) -> Region | None:
        sure = sighting.score >= self._options.joint
        return region_of(sighting.xy[sure]) if sure.sum() >= 3 else None

    def _next_region(self, sighting: Sighting) -> Region | None:
        """Where to look next for a person who is being followed."""
        region = self._region_around(sighting)
        if region is None or self._region is None:
            return region
        return Region(region.x, region.y, max(region.side, self._region.side * self._options.shrink))

    def _search(self, image: np.ndarray) -> Sighting | None:
        if self._region is None and self._wait > 0:
            self._wait -= 1
            return None
        self._wait = self._options.search_every - 1
        height, width = image.shape[:2]
        best = self._look(image, search_windows(width, height, self._options.window_scales))
        regions = self._candidates(best)
        for _ in range(self._options.settle):
            if not regions:
                return None
            best = self._look(image, regions)
            regions = [region for region in map(self._region_around, best) if region is not None]
        present = [sighting for sighting in best if self._presence(sighting) >= self._options.found]
        return max(present, key=self._prominence, default=None)

    def _candidates(self, sightings: list[Sighting]) -> list[Region]:
        """The regions of the clearest sightings, which may all be of one person, and of the most prominent ones."""
        clear = sorted(sightings, key=self._presence, reverse=True)[: self._options.candidates]
        prominent = sorted(sightings, key=self._prominence, reverse=True)[: self._options.prominent]
        regions = map(self._region_around, [*clear, *prominent])
        return list(dict.fromkeys(region for region in regions if region is not None))  # each once

    def _prominence(self, sighting: Sighting) -> float:
        region = self._region_around(sighting)
        return 0.0 if region is None else self._presence(sighting) * region.side**0.5


def track_of(sightings: Sequence[tuple[int, float, Sighting]], skeleton: Skeleton, size: tuple[int, int]) -> Track2D:
    """The track of (frame index, time in s, sighting) rows; `size` is (width, height) of the frame."""
    joints = len(skeleton)
    return Track2D(
        skeleton,
        np.array([frame for frame, _, _ in sightings], np.int64),
        np.array([time for _, time, _ in sightings], np.float64),
        np.array([s.xy for _, _, s in sightings], np.float64).reshape(-1, joints, 2),
        np.array([s.score for _, _, s in sightings], np.float64).reshape(-1, joints),
        size,
    )
