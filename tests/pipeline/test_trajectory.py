"""The path of the root, the floor under it, and feet that stay where they stand."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.camera import Intrinsics
from pipeline.errors import InputError
from pipeline.place import CAMERA_UP, stand, world_from_camera
from pipeline.poses import Track2D, Track3D
from pipeline.skeleton import COCO17, H36M16, H36M17, MPII16, Skeleton, convert
from pipeline.trajectory import (
    ANKLE_HEIGHT,
    Ground,
    _drift,
    _shares,
    find_ground,
    joint_rays,
    root_path,
    scale_to_height,
    skating,
    solve_root,
    world_path,
)

FPS = 30.0
CAMERA = Intrinsics(1150.0, 1150.0, 639.5, 359.5)
FEET = H36M17.indices(("l_ankle", "r_ankle"))
EYE = 1400.0  # height of the camera
LEG = 400.0  # thigh, and shin


def bodies(count: int, *, seed: int = 0) -> np.ndarray:
    """Root-relative joints (T, 17, 3), mm, within a body's size, the root at 0."""
    poses = np.random.default_rng(seed).uniform(-500, 500, (count, 17, 3))
    poses[:, 0] = 0
    return poses


def seen(points: np.ndarray) -> np.ndarray:
    """Camera points (..., 3) as rays (..., 2) on z = 1."""
    return points[..., :2] / points[..., 2:]


def lifted(poses: np.ndarray, *, fps: float = FPS) -> Track3D:
    frames = np.arange(len(poses))
    return Track3D(H36M17, frames, frames / fps, poses)


def legs(feet: np.ndarray, root: np.ndarray) -> np.ndarray:
    """World joints (T, 17, 3), mm, of someone with ankles at (T, 2, 3), left and right, and the root at (T, 3)."""
    at = {"pelvis": root}
    for column, (side, x) in enumerate((("l_", -110.0), ("r_", 110.0))):
        at[f"{side}hip"] = root + np.array([x, 0, 0])
        at[f"{side}ankle"] = feet[:, column]
        at[f"{side}knee"] = (at[f"{side}hip"] + feet[:, column]) / 2 + (0, 30, 0)
        for name, out, height in (("shoulder", 1.7, 500), ("elbow", 1.8, 220), ("wrist", 1.8, 10)):
            at[side + name] = root + np.array([out * x, 0, height])
    for name, height in (("spine", 250), ("thorax", 500), ("nose", 620), ("head_top", 760)):
        at[name] = root + np.array([0, 40, height])
    return np.stack([at[name] for name in H36M17.joints], axis=1)


def walk(count: int = 150, *, heading: float = 60.0, stride: float = 600.0) -> tuple[np.ndarray, np.ndarray]:
    """World joints (T, 17, 3) of someone who walks, and whether the ankles (T, 2), left and right, stand: a second
    for two steps, each foot half of it on the ground and exactly still there. Heading in degrees from the right."""
    beat = np.arange(count) / FPS
    ahead, lift, contact = [], [], []
    for shift in (0.0, 0.5):
        cycle = (beat + shift) % 1
        swing = np.clip(2 * cycle - 1, 0, 1)
        ahead.append(2 * stride * (np.floor(beat + shift) + swing**2 * (3 - 2 * swing) - shift))
        lift.append(120 * np.sin(np.pi * swing) ** 2)
        contact.append(swing == 0)
    way = np.array([np.cos(np.radians(heading)), np.sin(np.radians(heading)), 0])
    feet = np.stack([a[:, None] * way + (x, 0, 0) for a, x in zip(ahead, (-110, 110), strict=True)], 1)
    feet[..., 2] = np.stack(lift, 1)
    start = np.array([-1000.0, 5000.0, 0])
    root = 2 * stride * (beat[:, None] - 0.25) * way + (0, 0, 2 * LEG - 40)
    return legs(feet + start, root + start), np.stack(contact, 1)


def camera_of(tilt: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (3, 3) from world to camera axes of a camera that looks down by `tilt` degrees, and its up (3,)."""
    angle = np.radians(tilt)
    up = np.array([0, -np.cos(angle), -np.sin(angle)])
    return world_from_camera(up).T, up


def film(world: np.ndarray, tilt: float = 0.0) -> tuple[Track3D, np.ndarray, np.ndarray]:
    """Lifted track, true root (T, 3) in camera axes and up of world joints, from a camera `EYE` above the origin."""
    rotation, up = camera_of(tilt)
    points = (world - (0, 0, EYE)) @ rotation.T
    return lifted(points - points[:, :1]), points[:, 0], up


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(1500, 30_000), st.floats(-0.6, 0.6), st.floats(-0.6, 0.6))
def test_exact_input_gives_the_exact_root(seed, depth, right, down):
    poses = bodies(3, seed=seed)
    root = np.array([right * depth, down * depth, depth])
    found = solve_root(poses, seen(poses + root), weight=np.ones((3, 17)))
    np.testing.assert_allclose(found, np.tile(root, (3, 1)), atol=1e-3)


def test_the_same_root_as_a_general_solver():
    rng = np.random.default_rng(1)
    pose, weight = bodies(1)[0], rng.uniform(0.1, 1, 17)
    rays = seen(pose + np.array([300, -200, 4000])) + rng.normal(0, 1e-4, (17, 2))  # too little for the reweighting
    zero, one = np.zeros(17), np.ones(17)
    rows = [np.stack([one, zero, -rays[:, 0]], 1), np.stack([zero, one, -rays[:, 1]], 1)]
    right = [rays[:, 0] * pose[:, 2] - pose[:, 0], rays[:, 1] * pose[:, 2] - pose[:, 1]]
    root_weight = np.sqrt(np.tile(weight, 2))
    expected = np.linalg.lstsq(np.concatenate(rows) * root_weight[:, None], np.concatenate(right) * root_weight)[0]
    np.testing.assert_allclose(solve_root(pose[None], rays[None], weight=weight[None])[0], expected, rtol=1e-9)


def test_a_body_twice_as_large_is_twice_as_far():
    poses, rng = bodies(5), np.random.default_rng(2)
    rays = seen(poses + np.array([500, 100, 5000])) + rng.normal(0, 3e-4, (5, 17, 2))
    weight = rng.uniform(0.2, 1, (5, 17))
    np.testing.assert_allclose(
        solve_root(2 * poses, rays, weight=weight), 2 * solve_root(poses, rays, weight=weight), rtol=1e-2
    )


def test_joints_without_weight_or_not_finite_do_not_count():
    poses, root = bodies(4), np.array([100.0, 50.0, 3000.0])
    rays, weight = seen(poses + root), np.ones((4, 17))
    rays[:, 3], weight[:, 3] = 7.0, 0.0
    rays[1, 5] = np.nan
    poses[2, 6] = np.inf
    weight[3, 7] = np.nan
    np.testing.assert_allclose(solve_root(poses, rays, weight=weight), np.tile(root, (4, 1)), atol=1e-3)
    np.testing.assert_allclose(root_path(lifted(poses), rays, weight=weight).xyz, np.tile(root, (4, 1)), atol=1e-3)


def test_wrong_joints_count_less():
    poses, root = bodies(50), np.array([100.0, 50.0, 4000.0])
    rays = seen(poses + root)
    rays[:, [4, 11]] += 0.15  # two joints, 600 mm beside
    found = solve_root(poses, rays, weight=np.ones((50, 17)))
    plain = _plain(poses, rays)
    assert np.abs(found - root).mean() < 0.5 * np.abs(plain - root).mean()


def _plain(poses: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Roots (T, 3) by unweighted least squares."""
    found = []
    for pose, ray in zip(poses, rays, strict=True):
        rows = np.zeros((17, 2, 3))
        rows[:, 0, 0] = rows[:, 1, 1] = 1
        rows[:, :, 2] = -ray
        found.append(np.linalg.lstsq(rows.reshape(34, 3), (ray * pose[:, 2:] - pose[:, :2]).reshape(34))[0])
    return np.array(found)


def test_noise_is_along_the_line_of_sight_and_grows_with_the_square_of_distance():
    poses, rng = bodies(400), np.random.default_rng(3)
    spread = []
    for depth in (3000.0, 6000.0):
        rays = seen(poses + np.array([0, 0, depth])) + rng.normal(0, 3 / 1150, (400, 17, 2))
        spread.append((solve_root(poses, rays, weight=np.ones((400, 17))) - (0, 0, depth)).std(0))
    assert spread[0][2] > 4 * spread[0][:2].max()
    assert 3 < spread[1][2] / spread[0][2] < 5


@pytest.mark.parametrize("why", ["few joints", "one direction", "behind"])
def test_frames_that_tell_nothing_are_nan_and_filled(why):
    poses = bodies(3)
    roots = np.array([[0.0, 0, 4000], [0, 0, 4000], [100, 0, 4000]])
    rays, weight = seen(poses + roots[:, None]), np.ones((3, 17))
    if why == "few joints":
        weight[1, 3:] = 0
    elif why == "one direction":
        rays[1] = 0.1
    else:
        rays[1] *= -1  # turned by half a turn: what the body would look like from within the eye
    found = solve_root(poses, rays, weight=weight)
    np.testing.assert_array_equal(np.isfinite(found).all(1), [True, False, True])
    path = root_path(lifted(poses), rays, weight=weight)
    np.testing.assert_array_equal(path.solved, [True, False, True])
    np.testing.assert_allclose(path.xyz, [[0, 0, 4000], [50, 0, 4000], [100, 0, 4000]], atol=1e-3)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_short_tracks(count):
    poses, root = bodies(count), np.array([100.0, 50.0, 3000.0])
    track = lifted(poses)
    path = root_path(track, seen(poses + root), weight=np.ones((count, 17)))
    np.testing.assert_allclose(path.xyz, np.tile(root, (count, 1)), atol=1e-3)
    ground = find_ground(CAMERA_UP, (track, path.xyz))
    world = world_path(track, path.xyz, ground)
    assert world.shape == (count, 17, 3)
    assert np.isfinite(world).all()


def test_without_any_joint_there_is_no_path_and_the_person_stands_above_the_origin():
    world, _ = walk(20)
    track, _, up = film(world)
    path = root_path(track, np.zeros((20, 17, 2)), weight=np.zeros((20, 17)))
    assert not path.solved.any()
    assert np.isnan(path.xyz).all()
    ground = find_ground(up, (track, path.xyz))
    assert ground.height == 0
    np.testing.assert_allclose(world_path(track, path.xyz, ground), stand(track, up))


def test_a_path_at_a_steady_rate_of_depth_stays_and_noise_goes():
    count, rng = 120, np.random.default_rng(4)
    depth = 3000 * np.exp(0.1 * np.arange(count) / FPS)
    root = depth[:, None] * (0.2, 0.05, 1.0)
    poses = np.tile(bodies(1), (count, 1, 1))
    rays = seen(poses + root[:, None])
    weight = np.ones((count, 17))
    np.testing.assert_allclose(root_path(lifted(poses), rays, weight=weight).xyz, root, rtol=1e-3)
    noisy = rays + rng.normal(0, 3 / 1150, rays.shape)
    raw = np.abs(solve_root(poses, noisy, weight=weight) - root)
    smooth = np.abs(root_path(lifted(poses), noisy, weight=weight).xyz - root)
    within = slice(20, -20)  # at the ends there is less to average
    assert smooth[within, 2].mean() < 0.4 * raw[within, 2].mean()
    assert smooth[within, :2].mean() < 0.8 * raw[within, :2].mean()


def test_a_stretch_of_bad_frames_does_not_move_the_depth_of_the_others():
    count, depth, wrong = 150, 4000.0, slice(60, 75)
    poses = np.tile(bodies(1), (count, 1, 1))
    rays, weight = seen(poses + np.array([200.0, 0, depth])), np.ones((count, 17))
    rays[wrong] *= 1.5  # as from two thirds of the distance
    found = root_path(lifted(poses), rays, weight=weight).xyz[:, 2]
    plain = solve_root(poses, rays, weight=weight)[:, 2]
    assert np.abs(plain - depth)[wrong].min() > 1000
    assert np.abs(found - depth).max() < 150


def test_frames_that_tell_the_depth_badly_count_less():
    count, depth = 120, 4000.0
    rng = np.random.default_rng(8)
    poses = np.tile(bodies(1), (count, 1, 1))
    bad = np.arange(count) % 2 == 1
    rays, weight = seen(poses + np.array([0.0, 0, depth])), np.ones((count, 17))
    rays += np.where(bad, 0.03, 0.001)[:, None, None] * rng.normal(size=rays.shape)
    track = lifted(poses)
    shares = _shares(poses, rays, root=solve_root(poses, rays, weight=weight), weight=weight)
    assert shares[bad].max() < 0.4 * shares[~bad].min()
    alone = root_path(
        Track3D(H36M17, track.frame[bad], track.time_s[bad], poses[bad]), rays[bad], weight=weight[bad]
    ).xyz
    both = root_path(track, rays, weight=weight).xyz[bad]
    assert np.abs(both[:, 2] - depth).mean() < 0.5 * np.abs(alone[:, 2] - depth).mean()


def test_parts_are_smoothed_each_by_itself():
    count = 80
    root = np.where(np.arange(count)[:, None] < 40, (0.0, 0, 3000), (0.0, 0, 6000))
    poses = bodies(count)
    rays, weight = seen(poses + root[:, None]), np.ones((count, 17))
    apart = root_path(lifted(poses), rays, weight=weight, parts=(slice(0, 40), slice(40, 80))).xyz
    np.testing.assert_allclose(apart, root, atol=1e-3)
    assert np.abs(root_path(lifted(poses), rays, weight=weight).xyz - root).max() > 300


def test_rays_of_a_track():
    rng = np.random.default_rng(5)
    xy, score = rng.uniform(0, 700, (2, 16, 2)), rng.uniform(size=(2, 16))
    frames = np.arange(2)
    rays, weight = joint_rays(Track2D(MPII16, frames, frames / FPS, xy, score, (1280, 720)), CAMERA)
    knee, h36m_knee = MPII16.index("l_knee"), H36M17.index("l_knee")
    np.testing.assert_allclose(rays[:, h36m_knee], (xy[:, knee] - (639.5, 359.5)) / 1150)
    np.testing.assert_array_equal(weight[:, h36m_knee], score[:, knee])
    assert not weight[:, H36M17.index("nose")].any()
    spine = convert(xy, MPII16, H36M16)[:, H36M16.index("spine")]
    np.testing.assert_allclose(rays[:, H36M17.index("spine")], CAMERA.rays(spine))
    with pytest.raises(InputError, match="head_top"):
        joint_rays(Track2D(COCO17, frames, frames / FPS, np.zeros((2, 17, 2)), np.ones((2, 17)), (9, 9)), CAMERA)


@pytest.mark.parametrize("tilt", [0, 15])
def test_a_walk_comes_back_as_it_was(tilt):
    world, contact = walk()
    track, root, up = film(world, tilt)
    ground = find_ground(up, (track, root))
    assert ground.height == pytest.approx(EYE, abs=2)
    np.testing.assert_allclose(ground.up, up, atol=1e-3)
    placed = world_path(track, root, ground)
    assert np.abs(placed - world).max() < 25
    assert np.abs(placed[:, FEET, 2][contact]).max() < 5


def test_ground_turns_camera_points_into_world_points():
    rotation, up = camera_of(20)
    world = np.array([[300.0, 5000.0, 0.0], [0.0, 0.0, EYE]])
    ground = Ground(world_from_camera(up), EYE)
    np.testing.assert_allclose(ground.to_world((world - (0, 0, EYE)) @ rotation.T), world, atol=1e-9)
    np.testing.assert_allclose(ground.up, up)


def test_who_walks_far_mends_up_and_who_stands_does_not():
    rotation, up = camera_of(8)
    doubtful = camera_of(5)[1]

    def error(world: np.ndarray) -> float:
        points = (world - (0, 0, EYE)) @ rotation.T
        ground = find_ground(doubtful, (lifted(points - points[:, :1]), points[:, 0]))
        return float(np.degrees(np.arccos(np.clip(ground.up @ up, -1, 1))))

    assert error(walk(300, heading=90)[0]) < 0.5
    assert error(np.tile(walk(1)[0], (300, 1, 1))) == pytest.approx(3, abs=0.1)


def test_the_ground_tilts_no_further_than_up_may_be_wrong():
    world, _ = walk(300, heading=90)
    world[..., 2] += 0.5 * world[..., 1]  # up a hill
    track, root, up = film(world)
    ground = find_ground(up, (track, root))
    assert np.degrees(np.arccos(ground.up @ up)) == pytest.approx(10, abs=1e-3)


def test_a_few_wrong_feet_do_not_move_the_ground():
    world, _ = walk(300, heading=90)
    world[100:120] -= (0, 0, 900)
    track, root, up = film(world)
    assert find_ground(up, (track, root)).height == pytest.approx(EYE, abs=30)


def test_people_share_one_ground():
    one, _ = walk(heading=0)
    two, _ = walk(heading=120)
    first, root_1, up = film(one)
    second, root_2, _ = film(two)
    ground = find_ground(up, (first, root_1), (second, root_2))
    assert ground.height == pytest.approx(EYE, abs=2)
    gap = world_path(second, root_2, ground)[:, 0] - world_path(first, root_1, ground)[:, 0]
    np.testing.assert_allclose(gap, two[:, 0] - one[:, 0], atol=45)


def test_a_jump_leaves_the_floor_by_its_height():
    time_s = np.arange(120) / FPS
    up_s = time_s - 2.0
    height = np.maximum(0.0, 400 - 0.5 * 9810 * up_s**2)  # in the air for 0.57 s
    still = np.tile(walk(1, heading=0)[0], (120, 1, 1))
    still[:, FEET, 2] = 0
    track, root, up = film(still + np.stack([0 * height, 0 * height, height], 1)[:, None])
    world = world_path(track, root, find_ground(up, (track, root)))
    lowest = world[:, FEET, 2].min(1)
    assert lowest.max() == pytest.approx(400, abs=25)
    assert np.abs(lowest[height == 0]).max() < 15


def test_who_drifts_off_the_floor_is_put_back_on_it():
    """As the height of someone near a camera that looks down does when the depth is wrong."""
    world, contact = walk(240)
    drift = 500 * np.sin(2 * np.pi * 0.2 * np.arange(240) / FPS)
    track, root, up = film(world)
    ground = find_ground(up, (track, root))
    placed = world_path(track, root - drift[:, None] * np.array([0, 1.0, 0]), ground)
    assert np.abs(placed[:, FEET, 2][contact]).mean() < 25
    np.testing.assert_allclose(_drift(np.zeros(30), np.arange(30) / FPS), 0)


@pytest.mark.parametrize("turn", [[1, -1, -1], [-1, 1, -1]])
def test_a_handstand_stands_on_its_hands(turn):
    still = np.tile(walk(1, heading=0)[0], (60, 1, 1))
    still[:, [H36M17.index("l_wrist"), H36M17.index("r_wrist")], 2] += 1200
    pose = (still - still[:, :1]) * turn
    pose[..., 2] -= pose[..., 2].min()
    track, root, up = film(pose + np.array([0, 5000, 0]))
    world = world_path(track, root, find_ground(up, (track, root)))
    assert np.abs(world[:, H36M17.index("l_wrist"), 2]).max() < 5
    assert world[:, FEET, 2].min() > 1000


def test_feet_that_stand_stop_skating():
    world, contact = walk(240, heading=90)
    track, root, up = film(world)
    drift = 80 * np.sin(2 * np.pi * 0.8 * track.time_s)  # of the depth, as a lifter's size of the body comes and goes
    root = root + drift[:, None] * (root / np.linalg.norm(root, axis=1, keepdims=True))
    ground = find_ground(up, (track, root))
    before, after = ground.to_world(track.xyz + root[:, None]), world_path(track, root, ground)
    slides = [skating(joints[:, FEET], track.time_s, contact) for joints in (world, before, after)]
    assert slides[0] == pytest.approx(0, abs=1e-6)
    assert slides[1] > 150
    assert slides[2] < 0.4 * slides[1]
    errors = [np.abs(joints[:, 0] - world[:, 0]).mean() for joints in (before, after)]
    assert errors[1] < errors[0]
    # as smooth as it was: no jumps where a foot is put down or lifted
    assert np.abs(np.diff(after[:, 0], 2, axis=0)).max() * FPS**2 < 15_000


def test_feet_in_the_air_are_not_held():
    """Someone who is carried along, feet off the floor or fast, keeps the speed of the picture."""
    still = np.tile(walk(1, heading=0)[0], (120, 1, 1))
    carried = still + np.arange(120)[:, None, None] / FPS * np.array([1500.0, 0, 0])
    track, root, up = film(carried)
    world = world_path(track, root, find_ground(up, (track, root)))
    pace = np.diff(world[:, 0, 0]) * FPS
    assert pace[30:-30].mean() == pytest.approx(1500, rel=0.02)


def test_parts_are_put_on_the_ground_each_by_itself():
    world, _ = walk(120, heading=0)
    track, root, up = film(world)
    ground = find_ground(up, (track, root))
    halves = world_path(track, root, ground, parts=(slice(0, 60), slice(60, 120)))
    alone = world_path(Track3D(H36M17, track.frame[:60], track.time_s[:60], track.xyz[:60]), root[:60], ground)
    np.testing.assert_allclose(halves[:60], alone, atol=1e-9)


def test_skating_by_hand():
    feet = np.zeros((4, 1, 3))
    feet[:, 0, 0] = [0, 3, 3, 50]
    feet[:, 0, 1] = [0, 4, 4, 50]
    time_s, contact = np.array([0, 0.1, 0.2, 0.3]), np.array([[True], [True], [True], [False]])
    assert skating(feet, time_s, contact) == pytest.approx(25)  # 50 mm/s, then none
    assert np.isnan(skating(feet, time_s, np.zeros((4, 1), bool)))


def test_scaled_to_a_height():
    pose = np.zeros((17, 3))
    down = {"thigh": 430.0, "shin": 410.0}
    for side in "lr":
        pose[H36M17.index(f"{side}_knee"), 1] = down["thigh"]
        pose[H36M17.index(f"{side}_ankle"), 1] = down["thigh"] + down["shin"]
    for name, height in (("spine", 230), ("thorax", 480), ("nose", 600), ("head_top", 740)):
        pose[H36M17.index(name), 1] = -height
    stature = (430 + 410 + 740) / (1 - ANKLE_HEIGHT)
    poses = np.tile(pose, (5, 1, 1))
    poses[4] *= 3  # one bad frame
    scaled = scale_to_height(lifted(poses), 1800.0)
    np.testing.assert_allclose(scaled.xyz, poses * 1800 / stature)
    np.testing.assert_allclose(scale_to_height(scaled, 1800.0).xyz, scaled.xyz)
    assert len(scale_to_height(lifted(poses[:0]), 1800.0)) == 0


@pytest.mark.parametrize("height", [0, 180, -1700, 2700, float("nan")])
def test_heights_that_nobody_has(height):
    with pytest.raises(InputError, match=r"--height .*: people are 50 to 260 cm tall"):
        scale_to_height(lifted(bodies(2)), height)


def test_a_body_without_size_cannot_be_scaled():
    with pytest.raises(ValueError, match="no finite size"):
        scale_to_height(lifted(np.full((2, 17, 3), np.nan)), 1800.0)


@pytest.mark.parametrize("clip", ["demo", "D_terrain"])
def test_paths_of_rendered_people(clip):
    if not os.environ.get("POSECLI_DATA"):
        pytest.skip("POSECLI_DATA does not name the data folder")
    path = Path(os.environ["POSECLI_DATA"]) / "clips" / "rendered" / f"{clip}_gt.json"
    truth = json.loads(path.read_text())
    (fx, _, cx), (_, fy, cy), _ = truth["K"]
    xyz, uv = (np.array([frame[key] for frame in truth["frames"]]) for key in ("xyz_cam_mm", "uv"))
    pelvis = truth["joints"].index("pelvis")
    skeleton = Skeleton("rig", tuple(truth["joints"]), (-1,) * 17, pelvis)
    poses, rays = xyz - xyz[:, pelvis, None], Intrinsics(fx, fy, cx, cy).rays(uv)
    weight = np.ones(uv.shape[:2])
    assert np.abs(solve_root(poses, rays, weight=weight) - xyz[:, pelvis]).max() < 0.5  # the truth is rounded
    frames = np.arange(len(xyz))
    track = Track3D(skeleton, frames, frames / truth["fps"], poses)
    noisy = rays + np.random.default_rng(0).normal(0, 3 / fx, rays.shape)
    error = root_path(track, noisy, weight=weight).xyz - xyz[:, pelvis]
    across, down, along = np.sqrt((error**2).mean(0))
    assert max(across, down) < 6
    assert along < 40  # depth is smoothed strongly: what lifted poses tell of it is noisy
