"""The canonical human: exact lengths, kept directions, and the same person in a mirror."""

import math

import pytest
import torch

from lifter.body import (
    ADULT_MM,
    DIRECTIONS,
    HEAD_TILT_RAD,
    LENGTHS,
    NOSE_FORWARD_MM,
    adult,
    directions_of,
    forward_of,
    level_heads,
    pose_of,
    rotate,
    unit,
)
from pipeline.skeleton import H36M17
from tests.lifter.conftest import random_directions, standing


def joint(poses: torch.Tensor, name: str) -> torch.Tensor:
    return poses[:, H36M17.index(name)]


BONES = [
    ("pelvis", "l_hip", "half_hips"),
    ("pelvis", "thorax", "trunk"),
    ("thorax", "head_top", "head"),
    ("r_hip", "r_knee", "thigh"),
    ("l_knee", "l_ankle", "shin"),
    ("l_shoulder", "l_elbow", "upper_arm"),
    ("r_elbow", "r_wrist", "forearm"),
]


@pytest.mark.parametrize(("start", "end", "length"), BONES)
def test_bones_have_exactly_their_lengths(start: str, end: str, length: str) -> None:
    lengths = adult() * torch.linspace(0.9, 1.1, 20)[:, None]
    poses = pose_of(random_directions(20), lengths)
    measured = (joint(poses, end) - joint(poses, start)).norm(dim=-1)
    assert torch.allclose(measured, lengths[:, LENGTHS.index(length)], atol=1e-3)


def test_middle_joints_stand_where_the_detectors_are() -> None:
    poses = pose_of(random_directions(20), adult().expand(20, -1))
    assert torch.allclose(joint(poses, "l_hip") + joint(poses, "r_hip"), torch.zeros(20, 3), atol=1e-3)
    assert torch.allclose(joint(poses, "spine"), joint(poses, "thorax") / 2)
    shoulders = (joint(poses, "l_shoulder") + joint(poses, "r_shoulder")) / 2
    assert torch.allclose((joint(poses, "thorax") - shoulders).norm(dim=-1), torch.tensor(ADULT_MM["neck_rise"]))


def test_directions_of_any_body_come_through() -> None:
    directions = random_directions(20)
    lengths = adult() * torch.rand(20, len(LENGTHS), generator=torch.Generator().manual_seed(1)).add(0.5)
    again = directions_of(pose_of(directions, lengths))
    limbs = [i for i, name in enumerate(DIRECTIONS) if name != "head"]
    assert torch.allclose(again[:, limbs], directions[:, limbs], atol=1e-5)


def test_a_standing_person_by_hand() -> None:
    pose = pose_of(standing()[None], adult()[None])
    size = ADULT_MM
    shoulder = (size["half_shoulders"], size["trunk"] - size["neck_rise"], 0)
    expected = {
        "head_top": (0, size["trunk"] + size["head"], 0),
        "nose": (0, size["trunk"] + size["head"] / 2, NOSE_FORWARD_MM),
        "r_ankle": (-size["half_hips"], -size["thigh"] - size["shin"], 0),
        "l_wrist": (shoulder[0], shoulder[1] - size["upper_arm"], size["forearm"]),
    }
    for name, position in expected.items():
        assert torch.allclose(joint(pose, name)[0], torch.tensor(position), atol=1e-3), name


def test_a_mirrored_pose_gives_the_mirrored_body() -> None:
    mirror = torch.tensor([-1.0, 1.0, 1.0])
    poses = pose_of(random_directions(20), adult().expand(20, -1))
    mirrored = poses[:, list(H36M17.flip)] * mirror
    rebuilt = pose_of(directions_of(mirrored), adult().expand(20, -1))
    expected = pose_of(directions_of(poses), adult().expand(20, -1))[:, list(H36M17.flip)] * mirror
    assert torch.allclose(rebuilt, expected, atol=1e-2)


def test_rotate_is_right_handed() -> None:
    x, z = torch.tensor([1.0, 0, 0]), torch.tensor([0, 0, 1.0])
    assert torch.allclose(rotate(x, z * math.pi / 2), torch.tensor([0, 1.0, 0]), atol=1e-6)
    assert torch.equal(rotate(x, torch.zeros(3)), x)


def test_levelled_heads_lean_forward_by_the_same_median() -> None:
    directions = random_directions(101, spread=0.05)
    head = DIRECTIONS.index("head")
    directions[:, head] = unit(directions[:, head] + torch.tensor([0, 0, 0.4]))  # a source that marks the face
    levelled = level_heads(directions)
    forward, trunk = forward_of(levelled), levelled[:, DIRECTIONS.index("trunk")]
    lean = torch.atan2((levelled[:, head] * forward).sum(-1), (levelled[:, head] * trunk).sum(-1))
    assert lean.median().item() == pytest.approx(HEAD_TILT_RAD, abs=1e-3)
    others = [i for i in range(len(DIRECTIONS)) if i != head]
    assert torch.equal(levelled[:, others], directions[:, others])
