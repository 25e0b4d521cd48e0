"""Poses over time: what the detector finds (`Track2D`) and what the lifter makes of it (`Track3D`)."""

from dataclasses import dataclass, replace

import numpy as np

from pipeline.skeleton import Skeleton


@dataclass(frozen=True)
class Track2D:
    """One person over a clip, in pixels of the upright frame. Row t is one frame in which the person was found.

    frame   (T,) int       index of the frame in the clip, strictly increasing
    time_s  (T,) float     presentation time of that frame, seconds
    xy      (T, J, 2)      joint positions, pixels, x right and y down; an integer is a pixel centre
    score   (T, J)         confidence of each joint, 0 to 1
    size    (width, height) of the upright frame, pixels
    """

    skeleton: Skeleton
    frame: np.ndarray
    time_s: np.ndarray
    xy: np.ndarray
    score: np.ndarray
    size: tuple[int, int]

    def __post_init__(self) -> None:
        _check(self.frame, self.time_s, self.xy, self.skeleton, axes=2)
        if self.score.shape != self.xy.shape[:2]:
            raise ValueError(f"score {self.score.shape} does not match xy {self.xy.shape}")

    def __len__(self) -> int:
        return len(self.frame)

    def select(self, rows: np.ndarray) -> "Track2D":
        """The track with these rows only."""
        return replace(self, frame=self.frame[rows], time_s=self.time_s[rows], xy=self.xy[rows], score=self.score[rows])


@dataclass(frozen=True)
class Track3D:
    """One person over a clip in 3D. Row t is the same frame as row t of the 2D track that it came from.

    frame, time_s          as in Track2D
    xyz     (T, J, 3)      mm, relative to the skeleton's root, camera axes: x right, y down, z away from the camera
    """

    skeleton: Skeleton
    frame: np.ndarray
    time_s: np.ndarray
    xyz: np.ndarray

    def __post_init__(self) -> None:
        _check(self.frame, self.time_s, self.xyz, self.skeleton, axes=3)

    def __len__(self) -> int:
        return len(self.frame)


def _check(frame: np.ndarray, time_s: np.ndarray, points: np.ndarray, skeleton: Skeleton, *, axes: int) -> None:
    expected = (len(frame), len(skeleton), axes)
    if points.shape != expected or time_s.shape != frame.shape:
        raise ValueError(f"{skeleton.name}: expected points {expected}, got {points.shape}, times {time_s.shape}")
    if np.any(np.diff(frame) <= 0):
        raise ValueError("frame indices must increase")
