"""Pose errors, against hand-computed values and a second formula."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lifter.metrics import mpjpe, n_mpjpe, pa_mpjpe, procrustes


def poses(frames: int = 6, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 300, (frames, 16, 3))


def test_mpjpe_of_a_known_shift() -> None:
    true = poses()
    assert mpjpe(true + np.array([3.0, 4.0, 0.0]), true) == pytest.approx(5.0)
    assert mpjpe(true, true) == 0


def test_procrustes_undoes_any_similarity() -> None:
    true = poses()
    turn = Rotation.from_rotvec((0.3, -1.1, 2.0)).as_matrix()
    moved = 1.7 * true @ turn.T + (100.0, -50.0, 3000.0)
    assert pa_mpjpe(moved, true) == pytest.approx(0, abs=1e-8)


def test_procrustes_forbids_reflections() -> None:
    true = poses()
    assert pa_mpjpe(true * (-1, 1, 1), true) > 50


def test_procrustes_is_scipys_where_that_needs_no_reflection() -> None:
    true, seen = poses(seed=1), poses(seed=1) + poses(seed=2) * 0.2
    for frame in range(len(true)):
        a, b = seen[frame] - seen[frame].mean(0), true[frame] - true[frame].mean(0)
        turn, _ = Rotation.align_vectors(b, a)  # a rotation, never a reflection
        turned = turn.apply(a)
        expected = turned * (turned * b).sum() / (turned**2).sum() + true[frame].mean(0)
        assert np.allclose(procrustes(seen[frame : frame + 1], true[frame : frame + 1])[0], expected, atol=1e-6)


def test_n_mpjpe_ignores_scale_alone() -> None:
    true = poses()
    assert n_mpjpe(0.3 * true, true) == pytest.approx(0, abs=1e-9)
    shifted = true + np.array([10.0, 0, 0])
    scales = np.linspace(0.9, 1.1, 2001)
    best = np.mean([min(np.square(s * p - t).sum() for s in scales) for p, t in zip(shifted, true, strict=True)])
    power = (shifted**2).sum((1, 2))
    closed = (true**2).sum((1, 2)) - (shifted * true).sum((1, 2)) ** 2 / power
    assert closed.mean() == pytest.approx(best, rel=1e-3)


def test_a_pose_of_one_point_does_not_divide_by_zero() -> None:
    true = poses()
    assert np.isfinite(pa_mpjpe(np.zeros_like(true), true))
    assert n_mpjpe(np.zeros_like(true), true) == pytest.approx(mpjpe(np.zeros_like(true), true))


@pytest.mark.parametrize("shape", [(5, 16, 3), (6, 16, 2), (0, 16, 3)])
def test_shapes_must_match(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="equal non-empty shapes"):
        mpjpe(np.zeros(shape), np.zeros((6, 16, 2) if shape[2] == 2 else (0, 16, 3)))
