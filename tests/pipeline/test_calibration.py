"""Calibration files are read as they are meant, and cameras see as they should."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.calibration import read_calibration
from pipeline.errors import InputError
from tests.pipeline.rig import SIZE, camera, ring, write_qualisys, write_toml

BOX = np.array([[x, y, z] for x in (-500, 400) for y in (-300, 600) for z in (0, 1700)], np.float64)


@pytest.mark.parametrize("write", [write_toml, write_qualisys])
def test_both_formats_say_the_same(tmp_path, write):
    views = ring()
    found = read_calibration(write(tmp_path / "calibration", views))
    assert [view.name for view in found] == [view.name for view in views]
    for view, expected in zip(found, views, strict=True):
        assert view.size == SIZE
        np.testing.assert_allclose(view.project(BOX), expected.project(BOX), atol=1e-6)


def test_a_camera_by_hand():
    """Without distortion, by the definition of a pinhole; with it, by Brown's formula."""
    plain, bent = camera(30, lens=np.zeros(5)), camera(30)
    seen = plain.to_camera(BOX)
    x, y = (seen[:, :2] / seen[:, 2:]).T
    np.testing.assert_allclose(plain.project(BOX), np.stack([600 * x + 322, 602 * y + 238], -1))
    np.testing.assert_allclose(plain.rays(plain.project(BOX)), np.stack([x, y], -1), atol=1e-12)
    k1, k2, p1, p2, _ = bent.distortion
    square = x**2 + y**2
    radial = 1 + k1 * square + k2 * square**2
    across = x * radial + 2 * p1 * x * y + p2 * (square + 2 * x**2)
    down = y * radial + p1 * (square + 2 * y**2) + 2 * p2 * x * y
    np.testing.assert_allclose(bent.project(BOX), np.stack([600 * across + 322, 602 * down + 238], -1))
    np.testing.assert_allclose(bent.rays(bent.project(BOX)), np.stack([x, y], -1), atol=1e-5)
    # upright, and what is right in the world is right in the picture of a camera that looks along y
    front = camera(0, lens=np.zeros(5))
    low, high, right = front.project(np.array([[0.0, 0, 0], [0, 0, 1700], [500, 0, 900]]))
    assert low[1] > high[1]
    assert right[0] > low[0]


def test_points_that_are_not_known_stay_so():
    view = camera(10)
    points = np.array([[[0.0, 0, 900], [np.nan, 0, 0]]])
    pixels = view.project(points)
    assert np.isfinite(pixels[0, 0]).all()
    assert np.isnan(pixels[0, 1]).all()
    np.testing.assert_array_equal(np.isnan(view.rays(pixels)), np.isnan(pixels))
    assert np.isnan(view.rays(np.full((2, 2), np.nan))).all()


def test_frames_of_another_size():
    view = camera(0, lens=np.zeros(5))
    assert view.fitted((636, 480)) is view  # cut to a multiple of some number
    double = view.fitted((1280, 960))
    np.testing.assert_allclose(double.project(BOX), 2 * view.project(BOX) + 0.5)
    assert double.size == (1280, 960)
    with pytest.raises(ValueError, match=r"calibrated with frames of \(640, 480\), these are \(480, 640\)"):
        view.fitted((480, 640))


def test_the_calibration_of_real_cameras():
    folder = os.environ.get("POSECLI_DATA")
    if not folder:
        pytest.skip("POSECLI_DATA does not name the folder of the test data")
    views = read_calibration(Path(folder) / "clips" / "pose2sim_calibration" / "Calib.qca.txt")
    assert [view.name for view in views] == ["cam01", "cam02", "cam03", "cam04"]
    # all look at a person of 1.7 m who stands in the middle, from above
    head, foot = (np.stack([view.project(np.array([-1000.0, 0, z])) for view in views]) for z in (1700, 0))
    assert (head[:, 1] < foot[:, 1] - 400).all()
    assert ((head > 0) & (head < (1088, 1920))).all()
    assert all(view.rotation[2, 2] < -0.2 for view in views)


def _lens(text: str) -> str:
    return text.replace("distortions = [", "distortions = [1.0, 2.0, 3.0, ", 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: "", "it has no camera"),
        (lambda _: "= nonsense", "Invalid"),
        (lambda _: "\0\x01\xff", "not a calibration"),
        (lambda text: text.replace("matrix", "matrices", 1), "lacks 'matrix'"),
        (lambda text: text.replace("fisheye = false", "fisheye = true", 1), "fisheye"),
        (_lens, "7 distortions"),
        (lambda text: text.replace("cam20", "cam100"), "two cameras have one name"),
        (lambda text: text.replace("[[600.0", "[[-600.0"), "no focal length"),
        (lambda text: text.replace("[[600.0", "[[nan"), "not finite"),
        (lambda text: text + "#" * (1 << 20), "more than 1,048,576 bytes are too many"),
    ],
)
def test_a_file_that_is_no_toml_calibration(tmp_path, change, words):
    path = write_toml(tmp_path / "c.toml", ring())
    path.write_text(change(path.read_text()), encoding="latin-1")
    with pytest.raises(InputError, match=r"c\.toml: not a calibration") as error:
        read_calibration(path)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[:300], "not a calibration"),
        (lambda text: '<!DOCTYPE a [<!ENTITY b "c">]>' + text, "document type"),
        (lambda text: text.replace("<transform", "<moved"), "lacks 'transform'"),
        (lambda text: text.replace('viewrotation="0"', 'viewrotation="90"', 1), "turned view"),
        (lambda text: text.replace('r11="', 'r11="9'), "rotation is none"),
        (lambda text: text.replace('x="', 'x="a'), "could not convert"),
    ],
)
def test_a_file_that_is_no_qualisys_calibration(tmp_path, change, words):
    path = write_qualisys(tmp_path / "c.qca.txt", ring())
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=r"c\.qca\.txt: not a calibration") as error:
        read_calibration(path)
    assert words in str(error.value)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match=r"gone\.toml: cannot be read \(No such file"):
        read_calibration(tmp_path / "gone.toml")


def test_a_mirrored_camera_is_refused():
    view = camera(0)
    with pytest.raises(ValueError, match="rotation is none"):
        replace(view, rotation=view.rotation * (1, 1, -1))
