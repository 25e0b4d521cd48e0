"""Scene cuts, from small pictures of a part of the rows."""

import numpy as np
import pytest

from pipeline import cuts
from pipeline.cuts import CutDetector


def scene(seed: int, size: tuple[int, int], count: int) -> list[np.ndarray]:
    """Frames of one colourful place, (width, height), with the noise of a camera."""
    rng = np.random.default_rng(seed)
    place = np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((size[1] // 6, size[0] // 8, 1)))
    return [np.clip(place + rng.normal(0, 6, place.shape), 0, 255).astype(np.uint8) for _ in range(count)]


@pytest.mark.parametrize("size", [(64, 48), (320, 180), (1280, 720), (720, 1280)])
def test_a_cut_is_where_the_scene_changes(size):
    detector = CutDetector()
    frames = scene(0, size, 3) + scene(1, size, 2) + scene(0, size, 2)
    assert [index for index, frame in enumerate(frames) if detector.update(frame)] == [3, 5]


@pytest.mark.parametrize("size", [(320, 360), (1280, 720), (360, 1280)])
def test_a_part_of_the_rows_tells_as_much_as_all(size, monkeypatch):
    """Small pictures differ by less than a tenth of the change that a cut has at least."""
    (frame,) = scene(0, size, 1)
    some, every = CutDetector(), CutDetector()
    some.update(frame)
    monkeypatch.setattr(cuts, "ROWS", 10**6)
    every.update(frame)
    difference = np.abs(some._last - every._last).mean()
    assert 0 < difference < 0.1 * cuts.LEAST
