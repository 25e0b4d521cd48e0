"""Errors of 3D poses in mm. All take predicted and true poses (T, J, 3) over the same joints and average over T and J.

Poses must already be relative to the same root where that matters (`mpjpe`, `n_mpjpe`); the caller chooses the joints.
"""

import numpy as np


def mpjpe(predicted: np.ndarray, true: np.ndarray) -> float:
    """Mean per-joint position error, mm: protocol 1 of Human3.6M when both are relative to the root."""
    _check(predicted, true)
    return float(np.linalg.norm(predicted - true, axis=-1).mean())


def pa_mpjpe(predicted: np.ndarray, true: np.ndarray) -> float:
    """MPJPE after Procrustes alignment of every frame (protocol 2): rotation, translation and scale, mm."""
    return mpjpe(procrustes(predicted, true), true)


def n_mpjpe(predicted: np.ndarray, true: np.ndarray) -> float:
    """MPJPE after the best scale per frame about the root (Rhodin et al. 2018), mm."""
    _check(predicted, true)
    power = np.maximum(np.square(predicted).sum((1, 2), keepdims=True), np.finfo(np.float64).tiny)
    return mpjpe(predicted * (predicted * true).sum((1, 2), keepdims=True) / power, true)


def procrustes(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Predicted poses (T, J, 3) moved onto the true ones by the similarity of least squares (Umeyama 1991).

    Reflections are forbidden: with them a mirrored pose would score 0 mm.
    """
    _check(predicted, true)
    predicted, true = predicted.astype(np.float64), true.astype(np.float64)
    centre, goal = predicted.mean(1, keepdims=True), true.mean(1, keepdims=True)
    x, y = predicted - centre, true - goal
    u, sizes, vt = np.linalg.svd(np.swapaxes(x, 1, 2) @ y)
    signs = np.ones_like(sizes)
    signs[:, -1] = np.sign(np.linalg.det(u @ vt))
    rotation = u * signs[:, None] @ vt  # acts on row vectors
    power = np.maximum(np.square(x).sum((1, 2)), np.finfo(np.float64).tiny)
    scale = (sizes * signs).sum(1) / power
    return scale[:, None, None] * (x @ rotation) + goal


def _check(predicted: np.ndarray, true: np.ndarray) -> None:
    if predicted.shape != true.shape or predicted.ndim != 3 or predicted.shape[-1] != 3 or 0 in predicted.shape:
        raise ValueError(f"expected two equal non-empty shapes (T, J, 3), got {predicted.shape} and {true.shape}")
