"""Frames that stay planes: their colours, their turns, and that what is drawn in them is what is drawn on an image."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from pipeline.canvas import Backdrop, Canvas
from pipeline.planes import BT601, BT709, BT2020, LUMA, Planes, from_bgr, to_bt709, tones
from pipeline.video import VideoWriter, probe, read_frames, read_planes
from tests.pipeline.clips import contents, make_clip, make_flat, picture, quarters

KINDS = {
    "plain": {},
    "turned by 90": {"turn": 90},
    "turned by 180": {"turn": 180},
    "turned by 270": {"turn": 270},
    "mirrored": {"turn": 90, "mirrored": True},
    "full range": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "options": {"qscale": "1"}},
    "10 bits": {"codec": "ffv1", "pix_fmt": "yuv420p10le"},
    "4:2:2": {"codec": "ffv1", "pix_fmt": "yuv422p"},
    "BGR": {"codec": "ffv1", "pix_fmt": "bgra"},
    "grey": {"codec": "ffv1", "pix_fmt": "gray"},
    "oblong pixels": {"pixel_aspect": Fraction(4, 3)},
}


def to_bgr(planes: Planes) -> np.ndarray:
    """The planes as a player shows them (H, W, 3) BGR, by the definition of BT.709 in the standard H.273."""
    height, width = planes.u.shape
    u, v = (cv2.resize(half, (2 * width, 2 * height)).astype(float) - 128 for half in (planes.u, planes.v))
    y, (u, v) = (planes.y - 16.0) / 219, (half[: planes.size[1], : planes.size[0]] / 224 for half in (u, v))
    blue, red = y + 1.8556 * u, y + 1.5748 * v
    green = (y - 0.0722 * blue - 0.2126 * red) / 0.7152
    return np.rint(255 * np.stack([blue, green, red], axis=-1)).clip(0, 255).astype(np.uint8)


def smooth(size: tuple[int, int]) -> np.ndarray:
    """An image (H, W, 3) of a (width, height) that has all colours and no edges."""
    y, x = np.mgrid[: size[1], : size[0]] / max(size) * 3
    waves = [128 + 100 * np.sin(x + 1), 128 + 100 * np.cos(y), 128 + 100 * np.sin(x + y)]
    return np.rint(np.stack(waves, axis=-1)).astype(np.uint8)


# Reading


@pytest.mark.parametrize("size", [(64, 48), (63, 47), (64, 47), (48, 720)], ids=str)  # the last one has another matrix
@pytest.mark.parametrize("kind", KINDS)
def test_planes_show_what_the_image_of_a_frame_does(tmp_path: Path, kind: str, size: tuple[int, int]) -> None:
    options = {"codec": "ffv1", **KINDS[kind]}
    if "turn" in options:
        options |= {"codec": "mpeg4", "options": {"qscale": "1"}}  # in an mp4, where a turn can be noted
    ending = "mp4" if "turn" in options else "mkv"
    source = make_clip(tmp_path / f"in.{ending}", images=[smooth(size)] * 2, **options)
    frames = list(zip(read_frames(source), read_planes(source), strict=True))
    assert len(frames) == 2
    for image, planes in frames:
        assert (planes.index, planes.time_s) == (image.index, image.time_s)
        assert planes.image.size == image.image.shape[1::-1] == (probe(source).width, probe(source).height)
        off = to_bgr(planes.image).astype(int) - image.image
        assert np.abs(off).max() <= 10
        bias = off.mean(axis=(0, 1))
        assert (bias > -0.5).all()
        assert (bias < 3).all()  # images are a little too dark, as the scaler cuts off what is below a level


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_planes_of_usual_clips_are_those_of_the_file(tmp_path: Path, turn: int) -> None:
    source = make_clip(tmp_path / "in.mp4", images=[smooth((48, 720))], turn=turn)
    with av.open(str(source)) as file:
        stored = Planes.of(next(file.decode(video=0)))
    for plane, kept in zip(next(read_planes(source)).image, stored, strict=True):
        np.testing.assert_array_equal(plane, np.rot90(kept, -turn // 90))


@pytest.mark.parametrize(("turn", "mirrored"), [(0, False), (90, False), (180, False), (270, True)])
def test_planes_are_upright(tmp_path: Path, turn: int, mirrored: bool) -> None:
    source = make_clip(tmp_path / "in.mp4", images=[picture((64, 48))], turn=turn, mirrored=mirrored)
    shown = quarters(to_bgr(next(read_planes(source)).image))
    assert shown == quarters(next(read_frames(source)).image)
    assert "other" not in shown


# Matrices and ranges


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", LUMA)
def test_colours_of_any_matrix_become_those_of_bt709(matrix: int, full_range: bool) -> None:
    """By the definition of a matrix in the standard H.273: a colour's own Y, U and V become those in BT.709."""
    red, blue = LUMA[matrix]
    for bgr in ((0, 0, 0), (255, 255, 255), (128, 128, 128), (200, 60, 90), (40, 170, 220), (90, 200, 30)):
        b, g, r = np.array(bgr) / 255
        y = red * r + (1 - red - blue) * g + blue * b
        u, v = (b - y) / (1 - blue) / 2, (r - y) / (1 - red) / 2
        black, span, colours = (0, 255, 255) if full_range else (16, 219, 224)
        stored = [black + span * y, 128 + colours * u, 128 + colours * v]
        flat = Planes(*(np.full((s, s), round(value), np.uint8) for s, value in zip((8, 4, 4), stored, strict=True)))
        found = to_bt709(flat, matrix=matrix, full_range=full_range)
        assert found.size == (8, 8)
        for plane, tone in zip(found, tones(bgr), strict=True):
            assert np.ptp(plane) == 0
            assert abs(int(plane[0, 0]) - tone) <= 2, bgr


def test_planes_that_are_right_already_are_not_touched() -> None:
    planes = from_bgr(smooth((64, 48)))
    assert to_bt709(planes, matrix=BT709, full_range=False) is planes
    assert to_bt709(planes, matrix=BT2020, full_range=False) is not planes


def test_colours_are_found_beside_the_brightness_that_they_belong_to() -> None:
    """Where the brightness depends on the colours, a step in them is where it was, by less than a pixel."""
    u = np.full((24, 32), 90, np.uint8)
    u[:, 16:] = 170
    flat = np.full((48, 64), 128, np.uint8)
    y = to_bt709(Planes(flat, u, np.full_like(u, 128)), matrix=BT601, full_range=False).y.astype(float)[24]
    assert abs(y[31] + y[32] - y[0] - y[63]) <= 2  # as far from one side as from the other


@pytest.mark.parametrize(("size", "red"), [((64, 48), (81, 90, 240)), ((16, 720), (63, 102, 240))], ids=str)
def test_untagged_planes_are_those_of_players(tmp_path: Path, size: tuple[int, int], red: tuple[int, int, int]) -> None:
    planes = next(read_planes(make_flat(tmp_path / "in.mkv", red, size=size))).image
    np.testing.assert_allclose([plane[4, 4] for plane in planes], tones((0, 0, 255)), atol=1)


@pytest.mark.parametrize("bgr", [(0, 0, 0), (255, 255, 255), (230, 119, 31), (56, 56, 222), (12, 200, 90)], ids=str)
def test_tones_are_what_the_scaler_makes(bgr: tuple[int, int, int]) -> None:
    coded = from_bgr(np.full((16, 16, 3), bgr, np.uint8))
    np.testing.assert_allclose([plane[4, 4] for plane in coded], tones(bgr), atol=1)


# Writing


@pytest.mark.parametrize("size", [(64, 48), (63, 47), (17, 35)], ids=str)
def test_planes_are_written_as_images_are(tmp_path: Path, size: tuple[int, int]) -> None:
    source = make_clip(tmp_path / "in.mkv", images=[smooth(size)] * 3, codec="ffv1", pix_fmt="bgra")
    for kind, frames in (("image", read_frames(source)), ("planes", read_planes(source))):
        with VideoWriter(tmp_path / f"{kind}.mp4", size, info=probe(source)) as writer:
            for frame in frames:
                writer.write(frame.image, frame)
    image, planes = (contents(tmp_path / f"{kind}.mp4") for kind in ("image", "planes"))
    assert image.times == planes.times
    assert image.colours == planes.colours == (1, 1, 1, 1)
    np.testing.assert_array_equal(image.images, planes.images)


def test_planes_of_another_size_are_a_bug(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4")
    with VideoWriter(tmp_path / "out.mp4", (64, 48), info=probe(source)) as writer:
        frame = next(read_planes(source))
        writer.write(frame.image, frame)
        with pytest.raises(ValueError, match="expected a 64 x 48"):
            writer.write(from_bgr(smooth((48, 64))), frame)


# Drawing


def both(size: tuple[int, int]) -> tuple[Canvas, Canvas]:
    """An image and planes to draw on, that show the same."""
    image = smooth(size)
    canvases = tuple(Canvas.like(kind, size) for kind in (image, from_bgr(image)))
    for canvas in canvases:
        canvas.paste(Backdrop(image))
    return canvases


def far_apart(one: Canvas, other: Canvas) -> list[np.ndarray]:
    """How far Y, U and V of what was drawn on an image and in planes are apart, levels."""
    assert isinstance(one.picture, np.ndarray)
    assert isinstance(other.picture, Planes)
    pairs = zip(from_bgr(one.picture), other.picture, strict=True)
    return [np.abs(image.astype(int) - plane) for image, plane in pairs]


BALLS = np.array([[40.3, 44.8], [93.6, 51.1]])  # between pixels
RADIUS = np.array([30.0, 30.0])


def test_shapes_in_planes_are_those_on_an_image() -> None:
    one, other = both((128, 96))
    for canvas in (one, other):
        canvas.draw(BALLS, BALLS, RADIUS, ((230, 119, 31), (56, 56, 222)))
    apart = far_apart(one, other)
    assert apart[0].max() <= 4
    for plane in apart[1:]:  # the scaler spreads the colour at a rim further
        assert plane.mean() <= 2
        assert np.quantile(plane, 0.8) <= 2
    y, x = np.mgrid[:96, :128]
    inside = (np.hypot(x - 93.6, y - 51.1) < 27)[::2, ::2]
    assert max(plane[inside].max() for plane in apart[1:]) <= 1


@pytest.mark.parametrize("radius", [3.0, 6.0, 30.0])
def test_colours_lie_where_their_shapes_do(radius: float) -> None:
    """Half a pixel off, for one from taking a pixel's corner for its centre, would be seen here."""
    canvas = Canvas.like(from_bgr(smooth((16, 16))), (128, 96))
    canvas.flood((255, 255, 255))
    canvas.draw(BALLS[1:], BALLS[1:], np.array([radius]), ((0, 0, 255),))
    assert isinstance(canvas.picture, Planes)
    for plane, step, tone in zip(canvas.picture, (1, 2, 2), tones((0, 0, 255)), strict=True):
        weight = (plane - float(plane[0, 0])) / (tone - float(plane[0, 0]))
        assert np.sqrt(weight.sum() * step**2 / np.pi) == pytest.approx(radius + 0.6, abs=0.15)
        for along, middle in ((1, 93.6), (0, 51.1)):
            share = weight.sum(axis=1 - along) / weight.sum()
            centre = (share @ np.arange(len(share)) + 0.5) * step - 0.5
            assert centre == pytest.approx(middle, abs=0.1)


@pytest.mark.parametrize("place", [(9, 40), (10, 41), (11.4, 40.6), (-20, 30), (100, 5), (400, 40), (10, -90)], ids=str)
def test_texts_and_stains_in_planes_are_those_on_an_image(place: tuple[float, float]) -> None:
    one, other = both((128, 96))
    for canvas in (one, other):
        canvas.write("1.25 s", place, (122, 112, 106), capital=12.0)
        canvas.stain(np.full((20, 30), 90, np.uint8), (60, 70), (0, 0, 0))
    brightness, *colours = far_apart(one, other)
    assert brightness.max() <= 4
    for plane in colours:
        assert plane.mean() <= 0.3
        assert plane.max() <= 20  # at a letter's rim


def test_a_stain_keeps_grey_grey_and_what_is_not_covered() -> None:
    for canvas in both((64, 48)):
        canvas.flood((240, 240, 240))
        canvas.stain(np.arange(256, dtype=np.uint8).repeat(4).reshape(32, 32), (8, 6), (0, 0, 0))
        dark = canvas.layers[0][6:38, 8:40].reshape(32 * 32, -1)[::4, 0].astype(int)
        black, grey = (16, tones((240,) * 3)[0]) if len(canvas.layers) > 1 else (0, 240)
        np.testing.assert_allclose(dark, grey + (black - grey) * np.arange(256) / 255, atol=0.51)
        assert (canvas.layers[0][:6] == grey).all()
        assert all((layer == 128).all() for layer in canvas.layers[1:])


def test_parts_share_their_pixels_and_pictures_are_scaled_to_them() -> None:
    for canvas in both((64, 48)):
        part = canvas.part((8, 6), (32, 20))
        assert part.size == (32, 20)
        part.flood((0, 0, 255))
        assert not any((layer == 0).all() for layer in canvas.layers)
        bgr = to_bgr(canvas.picture) if isinstance(canvas.picture, Planes) else canvas.picture
        np.testing.assert_allclose(bgr[10, 12], [0, 0, 255], atol=3)
        large = smooth((128, 80))
        part.paste(from_bgr(large) if isinstance(canvas.picture, Planes) else large)
        bgr = to_bgr(canvas.picture) if isinstance(canvas.picture, Planes) else canvas.picture
        shrunk = cv2.resize(large, (32, 20), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(bgr[8:24, 10:38].astype(int), shrunk[2:18, 2:30], atol=12)
