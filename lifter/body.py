"""One canonical human for all sources of motion: a pose is twelve directions, a body is nine lengths.

Motion capture sets disagree about bodies (forearms of 190 mm, shoulders at the collar bones, a spine of length 0).
Their directions agree. So every pose is kept as unit vectors and rebuilt on an adult whose joints stand where a 2D
detector's do: pelvis half-way between the hips, thorax at the base of the neck, spine half-way between the two.

All functions work on tensors of any device, axes as the input's (any right-handed ones), mm.
"""

import torch
from torch import Tensor

from pipeline.skeleton import H36M17

# What points where: line of the hips and of the shoulders from right to left, trunk from mid-hips to mid-shoulders,
# head from mid-shoulders to the head; limbs from the body outwards.
DIRECTIONS = (
    "hips", "trunk", "shoulders", "head",
    "l_thigh", "l_shin", "l_upper_arm", "l_forearm", "r_thigh", "r_shin", "r_upper_arm", "r_forearm",
)  # fmt: skip
ARMS = tuple(DIRECTIONS.index(f"{side}_{part}") for side in "lr" for part in ("upper_arm", "forearm"))

# An adult of about 1.7 m, mm: mean lengths of the joints that annotators mark and detectors find. Both sides alike.
ADULT_MM = {
    "half_hips": 95.0,
    "trunk": 500.0,  # pelvis to thorax
    "neck_rise": 60.0,  # thorax above the line of the shoulders
    "half_shoulders": 165.0,
    "head": 265.0,  # thorax to head_top
    "thigh": 430.0,
    "shin": 425.0,
    "upper_arm": 270.0,
    "forearm": 240.0,
}
LENGTHS = tuple(ADULT_MM)
NOSE_FORWARD_MM = 70.0  # the nose stands half-way between thorax and head_top, and this far in front
HEAD_TILT_RAD = 0.05  # median lean of the head (thorax to head_top) forward of the trunk


def adult() -> Tensor:
    """Mean lengths (9,) in the order of LENGTHS, mm."""
    return torch.tensor(list(ADULT_MM.values()))


def unit(vectors: Tensor) -> Tensor:
    """Vectors (..., 3) at length 1; a zero vector stays zero."""
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-9)


def forward_of(directions: Tensor) -> Tensor:
    """Where the chest faces, unit vectors (..., 3), from directions (..., 12, 3)."""
    left, up = directions[..., DIRECTIONS.index("shoulders"), :], directions[..., DIRECTIONS.index("trunk"), :]
    return unit(torch.cross(left, up, dim=-1))


def directions_of(poses: Tensor) -> Tensor:
    """Unit vectors (T, 12, 3), in the order of DIRECTIONS, of H36M17 poses (T, 17, 3)."""

    def joint(name: str) -> Tensor:
        return poses[:, H36M17.index(name)]

    hips = (joint("l_hip") + joint("r_hip")) / 2
    shoulders = (joint("l_shoulder") + joint("r_shoulder")) / 2
    vectors = [
        joint("l_hip") - joint("r_hip"),
        shoulders - hips,
        joint("l_shoulder") - joint("r_shoulder"),
        joint("head_top") - shoulders,
    ]
    for side in "lr":
        for chain in (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist")):
            start, middle, end = (joint(f"{side}_{name}") for name in chain)
            vectors += [middle - start, end - middle]
    return unit(torch.stack(vectors, 1))


def level_heads(directions: Tensor) -> Tensor:
    """Directions (T, 12, 3) of one source with their heads turned so that the median forward lean is HEAD_TILT_RAD.

    Sources put their head joint at the skull's base, its middle or the face; only the median of that is mended.
    """
    directions = directions.clone()
    head, trunk = directions[:, DIRECTIONS.index("head")], directions[:, DIRECTIONS.index("trunk")]
    forward = forward_of(directions)
    lean = torch.atan2((head * forward).sum(-1), (head * trunk).sum(-1))
    turn = HEAD_TILT_RAD - lean.median()
    axis = torch.cross(trunk, forward, dim=-1)  # to the person's left: a turn about it takes up to forward
    directions[:, DIRECTIONS.index("head")] = unit(rotate(head, axis * turn))
    return directions


def rotate(vectors: Tensor, turns: Tensor) -> Tensor:
    """Vectors (..., 3) turned about the axes `turns` (..., 3) by their lengths in radians (Rodrigues' formula)."""
    angle = turns.norm(dim=-1, keepdim=True)
    axis = turns / angle.clamp(min=1e-9)
    along = (axis * vectors).sum(-1, keepdim=True) * axis
    return along + (vectors - along) * angle.cos() + torch.cross(axis, vectors, dim=-1) * angle.sin()


def pose_of(directions: Tensor, lengths: Tensor) -> Tensor:
    """H36M17 poses (N, 17, 3) in mm, pelvis at the origin, of directions (N, 12, 3) and lengths (N, 9) in mm."""
    way = dict(zip(DIRECTIONS, directions.unbind(1), strict=True))
    size = {name: length[:, None] for name, length in zip(LENGTHS, lengths.unbind(1), strict=True)}
    thorax = way["trunk"] * size["trunk"]
    shoulders = thorax - way["trunk"] * size["neck_rise"]
    head_top = thorax + way["head"] * size["head"]
    joints = {
        "pelvis": torch.zeros_like(thorax),
        "spine": thorax / 2,
        "thorax": thorax,
        "head_top": head_top,
        "nose": (thorax + head_top) / 2 + forward_of(directions) * NOSE_FORWARD_MM,
    }
    for side, sign in (("l", 1), ("r", -1)):
        joints[f"{side}_hip"] = sign * way["hips"] * size["half_hips"]
        joints[f"{side}_knee"] = joints[f"{side}_hip"] + way[f"{side}_thigh"] * size["thigh"]
        joints[f"{side}_ankle"] = joints[f"{side}_knee"] + way[f"{side}_shin"] * size["shin"]
        joints[f"{side}_shoulder"] = shoulders + sign * way["shoulders"] * size["half_shoulders"]
        joints[f"{side}_elbow"] = joints[f"{side}_shoulder"] + way[f"{side}_upper_arm"] * size["upper_arm"]
        joints[f"{side}_wrist"] = joints[f"{side}_elbow"] + way[f"{side}_forearm"] * size["forearm"]
    return torch.stack([joints[name] for name in H36M17.joints], 1)
