"""Points from several views: exact ones come back, wrong views are left out."""

import numpy as np
import pytest
from scipy.optimize import least_squares

from pipeline.triangulate import AGREE_MM, miss, triangulate
from tests.pipeline.rig import ring

VIEWS = ring()
POINTS = np.random.default_rng(0).uniform((-600, -600, 0), (600, 600, 1800), (40, 3))
PIXELS = np.stack([view.project(POINTS) for view in VIEWS])
SURE = np.ones(PIXELS.shape[:2])


def rays(pixels: np.ndarray) -> np.ndarray:
    return np.stack([view.rays(some) for view, some in zip(VIEWS, pixels, strict=True)])


@pytest.mark.parametrize("count", [2, 3, 4])
def test_exact_points_come_back(count):
    found = triangulate(VIEWS[:count], rays(PIXELS)[:count], SURE[:count])
    np.testing.assert_allclose(found.xyz, POINTS, atol=0.01)
    assert found.used.all()


def test_a_wrong_view_is_left_out():
    pixels = PIXELS.copy()
    wrong = np.random.default_rng(1).integers(0, 4, len(POINTS))
    pixels[wrong, np.arange(len(POINTS))] += (40, -30)
    found = triangulate(VIEWS, rays(pixels), SURE)
    np.testing.assert_allclose(found.xyz, POINTS, atol=0.01)
    np.testing.assert_array_equal(found.used, np.arange(4)[:, None] != wrong)


def test_where_too_few_views_agree_there_is_no_point():
    pixels = PIXELS.copy()
    pixels[0, :10] += (60, 0)
    pixels[1, :10] += (0, 90)
    weight = SURE.copy()
    weight[2:, 10:20] = 0  # seen by two alone: they may agree by chance
    pixels[3, 20:30] = np.nan  # seen by three: enough
    found = triangulate(VIEWS, rays(pixels), weight)
    assert np.isnan(found.xyz[:20]).all()
    assert not found.used[:, :20].any()
    np.testing.assert_allclose(found.xyz[20:], POINTS[20:], atol=0.01)
    np.testing.assert_array_equal(found.used[:, 20:30].all(1), [True, True, True, False])


def test_noise_is_solved_as_a_general_solver_does():
    """The linear method, reweighted by distance, ends where the distances on z = 1 are least."""
    rng = np.random.default_rng(2)
    weight = rng.uniform(0.3, 1, SURE.shape)
    seen = rays(PIXELS + rng.normal(0, 1.5, PIXELS.shape))
    found = triangulate(VIEWS, seen, weight)
    for index in range(5):

        def off(point: np.ndarray, index: int = index) -> np.ndarray:
            at = np.array([view.to_camera(point) for view in VIEWS])
            return (weight[:, index, None] * (at[:, :2] / at[:, 2:] - seen[:, index])).ravel()

        best = least_squares(off, POINTS[index], x_scale=100.0, xtol=1e-12, ftol=1e-14, gtol=1e-14).x
        np.testing.assert_allclose(found.xyz[index], best, atol=1.0)
        assert np.linalg.norm(best - POINTS[index]) > 1.0


def test_a_surer_view_counts_more():
    pixels = PIXELS[:, :1] + np.array([[0, 8], [0, 0], [0, 0], [0, 0]])[:, None]
    heights = []
    for trust in (0.1, 1.0, 10.0):
        weight = np.array([[trust], [1.0], [1.0], [1.0]])
        heights.append(triangulate(VIEWS, rays(pixels), weight).xyz[0, 2])
    assert POINTS[0, 2] > heights[0] > heights[1] > heights[2]


def test_how_far_a_ray_passes():
    view = VIEWS[0]
    ray = view.rays(view.project(POINTS))
    np.testing.assert_allclose(miss([view], POINTS, ray[None])[0], 0, atol=0.1)
    beside = POINTS + AGREE_MM * view.rotation[0]
    np.testing.assert_allclose(miss([view], beside, ray[None])[0], AGREE_MM, atol=0.1)
    behind = 2 * (-view.rotation.T @ view.translation) - POINTS
    assert np.isinf(miss([view], behind, ray[None])).all()


@pytest.mark.parametrize("count", [1, 9])
def test_numbers_of_cameras_that_cannot_be(count):
    with pytest.raises(ValueError, match=f"{count} cameras"):
        triangulate(VIEWS[:1] * count, np.zeros((count, 1, 2)), np.ones((count, 1)))
