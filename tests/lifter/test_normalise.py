"""The way to the network's input does not depend on the camera, and there is an exact way back."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lifter.normalise import (
    INPUT_FLIP,
    OUTPUT_FLIP,
    OUTPUT_JOINTS,
    Statistics,
    facing_rotation,
    to_virtual,
)
from pipeline import camera
from pipeline.errors import CheckpointError
from pipeline.skeleton import H36M16, H36M17
from tests.lifter.conftest import random_directions

EDGE = st.floats(-1.2, 1.2)


def rays(count: int = 4, *, seed: int = 0) -> torch.Tensor:
    points = 0.3 * torch.randn(count, 16, 2, generator=torch.Generator().manual_seed(seed))
    return points + torch.tensor([0.4, -0.2])


def statistics() -> Statistics:
    generator = torch.Generator().manual_seed(3)
    points = torch.randn(50, 16, 2, generator=generator)
    points[:, 0] = 0
    return Statistics.of(points, 300 * torch.randn(50, 16, 3, generator=generator) + 100)


@settings(max_examples=40, deadline=None)
@given(EDGE, EDGE)
def test_the_rotation_is_that_of_the_base(x: float, y: float) -> None:
    ours = facing_rotation(torch.tensor([[x, y]], dtype=torch.float64))[0].numpy()
    assert np.allclose(ours, camera.facing_rotation(np.array([x, y])), atol=1e-12)


def test_points_are_those_of_the_base_camera_divided_by_their_mean_distance() -> None:
    points, rotation = to_virtual(rays().double())
    turned = camera.turn_rays(rays().double().numpy(), rotation.numpy())
    expected = turned / np.linalg.norm(turned, axis=-1).mean(1)[:, None, None]
    assert np.allclose(points.numpy(), expected, atol=1e-9)
    assert np.allclose(points[:, H36M16.root].numpy(), 0, atol=1e-12)


def test_a_person_looks_the_same_wherever_in_view() -> None:
    """The same body, turned along with the viewing ray and at another distance in proportion, gives the same input."""
    body = torch.randn(1, 16, 3, dtype=torch.float64) * 300
    body[:, H36M16.root] = 0
    ahead = body + torch.tensor([0.0, 0, 4000])
    rotation = facing_rotation(torch.tensor([[0.5, -0.3]], dtype=torch.float64))
    aside = ahead @ rotation  # its pelvis now lies on the ray (0.5, -0.3)
    views = [to_virtual(p[..., :2] / p[..., 2:])[0] for p in (ahead, aside, aside * 3)]
    assert torch.allclose(views[0], views[1], atol=1e-9)
    assert torch.allclose(views[0], views[2], atol=1e-9)


def test_joints_in_one_point_stay_finite() -> None:
    points, _ = to_virtual(torch.full((1, 16, 2), 0.1))
    assert torch.isfinite(points).all()


def test_flips_are_of_the_skeletons() -> None:
    assert [H36M16.joints[i] for i in INPUT_FLIP][1] == "l_hip"
    names = [H36M17.joints[i] for i in OUTPUT_JOINTS]
    swapped = [names[i] for i in OUTPUT_FLIP]
    assert swapped[names.index("l_wrist")] == "r_wrist"
    assert swapped[names.index("nose")] == "nose"
    assert "pelvis" not in names


def test_statistics_there_and_back() -> None:
    stats = statistics()
    poses = 100 * torch.randn(7, 16, 3)
    assert torch.allclose(stats.decode_pose(stats.encode_pose(poses)), poses, atol=1e-3)
    again = Statistics.from_meta(stats.to_meta())
    assert torch.equal(again.out_std, stats.out_std)
    assert torch.equal(stats.in_std[0], torch.ones(2))  # the pelvis never moves: not divided by zero


def test_statistics_z_score() -> None:
    directions = random_directions(500)[:, :, :2].repeat(1, 2, 1)[:, :16]
    poses = torch.randn(500, 16, 3) * 50 + 20
    stats = Statistics.of(directions, poses)
    z = stats.encode_pose(poses)
    assert torch.allclose(z.mean(0), torch.zeros(16, 3), atol=1e-4)
    assert torch.allclose(z.std(0), torch.ones(16, 3), atol=1e-3)


def test_damaged_statistics_are_refused() -> None:
    meta = statistics().to_meta()
    with pytest.raises(CheckpointError, match="missing or damaged"):
        Statistics.from_meta({k: v for k, v in meta.items() if k != "out_std"})
    with pytest.raises(CheckpointError, match="missing or damaged"):
        Statistics.from_meta(None)
    with pytest.raises(CheckpointError, match=r"in_mean: expected shape \(16, 2\), got \(15, 2\)"):
        Statistics.from_meta(meta | {"in_mean": meta["in_mean"][1:]})
