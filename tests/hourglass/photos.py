"""Made-up photos of people: a disc of its own colour at every joint, and data sets of them in the published layouts."""

import json
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
from scipy.io import savemat

from pipeline.skeleton import COCO17, LSP14

# A standing person in units of his height, the head's top at (0, 0): x right, y down, facing the camera.
STANDING = np.array(
    [
        (-0.12, 1.0), (-0.12, 0.76), (-0.12, 0.5), (0.12, 0.5), (0.12, 0.76), (0.12, 1.0),
        (-0.42, 0.42), (-0.34, 0.28), (-0.18, 0.2), (0.18, 0.2), (0.34, 0.28), (0.42, 0.42),
        (0.0, 0.17), (0.0, 0.0),
    ]
)  # fmt: skip

# One colour per joint.
COLOURS = np.array([c for c in product((0, 128, 255), repeat=3) if sum(c) > 255][:14])


def standing(x: float, y: float, height: float) -> np.ndarray:
    """Joints (14, 2) float32 of a person whose middle is at (x, y)."""
    return ((STANDING - (0, 0.5)) * height + (x, y)).astype(np.float32)


def photo(xy: np.ndarray, *, width: int, height: int, radius: float) -> np.ndarray:
    """A black photo (height, width, 3) uint8 BGR with a disc in its joint's colour at every point (14, 2)."""
    image = np.zeros((height, width, 3), np.uint8)
    rows, columns = np.mgrid[:height, :width]
    for (x, y), colour in zip(xy, COLOURS, strict=True):
        image[(columns - x) ** 2 + (rows - y) ** 2 <= radius**2] = colour
    return image


def people(count: int, *, size: int = 64, seed: int = 0) -> np.ndarray:
    """Joints (count, 14, 2) of people who stand about in photos of that size, limbs here and there."""
    rng = np.random.default_rng(seed)
    poses = [standing(*rng.uniform(0.42, 0.58, 2) * size, rng.uniform(0.5, 0.7) * size) for _ in range(count)]
    return np.stack(poses) + rng.normal(0, 0.02 * size, (count, 14, 2)).astype(np.float32)


def _write_images(folder: Path, xy: np.ndarray, *, size: int, digits: int) -> None:
    (folder / "images").mkdir(parents=True)
    for number, points in enumerate(xy, start=1):
        name = f"im{number:0{digits}d}.jpg"
        cv2.imwrite(str(folder / "images" / name), photo(points, width=size, height=size, radius=2.5))


def write_lsp(folder: Path, xy: np.ndarray, hidden: np.ndarray, *, size: int = 64) -> Path:
    """A set in the layout of Leeds Sports Pose: joints (3, 14, N), pixels from 1, third row 1 where hidden (N, 14)."""
    _write_images(folder, xy, size=size, digits=4)
    joints = np.concatenate([xy + 1.0, hidden[..., None]], -1)
    savemat(folder / "joints.mat", {"joints": joints.transpose(2, 1, 0)})
    return folder


def write_lspet(folder: Path, xy: np.ndarray, labelled: np.ndarray, *, size: int = 64) -> Path:
    """A set in the layout of LSP-extended: joints (14, 3, N), third column 0 where not labelled (N, 14)."""
    _write_images(folder, xy, size=size, digits=5)
    places = np.where(labelled[..., None], xy + 1.0, -999.0)
    joints = np.concatenate([places, labelled[..., None]], -1)
    savemat(folder / "joints.mat", {"joints": joints.transpose(1, 2, 0)})
    return folder


def simple_set(folder: Path, count: int, *, size: int = 64, seed: int = 0) -> Path:
    """A set in the layout of LSP-extended with every joint labelled."""
    return write_lspet(folder, people(count, size=size, seed=seed), np.ones((count, len(LSP14)), bool), size=size)


def write_photos(folder: Path, names: Iterable[str], *, width: int = 64, height: int = 48) -> None:
    """Grey photos of these names, which may have folders in them."""
    done, data = cv2.imencode(".jpg", np.full((height, width, 3), 128, np.uint8))
    assert done
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data.tobytes())


def write_json(path: Path, content: Any) -> Path:
    """A file of JSON; NaN is written as Python writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def mpii_joints(shift: float = 0) -> np.ndarray:
    """Joints (16, 3) of a person in the numbers of MPII's files (from 1): x, y, 1; joint k is at (11 + k, 21 + k)."""
    steps = np.arange(16.0)
    return np.stack([11 + steps + shift, 21 + steps, np.ones(16)], 1)


def mpii_entry(name: str = "a.jpg", *, valid: bool = False, **changes: Any) -> dict[str, Any]:
    """A person of mpii_annotations.json, all numbers as savejson writes them."""
    entry = {
        "dataset": "MPI",
        "isValidation": float(valid),
        "img_paths": name,
        "img_width": 64.0,
        "img_height": 48.0,
        "objpos": [31.0, 21.0],
        "joint_self": mpii_joints().tolist(),
        "scale_provided": 0.2,
        "numOtherPeople": 0.0,
    }
    return {**entry, **changes}


def struct_array(rows: list[dict[str, Any]]) -> np.ndarray:
    """A MATLAB array of structs (1, N): all have the same fields, those that a row lacks are empty."""
    fields = list(dict.fromkeys(key for row in rows for key in row))
    array = np.empty((1, len(rows)), [(name, object) for name in fields])
    for index, row in enumerate(rows):
        array[0, index] = tuple(row.get(name, np.zeros((0, 0))) for name in fields)
    return array


def matlab_person(joints: dict[int, tuple[float, ...]], **fields: Any) -> dict[str, Any]:
    """An element of annorect: joints by number as (x, y) or (x, y, is_visible), and other fields."""
    points = [dict(zip(("x", "y", "is_visible"), value, strict=False), id=joint) for joint, value in joints.items()]
    return {"annopoints": {"point": struct_array(points)}, **fields}


def write_mpii_mat(path: Path, images: list[dict[str, Any]], *, do_compression: bool = False) -> Path:
    """The official layout; an image is {"name", "train", "people"}, people None where there is no annorect."""
    path.parent.mkdir(parents=True, exist_ok=True)
    annolist = struct_array(
        [
            {
                "image": {"name": image["name"]},
                "annorect": np.zeros((0, 0)) if image["people"] is None else struct_array(image["people"]),
                "frame_sec": np.zeros((0, 0)),
                "vididx": np.zeros((0, 0)),
            }
            for image in images
        ]
    )
    train = np.array([[image["train"] for image in images]], np.uint8)
    release = {"annolist": annolist, "img_train": train, "version": "12", "video_list": np.zeros((0, 0))}
    savemat(path, {"RELEASE": release}, do_compression=do_compression)
    return path


def write_mpii_h5(path: Path, names: list[str], **arrays: np.ndarray) -> Path:
    """The layout of princeton-vl: one person a row; `arrays` replace or add to what is there by default."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = len(names)
    content: dict[str, np.ndarray] = {
        "imgname": np.array([name.encode() for name in names], "S"),
        "part": np.tile(mpii_joints()[:, :2], (count, 1, 1)),
        "visible": np.ones((count, 16)),
        "center": np.tile([31.0, 24.0], (count, 1)),
        "scale": np.full(count, 0.25),
        "normalize": np.full(count, 6.0),
        "index": np.arange(count),
        "person": np.zeros(count, int),
        "torsoangle": np.zeros(count),
    }
    with h5py.File(path, "w") as file:
        for key, array in {**content, **arrays}.items():
            file[key] = array
    return path


COCO_NAMES = [name.replace("l_", "left_").replace("r_", "right_") for name in COCO17.joints]


def coco_person(image: Any = 1, **changes: Any) -> dict[str, Any]:
    """An annotation with all joints visible, joint k at (10 + k, 20 + k)."""
    keypoints = [number for joint in range(17) for number in (10 + joint, 20 + joint, 2)]
    entry = {"image_id": image, "category_id": 1, "iscrowd": 0, "num_keypoints": 17, "bbox": [8.0, 18.0, 20.0, 24.0]}
    return {**entry, "keypoints": keypoints, **changes}


def coco_content(people: list[Any], images: dict[Any, str]) -> dict[str, Any]:
    """The content of a person_keypoints_*.json."""
    return {
        "info": {},
        "images": [{"id": key, "file_name": name, "width": 64, "height": 48} for key, name in images.items()],
        "annotations": people,
        "categories": [{"id": 1, "name": "person", "keypoints": COCO_NAMES, "skeleton": [[1, 2]]}],
    }
