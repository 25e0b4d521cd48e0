"""Joint angles: bodies bent by hand, and what must not change an angle."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pipeline.angles import ANGLES, joint_angles
from pipeline.skeleton import H36M17
from tests.pipeline.posed import even, walker

UP, LEFT, FRONT = np.eye(3)[[2, 0, 1]]


def standing() -> dict[str, np.ndarray]:
    """Someone who stands upright, arms down; limbs of length 1."""
    at = {"pelvis": 2 * UP, "spine": 2.5 * UP, "thorax": 3 * UP, "nose": 3.2 * UP, "head_top": 3.5 * UP}
    for side, sign in (("l", 1), ("r", -1)):
        hip, shoulder = at["pelvis"] + 0.2 * sign * LEFT, at["thorax"] + 0.3 * sign * LEFT
        at |= {f"{side}_hip": hip, f"{side}_knee": hip - UP, f"{side}_ankle": hip - 2 * UP}
        at |= {f"{side}_shoulder": shoulder, f"{side}_elbow": shoulder - UP, f"{side}_wrist": shoulder - 2 * UP}
    return at


def angles_of(at: dict[str, np.ndarray]) -> dict[str, float]:
    values = joint_angles(np.stack([at[joint] for joint in H36M17.joints]))
    return {f"{angle.side} {angle.name}": value for angle, value in zip(ANGLES, values.tolist(), strict=True)}


def test_who_stands_upright_bends_nothing():
    assert angles_of(standing()) == {
        f"{side} {name}": 0 for name in ("knee", "hip", "elbow", "shoulder") for side in ("left", "right")
    }


@pytest.mark.parametrize(("side", "letter"), [("left", "l"), ("right", "r")])
def test_each_joint_by_hand(side, letter):
    at = standing()
    at[f"{letter}_knee"] = at[f"{letter}_hip"] + FRONT  # sitting
    at[f"{letter}_ankle"] = at[f"{letter}_knee"] - UP
    at[f"{letter}_elbow"] = at[f"{letter}_shoulder"] + UP  # the arm overhead, the forearm half-way back down
    at[f"{letter}_wrist"] = at[f"{letter}_elbow"] + FRONT - UP
    expected = dict.fromkeys(angles_of(at), 0.0)
    expected |= {f"{side} hip": 90, f"{side} knee": 90, f"{side} shoulder": 180, f"{side} elbow": 135}
    assert angles_of(at) == pytest.approx(expected, abs=1e-9)


def test_a_raised_arm_has_the_same_angle_whichever_way():
    for way in (FRONT, -FRONT, LEFT):
        at = standing()
        at["l_elbow"] = at["l_shoulder"] + np.sin(np.radians(40)) * way - np.cos(np.radians(40)) * UP
        assert angles_of(at)["left shoulder"] == pytest.approx(40)


def test_angles_do_not_depend_on_place_size_or_axes():
    points = walker(even(20))
    turned = 0.001 * Rotation.from_euler("xyz", [0.4, 1.1, -2.0]).apply(points.reshape(-1, 3)).reshape(points.shape) + 7
    angles = joint_angles(points)
    assert angles.shape == (20, 8)
    np.testing.assert_allclose(joint_angles(turned), angles, atol=1e-6)
    np.testing.assert_allclose(joint_angles(points[3]), angles[3])


def test_the_law_of_cosines_says_the_same():
    points = walker(even(20))
    a, b, c = (points[:, H36M17.index(joint)] for joint in ("r_hip", "r_knee", "r_ankle"))
    near, far, across = (np.linalg.norm(x - y, axis=-1) for x, y in ((a, b), (b, c), (a, c)))
    inner = np.degrees(np.arccos((near**2 + far**2 - across**2) / (2 * near * far)))
    knee = [(angle.name, angle.side) for angle in ANGLES].index(("knee", "right"))
    np.testing.assert_allclose(joint_angles(points)[:, knee], 180 - inner, atol=1e-6)


def test_mirrored_bodies_swap_sides():
    points = walker(even(5))
    mirrored = (points * (-1, 1, 1))[:, list(H36M17.flip)]
    np.testing.assert_allclose(joint_angles(mirrored), joint_angles(points)[:, [1, 0, 3, 2, 5, 4, 7, 6]], atol=1e-9)


def test_a_bone_without_length_has_the_angle_0():
    at = standing()
    at["l_ankle"] = at["l_knee"]
    assert angles_of(at)["left knee"] == 0
