"""Poses while they happen: people frame by frame, smoothed, lifted and placed without knowing what comes.

What a clip is worked through for, forwards and backwards, must here come from what was seen so far: filters lag a
little, left and right that change places are not put back, and feet are not held where they stand. Shapes, units and
axes are those of `pipeline.people`.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lifter.predict import Lifter
from pipeline.camera import Intrinsics
from pipeline.clean import CleanOptions
from pipeline.one_euro import OneEuro, OneEuroOptions
from pipeline.place import CAMERA_UP, up_direction, world_from_camera
from pipeline.poses import Track2D, Track3D
from pipeline.render import Figure
from pipeline.sighting import Sighting
from pipeline.skeleton import H36M17, Skeleton
from pipeline.trajectory import joint_rays, scale_to_height, solve_root

UNSURE, GAP_S = CleanOptions.unsure, CleanOptions.gap_s  # scores, and absences, that count in a clip too
TILT_S = 10.0  # of poses from which gravity is read
EASE_S = 1.0  # in which a new estimate of it is taken over
FLOOR_S = 0.5  # of feet whose median is the floor: longer, errors of depth would lift people off it


@dataclass(frozen=True)
class CausalOptions:
    """How smooth. Speeds of `xy` are in sides of the person's region per second, those of `xyz` in metres."""

    xy: OneEuroOptions
    xyz: OneEuroOptions


CAUSAL_SMOOTHING: dict[str, CausalOptions] = {
    "off": CausalOptions(OneEuroOptions(np.inf, 0.0), OneEuroOptions(np.inf, 0.0)),
    "light": CausalOptions(OneEuroOptions(2.0, 8.0), OneEuroOptions(1.0, 1.0)),
    "strong": CausalOptions(OneEuroOptions(1.0, 4.0), OneEuroOptions(0.5, 0.5)),
}
# The root's depth, as a logarithm, is so noisy that its speed says nothing; its direction, as a tangent, is not.
DEPTH, DIRECTION = OneEuroOptions(0.3, 0.0), OneEuroOptions(2.0, 10.0)


class CausalPoses:
    """The people of frames of one (width, height) that come one after another."""

    def __init__(
        self,
        lifter: Lifter,
        skeleton: Skeleton,
        size: tuple[int, int],
        *,
        focal_px: float,
        options: CausalOptions,
        height_mm: float | None = None,
    ) -> None:
        """`skeleton` is that of the sightings, `height_mm` of the people, if known."""
        self._lifter, self._skeleton, self._size = lifter, skeleton, size
        self._camera = Intrinsics.centred(focal_px, *size)
        self._options, self._height_mm = options, height_mm
        self._people: dict[int, _Person] = {}
        self._up: np.ndarray | None = None
        self._time_s = 0.0

    @property
    def up(self) -> np.ndarray:
        """The direction against gravity (3,) in camera axes, as far as it is known."""
        return CAMERA_UP if self._up is None else self._up

    def update(self, sightings: Mapping[int, Sighting], time_s: float) -> list[Figure]:
        """Everyone of the next frame, by the numbers of `sightings`; without a 3D pose until it is known where."""
        poses = []
        for number, sighting in sightings.items():
            person = self._person(number, time_s)
            track = self._smoothed(person, sighting, time_s)
            poses.append((person, track, self._lifted(person, track)))
        self._people = {n: p for n, p in self._people.items() if time_s - p.time_s <= TILT_S}
        self._tilt(time_s)
        return [self._placed(person, track, xyz) for person, track, xyz in poses]

    def _person(self, number: int, time_s: float) -> "_Person":
        """What is known of someone; who was away is followed anew."""
        known = self._people.get(number)
        if known is None or time_s - known.time_s > GAP_S:
            self._people[number] = _Person(self._options, deque() if known is None else known.lifted)
        person = self._people[number]
        person.time_s = time_s
        return person

    def _smoothed(self, person: "_Person", sighting: Sighting, time_s: float) -> Track2D:
        """The sighting, smoothed where it is sure, as a track of one frame."""
        region, sure = sighting.region, (sighting.score >= UNSURE)[:, None]
        side = float(max(self._size)) if region is None else region.side
        xy = person.xy.update(np.where(sure, sighting.xy, np.nan), time_s, scale=side)
        xy = np.where(np.isfinite(xy), xy, sighting.xy)
        one = np.zeros(1, np.int64), np.array([time_s])
        return Track2D(self._skeleton, *one, xy[None], sighting.score[None], self._size)

    def _lifted(self, person: "_Person", track: Track2D) -> np.ndarray:
        """The 3D pose (17, 3) of a track of one frame, smoothed, and as tall as it should be."""
        time_s = float(track.time_s[0])
        xyz = self._lifter.lift(track, self._camera).xyz[0]
        xyz = person.xyz.update(xyz, time_s, scale=1000.0)
        person.lifted.append((time_s, xyz))
        _forget(person.lifted, time_s - TILT_S)
        return xyz if self._height_mm is None else scale_to_height(person.lifted_track(), self._height_mm).xyz[-1]

    def _tilt(self, time_s: float) -> None:
        """Take over a little of what the last seconds say about gravity."""
        tracks = [person.lifted_track() for person in self._people.values()]
        if tracks:
            told = up_direction(*tracks)
            share = 1.0 if self._up is None else -np.expm1(-(time_s - self._time_s) / EASE_S)
            up = self.up + share * (told - self.up)
            self._up = up / np.linalg.norm(up)
        self._time_s = time_s

    def _placed(self, person: "_Person", track: Track2D, xyz: np.ndarray) -> Figure:
        """The person in the world: the root where the picture has it, the feet of the last seconds on the floor."""
        time_s, xy, score = float(track.time_s[0]), track.xy[0], track.score[0]
        rays, weight = joint_rays(track, self._camera)
        root = person.root(solve_root(xyz[None], rays, weight=weight)[0], time_s)
        if root is None:
            return Figure(xy, score)
        points, rotation = xyz + root, world_from_camera(self.up)
        world = points @ rotation.T
        person.feet.append((time_s, points[world[:, 2].argmin()]))
        _forget(person.feet, time_s - FLOOR_S)
        floor = np.median([foot @ rotation[2] for _, foot in person.feet])
        return Figure(xy, score, world - (0.0, 0.0, floor))


Recent = deque[tuple[float, np.ndarray]]  # times and values, the newest last


def _forget(recent: Recent, before_s: float) -> None:
    while recent[0][0] < before_s:
        recent.popleft()


class _Person:
    """What was seen of one person, as far as it still matters."""

    def __init__(self, options: CausalOptions, lifted: Recent) -> None:
        self.time_s = 0.0
        self.xy, self.xyz = OneEuro(options.xy), OneEuro(options.xyz)
        self.lifted = lifted  # poses (17, 3)
        self.feet: Recent = deque()  # lowest points (3,), camera axes
        self._depth, self._direction = OneEuro(DEPTH), OneEuro(DIRECTION)
        self._root: np.ndarray | None = None

    def lifted_track(self) -> Track3D:
        """The poses of the last seconds."""
        times = np.array([time_s for time_s, _ in self.lifted])
        return Track3D(H36M17, np.arange(len(times)), times, np.array([xyz for _, xyz in self.lifted]))

    def root(self, seen: np.ndarray, time_s: float) -> np.ndarray | None:
        """Where the root (3,), mm, is, from where a frame has it; NaN: as before, or None if it was never seen."""
        if np.isfinite(seen).all():
            depth = np.exp(self._depth.update(np.log(seen[2:]), time_s))
            self._root = np.append(self._direction.update(seen[:2] / seen[2], time_s), 1.0) * depth
        return self._root
