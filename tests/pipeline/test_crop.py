"""Cutting a region and mapping points agree to a small part of a pixel, at every scale."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.crop import BOX_MARGIN, Region, halved, halvings, region_of
from tests.pictures import blob, centroid

coordinate = st.floats(-500, 4000)
regions = st.builds(Region, coordinate, coordinate, st.floats(4, 4000))


@settings(max_examples=100, deadline=None)
@given(region=regions, size=st.integers(1, 512), x=st.floats(-2, 2), y=st.floats(-2, 2))
def test_there_and_back(region, size, x, y):
    in_frame = np.array([[region.x + x * region.side, region.y + y * region.side]])
    assert np.abs(region.to_frame(region.to_crop(in_frame, size), size) - in_frame).max() < 1e-9
    in_crop = np.array([[x * size, y * size]])
    assert np.abs(region.to_crop(region.to_frame(in_crop, size), size) - in_crop).max() < 1e-9


def test_pixel_centres_by_hand():
    # Frame pixels 10..17 and 20..27 are the region: their outer borders lie at 9.5 and 17.5, 19.5 and 27.5.
    region = Region(13.5, 23.5, 8)
    points = np.array([[9.5, 19.5], [17.5, 27.5], [13.5, 23.5], [10.0, 20.0]])
    # Twice as large: the crop's borders at -0.5 and 15.5; the centre of the first pixel goes to (p + 0.5) * 2 - 0.5.
    np.testing.assert_allclose(region.to_crop(points, 16), [[-0.5, -0.5], [15.5, 15.5], [7.5, 7.5], [0.5, 0.5]])
    np.testing.assert_allclose(region.to_crop(points, 4), [[-0.5, -0.5], [3.5, 3.5], [1.5, 1.5], [-0.25, -0.25]])


def test_same_size_region_is_a_plain_slice():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    np.testing.assert_array_equal(Region(13.5, 23.5, 8).cut(image, 8), image[20:28, 10:18])


def test_strong_shrinking_by_hand():
    """To a quarter: means of 2 x 2 pixels, of which a crop pixel is the mean of two, each smoothed by 1, 2, 1."""
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    crop = Region(19.5, 19.5, 40).cut(image, 10)
    half = image[:, :40].reshape(20, 2, 20, 2, 3).mean((1, 3))
    weights = np.zeros((8, 20))
    for row in range(8):
        weights[row, 2 * row + 1 : 2 * row + 5] = (1 / 8, 3 / 8, 3 / 8, 1 / 8)
    expected = np.einsum("ij,jkc,lk->ilc", weights, half, weights)
    assert np.abs(crop[1:-1, 1:-1] - expected).max() <= 1.51  # rounding, three times


def test_how_often_an_image_is_halved():
    factors = (2.0, 1.0, 0.5, 0.49, 0.25, 0.24, 0.01)
    assert [halvings(factor) for factor in factors] == [0, 0, 0, 1, 1, 2, 6]


@pytest.mark.parametrize(("height", "width"), [(40, 60), (41, 59), (1, 3), (1, 1)])
def test_halving_shows_all_of_the_image(height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    np.testing.assert_array_equal(halved(image, 0), image)
    twice = halved(image, 2)
    assert twice.shape == (-(-height // 4), -(-width // 4), 3)
    plain = np.full_like(image, 77)
    np.testing.assert_array_equal(halved(plain, 2), np.full_like(twice, 77))


@pytest.mark.parametrize("scale", [1.0, 0.7, 0.4, 0.22, 0.11])
def test_looks_at_the_middle_show_it_where_it_is(scale):
    """One blob is at its place in every look, and the first look is the plain cut."""
    size, sigma, zooms = 64, 3 / min(scale, 1.0), (1.0, 0.84, 0.5)
    region = Region(400.3, 300.8, size / scale)
    place = np.array([400.3, 300.8]) + np.array([0.11, -0.07]) * region.side
    image = blob(800, 600, x=place[0], y=place[1], sigma=sigma)
    crops = region.cuts(image, size, zooms=zooms)
    np.testing.assert_array_equal(crops[0], region.cut(image, size))
    for crop, zoom in zip(crops, zooms, strict=True):
        closer = Region(region.x, region.y, zoom * region.side)
        assert np.abs(centroid(crop) - closer.to_crop(place, size)).max() < max(0.05, scale / zoom / 32)


@pytest.mark.parametrize("scale", [3.0, 1.0, 0.7, 0.51, 0.49, 0.25, 0.11])
def test_cut_puts_a_blob_where_to_crop_says(scale):
    rng = np.random.default_rng(int(100 * scale))
    size, sigma = 64, 3 / min(scale, 1.0)
    for _ in range(4):
        centre = np.array([400, 300]) + rng.uniform(-1, 1, 2)
        region = Region(*centre, size / scale)
        place = centre + rng.uniform(-0.2, 0.2, 2) * region.side
        crop = region.cut(blob(800, 600, x=place[0], y=place[1], sigma=sigma), size)
        # OpenCV rounds the places that it samples to 1/32 of a frame pixel.
        assert np.abs(centroid(crop) - region.to_crop(place, size)).max() < max(0.05, scale / 32)


@pytest.mark.parametrize("scale", [1.5, 0.8, 0.3, 0.13])
def test_a_blob_in_a_region_that_juts_out_of_the_frame(scale):
    # The frame's corner is in the crop; a frame with odd sides makes the shrunken part's scales differ by axis.
    size, sigma = 64, 3 / min(scale, 1.0)
    side = size / scale
    region = Region(0.13 * side, 0.08 * side, side)
    place = np.array([0.27 * side + 0.3, 0.24 * side - 0.2])
    width, height = int(0.531 * side) + 1, int(0.617 * side) + 1
    crop = region.cut(blob(width, height, x=place[0], y=place[1], sigma=min(sigma, side / 25)), size)
    assert np.abs(centroid(crop) - region.to_crop(place, size)).max() < 0.1


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(-60, 160),
    y=st.floats(-60, 120),
    side=st.floats(4, 500),
    width=st.integers(1, 90),
    height=st.integers(1, 70),
)
def test_outside_the_image_is_black_and_inside_is_not(x, y, side, width, height):
    region, size = Region(x, y, side), 24
    crop = region.cut(np.full((height, width, 3), 255, np.uint8), size)
    assert crop.shape == (size, size, 3)
    assert crop.dtype == np.uint8
    rows, columns = np.mgrid[:size, :size]
    places = region.to_frame(np.stack([columns, rows], -1).astype(float), size)
    # How far within the image a crop pixel's centre lies, in the larger of frame and crop pixels; between -1 and 1 the
    # border is blended.
    within = np.minimum(places + 0.5, (width, height) - (places + 0.5)).min(-1) / max(side / size, 1)
    assert (crop[within < -1] == 0).all()
    assert (crop[within > 1] >= 254).all()


def test_strong_shrinking_does_not_skip_pixels():
    # Columns of black and white by turns: single samples would give either, a mean over five gives 2/5 to 3/5 of white.
    stripes = np.zeros((600, 600, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = Region(300.2, 299.7, 500).cut(stripes, 100)
    assert 100 < crop.min() <= crop.max() < 155


@pytest.mark.parametrize("scale", [0.4, 0.25, 0.2, 0.07])
def test_a_slope_stays_a_slope(scale):
    """Also where the image is halved first, from an even column on, and its own size is odd."""
    columns = np.linspace(20, 230, 1001)
    image = np.broadcast_to(columns[None, :, None], (601, 1001, 3)).round().astype(np.uint8)
    region = Region(500.3, 300.6, 32 / scale)
    crop = region.cut(image, 32)[16, 2:-2, 0]
    x = region.to_frame(np.stack([np.arange(2, 30), np.full(28, 16)], -1), 32)[:, 0]
    np.testing.assert_allclose(crop, np.interp(x, np.arange(1001), columns), atol=1.5)


def test_region_of_by_hand():
    points = np.array([[10.0, 20.0], [30.0, 100.0], [20.0, 50.0]])
    assert region_of(points) == Region(20, 60, 80 * BOX_MARGIN)
    assert region_of(points, margin=2) == Region(20, 60, 160)
    assert region_of(points[:, ::-1]) == Region(60, 20, 80 * BOX_MARGIN)


def test_region_of_a_single_point_is_not_empty():
    assert region_of(np.array([[5.0, 6.0]])) == Region(5, 6, BOX_MARGIN)
