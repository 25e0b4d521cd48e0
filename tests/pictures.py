"""Pictures whose content is known to a small part of a pixel."""

import numpy as np


def blob(width: int, height: int, *, x: float, y: float, sigma: float) -> np.ndarray:
    """A grey Gaussian spot at (x, y) on black, (height, width, 3) uint8; an integer is a pixel centre."""
    across = np.exp(-((np.arange(width) - x) ** 2) / (2 * sigma**2))
    down = np.exp(-((np.arange(height) - y) ** 2) / (2 * sigma**2))
    return np.repeat(np.rint(250 * down[:, None] * across)[..., None], 3, -1).astype(np.uint8)


def centroid(image: np.ndarray, *, black: int = 0) -> np.ndarray:
    """(x, y) of the centre of mass of an image's brightness above `black`."""
    mass = (image.astype(float).mean(-1) - black).clip(0)
    x = (mass.sum(0) * np.arange(image.shape[1])).sum()
    y = (mass.sum(1) * np.arange(image.shape[0])).sum()
    return np.array([x, y]) / mass.sum()
