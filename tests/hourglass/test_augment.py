"""Whatever is done to a photo, the labels stay on the same points of the body."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hourglass import augment
from hourglass.augment import AugmentConfig, augmented_crop
from pipeline.crop import BOX_MARGIN, Region, region_of
from pipeline.skeleton import LSP14
from tests.hourglass.photos import photo, standing
from tests.pictures import blob, centroid

SIZE = 128
PERSON = standing(200.3, 199.6, 120)
PHOTO = photo(PERSON, width=400, height=400, radius=6)
EVERY = np.ones(14, bool)
OTHER = np.full((50, 60, 3), 90, np.uint8)

PLAIN = AugmentConfig(
    scale=0, shift=0, rotation_deg=0, rotated=0, wide=0, close=0,
    colour=0, blurred=0, noisy=0, compressed=0, occluded=0,
)  # fmt: skip
GEOMETRY = replace(PLAIN, scale=0.3, shift=0.12, rotation_deg=25, rotated=0.7)


def crop(
    seed: int,
    config: AugmentConfig,
    *,
    image: np.ndarray = PHOTO,
    xy: np.ndarray = PERSON,
    labelled: np.ndarray = EVERY,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    region = region_of(xy[labelled])
    return augmented_crop(
        rng, image, xy, labelled, region=region, skeleton=LSP14, size=SIZE, config=config, other=lambda: OTHER
    )


def is_mirrored(seed: int, config: AugmentConfig, *, xy: np.ndarray, side: int, sigma: float, tolerance: float) -> bool:
    """Whether a seed's sample is a mirror image.

    Photos of that side show one joint alone, as a spot at its place; in the sample it must lie at its label, or in a
    mirror image at that of the same joint of the other side.
    """
    mirrored = []
    for name in ("r_ankle", "l_knee", "r_wrist", "l_shoulder"):
        joint = LSP14.index(name)
        spot = blob(side, side, x=xy[joint, 0], y=xy[joint, 1], sigma=sigma)
        image, points, labelled = crop(seed, config, image=spot, xy=xy)
        assert image.shape == (SIZE, SIZE, 3)
        assert image.dtype == np.uint8
        assert labelled.all()
        scale = np.linalg.norm(points[12] - points[13]) / np.linalg.norm(xy[12] - xy[13])  # neck to head
        both = points[[joint, LSP14.flip[joint]]]
        if both.min() < 4 * sigma * scale or both.max() > SIZE - 1 - 4 * sigma * scale:
            continue  # the spot may be cut
        off = np.abs(centroid(image) - points).max(1)
        assert off.argmin() in (joint, LSP14.flip[joint])
        assert off.min() < tolerance
        mirrored.append(off.argmin() != joint)
    assert len(set(mirrored)) == 1
    return mirrored[0]


def test_labels_follow_the_pixels():
    mirrored = [is_mirrored(seed, GEOMETRY, xy=PERSON, side=400, sigma=3, tolerance=0.1) for seed in range(30)]
    assert 5 < sum(mirrored) < 25


def test_labels_follow_the_pixels_of_large_photos():
    person = standing(803.2, 799.1, 900)
    config = replace(PLAIN, scale=0.2, rotation_deg=20, rotated=1)
    for seed in range(3):
        is_mirrored(seed, config, xy=person, side=1600, sigma=25, tolerance=0.1)


def test_mirrored_samples_swap_sides():
    # The mirror image of a person who faces the camera faces it too, so his right hip stays on the picture's left; but
    # what is seen there was his left hip.
    for seed in range(10):
        _, points, _ = crop(seed, PLAIN)
        assert points[LSP14.index("r_hip"), 0] < points[LSP14.index("l_hip"), 0]
    mirrored = [is_mirrored(seed, PLAIN, xy=PERSON, side=400, sigma=3, tolerance=0.1) for seed in range(10)]
    assert 0 < sum(mirrored) < 10


def test_the_plain_crop_is_centred_and_scaled_as_the_detectors_region():
    _, points, _ = crop(0, PLAIN)
    low, high = points.min(0), points.max(0)
    np.testing.assert_allclose((low + high) / 2, (SIZE - 1) / 2, atol=1e-4)
    assert (high - low).max() == pytest.approx(SIZE / BOX_MARGIN)


def test_unlabelled_joints_neither_place_the_crop_nor_become_labelled():
    xy, labelled = PERSON.copy(), EVERY.copy()
    lost = [LSP14.index("r_wrist"), LSP14.index("head_top")]
    xy[lost] = -5000
    labelled[lost] = False
    for seed in range(10):
        image, points, kept = crop(seed, PLAIN, xy=xy, labelled=labelled)
        missing = {LSP14.joints[j] for j in np.flatnonzero(~kept)}
        assert missing in ({"r_wrist", "head_top"}, {"l_wrist", "head_top"})
        assert (np.abs(points[kept] - SIZE / 2) < SIZE / 2).all()
        assert image.any()


def test_the_same_generator_gives_the_same_sample():
    for seed in range(5):
        first, second, other = (crop(s, AugmentConfig()) for s in (seed, seed, seed + 100))
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)
        assert not np.array_equal(first[0], other[0])


def test_the_inputs_stay_as_they_are():
    image, xy, labelled, other = PHOTO.copy(), PERSON.copy(), EVERY.copy(), OTHER.copy()
    config = AugmentConfig(occluded=1, noisy=1, compressed=1, blurred=1)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        region = region_of(xy[labelled])
        occluder = {"other": lambda: other}
        augmented_crop(rng, image, xy, labelled, region=region, skeleton=LSP14, size=SIZE, config=config, **occluder)
    for now, before in ((image, PHOTO), (xy, PERSON), (labelled, EVERY), (other, OTHER)):
        np.testing.assert_array_equal(now, before)


def extent(config: AugmentConfig, seeds: range) -> np.ndarray:
    """Of the person in each sample, over the crop's side."""
    return np.array([np.ptp(crop(seed, config)[1], axis=0).max() / SIZE for seed in seeds])


def test_scale_of_usual_wide_and_close_samples():
    usual = 1 / BOX_MARGIN
    plain = extent(replace(PLAIN, scale=0.3), range(60))
    assert usual * np.exp(-0.3) - 1e-3 <= plain.min() < 0.85 * usual
    assert 1.15 * usual < plain.max() <= usual * np.exp(0.3) + 1e-3
    wide = extent(replace(PLAIN, wide=1), range(60))
    assert usual / 3.2 - 1e-3 <= wide.min() < usual / 2.5
    assert usual / 1.7 < wide.max() <= usual / 1.3 + 1e-3
    close = extent(replace(PLAIN, close=1), range(60))
    assert usual / 0.85 - 1e-3 <= close.min() < usual / 0.7
    assert usual / 0.5 < close.max() <= usual / 0.35 + 1e-3


def test_fractions_of_wide_and_close_samples():
    sizes = extent(replace(PLAIN, wide=0.3, close=0.2), range(400)) * BOX_MARGIN
    assert 0.22 < (sizes < 1 / 1.25).mean() < 0.38
    assert 0.13 < (sizes > 1.15).mean() < 0.27


def test_from_afar_the_person_is_anywhere_but_inside():
    places = []
    for seed in range(80):
        _, points, _ = crop(seed, replace(PLAIN, wide=1))
        assert ((points > -0.6) & (points < SIZE - 0.4)).all()
        places.append(points.mean(0) / SIZE)
    low, high = np.min(places, 0), np.max(places, 0)
    assert (low < 0.33).all()
    assert (high > 0.67).all()


def angle(points: np.ndarray) -> float:
    """Of the line from the ankles to the head from upright, degrees."""
    up = points[13] - points[[0, 5]].mean(0)
    return float(np.degrees(np.arctan2(up[0], -up[1])))


def test_rotation():
    angles = np.array([angle(crop(seed, replace(PLAIN, rotation_deg=25, rotated=0.7))[1]) for seed in range(300)])
    turned = np.abs(angles) > 1e-3
    assert 0.6 < turned.mean() < 0.8
    assert np.abs(angles).max() <= 50 + 1e-3
    assert 18 < angles[turned].std() < 28  # a normal distribution of 25, cut at 50
    assert np.abs(angles[turned].mean()) < 6


def test_colours_change_and_discs_stay_in_place():
    for seed in range(20):
        plain, points, _ = crop(seed, PLAIN)
        image, same, _ = crop(seed, replace(PLAIN, colour=1))
        np.testing.assert_array_equal(points, same)
        columns, rows = np.rint(points).astype(int).T
        assert np.abs(image[rows, columns].astype(int) - plain[rows, columns]).mean() > 2
        assert (np.abs(image[rows, columns].astype(int) - image[2, 2]).max(1) > 25).all()  # they can still be seen


@pytest.mark.parametrize("fraction", [{"blurred": 1}, {"noisy": 1}, {"compressed": 1}, {"occluded": 1}])
def test_each_damage_changes_pixels_but_not_labels(fraction):
    different = 0
    for seed in range(12):
        clean, points, _ = crop(seed, PLAIN)
        damaged, same, _ = crop(seed, replace(PLAIN, **fraction))
        np.testing.assert_array_equal(points, same)
        assert damaged.shape == clean.shape
        assert damaged.dtype == np.uint8
        different += not np.array_equal(damaged, clean)
    assert different >= 10


def test_an_occluder_covers_a_patch_and_no_more():
    for seed in range(12):
        clean, _, _ = crop(seed, PLAIN)
        covered, _, _ = crop(seed, replace(PLAIN, occluded=1))
        rows, columns = np.nonzero((clean != covered).any(-1))
        if len(rows):
            assert max(np.ptp(rows), np.ptp(columns)) <= 0.3 * SIZE + 1


def test_strong_shrinking_averages_pixels_as_the_detector_does(monkeypatch):
    # Columns of black and white by turns: single samples would give either, an average gives grey.
    monkeypatch.setattr(augment, "BORDERS", (cv2.BORDER_REFLECT_101,))
    stripes = np.zeros((1600, 1600, 3), np.uint8)
    stripes[:, ::2] = 255
    for seed in range(4):
        image, _, _ = crop(seed, GEOMETRY, image=stripes, xy=PERSON * 4)
        assert 60 < image[20:-20, 20:-20].min() <= image[20:-20, 20:-20].max() < 195


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    other=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    spread=st.floats(0, 500),
    labels=st.integers(1, 14),
    seed=st.integers(0, 2**32),
)
def test_odd_photos(size, other, spread, labels, seed):
    rng = np.random.default_rng(seed)
    image, patch = (rng.integers(0, 256, (*shape, 3), np.uint8) for shape in (size, other))
    xy = rng.normal(0, spread, (14, 2)).astype(np.float32)
    labelled = np.arange(14) < labels
    config = AugmentConfig(wide=0.3, close=0.3, blurred=0.5, noisy=0.5, compressed=0.5, occluded=0.5)
    region = region_of(xy[labelled])
    crop, points, kept = augmented_crop(
        rng, image, xy, labelled, region=region, skeleton=LSP14, size=32, config=config, other=lambda: patch
    )
    assert crop.shape == (32, 32, 3)
    assert crop.dtype == np.uint8
    assert points.dtype == np.float32
    assert np.isfinite(points).all()
    assert kept.sum() == labels


def test_a_sets_own_region_is_what_is_looked_at():
    """Say MPII's, which knows how tall a person is of whom only a part is labelled."""
    rng = np.random.default_rng(0)
    region, labelled = Region(210.0, 190.0, 256.0), np.arange(14) >= 8
    _, points, kept = augmented_crop(
        rng, PHOTO, PERSON, labelled, region=region, skeleton=LSP14, size=SIZE, config=PLAIN, other=lambda: OTHER
    )
    expected = region.to_crop(PERSON, SIZE)
    if not np.array_equal(kept, labelled):  # the mirror image
        expected = (expected * (-1, 1) + (SIZE - 1, 0))[list(LSP14.flip)]
    np.testing.assert_allclose(points, expected, atol=1e-3)
