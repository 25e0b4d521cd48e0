"""Percentage of correct keypoints (PCK), as the published detectors are compared by."""

from typing import Any

import numpy as np

from pipeline.skeleton import LIMB_JOINTS, Skeleton

TORSO = (("l_shoulder", "r_hip"), ("r_shoulder", "l_hip"))  # the torso's diagonals, the usual one first


def torso_length(xy: np.ndarray, labelled: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Length (N,) of the torso of poses (N, J, 2): left shoulder to right hip, or the other diagonal where one of
    these is not labelled (N, J); NaN where neither is, so that no joint of that photo counts as found.
    """
    length = np.full(len(xy), np.nan)
    for shoulder, hip in reversed([skeleton.indices(pair) for pair in TORSO]):
        known = labelled[:, shoulder] & labelled[:, hip]
        length[known] = np.linalg.norm(xy[known, shoulder] - xy[known, hip], axis=-1)
    return length


def correct(predicted: np.ndarray, true: np.ndarray, length: np.ndarray, *, threshold: float) -> np.ndarray:
    """Which joints (N, J) lie within threshold * length (N,) of the truth; poses (N, J, 2). A NaN is a miss."""
    distance = np.linalg.norm(predicted - true, axis=-1)
    return distance <= threshold * length[:, None]


def pck(hits: np.ndarray, counted: np.ndarray, skeleton: Skeleton) -> dict[str, Any]:
    """Percentages from hits (N, J) over the counted joints (N, J) bool.

    'per_joint' by name, 'mean' over the joints of the skeleton, 'limbs' over the 12 limb joints: means of the
    per-joint percentages, as usual in the field.
    """
    count = counted.sum(0)
    percent = 100 * (hits & counted).sum(0) / np.maximum(count, 1)
    per_joint = {joint: float(percent[i]) for i, joint in enumerate(skeleton.joints) if count[i]}
    limbs = [per_joint[joint] for joint in LIMB_JOINTS if joint in per_joint]
    return {
        "limbs": float(np.mean(limbs)) if limbs else float("nan"),
        "mean": float(np.mean(list(per_joint.values()))) if per_joint else float("nan"),
        "per_joint": per_joint,
    }
