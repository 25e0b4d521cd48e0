"""Human3.6M in its three forms: read to exact numbers; what is missing is listed, what does not fit is one line."""

import builtins
import io
import pickle
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lifter import cdf, h36m
from lifter.h36m import (
    ACTIONS,
    HOURGLASS_TO_H36M16,
    LAYOUTS,
    SUBJECTS,
    TEST_SUBJECTS,
    TRAIN_SUBJECTS,
    View,
    read_cameras,
    read_dictionary,
    read_h36m,
    read_martinez,
    read_official,
    read_videopose,
    recording_of,
)
from lifter.h36m_cameras import CAMERAS, project, published_cameras, to_camera
from pipeline.errors import DataError, InputError, PoseError
from pipeline.skeleton import COCO17, H36M16, H36M17, MPII16
from tests.lifter.h36m_files import (
    FRAMES,
    PLACES,
    C,
    F,
    K,
    P,
    detections,
    people,
    rotation_towards,
    write_cameras,
    write_cdf,
    write_h5,
    write_martinez,
    write_metadata,
    write_official,
    write_videopose,
    write_videopose_2d,
)

S1 = ("S1",)
SEVENTEEN = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Martinez' folders with a whole S1; not to be changed."""
    return write_martinez(tmp_path_factory.mktemp("h36m") / "h36m")


@pytest.fixture(scope="module")
def two_actions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_martinez(tmp_path_factory.mktemp("two") / "h36m", actions=("Sitting", "WalkDog"))


@pytest.fixture
def folder(two_actions: Path, tmp_path: Path) -> Path:
    """Martinez' folders with two actions of S1, to be spoilt."""
    return shutil.copytree(two_actions, tmp_path / "h36m")


# Cameras


def test_a_point_by_hand() -> None:
    # (0.5, -0.25) on the plane z = 1: r2 = 0.3125, radial = 1 + 0.03125 + 0.01953125 = 1.05078125 without k3,
    # tangential = 0.01 * -0.25 + 0.02 * 0.5 = 0.0075; so x' = 0.5 * 1.05828125 + 0.02 * 0.3125 = 0.535390625
    # and y' = -0.25 * 1.05828125 + 0.01 * 0.3125 = -0.2614453125
    pixel = project(
        np.array([1000.0, -500.0, 2000.0]),
        f=np.array([1000.0, 2000.0]),
        c=np.array([500.0, 400.0]),
        k=np.array([0.1, 0.2, 0.0]),
        p=np.array([0.01, 0.02]),
    )
    np.testing.assert_allclose(pixel, [1035.390625, -122.890625], rtol=1e-12)


def test_the_lens_by_a_second_formula() -> None:
    points = np.random.default_rng(0).uniform([-900, -900, 2000], [900, 900, 6000], (50, 3))
    ours = project(points, f=F, c=C, k=K, p=P)
    # OpenCV's tangential terms are twice as large, but for the one in r2, which is as large
    matrix = np.array([[F[0], 0, C[0]], [0, F[1], C[1]], [0, 0, 1]])
    half, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, np.array([K[0], K[1], *(P / 2), K[2]]))
    r2 = ((points[:, :2] / points[:, 2:]) ** 2).sum(1, keepdims=True)
    np.testing.assert_allclose(ours, half[:, 0] + F * P[::-1] * r2 / 2, atol=1e-8)
    assert np.abs(ours - project(points, f=F, c=C, k=K, p=0 * P)).max() > 0.1  # the test sees p


def test_world_to_camera_by_hand() -> None:
    # a camera at (0, -1000, 0) that looks along +y with z up: right is +x, down is -z
    turn = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    seen = to_camera(np.array([[10.0, 0, 0], [0, 0, 20]]), rotation=turn, position=np.array([0.0, -1000, 0]))
    np.testing.assert_allclose(seen, [[10, 0, 1000], [0, -20, 1000]])


def test_cameras_are_read(tmp_path: Path) -> None:
    cameras = read_cameras(write_cameras(tmp_path / "cameras.h5", ("S1", "S9")), subjects=("S1", "S9"))
    assert set(cameras) == {(subject, name) for subject in ("S1", "S9") for name in CAMERAS}
    camera = cameras["S9", "58860488"]
    np.testing.assert_array_equal(camera.T, PLACES[2])
    np.testing.assert_allclose(camera.R, rotation_towards(PLACES[2], np.array([0, 0, 900.0])))
    for name, value in (("f", F), ("c", C), ("k", K), ("p", P)):
        np.testing.assert_array_equal(getattr(camera, name), value)
    centre = to_camera(np.array([0, 0, 900.0]), rotation=camera.R, position=camera.T)
    np.testing.assert_allclose(centre[:2], 0, atol=1e-9)


def test_the_official_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turn = Rotation.from_matrix(rotation_towards(PLACES[3], np.array([0, 0, 900.0])))
    angles = turn.as_euler("XYZ")  # R = Rx Ry Rz
    path = write_metadata(tmp_path / "metadata.xml", angles)
    with pytest.raises(DataError, match=r"S11 camera \d+: R, T or f make no sense"):  # the others look elsewhere
        read_cameras(tmp_path, subjects=("S11",))
    monkeypatch.setattr(h36m, "_check_camera", lambda *_: None)
    cameras = read_cameras(path, subjects=("S11",))
    for index, name in enumerate(CAMERAS):
        camera = cameras["S11", name]
        np.testing.assert_allclose(camera.R, turn.as_matrix(), atol=1e-12)
        np.testing.assert_allclose(camera.T, PLACES[index])
        np.testing.assert_allclose(np.concatenate([camera.f, camera.c]), np.concatenate([F + index, C]))
        np.testing.assert_allclose(np.concatenate([camera.k, camera.p]), np.concatenate([K, P]))
    path.write_text(path.read_text().replace("[", "[1 "))
    with pytest.raises(DataError, match="expected 300 numbers in <w0>"):
        read_cameras(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("camera2", None, r"expected a data set 'subject1/camera2/R'; found subject1"),
        ("camera2/k", None, r"expected a data set 'subject1/camera2/k'"),
        ("camera2/f", np.ones(3), r"subject1/camera2/f: expected 2 numbers, got \(3,\)"),
        ("camera2/T", np.full(3, np.nan), "subject1/camera2/T: expected 3 numbers"),
        ("camera2/Name", np.array([49, 50]), "subject1/camera2/Name: expected one of 54138969, .* got '12'"),
        ("camera2/R", np.eye(3) * 2, "S1 camera 55011271: R, T or f make no sense"),
        ("camera2/R", rotation_towards(PLACES[1], np.zeros(3)), "S1 camera 55011271: .* is R transposed"),
        ("camera2/R", b"text", "expected numbers"),
    ],
)
def test_cameras_that_do_not_fit(tmp_path: Path, key: str, value: object, message: str) -> None:
    path = write_cameras(tmp_path / "cameras.h5")
    with h5py.File(path, "r+") as file:
        del file[f"subject1/{key}"]
        if value is not None:
            file[f"subject1/{key}"] = value
    with pytest.raises(DataError, match=message):
        read_cameras(path, subjects=("S1",))


def test_missing_cameras(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Human3\.6M has no subject S2, s1; name some of S1, S5, S6, S7, S8, S9, S11"):
        read_cameras(tmp_path, subjects=("S2", "S1", "s1"))
    with pytest.raises(DataError, match=r"nowhere\.h5: no such file"):
        read_cameras(tmp_path / "nowhere.h5")
    with pytest.raises(DataError, match="expected a data set 'subject5/camera1/R'"):
        read_cameras(write_cameras(tmp_path / "cameras.h5"), subjects=("S1", "S5"))


# Names


@pytest.mark.parametrize(
    ("name", "recording", "camera"),
    [
        ("Directions", ("S1", "Directions", 0), ""),
        ("Directions 1", ("S1", "Directions", 1), ""),
        ("Directions_1.55011271", ("S1", "Directions", 1), "55011271"),
        ("Sitting", ("S1", "Sitting", 0), ""),
        ("SittingDown 2", ("S1", "SittingDown", 2), ""),
        ("TakingPhoto 1", ("S1", "Photo", 1), ""),
        ("Photo 1", ("S1", "Photo", 1), ""),
        ("WalkingDog.54138969", ("S1", "WalkDog", 0), "54138969"),
        ("WalkDog", ("S1", "WalkDog", 0), ""),
        ("Walking 1", ("S1", "Walking", 1), ""),
        ("WalkTogether 1", ("S1", "WalkTogether", 1), ""),
    ],
)
def test_names_of_recordings(name: str, recording: tuple[str, str, int], camera: str) -> None:
    assert recording_of("S1", name, path=Path("x")) == (recording, camera)


@pytest.mark.parametrize("name", ["Sit", "Sittingdown", "Walk", "Walking Dog", "Directions 1.12345678", "", "1"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"is no recording of Human3\.6M"):
        recording_of("S1", name, path=Path("x"))


def test_there_are_fifteen_actions() -> None:
    assert len(set(ACTIONS)) == 15
    assert (TRAIN_SUBJECTS, TEST_SUBJECTS) == (("S1", "S5", "S6", "S7", "S8"), ("S9", "S11"))


# Martinez' folders


def test_the_h5_folders_are_read(made: Path) -> None:
    data = read_martinez(made, subjects=("S1",))
    assert len(data.views) == 15 * 2 * 4
    assert data.missing == ()
    assert data.skeleton is H36M16
    view = View("S1", "Sitting", 1, "55011271")
    seed = 2 * ACTIONS.index("Sitting") + 1
    np.testing.assert_allclose(data.views[view].world, people(seed=seed)[:, SEVENTEEN], atol=1e-3)
    order = [6, 2, 1, 0, 3, 4, 5, 7, 8, 9, 13, 14, 15, 12, 11, 10]
    np.testing.assert_array_equal(data.views[view].points, detections(1)[:, order])
    assert data.views[view].world.dtype == data.views[view].points.dtype == np.float32


def test_views_in_camera_axes_and_pixels(made: Path) -> None:
    data = read_martinez(made, subjects=("S1",), detections=False)
    view = View("S1", "Eating", 0, "60457274")
    assert data.views[view].points is None
    assert data.skeleton is None
    assert data.missing == ()
    turn = rotation_towards(PLACES[3], np.array([0, 0, 900.0]))
    world = people(seed=2 * ACTIONS.index("Eating"))[:, SEVENTEEN]
    expected = np.stack([[turn @ (joint - PLACES[3]) for joint in pose] for pose in world])
    np.testing.assert_allclose(data.in_camera(view), expected, atol=1e-3)
    np.testing.assert_allclose(data.projected(view), project(expected, f=F, c=C, k=K, p=P), atol=1e-3)


def test_joints_of_the_hourglass() -> None:
    # the same names in both layouts, but for MPII's thorax and upper neck, which stand in
    names = [{"thorax": "spine", "upper_neck": "thorax"}.get(name, name) for name in MPII16.joints]
    assert tuple(names[joint] for joint in HOURGLASS_TO_H36M16) == H36M16.joints


def test_cameras_may_lie_above(folder: Path) -> None:
    shutil.move(folder / "cameras.h5", folder.parent / "cameras.h5")
    assert len(read_martinez(folder, subjects=("S1",)).cameras) == 4


def test_without_cameras_the_published_ones_are_used(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "cameras.h5").unlink()
    with caplog.at_level("INFO", logger="lifter.h36m"):
        data = read_h36m(folder, points="gt", subjects=("S1",))
    line = f"{folder}: no cameras.h5 or metadata.xml: the published cameras of Human3.6M are used"
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("INFO", line)]
    published = published_cameras(("S1",))
    assert data.cameras.keys() == published.keys()
    for key, camera in data.cameras.items():
        np.testing.assert_array_equal(camera.R, published[key].R)
        np.testing.assert_array_equal(camera.T, published[key].T)


# Orientations (quaternions w, x, y, z of the camera's axes in the world) and places in mm of the same cameras, from
# another publication of them: in single precision, and of the inverse of R.
ORIENTED = {
    ("S1", "54138969"): (
        0.14070564508,
        -0.15007017553,
        -0.7552407978,
        0.62232804298,
        1841.10706,
        4955.28467,
        1563.44545,
    ),
    ("S6", "55011271"): (
        0.6147197485,
        -0.76288127899,
        -0.16174767911,
        0.11819244921,
        1969.80396,
        -5128.73877,
        1632.77881,
    ),
    ("S9", "58860488"): (
        0.13357827067,
        -0.13671004772,
        0.76894545555,
        -0.61007386446,
        -1670.99219,
        5211.98584,
        1528.38794,
    ),
    ("S11", "60457274"): (
        0.58942514658,
        -0.78188771009,
        0.13991211355,
        -0.14715361595,
        -1590.73804,
        -3854.16895,
        1578.01758,
    ),
}


@pytest.mark.parametrize("key", ORIENTED, ids=" ".join)
def test_the_published_cameras_by_a_second_source(key: tuple[str, str]) -> None:
    w, x, y, z, *place = ORIENTED[key]
    camera = published_cameras(SUBJECTS)[key]
    np.testing.assert_allclose(camera.R, Rotation.from_quat([x, y, z, w]).inv().as_matrix(), atol=1e-6)
    np.testing.assert_allclose(camera.T, place, atol=1e-2)


# Lenses from that publication: f, c, k, and the tangential terms q of x' = x (radial + q . x) + q r2.
LENSES = {
    "54138969": (1145.049, 1143.781, 512.541, 515.451, -0.20709892, 0.24777518, -0.00307515, -0.00097570, -0.00142447),
    "55011271": (1149.675, 1147.591, 508.848, 508.064, -0.19421363, 0.24040854, 0.00681998, -0.00161903, -0.00274089),
    "58860488": (1149.140, 1148.798, 519.815, 501.402, -0.20833819, 0.25548801, -0.00246050, 0.00148439, -0.00076000),
    "60457274": (1145.511, 1144.773, 514.968, 501.882, -0.19838409, 0.21832368, -0.00894781, -0.00058721, -0.00181336),
}  # fmt: skip


@pytest.mark.parametrize("name", CAMERAS)
def test_the_published_lenses_by_a_second_source(name: str) -> None:
    f, c, k, q = np.split(np.array(LENSES[name]), [2, 4, 7])
    points = np.random.default_rng(3).uniform([-0.4, -0.4, 1], [0.4, 0.4, 1], (50, 3))
    xy, r2 = points[:, :2], (points[:, :2] ** 2).sum(1, keepdims=True)
    expected = f * (xy * (1 + k[0] * r2 + k[1] * r2**2 + k[2] * r2**3 + xy @ q[:, None]) + q * r2) + c
    camera = published_cameras(S1)["S1", name]
    np.testing.assert_allclose(project(points, f=camera.f, c=camera.c, k=camera.k, p=camera.p), expected, atol=2e-3)


def test_the_published_cameras_stand_around_the_room_and_look_at_its_middle() -> None:
    cameras = published_cameras(SUBJECTS)
    assert len(cameras) == 28
    for camera in cameras.values():
        np.testing.assert_allclose(camera.R @ camera.R.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(camera.R) == pytest.approx(1)
        assert 1200 < camera.T[2] < 2000
        middle, above = to_camera(np.array([[0, 0, 900.0], [0, 0, 1900.0]]), rotation=camera.R, position=camera.T)
        assert 4000 < middle[2] < 6500
        pixel, higher = project(np.stack([middle, above]), f=camera.f, c=camera.c, k=camera.k, p=camera.p)
        assert np.linalg.norm(pixel - 500) < 250  # of 1000 px; a person anywhere near the middle is in the picture
        assert higher[1] < pixel[1] - 100  # up in the world is up in the picture
        assert abs(np.degrees(np.arcsin(camera.R[0, 2]))) < 6  # nearly level
    corners = {name: np.sign(cameras["S1", name].T[:2]).tolist() for name in CAMERAS}
    assert corners == dict(zip(CAMERAS, [[1, 1], [1, -1], [-1, 1], [-1, -1]], strict=True))


def test_every_camera_keeps_its_lens() -> None:
    cameras = published_cameras(SUBJECTS)
    for name in CAMERAS:
        lenses = {tuple(np.concatenate([c.f, c.c, c.k, c.p])) for (_, other), c in cameras.items() if other == name}
        assert len(lenses) == 1
        f, c, k, p = np.split(np.array(lenses.pop()), [2, 4, 7])
        assert (np.abs(f - 1147) < 4).all()
        assert (np.abs(c - 510) < 12).all()
        assert k[0] == pytest.approx(-0.2, abs=0.02)  # barrel
        # the lens bends a point near the corner inwards by tens of pixels, and hardly one near the middle
        ends = np.array([[0.35, 0.35, 1.0], [0.03, 0.03, 1.0]])
        bent = project(ends, f=f, c=c, k=k, p=p) - (f * ends[:, :2] + c)
        assert -20 < bent[0].min() < bent[0].max() < -5
        assert np.abs(bent[1]).max() < 0.1


def test_what_is_missing_is_listed(folder: Path) -> None:
    (folder / "S1" / "StackedHourglass" / "Sitting.54138969.h5").unlink()
    (folder / "S1" / "MyPoses" / "3D_positions" / "WalkDog 1.h5").unlink()
    data = read_martinez(folder, subjects=("S1",))
    assert data.views[View("S1", "Sitting", 0, "54138969")].points is None
    assert data.views[View("S1", "Sitting", 0, "55011271")].points is not None
    assert View("S1", "WalkDog", 1, "54138969") not in data.views
    assert [line for line in data.missing if ": 0 of 2" not in line] == [
        "S1 WalkDog: 1 of 2 recordings",
        "S1 Sitting camera 54138969: no 2D points",
        *(f"S1 WalkDog 1 camera {camera}: 2D points without 3D positions" for camera in CAMERAS),
    ]
    assert sum(": 0 of 2" in line for line in data.missing) == 13  # Sitting does not count for SittingDown


def test_parts_of_a_set(tmp_path: Path) -> None:
    write_martinez(tmp_path / "h36m", ("S1", "S11"), actions=("Photo",))
    data = read_martinez(tmp_path / "h36m", subjects=("S1", "S11"))
    part = data.part(["S11"])
    assert {view.subject for view in part.views} == {"S11"}
    assert len(part.views) == 8
    assert all(line.startswith("S11 ") for line in part.missing)
    with pytest.raises(DataError, match=r"Human3\.6M without S9: read the set with these subjects"):
        data.part(TEST_SUBJECTS)


def positions(folder: Path) -> Path:
    return folder / "S1" / "MyPoses" / "3D_positions" / "Sitting.h5"


def hourglass(folder: Path) -> Path:
    return folder / "S1" / "StackedHourglass" / "Sitting.54138969.h5"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("positions", people().reshape(FRAMES, 96).T, "expected a data set '3D_positions'; found positions"),
        ("3D_positions", people().reshape(FRAMES, 96), r"3D_positions: expected shape \(96, N\), got \(3, 96\)"),
        ("3D_positions", np.full((96, 3), np.nan), "3 of 3 frames are not finite"),
        ("3D_positions", np.zeros((96, 0)), "0 of 0 frames are not finite"),
        ("3D_positions", people().reshape(FRAMES, 96).T / 1000, "a person of 1.* mm; expected world coordinates"),
        ("3D_positions", b"text", "3D_positions: expected numbers"),
    ],
)
def test_positions_that_do_not_fit(folder: Path, key: str, value: object, message: str) -> None:
    write_h5(positions(folder), **{key: value})  # type: ignore[arg-type]
    with pytest.raises(DataError, match=message) as caught:
        read_martinez(folder, subjects=("S1",))
    assert str(caught.value).startswith(str(positions(folder)))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("pose", detections(0), "expected a data set 'poses'; found pose"),
        ("poses", detections(0, joints=17), r"poses: expected shape \(N, 16, 2\), got \(3, 17, 2\)"),
        ("poses", detections(0) * np.nan, "3 of 3 frames are not finite"),
        ("poses", detections(0, frames=2), "2 frames, the 3D positions have 3; fetch or make it again"),
    ],
)
def test_detections_that_do_not_fit(folder: Path, key: str, value: np.ndarray, message: str) -> None:
    write_h5(hourglass(folder), **{key: value})
    with pytest.raises(DataError, match=message):
        read_martinez(folder, subjects=("S1",))


def test_one_bad_frame_is_refused(folder: Path) -> None:
    poses = people()
    poses[1, 13, 2] = np.nan
    write_h5(positions(folder), **{"3D_positions": poses.reshape(FRAMES, 96).T})
    with pytest.raises(DataError, match=r"Sitting\.h5: 1 of 3 frames are not finite"):
        read_martinez(folder, subjects=("S1",))


@pytest.mark.parametrize("which", [positions, hourglass])
def test_files_cut_short(folder: Path, which: object) -> None:
    path = which(folder)  # type: ignore[operator]
    content = path.read_bytes()
    for size in (0, 50, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(DataError, match="not a readable HDF5 file, or cut short"):
            read_martinez(folder, subjects=("S1",))


def test_folders_that_do_not_fit(folder: Path) -> None:
    write_cameras(folder / "cameras.h5", ("S1", "S5"))
    with pytest.raises(DataError, match=r"S5 is missing: expected .*put it there or leave the subject out"):
        read_martinez(folder, subjects=("S1", "S5"))
    (folder / "S5" / "MyPoses" / "3D_positions").mkdir(parents=True)
    with pytest.raises(DataError, match=r"holds no \.h5 files; unpack S5 again"):
        read_martinez(folder, subjects=("S1", "S5"))
    (positions(folder).parent / "._Sitting.h5").touch()  # what some archives leave behind
    assert read_martinez(folder, subjects=("S1",)).views
    write_h5(hourglass(folder).with_name("Sitting.h5"), poses=detections(0))
    with pytest.raises(DataError, match=r"Sitting\.h5: expected one file 'ACTION_N\.CAMERA\.h5' for a recording"):
        read_martinez(folder, subjects=("S1",))
    shutil.copy(positions(folder).with_name("WalkDog.h5"), positions(folder).with_name("WalkingDog.h5"))
    with pytest.raises(DataError, match=r"WalkingDog\.h5: the second file of S1 WalkDog; remove one of the two"):
        read_martinez(folder, subjects=("S1",))
    shutil.rmtree(folder / "S1" / "StackedHourglass")
    positions(folder).with_name("WalkingDog.h5").unlink()
    with pytest.raises(DataError, match=r"S1 is missing: expected .*StackedHourglass"):
        read_martinez(folder, subjects=("S1",))


# The official files


def test_the_official_files_are_read(tmp_path: Path) -> None:
    write_cameras(tmp_path / "cameras.h5")
    inside = tmp_path / "S1" / "MyPoseFeatures" / "D3_Positions"
    for name in ("TakingPhoto", "TakingPhoto 1", "WalkingDog"):
        write_cdf(inside / f"{name}.cdf", people(seed=len(name)).reshape(FRAMES, 96))
    data = read_official(tmp_path, subjects=("S1",))
    assert {view[1:3] for view in data.views} == {("Photo", 0), ("Photo", 1), ("WalkDog", 0)}
    world = data.views[View("S1", "Photo", 1, "54138969")].world
    np.testing.assert_allclose(world, people(seed=len("TakingPhoto 1"))[:, SEVENTEEN], atol=1e-3)
    assert "S1 WalkDog: 1 of 2 recordings" in data.missing
    path = inside / "WalkingDog.cdf"
    content = path.read_bytes()
    for damage, message in (
        (lambda: path.write_bytes(content[: len(content) // 2]), "not a CDF file with a variable 'Pose'"),
        (lambda: path.write_bytes(b"text"), "not a CDF file with a variable 'Pose'"),
        (lambda: write_cdf(path, people().reshape(FRAMES, 96), variable="Poses"), "a variable 'Pose'"),
        (lambda: write_cdf(path, people().reshape(FRAMES, 32, 3)), r"Pose: expected shape \(1, N, 96\)"),
        (lambda: write_cdf(path, people().reshape(FRAMES, 96) * np.nan), "3 of 3 frames are not finite"),
    ):
        damage()
        with pytest.raises(DataError, match=message) as caught:
            read_official(tmp_path, subjects=("S1",))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("whole", [False, True])
def test_official_files_however_they_are_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool) -> None:
    poses = people().reshape(FRAMES, 96)
    path = write_cdf(tmp_path / "a.cdf", poses, whole=whole)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))  # where cdflib would unpack it
    np.testing.assert_allclose(cdf.read_cdf(path, "Pose"), poses[None], rtol=1e-6)


def test_without_cdflib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    write_official(tmp_path, actions=("Walking",))
    write_cameras(tmp_path / "cameras.h5")
    monkeypatch.setattr(cdf.importlib, "import_module", missing)
    with pytest.raises(DataError, match=r"\.cdf files need the package cdflib: pip install 'posecli\[h36m\]'"):
        read_official(tmp_path, subjects=("S1",))


# VideoPose3D's archives


def test_the_archives_are_read(tmp_path: Path) -> None:
    cameras = write_cameras(tmp_path / "cameras.h5")
    three = write_videopose(tmp_path / "data_3d_h36m.npz")
    two = write_videopose_2d(tmp_path / "data_2d_h36m_gt.npz", frames=FRAMES + 2)
    data = read_videopose(three, cameras=cameras, points=two, subjects=("S1",))
    assert len(data.views) == 120
    assert data.missing == ()
    assert data.skeleton is H36M17
    view = View("S1", "Walking", 1, "58860488")
    expected = people(seed=2 * ACTIONS.index("Walking") + 1)[:, SEVENTEEN]
    np.testing.assert_allclose(data.views[view].world, expected, atol=1e-2)
    np.testing.assert_array_equal(data.views[view].points, detections(2, joints=17))
    assert read_videopose(three, cameras=tmp_path, subjects=("S1",)).skeleton is None


def test_layouts_of_2d_points(tmp_path: Path) -> None:
    cameras = write_cameras(tmp_path / "cameras.h5")
    three = write_videopose(tmp_path / "data_3d_h36m.npz")
    coco = [[1, 3, 5, 7, 9, 11, 13, 15], [2, 4, 6, 8, 10, 12, 14, 16]]
    mpii = [[3, 4, 5, 13, 14, 15], [0, 1, 2, 10, 11, 12]]
    for joints, sides, skeleton, order in (
        (17, coco, COCO17, range(17)),
        (16, mpii, H36M16, HOURGLASS_TO_H36M16),
    ):
        two = write_videopose_2d(tmp_path / "two.npz", joints=joints, sides=sides)
        data = read_videopose(three, cameras=cameras, points=two, subjects=("S1",))
        assert data.skeleton is skeleton
        points = data.views[View("S1", "Eating", 0, "54138969")].points
        np.testing.assert_array_equal(points, detections(0, joints=joints)[:, list(order)])
    two = write_videopose_2d(tmp_path / "two.npz", joints=17, sides=mpii)
    with pytest.raises(DataError, match="metadata of no known layout"):
        read_videopose(three, cameras=cameras, points=two, subjects=("S1",))


def test_layouts_agree_with_the_skeletons() -> None:
    for (count, left, right), (skeleton, order) in LAYOUTS.items():
        sides = [skeleton.sides[order.index(joint)] if joint in order else "" for joint in range(count)]
        assert {joint for joint, side in enumerate(sides) if side == "left"} == set(left)
        assert {joint for joint, side in enumerate(sides) if side == "right"} == set(right)


def save(path: Path, **content: object) -> Path:
    np.savez(path, **{name: np.array(value, dtype=object) for name, value in content.items()})
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"positions_2d": {}}, "has no 'positions_3d'; give VideoPose3D's file"),
        ({"positions_3d": {"S5": {}}}, "S1 is missing; make the file again or leave the subject out"),
        ({"positions_3d": {"S1": {}}}, "S1 is missing"),
        ({"positions_3d": {"S1": {"Jumping": people()}}}, "'Jumping' is no recording of Human3.6M"),
        ({"positions_3d": {"S1": {"Eating": people()[:, :17]}}}, r"Eating: expected shape \(N, 32, 3\), got \(3, 17"),
        ({"positions_3d": {"S1": {"Eating": people()}}}, "a person of .* mm; expected world coordinates"),
        ({"positions_3d": {"S1": {"Eating": people() * np.nan}}}, "3 of 3 frames are not finite"),
        ({"positions_3d": {"S1": {"Eating": np.array(["a"])}}}, "it holds an array of U1"),
        ({"positions_3d": {"S1": {"Eating": np.float32(1)}}}, r"it wants to call numpy\.\w+\.multiarray\.scalar"),
        ({"positions_3d": {"S1": {"Eating": {1}}}}, "it holds a set|it wants to call"),
    ],
)
def test_archives_that_do_not_fit(tmp_path: Path, content: dict[str, object], message: str) -> None:
    path = save(tmp_path / "data.npz", **content)
    with pytest.raises(DataError, match=message) as caught:
        read_videopose(path, cameras=write_cameras(tmp_path / "cameras.h5"), subjects=("S1",))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_points_that_do_not_fit(tmp_path: Path) -> None:
    cameras = write_cameras(tmp_path / "cameras.h5")
    three = write_videopose(tmp_path / "three.npz")
    meta = {"num_joints": 17, "keypoints_symmetry": [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]]}
    good = detections(0, joints=17)
    for views, message in (
        ([good] * 3, "S1 Eating: expected a list of 4 cameras"),
        ([good, good, good, good[:2]], "S1 Eating camera 60457274: 2 frames, the 3D positions have 3"),
        ([good, good[:, :16], good, good], r"camera 55011271: expected shape \(N, 17, 2\), got \(3, 16, 2\)"),
        ([good * np.nan] * 4, "camera 54138969: 3 of 3 frames are not finite"),
    ):
        two = save(tmp_path / "two.npz", positions_2d={"S1": {"Eating": views}}, metadata=meta)
        with pytest.raises(DataError, match=message):
            read_videopose(three, cameras=cameras, points=two, subjects=("S1",))
    two = save(tmp_path / "two.npz", positions_2d={"S1": {"Eating": [good, None, good, good]}}, metadata=meta)
    data = read_videopose(three, cameras=cameras, points=two, subjects=("S1",))
    assert "S1 Eating camera 55011271: no 2D points" in data.missing
    assert len(data.missing) == 117  # 29 recordings by 4 cameras, and this one


def test_archives_cut_short(tmp_path: Path) -> None:
    path = write_videopose(tmp_path / "three.npz", actions=("Eating",))
    content = path.read_bytes()
    for size in (0, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(DataError, match="positions_3d: damaged, or not VideoPose3D's"):
            read_dictionary(path, "positions_3d")
    with pytest.raises(DataError, match="no such file"):
        read_dictionary(tmp_path / "nowhere.npz", "positions_3d")
    np.savez(path, positions_3d=people())
    with pytest.raises(DataError, match=r"expected a dictionary, got an array \(3, 32, 3\) of float64"):
        read_dictionary(path, "positions_3d")


def archive_of(path: Path, content: bytes) -> Path:
    """An .npz whose positions_3d is this pickle."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": ()})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("positions_3d.npy", header.getvalue() + content)
    return path


class Harmful:
    """Creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return builtins.exec, (f"open({str(self.mark)!r}, 'w').close()",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_harmful_pickle_does_nothing(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "executed"
    content = pickle.dumps({"S1": Harmful(mark)}, protocol)
    pickle.loads(content)  # it would, if it was let
    assert mark.exists()
    mark.unlink()
    with pytest.raises(DataError, match=r"it wants to call \w+\.exec"):
        read_dictionary(archive_of(tmp_path / "data.npz", content), "positions_3d")
    assert not mark.exists()


def test_a_harmful_archive_does_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    path = save(tmp_path / "data.npz", positions_3d={"S1": Harmful(mark)})
    with pytest.raises(DataError, match=r"data\.npz: positions_3d: .*\(it wants to call builtins\.exec\)"):
        read_videopose(path, cameras=tmp_path, subjects=("S1",))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "it wants to call os.system"),
        (b"cnumpy.core.multiarray\nscalar\n.", "it wants to call numpy.core.multiarray.scalar"),
        (b"cnumpy.lib.npyio\nload\n.", "it wants to call numpy.lib.npyio.load"),
        (b"cnumpy\nndarray\n(I1\ntR.", "not callable"),  # an array is made of nothing but its own state
        (b"cnumpy\nndarray.tofile\n.", "it wants to call numpy.ndarray.tofile"),
        (b"Pname\n.", "it refers to objects outside the file"),
        (b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.", "it holds bytes as str in 'rot13'"),
        (b"cnumpy\ndtype\n(S'f8'\ntR.", "it holds a _Kind"),
    ],
)
def test_no_way_around(tmp_path: Path, call: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_dictionary(archive_of(tmp_path / "data.npz", call), "positions_3d")


def test_arrays_of_all_kinds_are_read_as_numpy_would(tmp_path: Path) -> None:
    arrays = [np.arange(24, dtype=kind).reshape(2, 3, 4) for kind in ("<f4", ">f8", "<i8", "u1", "<f2", ">i4")]
    arrays += [np.asfortranarray(arrays[0]), arrays[1][:, ::2], np.zeros((0, 3)), np.full((), 3.0)]
    content = {"a": arrays, "b": {"c": (1, 2.5, "text", None, True)}, "d": np.array([arrays[0], None], dtype=object)}
    for protocol in (2, 3, 4):
        raw = pickle.dumps(np.array(content, dtype=object), protocol)
        read = read_dictionary(archive_of(tmp_path / "data.npz", raw), "positions_3d")
        for ours, theirs in zip(read["a"], arrays, strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert ours.shape == theirs.shape
        assert read["b"] == {"c": [1, 2.5, "text", None, True]}
        np.testing.assert_array_equal(read["d"][0], arrays[0])


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_archives_of_old_and_new_numpy_are_read(tmp_path: Path, core: bytes) -> None:
    raw = pickle.dumps(np.array({"a": np.arange(3)}, dtype=object), 2)  # what old np.savez wrote
    raw = raw.replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", core)
    assert core + b".multiarray" in raw
    read = read_dictionary(archive_of(tmp_path / "data.npz", raw), "positions_3d")
    np.testing.assert_array_equal(read["a"], np.arange(3))


def test_detections_that_go_on_after_the_positions_are_cut(tmp_path: Path) -> None:
    folder = write_martinez(tmp_path / "h36m")
    (path,) = folder.glob("S1/StackedHourglass/Sitting.54138969.h5")
    write_h5(path, poses=detections(0, 9))
    assert len(read_martinez(folder, subjects=S1).views[View("S1", "Sitting", 0, "54138969")].points) == 3


# Whichever form


MPII_SIDES = [[3, 4, 5, 13, 14, 15], [0, 1, 2, 10, 11, 12]]


def one_line(path: Path, *, points: str = "gt", subjects: tuple[str, ...] = S1) -> str:
    """What `read_h36m` refuses with."""
    with pytest.raises(PoseError) as caught:
        read_h36m(path, points=points, subjects=subjects)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pavllo's files with two actions of S1 and no cameras; not to be changed."""
    folder = tmp_path_factory.mktemp("npz") / "data"
    folder.mkdir()
    write_videopose(folder / "data_3d_h36m.npz", actions=("Sitting", "WalkDog"))
    write_videopose_2d(folder / "data_2d_h36m_cpn_ft_h36m_dbb.npz")
    write_videopose_2d(folder / "data_2d_h36m_sh_pt_mpii.npz", joints=16, sides=MPII_SIDES)
    write_videopose_2d(folder / "data_2d_h36m_gt.npz", frames=FRAMES - 1)  # would not fit
    return folder


def test_all_forms_give_the_same_poses(folder: Path, archives: Path, tmp_path: Path) -> None:
    official = write_official(tmp_path / "official", actions=("Sitting", "WalkDog"))
    sets = [read_h36m(place, points="gt", subjects=S1) for place in (folder, official, archives)]
    for data in sets:
        assert list(data.views) == list(sets[0].views)
        assert data.skeleton is None
        assert data.missing == sets[0].missing
        for view, seen in data.views.items():
            assert seen.points is None
            np.testing.assert_allclose(seen.world, sets[0].views[view].world, atol=1e-2)


def test_points_of_the_archives(archives: Path) -> None:
    view = View("S1", "Sitting", 1, "60457274")
    data = read_h36m(archives, points="cpn_ft_h36m_dbb", subjects=S1)
    assert data.skeleton is H36M17
    np.testing.assert_array_equal(data.views[view].points, detections(3, joints=17))
    for points in ("sh", "sh_pt_mpii"):
        data = read_h36m(archives / "data_3d_h36m.npz", points=points, subjects=S1)
        assert data.skeleton is H36M16
        np.testing.assert_array_equal(data.views[view].points, detections(3)[:, list(HOURGLASS_TO_H36M16)])


def test_points_that_are_not_there(folder: Path, archives: Path, tmp_path: Path) -> None:
    there = "gt, cpn_ft_h36m_dbb, sh_pt_mpii"
    assert one_line(archives, points="detectron") == f"{archives}: no 2D points 'detectron'; there are {there}"
    assert one_line(folder, points="cpn") == f"{folder}: no 2D points 'cpn'; there are gt, sh"
    shutil.rmtree(folder / "S1" / "StackedHourglass")
    assert one_line(folder, points="sh") == f"{folder}: no 2D points 'sh'; there are gt"
    more = shutil.copytree(archives, tmp_path / "more")
    shutil.copy(more / "data_2d_h36m_sh_pt_mpii.npz", more / "data_2d_h36m_sh_ft_h36m.npz")
    message = "several points of the stacked hourglass, sh_ft_h36m, sh_pt_mpii; name one of them"
    assert one_line(more, points="sh") == f"{more}: {message}"
    assert read_h36m(more, points="sh_ft_h36m", subjects=S1).skeleton is H36M16


def test_the_official_files_have_no_points(tmp_path: Path) -> None:
    official = write_official(tmp_path, actions=("Sitting",))
    assert one_line(official, points="sh") == f"{official}: no 2D points 'sh'; there are gt"


def test_of_several_forms_the_first_with_the_points_is_taken(folder: Path, archives: Path) -> None:
    shutil.copytree(archives, folder, dirs_exist_ok=True)
    (folder / "S1" / "MyPoseFeatures").mkdir()
    (folder / "data_3d_h36m.npz").write_bytes(b"")  # so that reading it would fail
    for points, skeleton in (("gt", None), ("sh", H36M16)):
        assert read_h36m(folder, points=points, subjects=S1).skeleton is skeleton
    shutil.copy(archives / "data_3d_h36m.npz", folder)
    assert read_h36m(folder, points="cpn_ft_h36m_dbb", subjects=S1).skeleton is H36M17
    # a path to the archive itself means that form
    np.savez(folder / "data_3d_h36m.npz", other=np.zeros(1))
    assert "has no 'positions_3d'" in one_line(folder / "data_3d_h36m.npz")


def test_the_folder_may_lie_one_above_or_below(folder: Path, archives: Path) -> None:
    for place in (folder, folder.parent, folder / "S1"):
        assert read_h36m(place, points="sh", subjects=S1).skeleton is H36M16
    assert read_h36m(archives.parent, points="gt", subjects=S1).views
    shutil.copytree(folder, folder.with_name("other"))
    assert one_line(folder.parent) == f"{folder.parent}: Human3.6M is in h36m and in other; name one of them"


def test_nothing_is_found(tmp_path: Path) -> None:
    nowhere, empty, text = tmp_path / "nowhere", tmp_path / "empty", tmp_path / "text.txt"
    empty.mkdir()
    text.touch()
    assert one_line(nowhere) == f"{nowhere}: no such file or folder; give the folder of Human3.6M"
    forms = "S1/MyPoses (Martinez' folders), S1/MyPoseFeatures (the official ones) or data_3d_h36m.npz (VideoPose3D's)"
    for path in (empty, text):
        assert one_line(path) == f"{path}: no Human3.6M here: expected {forms}"


def test_subjects_that_are_not_there(folder: Path, archives: Path) -> None:
    (folder / "cameras.h5").unlink()  # it has those of S1 only
    for place, inside in ((folder, "S9 is missing: expected "), (archives, "S9 is missing; make the file again or")):
        assert inside in one_line(place, subjects=("S1", "S9"))
        known = "name some of S1, S5, S6, S7, S8, S9, S11"
        assert one_line(place, subjects=("S1", "S4")) == f"Human3.6M has no subject S4; {known}"
        assert one_line(place, subjects=()) == f"Human3.6M is read by subjects; {known}"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: positions(f).write_bytes(positions(f).read_bytes()[:700]), "not a readable HDF5 file, or cut short"),
        (lambda f: hourglass(f).write_bytes(hourglass(f).read_bytes()[:700]), "not a readable HDF5 file, or cut short"),
        (lambda f: write_h5(positions(f), poses=people()), "expected a data set '3D_positions'; found poses"),
        (lambda f: write_h5(positions(f), **{"3D_positions": people()}), "expected shape (96, N), got (3, 32, 3)"),
        (lambda f: write_h5(hourglass(f), poses=detections(0, 2)), "2 frames, the 3D positions have 3; fetch or make"),
        (lambda f: write_h5(hourglass(f), poses=detections(0) * np.nan), "3 of 3 frames are not finite"),
        (lambda f: (f / "cameras.h5").write_bytes(b""), "cameras.h5: not a readable HDF5 file, or cut short"),
    ],
)
def test_damage_is_one_line(folder: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(folder)
    assert message in one_line(folder, points="sh")
    assert one_line(folder, points="sh").startswith(str(folder))


def test_a_part_of_no_subjects(folder: Path) -> None:
    data = read_h36m(folder, points="gt", subjects=S1)
    with pytest.raises(DataError, match=r"Human3\.6M: no subjects to take the views of; name at least one"):
        data.part(())
