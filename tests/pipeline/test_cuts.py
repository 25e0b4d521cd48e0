"""A cut is seen where it is; motion, noise and fading light are none."""

import cv2
import numpy as np
import pytest

from pipeline.cuts import LEAST, SAMPLES, SIZE, CutDetector


def scenery(seed: int) -> np.ndarray:
    """A picture of coarse patches (90, 160, 3)."""
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(0, 256, (9, 16, 3)), np.ones((10, 10, 1))).astype(np.uint8)


def cuts(images: list[np.ndarray]) -> list[int]:
    detector = CutDetector()
    return [index for index, image in enumerate(images) if detector.update(image)]


def test_cuts_are_seen_where_they_are():
    assert cuts([scenery(seed) for seed in (1, 2, 3) for _ in range(10)]) == [10, 20]


def test_the_first_frames_are_no_cuts():
    """What is usual is not known yet: the camera may be panning."""
    assert cuts([scenery(1)]) == []
    assert cuts([scenery(seed) for seed in (1, 2, 3)]) == []


def test_two_cuts_in_a_row():
    assert cuts([scenery(seed) for seed in (1, 1, 1, 2, 3, 3)]) == [3, 4]


def test_a_pan_is_no_cut():
    wide = np.concatenate([scenery(1), scenery(2)], 1)
    assert cuts([wide[:, 4 * t : 4 * t + 160] for t in range(40)]) == []


def test_someone_who_fills_half_the_picture_and_moves_is_no_cut():
    images = []
    for t in range(30):
        image = scenery(1).copy()
        image[:, 2 * t : 2 * t + 80] = (40, 60, 200)
        images.append(image)
    assert cuts(images) == []


def test_noise_and_fading_are_no_cuts():
    rng = np.random.default_rng(0)
    fading = [(scenery(1) * (1 - t / 30)).astype(np.uint8) for t in range(30)]
    noisy = [(image + rng.integers(0, 30, image.shape)).clip(0, 255).astype(np.uint8) for image in fading]
    assert cuts(noisy) == []


def test_frames_of_one_pixel():
    assert cuts([np.zeros((1, 1, 3), np.uint8)] * 5) == []


@pytest.mark.parametrize("scale", [(4, 2), (8, 8), (12, 4)])
def test_some_pixels_tell_as_much_as_all(scale):
    """Small pictures of large noisy frames differ by less than a tenth of the change that a cut has at least."""
    rng = np.random.default_rng(0)
    frame = np.kron(scenery(1), np.ones((*scale, 1)))
    frame = (frame + rng.normal(0, 6, frame.shape)).clip(0, 255).astype(np.uint8)
    some, every = CutDetector(), CutDetector()
    some.update(frame)
    every.update(cv2.resize(frame, tuple(SAMPLES * side for side in SIZE), interpolation=cv2.INTER_AREA))
    assert some._last is not None
    assert every._last is not None
    assert 0 < np.abs(some._last - every._last).mean() < 0.1 * LEAST
