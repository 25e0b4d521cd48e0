"""Percentage of correct keypoints (PCK, PCKh), as the published detectors are compared by."""

from typing import Any

import numpy as np

from pipeline.skeleton import LIMB_JOINTS, Skeleton

PCK_AT = 0.2  # threshold of PCK, in torsos
TORSO = (("l_shoulder", "r_hip"), ("r_shoulder", "l_hip"))  # the torso's diagonals, the usual one first
HEAD = (("neck", "head_top"), ("upper_neck", "head_top"))  # ends of the head, by skeleton
PCKH_LEFT_OUT = ("pelvis", "thorax")  # joints that the mean of PCKh does not count


def torso_length(xy: np.ndarray, labelled: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Length (N,) of the torso of poses (N, J, 2): left shoulder to right hip, or the other diagonal where one of
    these is not labelled (N, J); NaN where neither is, so that no joint of that photo counts as found.
    """
    length = np.full(len(xy), np.nan)
    for pair in reversed(TORSO):
        distance = _distance(xy, labelled, skeleton.indices(pair))
        length = np.where(np.isfinite(distance), distance, length)
    return length


def neck_to_head(xy: np.ndarray, labelled: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Distance (N,) from the neck to the top of the head of poses (N, J, 2), which stands in for the size of the head
    where a set has no boxes around heads; NaN where one of the two is not labelled (N, J) or the skeleton lacks it.
    """
    for pair in HEAD:
        if set(pair) <= set(skeleton.joints):
            return _distance(xy, labelled, skeleton.indices(pair))
    return np.full(len(xy), np.nan)


def _distance(xy: np.ndarray, labelled: np.ndarray, pair: list[int]) -> np.ndarray:
    """Distance (N,) between two joints of poses (N, J, 2); NaN where one of them is not labelled."""
    first, second = pair
    distance = np.linalg.norm(xy[:, first] - xy[:, second], axis=-1).astype(np.float64)
    return np.where(labelled[:, first] & labelled[:, second], distance, np.nan)


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


def pckh(hits: np.ndarray, counted: np.ndarray, skeleton: Skeleton) -> dict[str, Any]:
    """As `pck`, with the mean of MPII's own evaluation (Andriluka et al. 2014): the share of all counted joints that
    are hit, so that joints which are labelled more often weigh more, with pelvis and thorax left out.
    """
    kept = counted & [joint not in PCKH_LEFT_OUT for joint in skeleton.joints]
    mean = 100 * float(hits[kept].mean()) if kept.any() else float("nan")
    return {**pck(hits, counted, skeleton), "mean": mean}
