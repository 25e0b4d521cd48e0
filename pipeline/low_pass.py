"""A Butterworth low-pass without lag, as movement science smooths paths (Winter, "Biomechanics and Motor Control of
Human Movement", chapter 3).

SciPy has it too, in a package that takes a second to load: more than all else that happens to a short clip's poses.
"""

import math

import numpy as np
from scipy.linalg import solve_banded

ORDER = 4  # of the whole: a filter of order 2 runs forwards and backwards


def low_pass(samples: np.ndarray, *, cutoff: float, padding: int) -> np.ndarray:
    """Evenly spaced samples (T, N) through the filter, whose cut-off is that share, below 0.5, of the sampling rate.

    So many samples, less than T, are made up beyond each end: those next to it, turned by half a turn about the end.
    """
    first, last = samples[:1], samples[-1:]
    before, after = samples[padding:0:-1], samples[-2 : -padding - 2 : -1]
    path = np.concatenate([2 * first - before, samples, 2 * last - after])
    for _ in range(2):
        path = _forwards(path, cutoff)[::-1]
    return path[padding : len(path) - padding]


def _forwards(path: np.ndarray, cutoff: float) -> np.ndarray:
    """The path (T, N) through a filter of order 2, as if its first sample had come for ever before.

    y[t] + a1 y[t - 1] + a2 y[t - 2] = b (x[t] + 2 x[t - 1] + x[t - 2]), the bilinear transform of 1 / (s^2 + sqrt(2) s
    + 1), is a linear system for y of three diagonals.
    """
    k = math.tan(math.pi * cutoff)
    scale = 1 / (1 + math.sqrt(2) * k + k**2)
    diagonals = np.empty((3, len(path)))
    diagonals[0], diagonals[1], diagonals[2] = 1.0, 2 * (k**2 - 1) * scale, (1 - math.sqrt(2) * k + k**2) * scale
    off = np.concatenate([np.zeros((2, path.shape[1])), path - path[0]])
    summed = k**2 * scale * (off[2:] + 2 * off[1:-1] + off[:-2])
    return path[0] + solve_banded((2, 0), diagonals, summed, overwrite_ab=True, overwrite_b=True, check_finite=False)
