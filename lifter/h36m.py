"""Human3.6M (Ionescu et al. 2014) as its users have it. `read_h36m` finds out which of three forms a folder holds:

    read_martinez   S1/MyPoses/3D_positions/*.h5, S1/StackedHourglass/*.h5, cameras.h5 (Martinez et al. 2017)
    read_official   S1/MyPoseFeatures/D3_Positions/*.cdf, as downloaded
    read_videopose  data_3d_h36m.npz, data_2d_h36m_*.npz (Pavllo et al. 2019)

Cameras are read from a cameras.h5, or from the official metadata.xml; without either they are the published ones
(`lifter.h36m_cameras`). World axes are the data set's: z up, mm. A recording is known by subject (S1), action (one of
ACTIONS) and the number in its name (0 without one: every subject has two recordings of an action, and no rule says
which numbers). Nothing in the files is ever executed.
"""

import logging
import pickle
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from lifter.cdf import read_cdf
from lifter.h36m_cameras import CAMERAS, H36MCamera, project, published_cameras, to_camera
from pipeline.errors import DataError, InputError
from pipeline.hdf5 import open_hdf5, stored_array
from pipeline.limits import Allowance, check_archive, check_files
from pipeline.pickles import check_pickle
from pipeline.skeleton import COCO17, H36M16, H36M17, Skeleton

TRAIN_SUBJECTS, TEST_SUBJECTS = ("S1", "S5", "S6", "S7", "S8"), ("S9", "S11")
SUBJECTS = TRAIN_SUBJECTS + TEST_SUBJECTS
ACTIONS = (
    "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Photo", "Posing", "Purchases",
    "Sitting", "SittingDown", "Smoking", "Waiting", "WalkDog", "Walking", "WalkTogether",
)  # fmt: skip
CAMERA_FILES = ("cameras.h5", "metadata.xml")
ALIASES = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog"}  # the official names of two
RECORDINGS = 2  # of every action by every subject
ALL_JOINTS = 32
TO_H36M17 = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)  # the 17 of the 32 that move on their own

# Joints of the stacked hourglass, which are MPII's, in the order of H36M16. Its thorax stands in for the spine and its
# upper neck for the thorax, as in all results published on these detections.
HOURGLASS_TO_H36M16 = (6, 2, 1, 0, 3, 4, 5, 7, 8, 9, 13, 14, 15, 12, 11, 10)

ARCHIVE, ARCHIVE_2D = "data_3d_h36m.npz", "data_2d_h36m_"  # Pavllo's files; the name of the points follows the second

logger = logging.getLogger(__name__)


class Recording(NamedTuple):
    """What a subject does once, seen by all cameras."""

    subject: str
    action: str
    number: int  # the one in the recording's name; 0: it has none


class View(NamedTuple):
    """A recording seen by one camera."""

    subject: str
    action: str
    subaction: int
    camera: str


@dataclass(frozen=True)
class ViewData:
    """The poses of a view, frame by frame at 50 fps."""

    world: np.ndarray  # (T, 17, 3) float32, mm, joints of H36M17, world axes; the same array for all four views
    points: np.ndarray | None  # (T, J, 2) float32, px, joints of the set's `skeleton`; None: see `missing`


@dataclass(frozen=True)
class H36MSet:
    """Human3.6M, or some of its subjects."""

    views: dict[View, ViewData]
    cameras: dict[tuple[str, str], H36MCamera]  # by subject and name of the camera
    skeleton: Skeleton | None  # of the 2D points; None: the set was read without any
    missing: tuple[str, ...]  # one line for everything that a complete set has and this one has not

    def part(self, subjects: Iterable[str]) -> "H36MSet":
        """The views of some subjects, for instance TRAIN_SUBJECTS; DataError if one has none, or none is named."""
        wanted = set(subjects)
        if not wanted:
            raise DataError("Human3.6M: no subjects to take the views of; name at least one")
        absent = wanted - {view.subject for view in self.views}
        if absent:
            raise DataError(f"Human3.6M without {', '.join(sorted(absent))}: read the set with these subjects")
        views = {view: data for view, data in self.views.items() if view.subject in wanted}
        missing = tuple(line for line in self.missing if line.split()[0] in wanted)
        return replace(self, views=views, missing=missing)

    def in_camera(self, view: View) -> np.ndarray:
        """Poses (T, 17, 3) of a view in the axes of its camera, mm: x right, y down, z forward."""
        camera = self.cameras[view.subject, view.camera]
        return to_camera(self.views[view].world, rotation=camera.R, position=camera.T)

    def projected(self, view: View) -> np.ndarray:
        """True 2D points (T, 17, 2) of a view, px, with the distortion of its lens."""
        camera = self.cameras[view.subject, view.camera]
        return project(self.in_camera(view), f=camera.f, c=camera.c, k=camera.k, p=camera.p)


# Cameras


def read_cameras(path: Path, *, subjects: Iterable[str] = SUBJECTS) -> dict[tuple[str, str], H36MCamera]:
    """Cameras by subject and name, from a cameras.h5, a metadata.xml, or a folder that holds one of the two.

    A folder that holds neither gives the published cameras. Raises DataError if a file is not there, or a camera is
    missing in it or makes no sense.
    """
    wanted = _known(subjects)
    if path.is_dir():
        there = [path / name for name in CAMERA_FILES if (path / name).is_file()]
        if not there:
            logger.info("%s: no %s: the published cameras of Human3.6M are used", path, " or ".join(CAMERA_FILES))
            return published_cameras(wanted)
        path = there[0]
    if not path.is_file():
        raise DataError(f"{path}: no such file; give a cameras.h5 or the official metadata.xml")
    cameras = _cameras_xml(path, wanted) if path.suffix.lower() == ".xml" else _cameras_h5(path, wanted)
    for (subject, name), camera in cameras.items():
        _check_camera(f"{path}: {subject} camera {name}", camera)
    return cameras


def _cameras_h5(path: Path, subjects: tuple[str, ...]) -> dict[tuple[str, str], H36MCamera]:
    """Groups subject1/camera1 with R (stored transposed, as MATLAB does), T, f, c, k, p and the letters of Name."""
    cameras: dict[tuple[str, str], H36MCamera] = {}
    with _opened(path) as file:
        for subject in subjects:
            for number in range(1, len(CAMERAS) + 1):
                where = f"subject{subject[1:]}/camera{number}"
                raw = {name: _numbers(path, file, f"{where}/{name}") for name in ("R", "T", "f", "c", "k", "p", "Name")}
                for name, size in (("R", 9), ("T", 3), ("f", 2), ("c", 2), ("k", 3), ("p", 2)):
                    if raw[name].size != size or not np.isfinite(raw[name]).all():
                        raise DataError(f"{path}: {where}/{name}: expected {size} numbers, got {raw[name].shape}")
                camera = "".join(chr(int(letter) % 0x10000) for letter in raw.pop("Name").ravel())
                if camera not in CAMERAS:
                    raise DataError(f"{path}: {where}/Name: expected one of {', '.join(CAMERAS)}, got {camera!r}")
                rest = {name: value.ravel() for name, value in raw.items() if name != "R"}
                cameras[subject, camera] = H36MCamera(camera, raw["R"].reshape(3, 3).T, **rest)
    return cameras


def _cameras_xml(path: Path, subjects: tuple[str, ...]) -> dict[tuple[str, str], H36MCamera]:
    """The 300 numbers of <w0>: 3 angles and T for each of 11 subjects by camera, then f, c, k, p by camera."""
    check_files([path], named=path)
    inside = path.read_text("utf-8", errors="replace").partition("<w0>")[2].partition("</w0>")[0].strip()
    listed = inside[1:-1] if inside[:1] == "[" and inside[-1:] == "]" else ""
    try:
        values = np.array(listed.replace(",", " ").split(), np.float64)
    except ValueError:
        values = np.empty(0)
    if values.shape != (300,) or not np.isfinite(values).all():
        raise DataError(f"{path}: expected 300 numbers in <w0>; give the metadata.xml of Human3.6M's own code")
    cameras: dict[tuple[str, str], H36MCamera] = {}
    for index, name in enumerate(CAMERAS):
        inner = values[264 + 9 * index : 273 + 9 * index]
        for subject in subjects:
            first = 6 * (11 * index + int(subject[1:]) - 1)
            cameras[subject, name] = H36MCamera.of_angles(name, outer=values[first : first + 6], inner=inner)
    return cameras


def _check_camera(where: str, camera: H36MCamera) -> None:
    """DataError unless R is a rotation and the middle of the room, where people are, lies in front of the camera."""
    turned = np.abs(camera.R @ camera.R.T - np.eye(3)).max() < 1e-3 and np.linalg.det(camera.R) > 0
    middle = to_camera(np.array([0.0, 0.0, 1000.0]), rotation=camera.R, position=camera.T)
    if not turned or middle[2] < 100 or (camera.f <= 0).any():
        raise DataError(f"{where}: R, T or f make no sense; is R transposed, or T not in mm? Fetch the file again")


# Names


def recording_of(subject: str, name: str, *, path: Path) -> tuple[Recording, str]:
    """The recording that a name such as "Sitting 1", "Directions" or "WalkDog_1.55011271" means, and its camera or "".

    Raises DataError if it is not an action of Human3.6M.
    """
    parts = re.fullmatch(r"([A-Za-z]+)(?:[ _](\d+))?(?:\.(\d+))?", name)
    action = ALIASES.get(parts[1], parts[1]) if parts else ""
    if parts is None or action not in ACTIONS or parts[3] not in (None, *CAMERAS):
        raise DataError(f"{path}: {name!r} is no recording of Human3.6M; expected a name like 'Sitting 1', 'WalkDog'")
    return Recording(subject, action, int(parts[2] or 0)), parts[3] or ""


def _files(folder: Path, ending: str) -> list[Path]:
    """Files of a folder, without hidden ones and without the recordings of all actions in one."""
    names = sorted(folder.glob(f"*{ending}"))
    return [path for path in names if not path.name.startswith((".", "_ALL"))]


def _subject_folder(folder: Path, subject: str, inside: str) -> Path:
    path = folder / subject / inside
    if not path.is_dir():
        raise DataError(f"{folder}: {subject} is missing: expected {path}; put it there or leave the subject out")
    return path


def _positions(
    folder: Path, subjects: Iterable[str], *, inside: str, ending: str, read: Callable[[Path], np.ndarray]
) -> dict[Recording, np.ndarray]:
    """Poses (T, 17, 3) float32 in mm of all recordings, by a function that reads a file as (T, 96)."""
    worlds: dict[Recording, np.ndarray] = {}
    for subject in subjects:
        where = _subject_folder(folder, subject, inside)
        for path in _files(where, ending):
            recording, _ = recording_of(subject, path.name.removesuffix(ending), path=path)
            if recording in worlds:
                raise DataError(f"{path}: the second file of {_named(recording)}; remove one of the two")
            worlds[recording] = _selected(str(path), read(path).reshape(-1, ALL_JOINTS, 3))
        if not any(recording.subject == subject for recording in worlds):
            raise DataError(f"{where}: holds no {ending} files; unpack {subject} again")
    return worlds


def _selected(where: str, poses: np.ndarray) -> np.ndarray:
    """The 17 joints of poses (T, 32, 3), as float32, after a look at their size in mm."""
    selected = _checked(where, poses[:, list(TO_H36M17)].astype(np.float32))
    height = float(np.median(np.ptp(selected, axis=1).max(-1)))
    if not 300 < height < 3000:
        raise DataError(f"{where}: a person of {height:.3g} mm; expected world coordinates in the published unit")
    return selected


def _as_long(where: str, xy: np.ndarray, world: np.ndarray | None) -> np.ndarray:
    """2D points without the frames after the 3D positions have ended; DataError if there are too few."""
    if world is not None and len(xy) < len(world):
        raise DataError(f"{where}: {len(xy)} frames, the 3D positions have {len(world)}; fetch or make it again")
    return xy if world is None else xy[: len(world)]


def _checked(where: str, array: np.ndarray) -> np.ndarray:
    bad = int((~np.isfinite(array)).any((1, 2)).sum())
    if bad or not len(array):
        raise DataError(f"{where}: {bad} of {len(array)} frames are not finite; fetch or make it again")
    return array


def _named(recording: Recording) -> str:
    return f"{recording.subject} {recording.action}" + (f" {recording.number}" if recording.number else "")


# Whichever form


def read_h36m(path: Path, *, points: str, subjects: tuple[str, ...]) -> H36MSet:
    """Human3.6M in the form that is found: `path` is its folder, the one above, that of a subject, or a 3D archive.

    `points` are 'gt': none, the true ones are to be projected; 'sh': the stacked hourglass'; or the rest of the name of
    a file data_2d_h36m_*.npz, 'cpn_ft_h36m_dbb'. Of two forms in one folder the first that has the points is taken, in
    the order of the module's list. Raises DataError if nothing is found or a file does not fit, InputError for points
    that are not there and for unknown subjects.
    """
    readers = _readers(path)
    if points == "sh" and points not in readers:
        named = [name for name in readers if name.startswith("sh")]
        if len(named) > 1:
            raise InputError(f"{path}: several points of the stacked hourglass, {', '.join(named)}; name one of them")
        points = named[0] if named else points
    if points not in readers:
        raise InputError(f"{path}: no 2D points {points!r}; there are {', '.join(readers)}")
    return readers[points](subjects=subjects)


def has_detections(path: Path) -> bool:
    """Whether the stacked hourglass' detections are there; DataError if there is no Human3.6M."""
    return any(name.startswith("sh") for name in _readers(path))


def _readers(path: Path) -> dict[str, Callable[..., H36MSet]]:
    """How to read the data at a path or near it, by the names of the 2D points; DataError if there are none."""
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; give the folder of Human3.6M")
    if path.is_file() and path.suffix == ".npz":
        return _readers_of_archive(path)
    for place in (path, path.parent) if path.name in SUBJECTS else (path,):
        if readers := _readers_of_folder(place):
            return readers
    found = {place: readers for place in sorted(path.glob("*/")) if (readers := _readers_of_folder(place))}
    if len(found) > 1:
        raise DataError(f"{path}: Human3.6M is in {' and in '.join(place.name for place in found)}; name one of them")
    if not found:
        expected = f"S1/MyPoses (Martinez' folders), S1/MyPoseFeatures (the official ones) or {ARCHIVE} (VideoPose3D's)"
        raise DataError(f"{path}: no Human3.6M here: expected {expected}")
    return next(iter(found.values()))


def _readers_of_folder(folder: Path) -> dict[str, Callable[..., H36MSet]]:
    readers: dict[str, Callable[..., H36MSet]] = {}
    if any(folder.glob("S*/MyPoses")):
        readers["gt"] = partial(read_martinez, folder, detections=False)
        if any(folder.glob("S*/StackedHourglass")):
            readers["sh"] = partial(read_martinez, folder)
    elif any(folder.glob("S*/MyPoseFeatures")):
        readers["gt"] = partial(read_official, folder)
    for archive in folder.glob(ARCHIVE):
        readers = {**_readers_of_archive(archive), **readers}  # those found first stay
    return readers


def _readers_of_archive(archive: Path) -> dict[str, Callable[..., H36MSet]]:
    """True points are projected even where a file has them, so that they are the same in all three forms."""
    read = partial(read_videopose, archive, cameras=_with_cameras(archive.parent))
    files = sorted(archive.parent.glob(f"{ARCHIVE_2D}*.npz"))
    detected = {path.stem.removeprefix(ARCHIVE_2D): partial(read, points=path) for path in files}
    detected.pop("gt", None)
    return {"gt": read, **detected}


def _known(subjects: Iterable[str]) -> tuple[str, ...]:
    wanted = tuple(subjects)
    unknown = [subject for subject in wanted if subject not in SUBJECTS]
    if unknown or not wanted:
        what = f"has no subject {', '.join(unknown)}" if unknown else "is read by subjects"
        raise InputError(f"Human3.6M {what}; name some of {', '.join(SUBJECTS)}")
    return wanted


# Martinez' folders


def read_martinez(folder: Path, *, subjects: Iterable[str] = SUBJECTS, detections: bool = True) -> H36MSet:
    """The h5 folders of Martinez et al., with the stacked hourglass' detections as 2D points unless told otherwise.

    Raises DataError if a subject is missing or a file does not fit, InputError for unknown subjects.
    """
    wanted = _known(subjects)
    cameras = read_cameras(_with_cameras(folder), subjects=wanted)
    inside = "MyPoses/3D_positions"
    worlds = _positions(folder, wanted, inside=inside, ending=".h5", read=_martinez_3d)
    if not detections:
        return _assembled(worlds, cameras, points={}, skeleton=None)
    points: dict[View, np.ndarray] = {}
    for subject in wanted:
        for path in _files(_subject_folder(folder, subject, "StackedHourglass"), ".h5"):
            recording, camera = recording_of(subject, path.name.removesuffix(".h5"), path=path)
            view = View(*recording, camera)
            if not camera or view in points:
                raise DataError(f"{path}: expected one file 'ACTION_N.CAMERA.h5' for a recording and camera")
            points[view] = _as_long(str(path), _martinez_2d(path), worlds.get(recording))
    return _assembled(worlds, cameras, points=points, skeleton=H36M16)


def _with_cameras(folder: Path) -> Path:
    """The folder, or the one above if only that holds the cameras."""
    here, above = ([place / name for name in CAMERA_FILES] for place in (folder, folder.parent))
    return folder.parent if any(map(Path.is_file, above)) and not any(map(Path.is_file, here)) else folder


def _martinez_3d(path: Path) -> np.ndarray:
    with _opened(path) as file:
        values = _numbers(path, file, "3D_positions")
    if values.ndim != 2 or values.shape[0] != 3 * ALL_JOINTS:
        raise DataError(f"{path}: 3D_positions: expected shape (96, N), got {values.shape}")
    return values.T


def _martinez_2d(path: Path) -> np.ndarray:
    with _opened(path) as file:
        values = _numbers(path, file, "poses")
    if values.ndim != 3 or values.shape[1:] != (len(HOURGLASS_TO_H36M16), 2):
        raise DataError(f"{path}: poses: expected shape (N, 16, 2), got {values.shape}")
    return _checked(str(path), values[:, list(HOURGLASS_TO_H36M16)].astype(np.float32))


def _opened(path: Path) -> h5py.File:
    try:
        return open_hdf5(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable HDF5 file, or cut short ({error}); fetch it again") from error


def _numbers(path: Path, file: h5py.File, key: str) -> np.ndarray:
    """A data set of numbers as float64."""
    try:
        data = file.get(key)
        if not isinstance(data, h5py.Dataset):
            raise DataError(f"{path}: expected a data set {key!r}; found {', '.join(file) or 'nothing'}")
        if data.dtype.kind not in "fiu":
            raise DataError(f"{path}: {key}: expected numbers, got {data.dtype}")
        return np.asarray(stored_array(data, Allowance(path)), np.float64)
    except DataError:
        raise
    except Exception as error:  # h5py raises nearly all that there are
        raise DataError(f"{path}: {key}: damaged or cut short ({error}); fetch it again") from error


# The official files


def read_official(folder: Path, *, subjects: Iterable[str] = SUBJECTS) -> H36MSet:
    """The folders of D3_Positions as downloaded, without 2D points.

    Needs the package cdflib. Raises DataError without it, if a subject is missing, or a file does not fit; InputError
    for unknown subjects.
    """
    wanted = _known(subjects)
    cameras = read_cameras(_with_cameras(folder), subjects=wanted)

    def read(path: Path) -> np.ndarray:
        values = read_cdf(path, "Pose")
        if values.ndim not in (2, 3) or values.shape[-1] != 3 * ALL_JOINTS or (values.ndim == 3 and len(values) != 1):
            raise DataError(f"{path}: Pose: expected shape (1, N, 96), got {values.shape}")
        return values.reshape(-1, 3 * ALL_JOINTS)

    worlds = _positions(folder, wanted, inside="MyPoseFeatures/D3_Positions", ending=".cdf", read=read)
    return _assembled(worlds, cameras, points={}, skeleton=None)


# VideoPose3D's archives

# Layouts of 2D points by what their metadata say: number of joints, and which are left and right.
LAYOUTS: dict[tuple[Any, ...], tuple[Skeleton, tuple[int, ...]]] = {
    (17, (4, 5, 6, 11, 12, 13), (1, 2, 3, 14, 15, 16)): (H36M17, tuple(range(17))),
    (17, tuple(range(1, 17, 2)), tuple(range(2, 17, 2))): (COCO17, tuple(range(17))),
    (16, (3, 4, 5, 13, 14, 15), (0, 1, 2, 10, 11, 12)): (H36M16, HOURGLASS_TO_H36M16),
}


def read_videopose(
    positions: Path, *, cameras: Path, points: Path | None = None, subjects: Iterable[str] = SUBJECTS
) -> H36MSet:
    """data_3d_h36m.npz, cameras by `read_cameras`, and if wanted a data_2d_h36m_*.npz.

    The archives hold pickled dictionaries; they are read by `read_dictionary`, which executes nothing. 2D points may
    go on for some frames after the 3D positions have ended; these are cut off. Raises DataError if a subject is missing
    or a file does not fit, InputError for unknown subjects.
    """
    wanted = _known(subjects)
    stored = read_dictionary(positions, "positions_3d")
    worlds: dict[Recording, np.ndarray] = {}
    for subject in wanted:
        for name, poses in _recordings(positions, stored, subject).items():
            recording, _ = recording_of(subject, name, path=positions)
            where = f"{positions}: {subject} {name}"
            if not isinstance(poses, np.ndarray) or poses.ndim != 3 or poses.shape[1:] != (ALL_JOINTS, 3):
                raise DataError(f"{where}: expected shape (N, 32, 3), got {np.shape(poses)}")
            worlds[recording] = _selected(where, poses.astype(np.float64) * 1000)
    read = read_cameras(cameras, subjects=wanted)
    if points is None:
        return _assembled(worlds, read, points={}, skeleton=None)
    skeleton, order = _layout(points)
    found: dict[View, np.ndarray] = {}
    stored = read_dictionary(points, "positions_2d")
    for subject in wanted:
        for name, views in _recordings(points, stored, subject).items():
            recording, _ = recording_of(subject, name, path=points)
            if not isinstance(views, (list, tuple)) or len(views) != len(CAMERAS):
                raise DataError(f"{points}: {subject} {name}: expected a list of 4 cameras")
            for camera, xy in zip(CAMERAS, views, strict=True):
                if xy is not None:
                    where = f"{points}: {subject} {name} camera {camera}"
                    found[View(*recording, camera)] = _points(where, xy, order, frames=worlds.get(recording))
    return _assembled(worlds, read, points=found, skeleton=skeleton)


def _recordings(path: Path, stored: Any, subject: str) -> dict[str, Any]:
    recordings = stored.get(subject) if isinstance(stored, dict) else None
    if not isinstance(recordings, dict) or not recordings or not all(isinstance(name, str) for name in recordings):
        raise DataError(f"{path}: {subject} is missing; make the file again or leave the subject out")
    return recordings


def _points(where: str, xy: Any, order: tuple[int, ...], *, frames: np.ndarray | None) -> np.ndarray:
    if not isinstance(xy, np.ndarray) or xy.ndim != 3 or xy.shape[1:] != (len(order), 2):
        raise DataError(f"{where}: expected shape (N, {len(order)}, 2), got {np.shape(xy)}")
    return _checked(where, _as_long(where, xy, frames)[:, list(order)].astype(np.float32))


def _layout(path: Path) -> tuple[Skeleton, tuple[int, ...]]:
    """The skeleton of a file's 2D points and the order that its joints are to be taken in."""
    meta = read_dictionary(path, "metadata")
    try:
        left, right = (tuple(int(joint) for joint in side) for side in meta["keypoints_symmetry"])
        return LAYOUTS[int(meta["num_joints"]), left, right]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: metadata of no known layout: expected Human3.6M-17, COCO-17 or MPII-16") from error


# Pickles, without executing them


class _Kind:
    """Stands in for numpy.dtype in a pickle: remembers what it is made with, and makes nothing."""

    def __init__(self, text: object, *_: object) -> None:
        self.text, self.order = text if isinstance(text, str) else "", "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


class _Array:
    """Stands in for a numpy array in a pickle: takes its state, of which `_plain` makes the array."""

    def __init__(self, *_: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _latin1(text: object, encoding: object) -> bytes:
    """The bytes that pickles of protocol 2, which older NumPy wrote, hold as text."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"it holds bytes as {type(text).__name__} in {encoding!r}")
    return text.encode("latin-1")


def _no_bytes() -> bytes:
    """The bytes of an empty array, in the same pickles."""
    return b""


# All that these pickles need. The names are mapped, not imported, and numpy's own functions are never called: their
# arguments, too, come from the file.
_STANDINS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): "numpy.ndarray",  # only ever an argument
    ("numpy", "dtype"): _Kind,
    ("_codecs", "encode"): _latin1,
    ("__builtin__", "bytes"): _no_bytes,
}


class _Unpickler(pickle.Unpickler):
    """Builds dictionaries, lists, numbers and text, and stand-ins for arrays."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STANDINS:
            raise pickle.UnpicklingError(f"it wants to call {module}.{name}")
        return _STANDINS[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to objects outside the file")


def read_dictionary(path: Path, key: str) -> Any:
    """The dictionary that np.savez pickled under a key of an .npz, of dictionaries, lists, arrays, numbers and text.

    Nothing is executed. Raises DataError if there is none, if it is damaged, or if it holds anything else.
    """
    try:
        check_archive(path)
        with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as file:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(file)
            if shape != () or not dtype.hasobject:
                raise ValueError(f"expected a dictionary, got an array {shape} of {dtype}")
            start = file.tell()
            check_pickle(file)
            file.seek(start)
            return _plain(_Unpickler(file).load(), Allowance(path))
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except KeyError as error:
        raise DataError(f"{path}: has no {key!r}; give VideoPose3D's file") from error
    except Exception as error:  # a damaged pickle raises nearly anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: {key}: damaged, or not VideoPose3D's ({reason}); make it again") from error


def _plain(value: Any, allowance: Allowance) -> Any:
    """What a stand-in stands for, with everything below it; an array that is there twice is counted twice."""
    if isinstance(value, dict):
        return {key: _plain(item, allowance) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, allowance) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if not isinstance(value, _Array):
        raise ValueError(f"it holds a {type(value).__name__}")
    _, shape, kind, fortran, data = value.state
    if kind.text.startswith("O") and isinstance(data, list):
        items = [_plain(item, allowance) for item in data]
        return items[0] if shape == () else items
    if not re.fullmatch(r"[fiu][1248]", kind.text) or kind.order not in ("<", ">", "|", "="):
        raise ValueError(f"it holds an array of {kind.text}")
    allowance.take(len(data))
    numbers = np.frombuffer(data, np.dtype(kind.text).newbyteorder(kind.order))
    return numbers.reshape(shape, order="F" if fortran else "C")


# Putting together


def _assembled(
    worlds: dict[Recording, np.ndarray],
    cameras: dict[tuple[str, str], H36MCamera],
    *,
    points: dict[View, np.ndarray],
    skeleton: Skeleton | None,
) -> H36MSet:
    """All views of the recordings, and the list of what is missing."""
    views = {
        view: ViewData(world, points.get(view))
        for recording, world in sorted(worlds.items())
        for view in (View(*recording, camera) for camera in CAMERAS)
    }
    counts = Counter((recording.subject, recording.action) for recording in worlds)
    missing = [
        f"{subject} {action}: {counts[subject, action]} of {RECORDINGS} recordings"
        for subject in dict.fromkeys(recording.subject for recording in worlds)
        for action in ACTIONS
        if counts[subject, action] < RECORDINGS
    ]
    if skeleton is not None:
        without = [view for view, data in views.items() if data.points is None]
        missing += [f"{_named(Recording(*view[:3]))} camera {view.camera}: no 2D points" for view in without]
        missing += [
            f"{_named(Recording(*view[:3]))} camera {view.camera}: 2D points without 3D positions"
            for view in sorted(points.keys() - views.keys())
        ]
    return H36MSet(views, cameras, skeleton, tuple(missing))
