"""Which way is up, and feet on the floor."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.place import CAMERA_UP, stand, up_direction, world_from_camera
from pipeline.poses import Track3D
from pipeline.skeleton import H36M16, H36M17, LSP14, Skeleton

FPS = 30
THIGH, SHIN, TORSO = 440.0, 420.0, 500.0


def rotation(axis: int, degrees: float) -> np.ndarray:
    """Rotation (3, 3) about a coordinate axis."""
    a, b = [i for i in range(3) if i != axis]
    angle, matrix = np.radians(degrees), np.eye(3)
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[a, b], matrix[b, a] = -np.sin(angle), np.sin(angle)
    return matrix


def person(hip: np.ndarray, knee: np.ndarray, *, skeleton: Skeleton = H36M16) -> np.ndarray:
    """Root-relative world poses (T, J, 3), mm, facing forward (y), from hip and knee bends (T, 2) of left and right.

    A bent hip lifts the thigh to the front, a bent knee takes the shin back; degrees.
    """
    hip, knee = np.radians(hip), np.radians(knee)
    joints = {"pelvis": np.zeros((len(hip), 3))}
    for column, (side, x) in enumerate((("l_", -110.0), ("r_", 110.0))):
        thigh, shin = hip[:, column], hip[:, column] - knee[:, column]
        joints[f"{side}hip"] = joints["pelvis"] + (x, 0, 0)
        for name, above, angle, length in (("knee", "hip", thigh, THIGH), ("ankle", "knee", shin, SHIN)):
            bone = np.stack([0 * angle, np.sin(angle), -np.cos(angle)], axis=1)
            joints[side + name] = joints[side + above] + length * bone
        for name, height in (("shoulder", TORSO), ("elbow", TORSO - 280), ("wrist", TORSO - 530)):
            joints[side + name] = joints["pelvis"] + (1.7 * x, 0, height)
    # one balances over the soles, so the chest of who stands upright is a little in front of the ankles
    for name, height in (("spine", 0.5 * TORSO), ("thorax", TORSO), ("nose", TORSO + 130), ("head_top", TORSO + 260)):
        joints[name] = joints["pelvis"] + (0, 40, height)
    return np.stack([joints[name] for name in skeleton.joints], axis=1)


def standing(frames: int = 90, *, skeleton: Skeleton = H36M16) -> np.ndarray:
    return person(np.zeros((frames, 2)), np.zeros((frames, 2)), skeleton=skeleton)


def walking(frames: int = 120) -> np.ndarray:
    """Two steps a second, knees bent in swing."""
    phase = 2 * np.pi * np.arange(frames) / FPS
    swing = np.stack([np.sin(phase), -np.sin(phase)], axis=1)
    lift = np.stack([np.cos(phase), -np.cos(phase)], axis=1).clip(0)
    return person(25 * swing + 15 * lift, 45 * lift**2)


def squatting(frames: int = 120) -> np.ndarray:
    """Down and up again every two seconds, thighs to 80 degrees, shins to 30."""
    depth = (1 - np.cos(np.pi * np.arange(frames) / FPS))[:, None] / 2 * np.ones(2)
    return person(80 * depth, 110 * depth)


def track(world: np.ndarray, camera: np.ndarray | None = None, *, skeleton: Skeleton = H36M16) -> Track3D:
    """World poses as a level camera sees them, or one turned by `camera`, a rotation of its axes."""
    seen = world @ world_from_camera(CAMERA_UP) @ (np.eye(3) if camera is None else camera).T
    frames = np.arange(len(world))
    return Track3D(skeleton, frames, frames / FPS, seen)


def off(a: np.ndarray, b: np.ndarray) -> float:
    """Angle between two unit vectors, degrees."""
    return float(np.degrees(np.arccos(np.clip(a @ b, -1, 1))))


@pytest.mark.parametrize("pose", [standing, walking])
@pytest.mark.parametrize("heading", [0, 90, 200])
@pytest.mark.parametrize(("pitch", "roll"), [(0, 0), (20, 0), (-12, 2), (30, 4), (10, -5)])
def test_up_of_people_who_stand_or_walk(pose, heading, pitch, roll):
    camera = rotation(2, roll) @ rotation(0, pitch)
    found = up_direction(track(pose() @ rotation(2, heading).T, camera))
    assert off(found, camera @ CAMERA_UP) < 4.5
    assert np.linalg.norm(found) == pytest.approx(1)


def test_a_camera_that_looks_down_sees_up_come_towards_it():
    found = up_direction(track(standing(), rotation(0, 20)))
    assert found[2] < -0.25  # -sin(20 degrees) is -0.34; drawn a little towards level


def test_up_survives_noise_and_a_minority_on_the_floor():
    camera = rotation(0, 15)
    poses = np.concatenate([walking(150), walking(60) @ rotation(0, 90).T])
    poses += np.random.default_rng(0).normal(0, 20, poses.shape)
    assert off(up_direction(track(poses, camera)), camera @ CAMERA_UP) < 4


@pytest.mark.parametrize(
    "fall", [rotation(0, 180), rotation(1, 180), rotation(1, 90), rotation(1, -70), rotation(0, -90)]
)
def test_handstands_and_lying_fall_back_to_the_cameras_up(fall):
    np.testing.assert_array_equal(up_direction(track(standing() @ fall.T)), CAMERA_UP)


def test_sitting_falls_back_to_the_cameras_up():
    sitting = person(np.full((60, 2), 90.0), np.full((60, 2), 90.0))
    np.testing.assert_array_equal(up_direction(track(sitting, rotation(0, 20))), CAMERA_UP)


def test_thin_evidence_counts_less_and_roll_less_than_pitch():
    def tilt(frames, camera):
        return off(up_direction(track(standing(frames), camera)), CAMERA_UP)

    assert 8 < tilt(1, rotation(0, 20)) < tilt(30, rotation(0, 20)) < tilt(300, rotation(0, 20)) <= 22
    assert tilt(1, rotation(2, 10)) < 3
    assert tilt(1, rotation(2, 10)) < tilt(300, rotation(2, 10)) < 10


def test_people_of_a_clip_share_one_up_and_the_order_does_not_matter():
    camera = rotation(0, 18)
    upright, inverted = track(walking(), camera), track(standing() @ rotation(1, 180).T, camera)
    np.testing.assert_allclose(up_direction(upright, inverted), up_direction(upright))
    np.testing.assert_allclose(up_direction(inverted, upright), up_direction(upright))


def test_up_without_tracks_or_with_unusable_joints():
    np.testing.assert_array_equal(up_direction(), CAMERA_UP)
    seen = track(standing())
    seen.xyz[:, H36M16.index("l_ankle")] = np.nan
    seen.xyz[:, H36M16.index("r_knee")] = np.inf
    np.testing.assert_array_equal(up_direction(seen), CAMERA_UP)
    np.testing.assert_array_equal(up_direction(track(np.zeros((5, 16, 3)))), CAMERA_UP)


def test_up_passes_over_bad_frames():
    camera = rotation(0, 20)
    poses = standing()
    clean = up_direction(track(poses, camera))
    poses[::3, H36M16.index("thorax")] = np.nan
    np.testing.assert_allclose(up_direction(track(poses, camera)), clean, atol=1e-9)


def test_up_needs_a_body():
    frames = np.arange(3)
    with pytest.raises(ValueError, match="pelvis"):
        up_direction(Track3D(LSP14, frames, frames / FPS, np.zeros((3, 14, 3))))


def test_world_axes_of_a_level_camera():
    expected = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]  # right is right, away is forward, up is up
    np.testing.assert_allclose(world_from_camera(CAMERA_UP), expected, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.floats(-60, 60), st.floats(-60, 60), st.floats(0.1, 10))
def test_world_axes_are_a_rotation_with_up_on_z(pitch, roll, length):
    up = rotation(2, roll) @ rotation(0, pitch) @ CAMERA_UP
    turn = world_from_camera(length * up)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)
    np.testing.assert_allclose(turn @ up, [0, 0, 1], atol=1e-12)
    ahead = turn @ [0, 0, 1]
    assert ahead[0] == pytest.approx(0, abs=1e-12)
    assert ahead[1] > 0


def test_no_forward_along_up():
    with pytest.raises(ValueError, match="viewing direction"):
        world_from_camera(np.array([0.0, 0.0, -1.0]))


@pytest.mark.parametrize("skeleton", [H36M16, H36M17])
def test_standing_is_upright_on_the_floor(skeleton):
    world = stand(track(standing(skeleton=skeleton), skeleton=skeleton), CAMERA_UP)
    assert world.shape == (90, len(skeleton), 3)
    np.testing.assert_allclose(world[:, skeleton.index("l_ankle"), 2], 0, atol=1e-6)
    np.testing.assert_allclose(world[:, skeleton.index("pelvis")], [[0, 0, THIGH + SHIN]] * 90, atol=1e-6)
    np.testing.assert_allclose(world[:, skeleton.index("head_top"), 2], THIGH + SHIN + TORSO + 260, atol=1e-6)


def test_feet_of_a_walk_touch_the_floor_within_millimetres():
    lowest = stand(track(walking()), CAMERA_UP)[..., 2].min(axis=1)
    assert np.median(np.abs(lowest)) < 4
    assert np.abs(lowest).max() < 12


def test_in_a_squat_the_hips_go_down_and_the_feet_stay():
    world = stand(track(squatting()), CAMERA_UP)
    assert np.abs(world[:, H36M16.indices(("l_ankle", "r_ankle")), 2]).max() < 3
    pelvis = world[:, 0, 2]
    bottom = THIGH * np.cos(np.radians(80)) + SHIN * np.cos(np.radians(30))
    assert pelvis.max() == pytest.approx(THIGH + SHIN, abs=3)
    assert pelvis.min() == pytest.approx(bottom, abs=3)


def test_a_handstand_stands_on_its_hands():
    world = stand(track(standing() @ rotation(1, 180).T))
    assert world[..., 2].min() == pytest.approx(0, abs=1e-6)
    assert world[0, H36M16.index("l_ankle"), 2] > 1400


def test_noise_does_not_shake_the_body():
    rng = np.random.default_rng(1)
    poses = standing()
    shaken = poses + rng.normal(0, 15, poses.shape)
    lowest = shaken[..., 2].min(axis=1)
    world = stand(track(shaken), CAMERA_UP)
    lift = world[:, 0, 2] - shaken[:, 0, 2]
    assert np.abs(np.diff(lift)).mean() < 0.4 * np.abs(np.diff(lowest)).mean()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-3000, 3000), min_size=1, max_size=8))
def test_no_sequence_of_heights_breaks_the_floor(heights):
    poses = standing(len(heights))
    poses[..., 2] += np.array(heights)[:, None]
    assert np.isfinite(stand(track(poses), CAMERA_UP)).all()


def test_one_bad_frame_moves_nothing_else():
    poses = squatting()
    clean = stand(track(poses), CAMERA_UP)
    poses[40, H36M16.index("l_wrist")] -= (0, 0, 3000)
    dirty = stand(track(poses), CAMERA_UP)
    np.testing.assert_allclose(np.delete(dirty, 40, 0), np.delete(clean, 40, 0), atol=1)


def test_joints_that_are_not_finite_become_nan_and_move_nothing_else():
    seen = track(standing())
    seen.xyz[10] = np.nan
    seen.xyz[20, H36M16.index("l_ankle")] = np.inf
    world = stand(seen, CAMERA_UP)
    assert np.isnan(world[10]).all()
    assert np.isnan(world[20, H36M16.index("l_ankle")]).all()
    assert np.isfinite(world).all(axis=2).sum() == 90 * 16 - 16 - 1
    np.testing.assert_allclose(world[[9, 11, 20], H36M16.index("r_ankle"), 2], 0, atol=1e-6)
    assert np.isnan(stand(track(np.full((4, 16, 3), np.nan)))).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(1e-3, 3), min_size=1, max_size=25))
def test_any_time_stamps_will_do(steps):
    times = np.cumsum(steps)
    frames = np.arange(len(times))
    still = track(standing(len(times))).xyz
    world = stand(Track3D(H36M16, frames, times, still))
    np.testing.assert_allclose(world[:, H36M16.index("l_ankle"), 2], 0, atol=0.5)


def data() -> Path:
    folder = os.environ.get("POSECLI_DATA")
    if not folder:
        pytest.skip("POSECLI_DATA does not name the data folder")
    return Path(folder)


def test_up_of_rendered_people_with_known_gravity():
    for clip in ("demo", "D_terrain"):
        truth = json.loads((data() / "clips" / "rendered" / f"{clip}_gt.json").read_text())
        columns = [truth["joints"].index({"thorax": "neck"}.get(joint, joint)) for joint in H36M16.joints]
        xyz = np.array([frame["xyz_cam_mm"] for frame in truth["frames"]])[:, columns]
        up = np.array(truth["frames"][0]["E"])[:3, 1] * (1, -1, -1)  # its y is up, its camera looks along -z
        frames = np.arange(len(xyz))
        found = up_direction(Track3D(H36M16, frames, frames / truth["fps"], xyz - xyz[:, :1]))
        assert off(found, up / np.linalg.norm(up)) < 3


def test_up_of_people_who_really_walk():
    camera = rotation(2, 2) @ rotation(0, 15)
    with np.load(data() / "mocap" / "cmu_h36m17_30fps.npz") as motions:
        walks = [motions[name] for name in motions.files if name.startswith("walk/")][:20]
    y_up = world_from_camera(CAMERA_UP).T @ np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    errors = []
    for walk in walks:
        xyz = (walk - walk[:, :1]).astype(np.float64) @ (camera @ y_up).T
        frames = np.arange(len(xyz))
        errors.append(off(up_direction(Track3D(H36M17, frames, frames / FPS, xyz)), camera @ CAMERA_UP))
    assert np.median(errors) < 4
    assert max(errors) < 7
