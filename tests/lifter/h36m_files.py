"""Small sets in the layouts of Human3.6M, filled with made-up people: four cameras around a room, z up, mm."""

from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
import pytest

from lifter.h36m import ACTIONS, TO_H36M17
from lifter.h36m_cameras import CAMERAS

FRAMES = 3
BOTH = ("", " 1")  # how the two recordings of an action are told apart
PLACES = np.array([[2000, 5000, 1500], [1800, -5000, 1600], [-1800, 5200, 1500], [-1800, -3800, 1600]], float)
F, C = np.array([1145.0, 1143.0]), np.array([512.0, 515.0])
K, P = np.array([-0.2, 0.24, -0.003]), np.array([-0.001, -0.0015])


def rotation_towards(place: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) from a world with z up to a camera (x right, y down, z forward) at `place` that sees `target`."""
    forward = (target - place) / np.linalg.norm(target - place)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


def people(frames: int = FRAMES, *, seed: int = 0) -> np.ndarray:
    """Poses (frames, 32, 3) in mm: no joint like another, those that do not move on their own are far away."""
    rng = np.random.default_rng(seed)
    poses = np.full((frames, 32, 3), 9e5) + rng.uniform(-1, 1, (frames, 32, 3))
    poses[:, list(TO_H36M17)] = rng.uniform([-400, -300, 0], [400, 300, 1700], (frames, 17, 3))
    return poses


def write_h5(path: Path, **arrays: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name.replace("__", "/")] = array
    return path


def write_cameras(path: Path, subjects: Iterable[str] = ("S1",)) -> Path:
    """A cameras.h5; every matrix as MATLAB stores it: transposed."""
    with h5py.File(path, "w") as file:
        for subject in subjects:
            for number, (name, place) in enumerate(zip(CAMERAS, PLACES, strict=True), 1):
                group = file.create_group(f"subject{subject[1:]}/camera{number}")
                group["R"] = rotation_towards(place, np.array([0.0, 0.0, 900.0])).T
                group["T"], group["f"], group["c"] = place[:, None], F[:, None], C[:, None]
                group["k"], group["p"] = K[:, None], P[:, None]
                group["Name"] = np.array([[ord(letter)] for letter in name], np.uint16)
    return path


def write_metadata(path: Path, angles: np.ndarray) -> Path:
    """A metadata.xml whose 44 cameras (11 subjects) all have these three angles, and the places of `PLACES`."""
    outer = [np.concatenate([angles, place]) for place in PLACES for _ in range(11)]
    inner = [np.concatenate([F + index, C, K, P]) for index in range(4)]
    numbers = " ".join(str(float(value)) for value in np.concatenate([*outer, *inner]))
    path.write_text(f"<?xml version='1.0'?><metadata><camera><w0>[{numbers}]</w0></camera></metadata>")
    return path


def write_martinez(folder: Path, subjects: Iterable[str] = ("S1",), *, actions: Iterable[str] = ACTIONS) -> Path:
    """The h5 folders with detections of every camera: joint j of frame t of camera i at (100 i + j, t)."""
    folder.mkdir(exist_ok=True)
    write_cameras(folder / "cameras.h5", subjects)
    for subject in subjects:
        for seed, (action, which) in enumerate((action, which) for action in actions for which in BOTH):
            poses = people(seed=seed)
            path = folder / subject / "MyPoses" / "3D_positions" / f"{action}{which}.h5"
            write_h5(path, **{"3D_positions": poses.reshape(FRAMES, 96).T})
            for index, camera in enumerate(CAMERAS):
                name = f"{action}{which.replace(' ', '_')}.{camera}.h5"
                write_h5(folder / subject / "StackedHourglass" / name, poses=detections(index))
    return folder


def detections(camera: int, frames: int = FRAMES, joints: int = 16) -> np.ndarray:
    """Points (frames, joints, 2): joint j of frame t at (100 camera + j, t)."""
    points = np.zeros((frames, joints, 2))
    points[..., 0] = 100 * camera + np.arange(joints)
    points[..., 1] = np.arange(frames)[:, None]
    return points


def write_videopose(path: Path, subjects: Iterable[str] = ("S1",), *, actions: Iterable[str] = ACTIONS) -> Path:
    """A data_3d_h36m.npz, in metres."""
    content = {
        subject: {
            f"{action}{which}": (people(seed=seed) / 1000).astype(np.float32)
            for seed, (action, which) in enumerate((action, which) for action in actions for which in BOTH)
        }
        for subject in subjects
    }
    np.savez_compressed(path, positions_3d=np.array(content, dtype=object))
    return path


def write_videopose_2d(
    path: Path, *, joints: int = 17, sides: object = None, subjects: Iterable[str] = ("S1",), frames: int = FRAMES
) -> Path:
    """A data_2d_h36m_*.npz, by default in the layout of Human3.6M."""
    views = [detections(index, frames, joints).astype(np.float32) for index in range(4)]
    content = {subject: {f"{a}{which}": views for a in ACTIONS for which in BOTH} for subject in subjects}
    metadata = {
        "layout_name": "h36m",
        "num_joints": joints,
        "keypoints_symmetry": sides or [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]],
    }
    np.savez_compressed(path, positions_2d=np.array(content, object), metadata=np.array(metadata, object))
    return path


def write_cdf(path: Path, poses: np.ndarray, *, variable: str = "Pose", whole: bool = False) -> Path:
    """An official file, packed block by block or as a whole; the test is skipped without cdflib."""
    writer = pytest.importorskip("cdflib.cdfwrite")
    path.parent.mkdir(parents=True, exist_ok=True)
    file = writer.CDF(path, cdf_spec={"Majority": "row_major", "Compressed": 6 * whole}, delete=True)
    sizes = list(poses.shape)
    spec = {"Variable": variable, "Data_Type": file.CDF_REAL4, "Num_Elements": 1, "Rec_Vary": True, "Dim_Sizes": sizes}
    spec["Compress"] = 0 if whole else 6
    file.write_var(spec, var_data=poses[None].astype(np.float32))
    file.close()
    return path


def write_official(folder: Path, subjects: Iterable[str] = ("S1",), *, actions: Iterable[str] = ACTIONS) -> Path:
    """The folders as downloaded, without cameras."""
    for subject in subjects:
        for seed, (action, which) in enumerate((action, which) for action in actions for which in BOTH):
            path = folder / subject / "MyPoseFeatures" / "D3_Positions" / f"{action}{which}.cdf"
            write_cdf(path, people(seed=seed).reshape(FRAMES, 96))
    return folder
