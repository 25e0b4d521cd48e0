"""Points in space from what several calibrated cameras see of them, without the views that do not agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pipeline.calibration import View

AGREE_MM = 60.0  # a view agrees with a point that its ray passes as near as this
ENOUGH = 3  # views, or all if there are fewer: two rays that agree may do so by chance
ROUNDS = 3  # of weighting by distance, which makes errors on z = 1 of those of the linear method
MOST_VIEWS = 8  # whose subsets are all tried


@dataclass(frozen=True)
class Points:
    """Points (..., 3), world mm, and which views (V, ...) they were found with; NaN and none where too few agree."""

    xyz: np.ndarray
    used: np.ndarray


def triangulate(views: Sequence[View], rays: np.ndarray, weight: np.ndarray) -> Points:
    """Points from rays (V, N, 2) on z = 1 of the cameras, not distorted, and weights (V, N), 0 or NaN: not seen.

    Of every point, the largest set of views is taken whose rays pass it within `AGREE_MM`, and of sets as large that
    with the least distance. Each set's point minimises the weighted squares of its distances from the rays on z = 1:
    linear triangulation (Hartley and Sturm 1997, "Triangulation", section 5.2: iterative linear least squares).
    ValueError with fewer than two cameras or too many.
    """
    if not 2 <= len(views) <= MOST_VIEWS:
        raise ValueError(f"{len(views)} cameras, not 2 to {MOST_VIEWS}")
    seen = np.isfinite(rays).all(-1) & (np.nan_to_num(weight) > 0)
    rays, weight = np.where(seen[..., None], rays, 0.0), np.where(seen, weight, 0.0)
    count = rays.shape[1]
    xyz, used = np.full((count, 3), np.nan), np.zeros((len(views), count), bool)
    for size in range(len(views), min(ENOUGH, len(views)) - 1, -1):
        best = np.full(count, AGREE_MM)
        open_ = ~used.any(0)
        for some in map(list, combinations(range(len(views)), size)):
            rows = np.flatnonzero(open_ & seen[some].all(0))
            if not len(rows):
                continue
            chosen = [views[index] for index in some]
            points = _linear(chosen, rays[some][:, rows], weight[some][:, rows])
            worst = miss(chosen, points, rays[some][:, rows]).max(0)
            better = worst <= best[rows]
            rows = rows[better]
            best[rows], xyz[rows] = worst[better], points[better]
            used[:, rows] = False
            used[np.ix_(some, rows)] = True
    return Points(xyz, used)


def miss(views: Sequence[View], points: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """How far (V, N), mm, rays (V, N, 2) pass from points (N, 3), at their depth; infinite behind the camera."""
    far = []
    for view, ray in zip(views, rays, strict=True):
        seen = view.to_camera(points)
        off = np.linalg.norm(seen[:, :2] - ray * seen[:, 2:], axis=-1)
        far.append(np.where(seen[:, 2] > 0, off, np.inf))
    return np.array(far)


def _linear(views: Sequence[View], rays: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Points (N, 3) of rays (V, N, 2) with weights (V, N), all above 0."""
    depth = np.ones(weight.shape)
    points = np.zeros((rays.shape[1], 3))
    for _ in range(ROUNDS):
        rows, right = [], []
        for view, ray, sure in zip(views, rays, weight / depth, strict=True):
            for axis in (0, 1):
                rows.append(sure[:, None] * (view.rotation[axis] - ray[:, axis, None] * view.rotation[2]))
                right.append(sure * (ray[:, axis] * view.translation[2] - view.translation[axis]))
        design, goal = np.stack(rows, 1), np.stack(right, 1)  # (N, 2 V, 3), (N, 2 V)
        points = (np.linalg.pinv(design) @ goal[..., None])[..., 0]
        depth = np.array([np.maximum(view.to_camera(points)[:, 2], 1.0) for view in views])
        depth /= depth.mean(0)
    return points
