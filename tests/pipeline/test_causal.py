"""Poses while they happen, of people whose true way through the world is known."""

import numpy as np
import pytest

from pipeline.camera import Intrinsics
from pipeline.causal import CAUSAL_SMOOTHING, EASE_S, FLOOR_S, GAP_S, TILT_S, CausalPoses
from pipeline.place import CAMERA_UP, world_from_camera
from pipeline.poses import Track2D, Track3D
from pipeline.render import Figure
from pipeline.sighting import Sighting
from pipeline.skeleton import H36M17
from tests.pipeline.test_render import body

SIZE, FOCAL, FPS = (640, 480), 800.0, 30.0
CAMERA = Intrinsics.centred(FOCAL, *SIZE)
UP = np.array([0.0, -np.cos(0.15), -np.sin(0.15)])  # of a camera that looks down by 8.6 degrees
EYE_MM = 1600.0  # height of the camera


class TrueLifter:
    """A lifter that knows the truth: poses (17, 3) relative to the root by the first joint's pixel."""

    def __init__(self) -> None:
        self.known: dict[bytes, np.ndarray] = {}
        self.taken: list[Track2D] = []

    def lift(self, track: Track2D, _camera: Intrinsics) -> Track3D:
        self.taken.append(track)
        xyz = np.array([self.known[time.tobytes()] for time in track.time_s])
        return Track3D(H36M17, track.frame, track.time_s, xyz)


def standing(count: int) -> np.ndarray:
    """World joints (T, 17, 3) of someone who treads on the spot, 4 m before the camera."""
    world = np.repeat(body(H36M17)[None], count, axis=0)
    tread = 100 * np.sin(2 * np.pi * np.arange(count) / FPS)
    for side, lifted in (("l", tread), ("r", -tread)):
        world[:, H36M17.index(f"{side}_ankle"), 2] += lifted.clip(0)
    return world + np.array([300.0, 4000.0, 0.0])


class Scene:
    """One person who goes through the world, as a camera sees it."""

    def __init__(self, world: np.ndarray, *, times: np.ndarray | None = None, up: np.ndarray = UP) -> None:
        self.world = world
        self.times = np.arange(len(world)) / FPS if times is None else times
        self.camera = (world - (0.0, 0.0, EYE_MM)) @ world_from_camera(up)
        self.xy = CAMERA.project(self.camera)
        self.lifter = TrueLifter()
        for time, points in zip(self.times, self.camera, strict=True):
            self.lifter.known[time.tobytes()] = points - points[0]

    def poses(self, smooth: str = "off", **options: float) -> CausalPoses:
        smoothing = CAUSAL_SMOOTHING[smooth]
        return CausalPoses(self.lifter, H36M17, SIZE, focal_px=FOCAL, options=smoothing, **options)

    def figures(self, poses: CausalPoses) -> list[Figure]:
        """The person in every frame."""
        found = []
        for xy, time in zip(self.xy, self.times, strict=True):
            found += poses.update({1: Sighting(xy, np.ones(17))}, float(time))
        return found


def test_the_person_stands_upright_where_the_camera_has_him():
    scene = Scene(standing(240))
    poses = scene.poses()
    figures = scene.figures(poses)
    angle = np.degrees(np.arccos(np.clip(poses.up @ UP, -1, 1)))
    assert angle < 4
    assert np.degrees(np.arccos(CAMERA_UP @ UP)) > 8
    world = np.array([figure.xyz for figure in figures])
    assert np.abs(world[60:, :, 2].min(1)).max() < 60  # one of the feet is on the floor
    np.testing.assert_allclose(world[-1, 0, :2], scene.world[-1, 0, :2], rtol=0.05, atol=150)
    # All bones keep their lengths, whatever is turned and moved.
    ends = np.array(H36M17.edges).T
    for mine, true in zip(world[::40], scene.world[::40], strict=True):
        lengths = (np.linalg.norm(body[ends[0]] - body[ends[1]], axis=-1) for body in (mine, true))
        np.testing.assert_allclose(*lengths, atol=1e-6)


def test_gravity_is_taken_over_slowly():
    scene = Scene(standing(150))
    poses, ups = scene.poses(), []
    for xy, time in zip(scene.xy, scene.times, strict=True):
        poses.update({1: Sighting(xy, np.ones(17))}, float(time))
        ups.append(poses.up)
    assert np.linalg.norm(ups, axis=-1) == pytest.approx(1)
    turns = np.degrees(np.arccos(np.clip((np.array(ups)[1:] * ups[:-1]).sum(-1), -1, 1)))
    assert turns.max() < 10 / FPS / EASE_S  # degrees per frame, of an estimate that is nowhere off by ten


def test_nobody_to_be_seen_and_gravity_stays():
    scene = Scene(standing(60))
    poses = scene.poses()
    assert (poses.up == CAMERA_UP).all()
    scene.figures(poses)
    up = poses.up
    assert poses.update({}, 100.0) == []
    np.testing.assert_array_equal(poses.up, up)


def test_nothing_depends_on_what_comes():
    scene = Scene(standing(40))
    short = Scene(standing(40)[:20])
    for one, other in zip(scene.figures(scene.poses("light")), short.figures(short.poses("light")), strict=False):
        np.testing.assert_array_equal(one.xyz, other.xyz)
        np.testing.assert_array_equal(one.xy, other.xy)


def test_without_smoothing_the_picture_has_what_was_seen_and_with_it_less_shaking():
    world = np.repeat(standing(1), 90, axis=0)
    scene = Scene(world)
    scene.xy = scene.xy + np.random.default_rng(0).normal(size=scene.xy.shape)
    seen = np.array([figure.xy for figure in scene.figures(scene.poses("off"))])
    np.testing.assert_array_equal(seen, scene.xy)
    shakes = [
        np.std([f.xy for f in scene.figures(scene.poses(smooth))][30:], axis=0).mean() for smooth in CAUSAL_SMOOTHING
    ]
    assert shakes[0] > 1.5 * shakes[1] > 2 * shakes[2]


def test_unsure_joints_stay_where_they_are_seen_and_do_not_pull_the_others():
    scene = Scene(np.repeat(standing(1), 3, axis=0))
    poses = scene.poses("strong")
    sure = np.where(np.arange(17) == 5, 0.1, 1.0)
    for row, off in enumerate((0.0, 200.0, 400.0)):
        xy = scene.xy[row].copy()
        xy[5] += off
        (figure,) = poses.update({1: Sighting(xy, sure)}, row / FPS)
        np.testing.assert_allclose(figure.xy, xy)
    np.testing.assert_array_equal(scene.lifter.taken[-1].score[0], sure)


def test_two_people_are_as_far_apart_as_they_are():
    left, right = standing(30) - [500.0, 0.0, 0.0], standing(30) + np.array([700.0, 400.0, 0.0])
    one, other = Scene(left), Scene(right, times=np.arange(30) / FPS)
    poses = one.poses()

    class Both:
        def lift(self, track: Track2D, camera: Intrinsics) -> Track3D:
            scene = one if track.xy[0, 0, 0] == one.xy[round(track.time_s[0] * FPS), 0, 0] else other
            return scene.lifter.lift(track, camera)

    poses._lifter = Both()
    for row in range(30):
        seen = {7: Sighting(one.xy[row], np.ones(17)), 3: Sighting(other.xy[row], np.ones(17))}
        figures = poses.update(seen, row / FPS)
    np.testing.assert_array_equal(figures[0].xy, one.xy[-1])
    apart = figures[1].xyz[0] - figures[0].xyz[0]
    np.testing.assert_allclose(apart[:2], (1200.0, 400.0), atol=120)
    assert all(abs(figure.xyz[:, 2].min()) < 60 for figure in figures)


def leg_of(points: np.ndarray) -> float:
    """Length of the left leg, mm."""
    joints = points[H36M17.indices(("l_ankle", "l_knee", "l_hip"))]
    return float(np.linalg.norm(np.diff(joints, axis=0), axis=-1).sum())


def test_the_height_that_is_told_is_the_height():
    scene = Scene(standing(60))
    sizes, true_leg = [], leg_of(scene.world[-1])
    for height in (1000.0, 2000.0):
        person = scene.figures(scene.poses(height_mm=height))[-1].xyz
        leg = leg_of(person)
        sizes.append(leg)
        assert person[0, 1] == pytest.approx(4000 * leg / true_leg, rel=0.1)  # half as tall is half as far
    assert sizes[1] == pytest.approx(2 * sizes[0])


def test_one_whose_place_cannot_be_told_is_drawn_in_2d_alone():
    scene = Scene(standing(4))
    poses = scene.poses()
    lost = np.where(np.arange(17) < 2, 1.0, 0.0)  # two joints known
    (figure,) = poses.update({1: Sighting(scene.xy[0], lost)}, 0.0)
    assert figure.xyz is None
    (figure,) = poses.update({1: Sighting(scene.xy[1], np.ones(17))}, 1 / FPS)
    known = figure.xyz
    assert known is not None
    (figure,) = poses.update({1: Sighting(scene.xy[2], lost)}, 2 / FPS)
    np.testing.assert_allclose(figure.xyz[0, :2], known[0, :2], atol=30)  # where he was last


def test_who_was_away_is_followed_anew():
    start = Scene(standing(30))
    moved = Scene(standing(1) + np.array([800.0, 2000.0, 0.0]), times=np.array([1.0 + GAP_S]))
    start.lifter.known |= moved.lifter.known
    poses = start.poses("strong")
    start.figures(poses)
    (figure,) = poses.update({1: Sighting(moved.xy[0], np.ones(17))}, float(moved.times[0]))
    np.testing.assert_array_equal(figure.xy, moved.xy[0])
    assert figure.xyz[0, 1] == pytest.approx(6000, rel=0.1)
    assert figure.xyz[:, 2].min() == pytest.approx(0, abs=1e-6)


def test_memory_does_not_grow():
    scene = Scene(standing(1))
    pose = scene.camera[0] - scene.camera[0, 0]
    times = np.arange(0, 2.5 * TILT_S, 0.4)
    scene.lifter.known = {time.tobytes(): pose for time in times}
    poses = scene.poses()
    for number, time in enumerate(times):
        poses.update({1: Sighting(scene.xy[0], np.ones(17)), 100 + number: Sighting(scene.xy[0], np.ones(17))}, time)
    assert len(poses._people) <= TILT_S / 0.4 + 2
    assert len(poses._people[1].lifted) <= TILT_S / 0.4 + 1
    assert len(poses._people[1].feet) <= FLOOR_S / 0.4 + 1
