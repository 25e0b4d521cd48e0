"""Biovision hierarchy files (.bvh): a tree of joints, and for every frame the numbers that pose it.

Convention. A joint's channels are applied in the order in which they are listed, each about the axes that the ones
before it have turned: with channels Zrotation Yrotation Xrotation, R = Rz Ry Rx for column vectors. A joint stands at

    position = parent's position + parent's R_global @ offset,    R_global = parent's R_global @ R

where the offset is the joint's OFFSET, or, along the axes for which it has position channels, those numbers instead.
Lengths are in whatever unit the file was made in: it does not say.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import DataError
from pipeline.limits import Allowance, check_files

CHANNELS = {f"{axis}{kind}" for axis in "XYZ" for kind in ("position", "rotation")}
POSE_BYTES = 8 * (3 + 9)  # of a joint in a frame: its position and turn
END = " end"  # an End Site is a joint by the name of its parent and this


@dataclass(frozen=True)
class Bvh:
    """A file's joints, parents before their children, and its motion."""

    joints: tuple[str, ...]
    parents: tuple[int, ...]  # -1: the root
    offsets: np.ndarray  # (J, 3), file units
    channels: tuple[tuple[str, ...], ...]  # of every joint, such as Xposition, Zrotation
    motion: np.ndarray  # (T, C), columns as the channels; file units and degrees
    fps: float


def read_bvh(path: Path) -> Bvh:
    """Parse a BVH file; DataError that names the line or the numbers if it is not one, is damaged or is cut short."""
    check_files([path], named=path)
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    hierarchy, separator, motion = re.sub(r"\r\n?", "\n", text).lstrip("\ufeff").partition("MOTION")
    if not hierarchy.lstrip().upper().startswith("HIERARCHY") or not separator:
        raise DataError(f"{path}: not a BVH file, or cut short: expected HIERARCHY and MOTION; export it again")
    reader = _Hierarchy(path)
    for line in re.sub(r"([{}])", r"\n\1\n", hierarchy).splitlines():
        if line.strip():
            reader.feed(line.split())
    reader.finish()
    count = sum(len(channels) for channels in reader.channels)
    frames, fps, values = _motion(path, motion)
    Allowance(path).take(frames * len(reader.joints) * POSE_BYTES)  # a joint needs no numbers in the file, nor a frame
    if frames < 1 or len(values) != frames * count:
        raise DataError(
            f"{path}: expected {frames} frames of {count} numbers, got {len(values)} numbers; "
            "it is cut short or damaged, export it again"
        )
    names, parents = tuple(reader.joints), tuple(reader.parents)
    channels = tuple(tuple(row) for row in reader.channels)
    return Bvh(names, parents, np.array(reader.offsets), channels, values.reshape(frames, count), fps)


class _Hierarchy:
    """What has been read of the tree so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.joints: list[str] = []
        self.parents: list[int] = []
        self.offsets: list[list[float]] = []
        self.channels: list[list[str]] = []
        self.ends: set[int] = set()  # joints that are End Sites
        self.open: list[int] = []  # joints whose block is not closed yet
        self.waiting = False  # a joint was named, its block is not open yet

    def feed(self, words: list[str]) -> None:
        """Take in a line: HIERARCHY, ROOT, JOINT, End Site, OFFSET, CHANNELS or a bracket."""
        keyword = words[0].upper()
        if keyword in ("ROOT", "JOINT", "END"):
            if (keyword == "ROOT") != (not self.joints) or (keyword != "ROOT" and not self.open) or self.waiting:
                raise self.error(words)
            parent = self.open[-1] if self.open else -1
            if parent in self.ends:
                raise self.error(words)
            if keyword == "END":
                self.ends.add(len(self.joints))
            self.joints.append(self.joints[parent] + END if keyword == "END" else " ".join(words[1:]))
            self.parents.append(parent)
            self.offsets.append([0.0, 0.0, 0.0])
            self.channels.append([])
            self.waiting = True
        elif keyword == "{" and self.waiting:
            self.open.append(len(self.joints) - 1)
            self.waiting = False
        elif keyword == "}" and self.open and not self.waiting:
            self.open.pop()
        elif keyword in ("OFFSET", "CHANNELS") and self.open and not self.waiting:
            self._take(keyword, words)
        elif keyword != "HIERARCHY":
            raise self.error(words)

    def _take(self, keyword: str, words: list[str]) -> None:
        joint = self.open[-1]
        try:
            if keyword == "OFFSET":
                x, y, z = (float(word) for word in words[1:])
                self.offsets[joint] = [x, y, z]
                return
            channels = [word[0].upper() + word[1:].lower() for word in words[2:]]
            if int(words[1]) != len(channels) or not CHANNELS.issuperset(channels):
                raise self.error(words)
            self.channels[joint] = channels
        except (ValueError, IndexError) as error:
            raise self.error(words) from error

    def finish(self) -> None:
        """DataError unless there is a whole tree with finite offsets."""
        if self.open or self.waiting or not self.joints or not np.isfinite(self.offsets).all():
            raise DataError(f"{self.path}: its HIERARCHY is damaged: a block is not closed, empty or not finite")

    def error(self, words: list[str]) -> DataError:
        """The error for a line that does not fit."""
        line = " ".join(words)[:60]
        return DataError(f"{self.path}: not a BVH file of one person, or damaged, at {line!r}; export it again")


def _motion(path: Path, text: str) -> tuple[int, float, np.ndarray]:
    """Number of frames, frames a second, and all numbers of the MOTION part."""
    head = re.match(r"\s*Frames\s*:\s*(\d+)\s+Frame\s+Time\s*:\s*(\S+)", text, re.IGNORECASE)
    try:
        if head is None:
            raise ValueError("expected 'Frames: N' and 'Frame Time: SECONDS' after MOTION")
        seconds = float(head[2])
        if not 1e-4 < seconds < 10:
            raise ValueError(f"a frame time of {head[2]} s")
        return int(head[1]), 1 / seconds, np.array(text[head.end() :].split(), np.float64)
    except ValueError as error:
        raise DataError(f"{path}: not a BVH file, or damaged ({error}); export it again") from error


def joint_positions(bvh: Bvh) -> np.ndarray:
    """Positions (T, J, 3) float64 of all joints, End Sites included, in the file's units and axes."""
    frames, first = len(bvh.motion), 0
    positions = np.empty((frames, len(bvh.joints), 3))
    turns = np.empty((frames, len(bvh.joints), 3, 3))
    for joint, (parent, channels) in enumerate(zip(bvh.parents, bvh.channels, strict=True)):
        columns = bvh.motion[:, first : first + len(channels)]
        first += len(channels)
        offset = np.tile(bvh.offsets[joint], (frames, 1))
        turn = np.tile(np.eye(3), (frames, 1, 1))
        for channel, values in zip(channels, columns.T, strict=True):
            if channel.endswith("position"):
                offset[:, "XYZ".index(channel[0])] = values
            else:
                turn = turn @ rotation(channel[0], np.radians(values))
        if parent < 0:
            positions[:, joint], turns[:, joint] = offset, turn
        else:
            positions[:, joint] = positions[:, parent] + np.einsum("tij,tj->ti", turns[:, parent], offset)
            turns[:, joint] = turns[:, parent] @ turn
    return positions


def rotation(axis: str, angle: np.ndarray) -> np.ndarray:
    """Matrices (..., 3, 3) that turn column vectors about X, Y or Z by angles (...) in radians, right-handed."""
    first, second = {"X": (1, 2), "Y": (2, 0), "Z": (0, 1)}[axis]
    matrix = np.zeros((*np.shape(angle), 3, 3))
    matrix[..., "XYZ".index(axis), "XYZ".index(axis)] = 1
    matrix[..., first, first] = matrix[..., second, second] = np.cos(angle)
    matrix[..., second, first] = np.sin(angle)
    matrix[..., first, second] = -np.sin(angle)
    return matrix
