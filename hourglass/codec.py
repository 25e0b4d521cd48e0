"""Heatmaps: targets for training and positions from predictions, a matched pair.

Two conventions, recorded in each checkpoint:

    probability   A map is the probability of the joint's place over the pixels of the crop and one more outcome,
                  "not in this crop", whose logit is fixed at 0. Target: a Gaussian that sums to 1, or all mass on
                  "not in this crop". Loss: cross-entropy. The score of a joint is the mass near its peak, so it
                  falls to 0 where no person is.
    height        The published convention: a Gaussian of height 1, mean squared error. The score is the height.

Coordinates are heatmap pixels, x then y, an integer being a pixel centre; `to_heatmap` and `to_crop` change between
crop and heatmap pixels exactly.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hourglass.model import STRIDE

CONVENTIONS = ("probability", "height")
PEAK_RADIUS = 2  # heatmap pixels around the peak whose mass makes the score


Points = TypeVar("Points", Tensor, np.ndarray)


def to_heatmap(xy: Points) -> Points:
    """Crop pixels (..., 2) in heatmap pixels."""
    return (xy + 0.5) / STRIDE - 0.5


def to_crop(xy: Points) -> Points:
    """Heatmap pixels (..., 2) in crop pixels: the exact inverse of `to_heatmap`."""
    return (xy + 0.5) * STRIDE - 0.5


@dataclass(frozen=True)
class Codec:
    """Target convention, and the width of the target's Gaussian in heatmap pixels."""

    convention: str = "probability"
    sigma: float = 1.0

    def __post_init__(self) -> None:
        if self.convention not in CONVENTIONS:
            raise ValueError(f"unknown convention {self.convention!r}; known: {', '.join(CONVENTIONS)}")

    def targets(self, xy: Tensor, size: int) -> Tensor:
        """Target maps (N, J, size, size) for joints (N, J, 2) in heatmap pixels; all zero for a joint outside."""
        pixels = torch.arange(size, device=xy.device, dtype=xy.dtype)
        gauss = torch.exp(-((pixels - xy[..., None]) ** 2) / (2 * self.sigma**2))  # (N, J, 2, size)
        if self.convention == "probability":
            gauss = gauss / gauss.sum(-1, keepdim=True).clamp_min(1e-12)
        maps = gauss[:, :, 1, :, None] * gauss[:, :, 0, None, :]
        return maps * inside(xy, size)[..., None, None]

    def losses(self, heatmaps: Tensor, xy: Tensor) -> Tensor:
        """Loss (N, J) of each joint.

        `heatmaps` (N, J, S, S) as the network gives them, `xy` (N, J, 2) heatmap pixels.
        """
        return self.losses_against(heatmaps, self.targets(xy, heatmaps.shape[-1]))

    def losses_against(self, heatmaps: Tensor, targets: Tensor) -> Tensor:
        """Loss (N, J) of each joint against target maps (N, J, S, S), as `targets` or another network's `maps`."""
        maps = heatmaps.float()
        if self.convention == "height":
            return ((maps - targets) ** 2).mean((-1, -2))
        logits = maps.flatten(2)
        total = torch.logsumexp(F.pad(logits, (0, 1)), -1)  # the padded 0 is the logit of "not in this crop"
        return total - (targets.flatten(2) * logits).sum(-1)

    def maps(self, heatmaps: Tensor) -> Tensor:
        """The network's output (N, J, S, S) as maps that may be averaged: probabilities, or heights as they are."""
        maps = heatmaps.float()
        if self.convention == "height":
            return maps
        shape = maps.shape
        return torch.softmax(F.pad(maps.flatten(2), (0, 1)), -1)[..., :-1].reshape(shape)

    def decode(self, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Maps (N, J, S, S) as `maps` gives them -> positions (N, J, 2) in heatmap pixels, scores (N, J) in 0..1.

        The position is the peak of the smoothed map, moved by one Newton step on its logarithm (Zhang et al. 2020,
        DARK, section 3.2 and equation 7), which is exact for a Gaussian of any width. The score is of the map as it is.

        The maps of one frame are little data for many small steps, for each of which NumPy needs a fraction of the
        time that PyTorch does.
        """
        each = maps.reshape(-1, *maps.shape[2:])  # (M, S, S)
        smooth, column, row = _smoothed(each, self.sigma)
        window = _windows(each, column, row, radius=PEAK_RADIUS)
        score = window.sum((1, 2)) if self.convention == "probability" else window.max((1, 2))
        xy = (np.stack([column, row], -1) + _newton_step(_windows(smooth, column, row, radius=1))).astype(each.dtype)
        shape = maps.shape[:2]
        return xy.reshape(*shape, 2), score.clip(0, 1).reshape(shape)


def inside(xy: Tensor, size: int) -> Tensor:
    """Whether joints (..., 2), heatmap pixels, lie within a map of that size: bool (...)."""
    return ((xy >= -0.5) & (xy <= size - 0.5)).all(-1)


def _peaks(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Column and row (M,) of the highest pixel of maps (M, S, S)."""
    row, column = np.divmod(maps.reshape(len(maps), -1).argmax(1), maps.shape[-1])
    return column, row


@cache
def _blur(size: int, sigma: float) -> np.ndarray:
    """The matrix (size, size) float32 that blurs a row of pixels by a Gaussian."""
    pixels = np.arange(size)
    kernel = np.exp(-((pixels - pixels[:, None]) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
    # processors take fifty times as long for numbers below 1e-38
    return np.where(kernel > 1e-30, kernel, 0.0).astype(np.float32)


def _smoothed(maps: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maps (M, S, S) blurred by the targets' Gaussian, and column and row (M,) of their peaks: a network's are less
    smooth, and small bumps mislead.

    A map whose peak is then less than 2 sigma from the border stays as it is, since what a blurred Gaussian lacks
    beyond the border would move its peak.
    """
    size = maps.shape[-1]
    kernel = _blur(size, sigma)
    smooth = kernel @ maps @ kernel
    column, row = _peaks(smooth)
    nearest = np.minimum(np.minimum(column, row), size - 1 - np.maximum(column, row))  # pixels to the border
    outer = nearest < 2 * sigma
    if outer.any():
        smooth[outer] = maps[outer]
        column[outer], row[outer] = _peaks(maps[outer])
    return smooth, column, row


def _windows(maps: np.ndarray, column: np.ndarray, row: np.ndarray, *, radius: int) -> np.ndarray:
    """The pixels of maps (M, S, S) up to `radius` around each peak: (M, 2R+1, 2R+1), zero beyond the border."""
    size = maps.shape[-1]
    padded = np.zeros((len(maps), size + 2 * radius, size + 2 * radius), maps.dtype)
    padded[:, radius:-radius, radius:-radius] = maps
    around = np.arange(2 * radius + 1)
    rows, columns = row[:, None] + around, column[:, None] + around
    return padded[np.arange(len(maps))[:, None, None], rows[:, :, None], columns[:, None]]


def _newton_step(window: np.ndarray) -> np.ndarray:
    """Offset (M, 2), x then y, of the maximum of a quadratic through the logarithm of 3x3 windows (M, 3, 3).

    Zero where the logarithm is not concave (a flat map, a peak at the border), and never more than a pixel.
    """
    log = np.log(window.clip(1e-10))
    (a, b, c), (d, e, f), (g, h, i) = log.transpose(1, 2, 0)  # rows from the top, each from the left
    dx, dy = (f - d) / 2, (h - b) / 2
    dxx, dyy, dxy = f - 2 * e + d, h - 2 * e + b, (i - g - c + a) / 4
    det = dxx * dyy - dxy**2
    at_border = (window <= 1e-10).any((1, 2))
    concave = (det > 1e-6) & (dxx < 0) & ~at_border
    step = np.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], -1) / np.where(concave, det, 1)[:, None]
    return np.where(concave[:, None], step.clip(-1, 1), 0)
