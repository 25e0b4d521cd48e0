"""Acclaim skeletons and motions (.asf with .amc), as the CMU motion capture database publishes them.

Convention. A bone points along `direction` (in world axes, when the skeleton is at rest) and is `length` long. Its
`axis` angles, in the order of their letters about fixed axes (XYZ: C = Rz Ry Rx for column vectors), give the system
C that its motion is measured in. The motion of its degrees of freedom is composed likewise: M = Rz Ry Rx. Then

    R_global = parent's R_global @ C @ M @ inverse of C
    end      = parent's end + R_global @ direction * length

The root has a position besides, and its `orientation` is turned before everything else. A length divided by the
skeleton's unit (0.45 in the database) is in inches.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lifter.bvh import rotation
from pipeline.errors import DataError
from pipeline.limits import Allowance, check_files

ROOT = "root"
MM_PER_INCH = 25.4
POSE_BYTES = 8 * (3 + 3 + 9)  # of a bone in a frame: its end, twice, and its turn
TURNS = ("rx", "ry", "rz")
ROOT_FREEDOM = ("tx", "ty", "tz", *TURNS)


@dataclass
class Bone:
    """A bone as the file states it; the fields are filled in line by line."""

    name: str = ""
    direction: np.ndarray = field(default_factory=lambda: np.zeros(3))
    length: float = 0.0  # file units
    axis: np.ndarray = field(default_factory=lambda: np.zeros(3))  # angles of C, about x, y, z in `order`'s order
    order: str = "XYZ"
    freedom: tuple[str, ...] = ()  # such as rx, rz: the meaning of the numbers that a frame has for this bone


@dataclass
class AsfSkeleton:
    """The bones of an .asf file, the root among them, parents before their children."""

    bones: dict[str, Bone] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)  # of every bone but the root, in order from the root
    unit: float = 1.0  # lengths divided by this are inches
    degrees: bool = True
    start: np.ndarray = field(default_factory=lambda: np.zeros(3))  # of the root, added to its motion

    @property
    def mm(self) -> float:
        """Millimetres of a length of 1 in the file."""
        return MM_PER_INCH / self.unit


def read_asf(path: Path) -> AsfSkeleton:
    """Parse an .asf file; DataError that names the line if it is not one or is damaged."""
    root = Bone(ROOT)
    skeleton = AsfSkeleton({ROOT: root})
    section, bone = "", Bone()
    links: list[list[str]] = []
    for words in _lines(path):
        if words[0].startswith(":"):
            section = words[0].lower()
            continue
        try:
            if section == ":units":
                _take_unit(skeleton, words)
            elif section == ":root":
                _take_root(skeleton, root, words)
            elif section == ":bonedata" and words[0] == "begin":
                bone = Bone()
            elif section == ":bonedata" and words[0] == "end":
                skeleton.bones[bone.name] = bone
            elif section == ":bonedata":
                _take_bone(bone, words)
            elif section == ":hierarchy" and words[0] not in ("begin", "end"):
                links.append(words)
        except (ValueError, IndexError) as error:
            raise DataError(f"{path}: damaged in {section[1:]} at {' '.join(words)[:60]!r} ({error})") from error
    _link(path, skeleton, links)
    return skeleton


def _lines(path: Path) -> list[list[str]]:
    """The words of every line that is neither empty nor a comment."""
    check_files([path], named=path)
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    rows = (line.split() for line in text.splitlines())
    return [words for words in rows if words and not words[0].startswith("#")]


def _numbers(words: list[str], count: int) -> np.ndarray:
    values = np.array(words[:count], np.float64)
    if len(values) != count or not np.isfinite(values).all():
        raise ValueError(f"expected {count} numbers")
    return values


def _take_unit(skeleton: AsfSkeleton, words: list[str]) -> None:
    if words[0] == "length":
        (skeleton.unit,) = _numbers(words[1:], 1)
        if skeleton.unit <= 0:
            raise ValueError("expected a length above 0")
    elif words[0] == "angle":
        skeleton.degrees = not words[1].lower().startswith("rad")


def _take_root(skeleton: AsfSkeleton, root: Bone, words: list[str]) -> None:
    if words[0] == "order":
        root.freedom = tuple(word.lower() for word in words[1:])
        if sorted(root.freedom) != sorted(ROOT_FREEDOM):
            raise ValueError(f"expected the six of {' '.join(ROOT_FREEDOM)}")
    elif words[0] == "axis":
        root.order = _axis_order(words[1])
    elif words[0] == "position":
        skeleton.start = _numbers(words[1:], 3)
    elif words[0] == "orientation":
        root.axis = _numbers(words[1:], 3)


def _take_bone(bone: Bone, words: list[str]) -> None:
    if words[0] == "name":
        bone.name = words[1]
    elif words[0] == "direction":
        bone.direction = _numbers(words[1:], 3)
    elif words[0] == "length":
        (bone.length,) = _numbers(words[1:], 1)
    elif words[0] == "axis":
        bone.axis, bone.order = _numbers(words[1:], 3), _axis_order(words[4])
    elif words[0] == "dof":
        bone.freedom = tuple(word.lower() for word in words[1:])
        if not set(TURNS).issuperset(bone.freedom):
            raise ValueError("expected turns only: rx, ry, rz")
    # id, bodymass, limits and the like do not move a joint


def _axis_order(word: str) -> str:
    if sorted(word.upper()) != ["X", "Y", "Z"]:
        raise ValueError("expected an order of axes such as XYZ")
    return word.upper()


def _link(path: Path, skeleton: AsfSkeleton, links: list[list[str]]) -> None:
    """Fill in the parents: every bone once, after its parent."""
    if not skeleton.bones[ROOT].freedom or len(skeleton.bones) < 2 or not links:
        raise DataError(f"{path}: not an .asf file, or cut short: no root, bonedata or hierarchy; fetch it again")
    children: dict[str, list[str]] = {}
    for parent, *names in links:
        children.setdefault(parent, []).extend(names)
    joined = [ROOT]
    for parent in joined:  # which grows meanwhile
        for child in children.pop(parent, ()):
            if child not in skeleton.bones or child == ROOT or child in skeleton.parents:
                raise DataError(f"{path}: its hierarchy names {child!r}, which is no bone or stands there twice")
            skeleton.parents[child] = parent
            joined.append(child)
    if children:
        raise DataError(f"{path}: its hierarchy does not join {next(iter(children))!r} to the root; fetch it again")


def read_amc(path: Path, skeleton: AsfSkeleton) -> dict[str, np.ndarray]:
    """Motion of the bones that move: name -> (T, F) float64, columns as the bone's `freedom`, angles in radians.

    Raises DataError if the file is not one, is cut short, or is not of this skeleton.
    """
    moving = {name: bone.freedom for name, bone in skeleton.bones.items() if bone.freedom}
    rows: dict[str, list[list[str]]] = {name: [] for name in moving}
    degrees, frames, last = skeleton.degrees, 0, None
    for words in _lines(path):
        if words[0].startswith(":"):
            flag = words[0].lower()
            degrees = True if flag == ":degrees" else False if flag == ":radians" else degrees
        elif len(words) == 1 and words[0].isdecimal() and len(words[0]) < 10:
            _check_frame(path, rows, frames)
            if last not in (None, int(words[0]) - 1):
                raise DataError(f"{path}: damaged: frame {words[0]} comes after frame {last}; fetch it again")
            frames, last = frames + 1, int(words[0])
        elif words[0] not in moving or len(words) - 1 != len(moving[words[0]]):
            line = " ".join(words)[:60]
            raise DataError(f"{path}: frame {frames} has {line!r}, which does not fit the .asf; fetch both again")
        else:
            rows[words[0]].append(words[1:])
    if not frames:
        raise DataError(f"{path}: not an .amc file: it holds no frames; fetch it again")
    _check_frame(path, rows, frames)
    Allowance(path).take(frames * len(skeleton.bones) * POSE_BYTES)  # a bone that does not move needs no numbers here
    try:
        motion = {name: np.array(values, np.float64) for name, values in rows.items()}
    except ValueError as error:
        raise DataError(f"{path}: damaged ({error}); fetch it again") from error
    if degrees:
        for name, freedom in moving.items():
            motion[name] *= [np.pi / 180 if kind in TURNS else 1.0 for kind in freedom]
    return motion


def _check_frame(path: Path, rows: dict[str, list[list[str]]], frames: int) -> None:
    """DataError unless every bone has had one line in every frame so far."""
    wrong = [name for name, values in rows.items() if len(values) != frames]
    if wrong:
        raise DataError(f"{path}: cut short or damaged: frame {frames} has no, or two, of {wrong[0]!r}; fetch it again")


def bone_ends(skeleton: AsfSkeleton, motion: dict[str, np.ndarray]) -> tuple[tuple[str, ...], np.ndarray]:
    """Names, and positions (T, J, 3) float64 in the file's unit, of the root and of the far end of every bone.

    The position of a name is where that bone ends: 'lfemur' is the left knee. In the database y is up.
    """
    root = skeleton.bones[ROOT]
    values = dict(zip(root.freedom, motion[ROOT].T, strict=True))
    ends = {ROOT: skeleton.start + np.stack([values[kind] for kind in ("tx", "ty", "tz")], 1)}
    turns = {ROOT: _turn(root, motion[ROOT]) @ _system(root, degrees=skeleton.degrees)}
    for name, parent in skeleton.parents.items():
        bone = skeleton.bones[name]
        system = _system(bone, degrees=skeleton.degrees)
        turns[name] = turns[parent]
        if bone.freedom:
            turns[name] = turns[parent] @ system @ _turn(bone, motion[name]) @ system.T
        ends[name] = ends[parent] + turns[name] @ (bone.direction * bone.length)
    return tuple(ends), np.stack(list(ends.values()), 1)


def _system(bone: Bone, *, degrees: bool) -> np.ndarray:
    """The matrix C (3, 3) of a bone; its angles are listed in the order of the letters of `order`."""
    angles = np.radians(bone.axis) if degrees else bone.axis
    matrix = np.eye(3)
    for letter, angle in zip(bone.order, angles, strict=True):
        matrix = rotation(letter, angle) @ matrix
    return matrix


def _turn(bone: Bone, values: np.ndarray) -> np.ndarray:
    """The matrices M (T, 3, 3) of a bone's motion (T, F)."""
    angles = dict(zip(bone.freedom, values.T, strict=True))
    matrix = np.tile(np.eye(3), (len(values), 1, 1))
    for letter in bone.order:
        kind = f"r{letter.lower()}"
        if kind in angles:
            matrix = rotation(letter, angles[kind]) @ matrix
    return matrix
