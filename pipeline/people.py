"""Everything that is known about a clip once its frames are gone: what the writers of pose files hand over."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.skeleton import H36M17, Skeleton

MAX_ID, MAX_SIDE = 2**53, 10**6  # what every format of files can hold, and pixels beyond which there is no picture
FOCAL_ORIGINS = ("guess", "--fov", "metadata")


@dataclass(frozen=True)
class Person:
    """One person over a clip, in 2D and 3D. Row t is one frame in which the person is; other frames have no row.

    id          positive, unlike that of any other person of the clip
    skeleton2d  joints of xy, score and filled; xyz and world have those of H36M17
    frame       (T,) int        index of the frame in the clip, strictly increasing; at least one
    time_s      (T,) float      presentation time of that frame, seconds
    xy          (T, J2, 2)      pixels of the upright frame, x right and y down; an integer is a pixel centre
    score       (T, J2)         confidence of each joint, 0 to 1
    filled      (T, J2) bool    True where a joint was not observed but filled in
    xyz         (T, 17, 3)      mm, relative to the pelvis, camera axes: x right, y down, z away from the camera
    world       (T, 17, 3)      mm, with root motion, world axes: x right, y forward, z up, the floor at z = 0

    All numbers are finite; ValueError if not, or if shapes do not match.
    """

    id: int
    skeleton2d: Skeleton
    frame: np.ndarray
    time_s: np.ndarray
    xy: np.ndarray
    score: np.ndarray
    filled: np.ndarray
    xyz: np.ndarray
    world: np.ndarray

    def __post_init__(self) -> None:
        if not 1 <= self.id <= MAX_ID:
            raise ValueError(f"person {self.id}: an id is 1 to {MAX_ID}")
        frames, joints = len(self.frame), len(self.skeleton2d)
        expected = {
            "frame": ((frames,), "iu"),
            "time_s": ((frames,), "f"),
            "xy": ((frames, joints, 2), "f"),
            "score": ((frames, joints), "f"),
            "filled": ((frames, joints), "b"),
            "xyz": ((frames, len(H36M17), 3), "f"),
            "world": ((frames, len(H36M17), 3), "f"),
        }
        for name, (shape, kinds) in expected.items():
            _check(getattr(self, name), shape=shape, kinds=kinds, name=f"person {self.id}: {name}")
        if frames == 0:
            raise ValueError(f"person {self.id}: is in no frame")
        if np.any(np.diff(self.frame) <= 0):
            raise ValueError(f"person {self.id}: frame indices must increase")

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True)
class ClipPoses:
    """The people of a clip, and what is needed to make sense of their coordinates.

    source        name of the clip's file, without its folder
    size          (width, height) of the upright frame, pixels
    fps           nominal frame rate; `times` tell the true one
    frames        number of frames of the clip, with and without a person
    times         (frames,) presentation time of every frame, seconds, strictly increasing
    focal_px      focal length that the poses were found with, pixels
    focal_origin  where it comes from: 'guess', '--fov' or 'metadata'
    up            (3,) direction against gravity in camera axes, a unit vector
    people        sorted as found; all with the same 2D skeleton
    provenance    what made the poses, such as models and versions: plain values that JSON holds

    ValueError if these do not fit together.
    """

    source: str
    size: tuple[int, int]
    fps: float
    frames: int
    times: np.ndarray
    focal_px: float
    focal_origin: str
    up: np.ndarray
    people: tuple[Person, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.frames < 1 or min(self.size) < 1 or max(self.size) > MAX_SIDE:
            raise ValueError(f"{self.source}: {self.frames} frames of size {self.size}")
        for name in ("fps", "focal_px"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{self.source}: {name} is {getattr(self, name)}")
        if self.focal_origin not in FOCAL_ORIGINS:
            raise ValueError(f"{self.source}: focal_origin is {self.focal_origin!r}, not one of {FOCAL_ORIGINS}")
        _check(self.times, shape=(self.frames,), kinds="f", name=f"{self.source}: times")
        _check(self.up, shape=(3,), kinds="f", name=f"{self.source}: up")
        if np.any(np.diff(self.times) <= 0):
            raise ValueError(f"{self.source}: times must increase")
        if abs(np.linalg.norm(self.up) - 1) > 1e-3:
            raise ValueError(f"{self.source}: up {tuple(self.up)} is not a unit vector")
        if json.loads(json.dumps(self.provenance, allow_nan=False)) != self.provenance:
            raise ValueError(f"{self.source}: provenance holds more than JSON does")
        self._check_people()

    def _check_people(self) -> None:
        if len({person.id for person in self.people}) != len(self.people):
            raise ValueError(f"{self.source}: two people have the same id")
        if len({person.skeleton2d.name for person in self.people}) > 1:
            raise ValueError(f"{self.source}: people have different 2D skeletons")
        for person in self.people:
            if person.frame[0] < 0 or person.frame[-1] >= self.frames:
                raise ValueError(f"{self.source}: person {person.id} is outside of the clip's {self.frames} frames")
            if not np.array_equal(person.time_s, self.times[person.frame]):
                raise ValueError(f"{self.source}: person {person.id} has other times than the clip")


def _check(array: np.ndarray, *, shape: tuple[int, ...], kinds: str, name: str) -> None:
    """ValueError unless the array has this shape, a dtype of one of these kinds, and finite numbers only."""
    if array.shape != shape or array.dtype.kind not in kinds:
        raise ValueError(f"{name}: expected {shape} of kind {kinds!r}, got {array.shape} {array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: has numbers that are not finite")
