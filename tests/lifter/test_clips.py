"""Shipped weights on rendered clips with exact truth: no lean, no mirrored depth, no wrong scale."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lifter.metrics import mpjpe, pa_mpjpe
from lifter.predict import Lifter
from lifter.registry import LIFTERS
from pipeline.camera import Intrinsics
from pipeline.poses import Track2D
from pipeline.skeleton import H36M17, LIMB_JOINTS, LSP14

ASSETS = Path(__file__).parents[2] / "assets"


def rooted(poses: np.ndarray) -> np.ndarray:
    """Limb joints (T, 12, 3) relative to the middle of the hips."""
    hips = poses[:, [LIMB_JOINTS.index("l_hip"), LIMB_JOINTS.index("r_hip")]]
    return poses - hips.mean(1, keepdims=True)


@pytest.mark.parametrize("name", LIFTERS)
@pytest.mark.parametrize("known_focal", [True, False])
def test_true_2d_points_lift_to_the_true_pose(data_folder: Path, name: str, known_focal: bool) -> None:
    weights = ASSETS / f"lifter-{name}.safetensors"
    if not weights.exists():
        pytest.skip(f"{weights.name} is not installed")
    truth = json.loads((data_folder / "clips" / "rendered" / "D_walk_gt.json").read_text())
    joints, frames = truth["joints"], truth["frames"]
    (fx, _, cx), (_, fy, cy), _ = truth["K"]
    size = truth["w"], truth["h"]
    xy = np.array([frame["uv"] for frame in frames], np.float32)[:, [joints.index(name) for name in LSP14.joints]]
    xyz = np.array([frame["xyz_cam_mm"] for frame in frames])[:, [joints.index(name) for name in LIMB_JOINTS]]
    index = np.arange(len(frames))
    track = Track2D(LSP14, index, index / truth["fps"], xy, np.ones(xy.shape[:2]), size)
    camera = Intrinsics(fx, fy, cx, cy) if known_focal else Intrinsics.guess(*size)
    lifted = rooted(Lifter.load(weights, torch.device("cpu")).lift(track, camera).xyz[:, H36M17.indices(LIMB_JOINTS)])
    assert mpjpe(lifted, rooted(xyz)) < 75
    assert pa_mpjpe(lifted, rooted(xyz)) < 60
    # along the line of sight the pose is neither mirrored nor tilted as a whole
    assert np.corrcoef(lifted[..., 2].ravel(), rooted(xyz)[..., 2].ravel())[0, 1] > 0.8
    assert np.abs((lifted - rooted(xyz)).mean(0)[:, 2]).max() < 90
