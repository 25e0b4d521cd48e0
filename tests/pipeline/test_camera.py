"""Projection and its inverse, and the virtual camera against explicit rotations in space."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pipeline.camera import Camera, Intrinsics, facing_rotation, turn_rays

INTRINSICS = Intrinsics(1100.0, 1150.0, 512.3, 515.7)
slope = st.floats(-3, 3)


def points(count: int = 50, *, seed: int = 0) -> np.ndarray:
    """Points (count, 3) in mm in front of a camera."""
    rng = np.random.default_rng(seed)
    return rng.uniform((-2000, -1500, 1000), (2000, 1500, 8000), (count, 3))


def camera(seed: int = 0) -> Camera:
    return Camera(INTRINSICS, Rotation.random(random_state=seed).as_matrix(), np.array([100.0, -200.0, 4000.0]))


def test_projection_by_hand():
    intrinsics = Intrinsics(1000, 500, 320, 240)
    assert intrinsics.project(np.array([200.0, 100.0, 2000.0])).tolist() == [420, 265]
    assert intrinsics.rays(np.array([420.0, 265.0])) == pytest.approx([0.1, 0.05])


def test_rays_undo_projection():
    xyz = points()
    np.testing.assert_allclose(INTRINSICS.rays(INTRINSICS.project(xyz)) * xyz[:, 2:], xyz[:, :2], rtol=1e-12)


def test_guess_is_the_diagonal_and_the_centre():
    guess = Intrinsics.guess(1920, 1080)
    assert guess.fx == guess.fy == pytest.approx((1920**2 + 1080**2) ** 0.5)
    # The middle between the first pixel's centre, 0, and the last one's.
    assert (guess.cx, guess.cy) == (959.5, 539.5)
    assert Intrinsics.guess(1, 1).rays(np.array([0.0, 0.0])).tolist() == [0, 0]


@pytest.mark.parametrize("seed", range(5))
def test_world_to_camera_and_back(seed):
    world = points(seed=seed)
    np.testing.assert_allclose(camera(seed).to_world(camera(seed).to_camera(world)), world, atol=1e-8)


def test_to_camera_is_rotation_then_translation():
    view = camera()
    for world in points(3):
        np.testing.assert_allclose(view.to_camera(world), view.rotation @ world + view.translation)
    np.testing.assert_allclose(view.project(points(3)), view.intrinsics.project(view.to_camera(points(3))))


@settings(max_examples=60, deadline=None)
@given(x=slope, y=slope)
def test_facing_rotation_is_a_rotation_that_puts_the_ray_on_the_axis(x, y):
    rotation = facing_rotation(np.array([x, y]))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    np.testing.assert_allclose(rotation @ (x, y, 1), (0, 0, np.sqrt(x * x + y * y + 1)), atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(x=slope, y=slope)
def test_facing_rotation_is_a_pan_then_a_tilt(x, y):
    # SciPy's own rotations: about y (down) by -atan(x), then about x by the angle that is left.
    pan, tilt = np.arctan(x), np.arctan2(y, np.hypot(x, 1))
    expected = Rotation.from_rotvec([tilt, 0, 0]) * Rotation.from_rotvec([0, -pan, 0])
    np.testing.assert_allclose(facing_rotation(np.array([x, y])), expected.as_matrix(), atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(x=st.floats(-1, 1), y=st.floats(-1, 1))
def test_the_horizon_of_a_level_camera_stays_level(x, y):
    # Within 0.4 of the virtual camera's own direction, so that all of it lies in front of it.
    horizon = np.stack([x + np.linspace(-0.4, 0.4, 9), np.zeros(9)], -1)
    seen = turn_rays(horizon, facing_rotation(np.array([x, y])))
    np.testing.assert_allclose(seen[:, 1], seen[0, 1], atol=1e-12)
    assert (np.diff(seen[:, 0]) > 0).all()


def test_facing_straight_on_changes_nothing():
    np.testing.assert_array_equal(facing_rotation(np.zeros(2)), np.eye(3))


def test_many_rays_at_once():
    rays = np.random.default_rng(0).uniform(-1, 1, (4, 3, 2))
    rotations = facing_rotation(rays)
    assert rotations.shape == (4, 3, 3, 3)
    np.testing.assert_array_equal(rotations[2, 1], facing_rotation(rays[2, 1]))


def test_turned_rays_are_the_projection_of_turned_points():
    rng = np.random.default_rng(0)
    xyz = rng.uniform((-1, -1, 3), (1, 1, 6), (5, 14, 3))
    rotation = Rotation.from_rotvec(rng.uniform(-0.4, 0.4, (5, 3))).as_matrix()
    seen = turn_rays(xyz[..., :2] / xyz[..., 2:], rotation)
    for t in range(5):
        for j in range(14):
            turned = rotation[t] @ xyz[t, j]
            np.testing.assert_allclose(seen[t, j], turned[:2] / turned[2], rtol=1e-9)


def test_a_person_looks_the_same_to_the_virtual_camera_wherever_he_stands():
    # A body turned together with its direction: only the direction's own turn may be left.
    body = np.random.default_rng(0).uniform(-0.5, 0.5, (14, 3))
    straight = body + np.array([0, 0, 5])
    for ray in ([0.5, 0.0], [-0.3, 0.2], [0.0, -0.4]):
        aside = straight @ facing_rotation(np.array(ray))  # the inverse rotation: from the axis out to the ray
        seen = turn_rays(aside[:, :2] / aside[:, 2:], facing_rotation(np.array(ray)))
        np.testing.assert_allclose(seen, straight[:, :2] / straight[:, 2:], atol=1e-12)
