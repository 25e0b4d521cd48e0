"""The low-pass against SciPy's, which is made of other parts: cascaded sections with states."""

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from pipeline.low_pass import ORDER, low_pass


@pytest.mark.parametrize("cutoff", [0.001, 0.02, 0.2, 0.4, 0.499])
@pytest.mark.parametrize("padding", [0, 1, 30, 199])
def test_the_filter_is_scipys(cutoff, padding):
    samples = np.random.default_rng(0).normal(0, 1, (200, 3)).cumsum(0) + (0, 1000, -5)
    expected = sosfiltfilt(butter(ORDER // 2, cutoff, fs=1, output="sos"), samples, axis=0, padlen=padding)
    np.testing.assert_allclose(low_pass(samples, cutoff=cutoff, padding=padding), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("padding", [0, 1, 40])
def test_a_straight_line_stays_and_nothing_is_added_to_the_samples(padding):
    line = np.linspace(3, 7, 41)[:, None] * (1.0, -2.0)
    given = line.copy()
    low = low_pass(line, cutoff=0.1, padding=padding)
    assert low.shape == line.shape
    np.testing.assert_array_equal(line, given)
    if padding:
        np.testing.assert_allclose(low[10:-10], line[10:-10], atol=0.02)


def test_a_long_path_keeps_its_exactness():
    """A minute at 1000 frames/s, a cut-off of a quarter of a hertz."""
    time_s = np.arange(60_000) / 1000
    path = np.sin(2 * np.pi * 0.02 * time_s)[:, None]
    expected = sosfiltfilt(butter(ORDER // 2, 0.00025, fs=1, output="sos"), path, axis=0, padlen=12_000)
    np.testing.assert_allclose(low_pass(path, cutoff=0.00025, padding=12_000), expected, atol=1e-7)
