"""How alike sightings are, where the person is, and what he wears; by hand."""

import cv2
import numpy as np
import pytest

from pipeline.appearance import _lab, blended, colour_distance, colours
from pipeline.sighting import Sighting, likeness
from pipeline.skeleton import LSP14
from tests.pipeline.test_track import person

SEEN = np.full(14, 0.8)


def test_the_same_pose_is_alike_and_a_far_one_is_not():
    pose = Sighting(person(100, 100, 150), SEEN)
    assert likeness(pose, pose) == 1
    assert likeness(pose, pose.moved(np.array([500.0, 0]))) < 1e-6


def test_likeness_by_hand():
    """The extent is the person's height, 150 px, so a joint 15 px off counts exp(-1/2)."""
    pose = Sighting(person(100, 100, 150), SEEN)
    assert likeness(pose, pose.moved(np.array([15.0, 0]))) == pytest.approx(np.exp(-0.5))
    half = Sighting(pose.xy + np.where(np.arange(14) < 7, 15, 0)[:, None] * (0, 1), SEEN)
    extent = np.ptp(half.xy, axis=0).max()
    expected = (np.exp(-((15 / (0.1 * extent)) ** 2) / 2) + 1) / 2
    assert likeness(pose, half) == pytest.approx(expected)


def test_only_joints_seen_in_both_count():
    pose, score = person(100, 100, 150), SEEN.copy()
    score[3] = 0.1
    moved = pose.copy()
    moved[3] += 1000
    assert likeness(Sighting(pose, SEEN), Sighting(moved, score)) == 1
    assert likeness(Sighting(pose, SEEN), Sighting(pose, np.zeros(14))) == 0


def test_the_region_is_around_the_joints_that_are_seen():
    score = SEEN.copy()
    score[13] = 0.0
    region = Sighting(person(100, 100, 150), score).region
    assert region is not None
    assert region.y > 100  # without the head the middle is lower
    assert Sighting(person(100, 100, 150), np.zeros(14)).region is None


def picture(trunk: tuple[int, int, int], thighs: tuple[int, int, int]) -> np.ndarray:
    """Somebody 150 px high at (100, 100), painted by the joints' heights."""
    image = np.full((200, 200, 3), 255, np.uint8)
    hips, knees = 100, round(100 + 0.25 * 150)
    image[:hips], image[hips:knees] = trunk, thighs
    return image


def test_colours_of_trunk_and_thighs():
    pose = Sighting(person(100, 100, 150), SEEN)
    found = colours(picture((0, 0, 255), (0, 0, 0)), pose, LSP14)
    lightness, a, b = found[0]
    assert (2 * lightness, a, b) == pytest.approx((53.2, 80.1, 67.2), abs=0.5)  # red in L*a*b*; lightness counts half
    assert np.abs(found[1]).max() < 12  # black, but for the row of pixels of the hips


def test_colours_of_what_is_not_seen():
    score = SEEN.copy()
    score[list(LSP14.indices(("l_knee",)))] = 0
    found = colours(picture((0, 0, 255), (0, 0, 0)), Sighting(person(100, 100, 150), score), LSP14)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1:]).all()
    outside = colours(picture((0, 0, 255), (0, 0, 0)), Sighting(person(900, 900, 150), SEEN), LSP14)
    assert np.isnan(outside).all()


def test_colours_are_those_of_opencv():
    pixels = np.random.default_rng(0).integers(0, 256, (1, 5000, 3), np.uint8)
    pixels[0, :300] //= 20  # dark ones, for which another formula holds
    expected = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_BGR2LAB)
    np.testing.assert_allclose(_lab(pixels), expected, atol=0.5)  # OpenCV looks up in a table


def test_points_beyond_the_frame_do_not_count():
    """Of somebody who is half out of the frame, the colours are those of the half that is in it."""
    image = np.full((200, 200, 3), (0, 0, 255), np.uint8)
    whole = colours(image, Sighting(person(100, 100, 150), SEEN), LSP14)
    half = colours(image, Sighting(person(0.4, 100, 150), SEEN), LSP14)
    np.testing.assert_allclose(half, whole)


def test_distances_of_colours():
    one, other = np.zeros((3, 3)), np.zeros((3, 3))
    other[0], other[1], other[2] = (3, 4, 0), (0, 0, 10), np.nan
    assert colour_distance(one, other) == pytest.approx(7.5)
    assert np.isnan(colour_distance(one, np.full((3, 3), np.nan)))


def test_blending_keeps_what_only_one_knows():
    one, other = np.full((3, 3), 10.0), np.full((3, 3), 20.0)
    one[0], other[2] = np.nan, np.nan
    np.testing.assert_allclose(blended(one, other, share=0.1)[:, 0], (20, 11, 10))
