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

import torch
from torch import Tensor
from torch.nn import functional as F

from hourglass.model import STRIDE

CONVENTIONS = ("probability", "height")
PEAK_RADIUS = 2  # heatmap pixels around the peak whose mass makes the score


def to_heatmap(xy: Tensor) -> Tensor:
    """Crop pixels (..., 2) in heatmap pixels."""
    return (xy + 0.5) / STRIDE - 0.5


def to_crop(xy: Tensor) -> Tensor:
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

    def decode(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (N, J, S, S) as `maps` gives them -> positions (N, J, 2) in heatmap pixels, scores (N, J) in 0..1.

        The position is the peak of the smoothed map, moved by one Newton step on its logarithm (Zhang et al. 2020,
        DARK, section 3.2 and equation 7), which is exact for a Gaussian of any width. The score is of the map as it is.
        """
        smooth = _smoothed(maps, self.sigma)
        column, row = _peak(smooth)
        window = _windows(maps, column, row)
        score = window.sum((-1, -2)) if self.convention == "probability" else window.amax((-1, -2))
        step = _newton_step(_windows(smooth, column, row)[..., 1:-1, 1:-1])
        return torch.stack([column, row], -1) + step, score.clamp(0, 1)


def inside(xy: Tensor, size: int) -> Tensor:
    """Whether joints (..., 2), heatmap pixels, lie within a map of that size: bool (...)."""
    return ((xy >= -0.5) & (xy <= size - 0.5)).all(-1)


def _peak(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Column and row (N, J) of the highest pixel of maps (N, J, S, S)."""
    peak, size = maps.flatten(2).argmax(-1), maps.shape[-1]
    return peak % size, peak // size


def _smoothed(maps: Tensor, sigma: float) -> Tensor:
    """Maps (N, J, S, S) blurred by the targets' Gaussian: a network's are less smooth, and small bumps mislead.

    A map whose peak is then less than 2 sigma from the border stays as it is, since what a blurred Gaussian lacks
    beyond the border would move its peak.
    """
    size = maps.shape[-1]
    pixels = torch.arange(size, device=maps.device, dtype=maps.dtype)
    kernel = torch.exp(-((pixels - pixels[:, None]) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
    kernel = torch.where(kernel > 1e-30, kernel, 0.0)  # processors take fifty times as long for numbers below 1e-38
    smooth = kernel @ maps @ kernel
    place = torch.stack(_peak(smooth), -1)
    inner = ((place >= 2 * sigma) & (place <= size - 1 - 2 * sigma)).all(-1)
    return torch.where(inner[..., None, None], smooth, maps)


def _windows(maps: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """The (2R+1)^2 pixels around each peak: (N, J, 2R+1, 2R+1), zero beyond the border."""
    size, radius = maps.shape[-1], PEAK_RADIUS
    padded = F.pad(maps, (radius,) * 4).flatten(2)
    around = torch.arange(2 * radius + 1, device=maps.device)
    offsets = (around[:, None] * (size + 2 * radius) + around).flatten()
    start = row * (size + 2 * radius) + column
    picked = padded.gather(2, start[..., None] + offsets)
    return picked.unflatten(-1, (2 * radius + 1, 2 * radius + 1))


def _newton_step(window: Tensor) -> Tensor:
    """Offset (N, J, 2) of the maximum of a quadratic through the logarithm of 3x3 windows (N, J, 3, 3), y then x.

    Zero where the logarithm is not concave (a flat map, a peak at the border), and never more than a pixel.
    """
    log = window.clamp_min(1e-10).log()
    dx = (log[..., 1, 2] - log[..., 1, 0]) / 2
    dy = (log[..., 2, 1] - log[..., 0, 1]) / 2
    dxx = log[..., 1, 2] - 2 * log[..., 1, 1] + log[..., 1, 0]
    dyy = log[..., 2, 1] - 2 * log[..., 1, 1] + log[..., 0, 1]
    dxy = (log[..., 2, 2] - log[..., 2, 0] - log[..., 0, 2] + log[..., 0, 0]) / 4
    det = dxx * dyy - dxy**2
    concave = (det > 1e-6) & (dxx < 0)
    safe = torch.where(concave, det, torch.ones_like(det))
    step = torch.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], -1) / safe[..., None]
    at_border = (window <= 1e-10).any(-1).any(-1)
    return torch.where((concave & ~at_border)[..., None], step.clamp(-1, 1), torch.zeros_like(step))
