"""Readers of labelled photos in the published layouts. Each takes a path and gives a `PhotoSet`.

Pixels are counted from 0 here, an integer being a pixel centre. Files made with MATLAB count from 1: LSP, and MPII
in all its forms, whose converters copied the numbers of the official file. COCO's joints count from 0, but its boxes
are measured from the left edge of the first pixel, half a pixel before its centre.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from hourglass.labels import Faults, cleaned, photo_folder
from hourglass.matfile import read_matlab
from hourglass.photos import PhotoSet
from pipeline.crop import BOX_MARGIN
from pipeline.errors import DataError
from pipeline.hdf5 import open_hdf5, stored_array
from pipeline.json_text import parse_json
from pipeline.limits import Allowance, check_files
from pipeline.skeleton import COCO17, LSP14, MPII16

HEAD_BIAS = 0.6  # PCKh's head size over the diagonal of MPII's head rectangle (Andriluka et al. 2014)


def _json(path: Path) -> Any:
    check_files([path], named=path)
    try:
        return parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not JSON, or cut short ({error}); unpack it again") from error


def _column(rows: Sequence[Any], key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Field `key` of every row as (N, *shape) float64; NaN throughout where a row has no such field of this shape."""
    values = [row.get(key) if isinstance(row, dict) else None for row in rows]
    try:
        array = np.array(values, np.float64)  # at once, as it is long
    except (TypeError, ValueError, OverflowError):
        array = np.empty(0)
    if array.shape == (len(rows), *shape):
        return array
    array = np.full((len(rows), *shape), np.nan)
    for row, value in enumerate(values):
        try:
            one = np.array(value, np.float64)
        except (TypeError, ValueError, OverflowError):
            continue
        if one.shape == shape:
            array[row] = one
    return array


# Leeds Sports Pose


def _lsp_joints(folder: Path) -> np.ndarray:
    path = folder / "joints.mat"
    if folder.is_file():
        raise DataError(f"{folder}: is a file; give the folder that holds joints.mat and images/")
    if not path.is_file():
        raise DataError(f"{folder}: expected joints.mat and images/ (the layout of LSP); joints.mat is missing")
    joints = np.asarray(read_matlab(path, "joints", what="an array"))
    if joints.dtype.kind not in "iufb":
        raise DataError(f"{path}: not a MATLAB file with an array 'joints' (these are no numbers); unpack it again")
    return joints.astype(np.float64)


def _lsp_set(name: str, folder: Path, joints: np.ndarray, visible: np.ndarray, labelled: np.ndarray) -> PhotoSet:
    count = len(joints)
    files = sorted((folder / "images").glob("im*.jpg")) or sorted((folder / "images").glob("im*.png"))
    if len(files) != count:
        raise DataError(f"{folder}: joints.mat holds {count} poses, images/ holds {len(files)} photos im*.jpg")
    regions, head = np.full((count, 3), np.nan), np.full(count, np.nan)
    photos = PhotoSet(name, LSP14, files, joints - 1, labelled, labelled & visible, regions=regions, head=head)
    return cleaned(photos, Faults(), source=folder)


def read_lsp(folder: Path) -> PhotoSet:
    """Leeds Sports Pose (Johnson and Everingham 2010): joints.mat (3, 14, N), images/im0001.jpg ...

    The third row is 1 for hidden joints, whatever its README says; all joints are labelled. A folder that holds
    only a leading part of the photos, as the training half does, must hold the same part of the joints.
    """
    joints = _lsp_joints(folder)
    if joints.ndim != 3 or joints.shape[:2] != (3, 14):
        raise DataError(f"{folder}/joints.mat: expected shape (3, 14, N) for LSP, got {joints.shape}")
    xyv = joints.transpose(2, 1, 0)
    everything = np.ones(xyv.shape[:2], bool)
    return _lsp_set("lsp", folder, xyv[..., :2], xyv[..., 2] == 0, everything)


def read_lspet(folder: Path) -> PhotoSet:
    """Leeds Sports Pose Extended (Johnson and Everingham 2011): joints.mat (14, 3, N); third column 0 = unlabelled.

    The photos are images/im00001.jpg ... or, as in the set of larger ones, images/im00001.png ...
    """
    joints = _lsp_joints(folder)
    if joints.ndim != 3 or joints.shape[:2] != (14, 3):
        raise DataError(f"{folder}/joints.mat: expected shape (14, 3, N) for LSP-extended, got {joints.shape}")
    xyv = joints.transpose(2, 0, 1)
    labelled = xyv[..., 2] > 0
    return _lsp_set("lspet", folder, xyv[..., :2], labelled, labelled)


# MPII Human Pose

# The files that a folder may hold, in order of preference; of a pair, the parts for training and validation.
MPII_FILES = (
    ("mpii_annotations.json",),
    ("train.h5", "valid.h5"),
    ("train.json", "valid.json"),
    ("mpii_human_pose_v1_u12_1.mat",),
)


class People(NamedTuple):
    """The arrays of a `PhotoSet`."""

    xy: np.ndarray
    labelled: np.ndarray
    visible: np.ndarray
    regions: np.ndarray
    head: np.ndarray


def read_mpii(path: Path, *, part: str = "") -> PhotoSet:
    """MPII Human Pose (Andriluka et al. 2014), a row for every labelled person of the training images.

    `path` is a file of labels or the folder that holds it, itself or in annot/. Known are, by what is in the file:

    - mpii_annotations.json: one list of people with the part that each belongs to (bearpaw)
    - train.h5, valid.h5: arrays; the only form with both the parts and the size of the heads (princeton)
    - train.json, valid.json: a list of people each; does not tell hidden joints (HRNet, MMPose)
    - mpii_human_pose_v1_u12_1.mat: the official file, which has the heads but no part for validation

    The photos lie in images/ beside the file, or up to two folders above. `part` is "train", "valid" or "" for all.
    The region is a square of 200 * 1.25 * scale pixels, its centre 15 * scale below the person's, as in all published
    results; where the h5 or the official form has no scale or centre, it is taken around the joints. `head` is 0.6
    of the head rectangle's diagonal; NaN in the json forms, as the rectangle cannot be had from the joints.

    Raises DataError if the layout is another, or if the part that is asked for cannot be told.
    """
    files = _mpii_files(path, part)
    suffix = files[0].suffix.lower()
    if suffix == ".h5":
        people, names, faults = _mpii_arrays(files)
    elif suffix == ".mat":
        people, names, faults = _mpii_matlab(files[0], part)
    else:
        people, names, faults = _mpii_lists(files, part)
    base = files[0].absolute().parent  # so that there is a folder above it
    places = [base / "images", base.parent / "images", base.parent.parent / "images", base, base.parent]
    folder = photo_folder(names, places, source=files[0])
    paths = {name: folder / name for name in names}
    name = f"mpii-{part}" if part else "mpii"
    photos = PhotoSet(name, MPII16, [paths[image] for image in names], *people)
    return cleaned(photos.select(np.any(photos.labelled, axis=1)), faults, source=files[0])


def _mpii_files(path: Path, part: str) -> list[Path]:
    """The files of labels to read."""
    if path.is_file():
        pair = path.stem in ("train", "valid")
        if path.suffix.lower() not in (".json", ".h5", ".mat"):
            raise DataError(f"{path}: expected labels of MPII as .json, .h5 or .mat, or their folder")
        if part and path.stem != part and (pair or path.suffix.lower() == ".h5"):
            raise DataError(f"{path}: is not the {part} part; give the folder, or mpii:{path}")
        return [path]
    for place in (path, path / "annot", path / "annotations"):
        for names in MPII_FILES:
            there = [place / name for name in names if (place / name).is_file()]
            chosen = [file for file in there if len(names) == 1 or not part or file.stem == part]
            if there and not chosen:
                raise DataError(f"{place}: holds {there[0].name} but not {part}{there[0].suffix}; put it there")
            if chosen:
                return chosen
    listed = ", ".join(" and ".join(names) for names in MPII_FILES)
    raise DataError(f"{path}: no labels of MPII in it; expected one of: {listed}")


def _mpii_people(
    xy: np.ndarray, labelled: np.ndarray, visible: np.ndarray, *, centre: np.ndarray, side: np.ndarray, head: np.ndarray
) -> People:
    """From joints (N, 16, 2) and centres (N, 2) that count from 1."""
    regions = np.concatenate([centre - 1, side[:, None]], 1)
    head = np.where((head > 0) & np.isfinite(head), head, np.nan)
    return People(xy - 1, labelled, visible & labelled, regions, head)


def _raised(centre: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre (N, 2) and side (N,) of the regions from those of the file."""
    return centre + np.stack([np.zeros(len(scale)), 15 * scale], 1), 200 * 1.25 * scale


def _chosen(people: People, names: Sequence[Any], sound: np.ndarray) -> tuple[People, list[str]]:
    """The people whose row in `sound` (N,) is set, and the names of their photos."""
    return People(*(array[sound] for array in people)), [names[row] for row in np.flatnonzero(sound).tolist()]


Read = tuple[People, list[str], Faults]  # people, the names of their photos, who is left out


def _mpii_lists(files: list[Path], part: str) -> Read:
    """The json forms: a dictionary for each person."""
    entries = [entry for file in files for entry in _list_of(file)]
    one_list = any(isinstance(entry, dict) and "joint_self" in entry for entry in entries)
    if part and files[0].stem != part:
        chosen = _column(entries, "isValidation", ())
        if not np.isfinite(chosen).any():
            raise DataError(f"{files[0]}: does not say who belongs to the {part} part; use mpii:{files[0]}")
        entries = [entries[row] for row in np.flatnonzero((chosen > 0) == (part == "valid"))]
    if one_list:
        joints, image, place, size = "joint_self", "img_paths", "objpos", "scale_provided"
        xyv = _column(entries, joints, (16, 3))
        # The third number is 0 for hidden joints as well.
        labelled = ~(xyv[..., :2] == 0).all(-1) & ~(xyv[..., 2] < 0)
    else:
        joints, image, place, size = "joints", "image", "center", "scale"
        seen = _column(entries, "joints_vis", (16,))
        xyv = np.concatenate([_column(entries, joints, (16, 2)), seen[..., None]], -1)
        labelled = xyv[..., 2] > 0
    names = [entry.get(image) if isinstance(entry, dict) else None for entry in entries]
    centre, scale = _column(entries, place, (2,)), _column(entries, size, ())
    faults, sound = Faults(), np.ones(len(entries), bool)
    checks = {
        f"without {joints} that can be read": np.isnan(xyv).all((1, 2)),
        f"without the name of a photo as {image}": np.array([not (isinstance(n, str) and n) for n in names], bool),
        f"without {place} and a positive {size}": ~(np.isfinite(centre).all(1) & (scale > 0) & (scale < np.inf)),
    }
    for problem, found in checks.items():
        faults.add(problem, [f"entry {row + 1}" for row in np.flatnonzero(sound & found)])
        sound &= ~found
    centre, side = _raised(centre, scale)
    nothing = np.full(len(entries), np.nan)
    people = _mpii_people(xyv[..., :2], labelled, xyv[..., 2] > 0, centre=centre, side=side, head=nothing)
    return *_chosen(people, names, sound), faults


def _list_of(path: Path) -> list[Any]:
    entries = _json(path)
    known = ("joint_self", "joints")
    if not isinstance(entries, list) or not any(isinstance(e, dict) and any(k in e for k in known) for e in entries):
        raise DataError(f"{path}: expected MPII's list of people with joint_self or joints; download it again")
    return entries


TEXTS_AT_ONCE = 64
H5_SHAPES = {"part": (16, 2), "visible": (16,), "center": (2,), "scale": (), "normalize": ()}


def _mpii_arrays(files: list[Path]) -> Read:
    """The h5 form: its centre and scale are those of the region already, `normalize` is 0.6 of the head's diagonal."""
    parts = [_h5_arrays(file) for file in files]
    arrays = {key: np.concatenate([numbers[key] for numbers, _ in parts]) for key in H5_SHAPES}
    names = [name for _, listed in parts for name in listed]
    centre, scale, part = arrays["center"], arrays["scale"], arrays["part"]
    # Unlabelled joints are at 0; those of people without any label at -1, as are unknown centres and scales.
    labelled = ~(part == 0).all(-1) & (arrays["visible"] >= 0)
    unknown = (scale == -1) & (centre[:, 0] == -1)
    centre, scale = np.where(unknown[:, None], np.nan, centre), np.where(unknown, np.nan, scale)
    faults, sound = Faults(), unknown | (np.isfinite(centre).all(1) & (scale > 0) & (scale < np.inf))
    faults.add("without center and a positive scale", [names[row] for row in np.flatnonzero(~sound)])
    visible = arrays["visible"] > 0
    people = _mpii_people(part, labelled, visible, centre=centre, side=200 * scale, head=arrays["normalize"])
    return *_chosen(people, names, sound), faults


def _h5_arrays(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays named in H5_SHAPES, and the names of the photos."""
    try:
        with open_hdf5(path) as file:
            allowance = Allowance(path)
            arrays = {key: _h5_array(file[key], allowance) for key in ("imgname", *H5_SHAPES) if key in file}
    except DataError:
        raise
    except Exception as error:  # h5py raises many kinds for a damaged or foreign file
        raise DataError(f"{path}: not an HDF5 file, or damaged ({error}); download it again") from error
    missing = [key for key in ("imgname", *H5_SHAPES) if key not in arrays and key != "normalize"]
    if missing:
        raise DataError(f"{path}: no array {missing[0]}; expected MPII's labels in the form of princeton-vl")
    count = len(np.atleast_1d(arrays["imgname"]))
    arrays.setdefault("normalize", np.full(count, np.nan))
    for key, shape in H5_SHAPES.items():
        array = arrays[key]
        if array.shape != (count, *shape) or array.dtype.kind not in "iufb":
            expected = f"numbers of shape {(count, *shape)}"
            raise DataError(f"{path}: expected {key} to be {expected}, got {array.dtype} {array.shape}")
    listed = np.atleast_1d(arrays["imgname"]).tolist()
    try:
        names = [name.decode() if isinstance(name, bytes) else name for name in listed]
    except UnicodeDecodeError:
        names = []
    if len(names) != count or not all(isinstance(name, str) and name for name in names):
        raise DataError(f"{path}: imgname does not hold names of photos; download it again")
    return {key: arrays[key].astype(np.float64) for key in H5_SHAPES}, names


def _h5_array(data: h5py.Dataset, allowance: Allowance) -> np.ndarray:
    """What a data set holds; of texts of any length, which may all be the same long one, a few at a time."""
    if data.dtype.kind != "O":
        return stored_array(data, allowance)
    if data.ndim != 1 or h5py.check_string_dtype(data.dtype) is None:
        raise DataError(f"{allowance.path}: {data.name}: holds neither numbers nor a list of texts; download it again")
    rows: list[bytes] = []
    for first in range(0, len(data), TEXTS_AT_ONCE):
        rows += data[first : first + TEXTS_AT_ONCE].tolist()
        allowance.take(sum(len(row) for row in rows[first:]))
    return np.array(rows, object)


def _mpii_matlab(path: Path, part: str) -> Read:
    """The official file. Fields are missing and structs empty all over it."""
    if part:
        raise DataError(f"{path}: the official labels have no {part} part; use mpii:{path}, or the json or h5 form")
    release = read_matlab(path, "RELEASE", what="a struct", squeeze_me=True, struct_as_record=False)
    images = _structs(getattr(release, "annolist", None))
    training = np.atleast_1d(np.asarray(getattr(release, "img_train", ()))).ravel()
    if not images or len(training) != len(images):
        raise DataError(f"{path}: expected RELEASE with annolist and img_train, one for each image; download it again")
    rows, names, faults = [], [], Faults()
    for number, (image, train) in enumerate(zip(images, training.tolist(), strict=True), start=1):
        name = getattr(getattr(image, "image", None), "name", None)
        for person in _structs(getattr(image, "annorect", None)) if train == 1 else []:
            row = _matlab_person(person)
            if row is None:  # not labelled
                continue
            if not isinstance(name, str):
                faults.add("without the name of a photo", [f"image {number}"])
            elif row["scale"] <= 0 or np.isinf(row["scale"]):
                faults.add("with a scale that is not positive", [name])
            else:
                rows.append(row)
                names.append(name)
    shapes = {"joints": (16, 3), "centre": (2,), "scale": (), "head": ()}
    arrays = {key: np.array([row[key] for row in rows], np.float64).reshape(-1, *s) for key, s in shapes.items()}
    xyv = arrays["joints"]
    labelled = ~np.isnan(xyv[..., 2]) & ~(xyv[..., :2] == 0).all(-1)
    centre, side = _raised(arrays["centre"], arrays["scale"])
    people = _mpii_people(xyv[..., :2], labelled, xyv[..., 2] > 0, centre=centre, side=side, head=arrays["head"])
    return people, names, faults


def _matlab_person(person: Any) -> dict[str, Any] | None:
    """Joints (16, 3) with x, y, 1 if not hidden, NaN where there is none; centre, scale, head; None if not labelled.

    The joints of the head do not say whether they are hidden and count as visible, as in all converted forms.
    """
    joints = np.full((16, 3), np.nan)
    for point in _structs(getattr(getattr(person, "annopoints", None), "point", None)):
        joint = _number(point, "id")
        if joint in range(16):
            joints[int(joint)] = _number(point, "x"), _number(point, "y"), float(_number(point, "is_visible") != 0)
    if np.isnan(joints[:, 2]).all():
        return None
    place = getattr(person, "objpos", None)
    width, height = (_number(person, f"{axis}2") - _number(person, f"{axis}1") for axis in "xy")
    centre = _number(place, "x"), _number(place, "y")
    head = HEAD_BIAS * float(np.hypot(width, height))
    return {"joints": joints, "centre": centre, "scale": _number(person, "scale"), "head": head}


def _structs(value: Any) -> list[Any]:
    """What MATLAB has as an array of structs, an empty one or a single one, as a list."""
    return [one for one in np.atleast_1d(np.asarray(value, object)).ravel() if hasattr(one, "_fieldnames")]


def _number(struct: Any, name: str) -> float:
    """A field as a number; NaN if it is missing, empty or no number."""
    try:
        return float(getattr(struct, name))
    except (AttributeError, TypeError, ValueError):
        return np.nan


# COCO

Number = (int, float, str)  # of a photo
SIDES = {"left": "l", "right": "r"}


def read_coco(path: Path) -> PhotoSet:
    """Microsoft COCO's person keypoints (Lin et al. 2014): a person_keypoints_*.json, a row for every labelled person.

    Of joints the third number is 0 for unlabelled, 1 for hidden, 2 for visible. Groups (iscrowd) and people without
    any labelled joint are not in the set. The region is around the person's box, its longer side times BOX_MARGIN.
    The photos lie in the folder that the file is named for, such as val2017/, or in images/, beside the file, one
    folder above it or in images/ there. Raises DataError if the layout is another.
    """
    if not path.is_file():
        raise DataError(f"{path}: is a folder; give COCO's file of labels, such as person_keypoints_val2017.json")
    images, entries = _coco_lists(path)
    xyv, box = _column(entries, "keypoints", (51,)).reshape(-1, 17, 3), _column(entries, "bbox", (4,))
    names = [images.get(_key(entry)) for entry in entries]
    faults, sound = Faults(), (xyv[..., 2] > 0).any(1) | np.isnan(xyv).all((1, 2))
    checks = {
        "without 17 keypoints that can be read": np.isnan(xyv).all((1, 2)),
        "of a photo that is not listed": np.array([name is None for name in names], bool),
        "with an empty bbox": ~((box[:, 2:] > 0).all(1) & np.isfinite(box).all(1)),
    }
    for problem, found in checks.items():
        faults.add(problem, [str(names[row] or f"entry {row + 1}") for row in np.flatnonzero(sound & found)])
        sound &= ~found
    rows = np.flatnonzero(sound)
    names, xyv, box = [names[row] for row in rows], xyv[rows], box[rows]
    folder = photo_folder([name for name in names if name], _coco_places(path), source=path)
    paths = {name: folder / str(name) for name in names}
    regions = np.concatenate([box[:, :2] + box[:, 2:] / 2 - 0.5, box[:, 2:].max(1, keepdims=True) * BOX_MARGIN], 1)
    labelled, head = xyv[..., 2] > 0, np.full(len(rows), np.nan)
    visible = labelled & (xyv[..., 2] > 1)
    files = [paths[name] for name in names]
    photos = PhotoSet("coco", COCO17, files, xyv[..., :2], labelled, visible, regions=regions, head=head)
    return cleaned(photos, faults, source=path)


def _key(entry: Any) -> Any:
    """The number of the photo that an entry belongs to; None if that cannot be told."""
    key = entry.get("image_id") if isinstance(entry, dict) else None
    return key if isinstance(key, Number) else None


def _coco_places(path: Path) -> list[Path]:
    """Folders that the photos may be in, the likeliest first."""
    base = path.absolute().parent
    above, named = base.parent, path.stem.rpartition("_")[2]
    folders = [above, base, above / "images", base / "images"]
    return [folder / named for folder in folders] + [above / "images", base / "images", base, above]


def _coco_lists(path: Path) -> tuple[dict[Any, str], list[Any]]:
    """Names of the photos by number, and the annotations of single people; DataError if it is another layout."""
    content = _json(path)
    remedy = "give COCO's person_keypoints_*.json"
    lists = [content.get(key) if isinstance(content, dict) else None for key in ("images", "annotations")]
    if not all(isinstance(part, list) for part in lists):
        raise DataError(f"{path}: expected lists 'images' and 'annotations' in it; {remedy}")
    images, categories = (_dicts(content.get(key)) for key in ("images", "categories"))
    # Things other than people have no joints; what is no dictionary is damaged and counted as such.
    entries = [one for one in content["annotations"] if not isinstance(one, dict) or "keypoints" in one]
    if not any(isinstance(one, dict) for one in entries):
        raise DataError(f"{path}: no annotation in it has keypoints; {remedy}")
    if any(_joint_names(one["keypoints"]) != COCO17.joints for one in categories if "keypoints" in one):
        raise DataError(f"{path}: its keypoints are not the 17 of COCO, {', '.join(COCO17.joints)}; {remedy}")
    names = {one.get("id"): one.get("file_name") for one in images if isinstance(one.get("id"), Number)}
    single = [one for one in entries if not isinstance(one, dict) or one.get("iscrowd") not in (1, True)]
    return {key: name for key, name in names.items() if isinstance(name, str) and name}, single


def _dicts(listed: Any) -> list[dict[str, Any]]:
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _joint_names(listed: Any) -> tuple[str, ...]:
    """COCO's names of joints as ours: left_hip is l_hip."""
    pairs = [str(name).partition("_") for name in listed] if isinstance(listed, list) else []
    return tuple(f"{SIDES[side]}_{joint}" if side in SIDES and joint else side for side, _, joint in pairs)
