"""Made-up photos of people: a disc of its own colour at every joint, and data sets of them in the published layouts."""

from itertools import product
from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat

from pipeline.skeleton import LSP14

# A standing person in units of his height, the head's top at (0, 0): x right, y down, facing the camera.
STANDING = np.array(
    [
        (-0.12, 1.0), (-0.12, 0.76), (-0.12, 0.5), (0.12, 0.5), (0.12, 0.76), (0.12, 1.0),
        (-0.42, 0.42), (-0.34, 0.28), (-0.18, 0.2), (0.18, 0.2), (0.34, 0.28), (0.42, 0.42),
        (0.0, 0.17), (0.0, 0.0),
    ]
)  # fmt: skip

# One colour per joint.
COLOURS = np.array([c for c in product((0, 128, 255), repeat=3) if sum(c) > 255][:14])


def standing(x: float, y: float, height: float) -> np.ndarray:
    """Joints (14, 2) float32 of a person whose middle is at (x, y)."""
    return ((STANDING - (0, 0.5)) * height + (x, y)).astype(np.float32)


def photo(xy: np.ndarray, *, width: int, height: int, radius: float) -> np.ndarray:
    """A black photo (height, width, 3) uint8 BGR with a disc in its joint's colour at every point (14, 2)."""
    image = np.zeros((height, width, 3), np.uint8)
    rows, columns = np.mgrid[:height, :width]
    for (x, y), colour in zip(xy, COLOURS, strict=True):
        image[(columns - x) ** 2 + (rows - y) ** 2 <= radius**2] = colour
    return image


def people(count: int, *, size: int = 64, seed: int = 0) -> np.ndarray:
    """Joints (count, 14, 2) of people who stand about in photos of that size, limbs here and there."""
    rng = np.random.default_rng(seed)
    poses = [standing(*rng.uniform(0.42, 0.58, 2) * size, rng.uniform(0.5, 0.7) * size) for _ in range(count)]
    return np.stack(poses) + rng.normal(0, 0.02 * size, (count, 14, 2)).astype(np.float32)


def _write_images(folder: Path, xy: np.ndarray, *, size: int, digits: int) -> None:
    (folder / "images").mkdir(parents=True)
    for number, points in enumerate(xy, start=1):
        name = f"im{number:0{digits}d}.jpg"
        cv2.imwrite(str(folder / "images" / name), photo(points, width=size, height=size, radius=2.5))


def write_lsp(folder: Path, xy: np.ndarray, hidden: np.ndarray, *, size: int = 64) -> Path:
    """A set in the layout of Leeds Sports Pose: joints (3, 14, N), pixels from 1, third row 1 where hidden (N, 14)."""
    _write_images(folder, xy, size=size, digits=4)
    joints = np.concatenate([xy + 1.0, hidden[..., None]], -1)
    savemat(folder / "joints.mat", {"joints": joints.transpose(2, 1, 0)})
    return folder


def write_lspet(folder: Path, xy: np.ndarray, labelled: np.ndarray, *, size: int = 64) -> Path:
    """A set in the layout of LSP-extended: joints (14, 3, N), third column 0 where not labelled (N, 14)."""
    _write_images(folder, xy, size=size, digits=5)
    places = np.where(labelled[..., None], xy + 1.0, -999.0)
    joints = np.concatenate([places, labelled[..., None]], -1)
    savemat(folder / "joints.mat", {"joints": joints.transpose(1, 2, 0)})
    return folder


def simple_set(folder: Path, count: int, *, size: int = 64, seed: int = 0) -> Path:
    """A set in the layout of LSP-extended with every joint labelled."""
    return write_lspet(folder, people(count, size=size, seed=seed), np.ones((count, len(LSP14)), bool), size=size)
