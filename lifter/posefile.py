"""Motion capture on disk: one HDF5 file of 3D poses in one skeleton, one unit and one system of axes.

    /              attributes: format "posecli poses", version, skeleton "h36m17", unit "mm", up "y"
    /sequences/N   xyz, float32 (T, 17, 3); attributes: subject, action, trial, source (text), fps (float)

Joints are in the order of H36M17, y is up, and x, y, z are right-handed. Checksums tell a damaged file from a whole
one; nothing in the file is ever executed.
"""

import logging
from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline.atomic import cannot_write, replacing
from pipeline.errors import DataError
from pipeline.hdf5 import open_hdf5, stored_array
from pipeline.limits import Allowance
from pipeline.skeleton import H36M17

FORMAT, FORMAT_VERSION = "posecli poses", 1
HEADER = {"skeleton": H36M17.name, "unit": "mm", "up": "y"}
TEXTS = ("subject", "action", "trial", "source")
BAD_FRAMES = 0.1  # share of a sequence's frames that may be not finite; with more it is refused

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sequence:
    """One recording of one person."""

    subject: str  # who moves; the same text for all recordings of a person
    action: str  # what is done, as far as known
    trial: str  # which recording; copies of a recording in other sets have the same
    fps: float  # frames a second
    xyz: np.ndarray  # (T, 17, 3) float32, joints of H36M17, mm, y up
    source: str = ""  # the kind of rig or data set that it comes from

    @property
    def name(self) -> str:
        """What errors and logs call it."""
        return f"{self.source or 'sequence'}/{self.trial}"


def finite_frames(xyz: np.ndarray, *, name: str) -> np.ndarray:
    """The frames of (T, J, 3) whose coordinates are all finite; DataError if too many, or all, are not.

    `name` is what the error calls the poses: a file, or a file and a sequence.
    """
    finite = np.isfinite(xyz).all((1, 2))
    bad = int((~finite).sum())
    if bad > BAD_FRAMES * len(xyz):
        raise DataError(f"{name}: {bad} of {len(xyz)} frames have coordinates that are not finite; export it again")
    return xyz[finite] if bad else xyz


def write_poses(path: Path, sequences: Ordered[Sequence]) -> None:
    """Write a pose file, to a temporary name first.

    Raises DataError if there are no sequences or one of them is not finite (T, 17, 3), OutputError if the file cannot
    be written.
    """
    if not sequences:
        raise DataError(f"{path}: there are no sequences to write")
    for sequence in sequences:
        _check_shape(path, sequence.name, sequence.xyz)
        if not np.isfinite(sequence.xyz).all() or not _is_rate(sequence.fps):
            raise DataError(f"{path}: {sequence.name}: has coordinates or a frame rate that are not finite")
    with replacing(path) as temporary:
        try:
            with h5py.File(temporary, "w") as file:
                file.attrs.update({"format": FORMAT, "version": FORMAT_VERSION, **HEADER})
                group = file.create_group("sequences")
                for number, sequence in enumerate(sequences):
                    _write_sequence(group.create_group(f"{number:06d}"), sequence)
        except OSError as error:
            raise cannot_write(path, error) from error


def _write_sequence(group: h5py.Group, sequence: Sequence) -> None:
    group.attrs["fps"] = float(sequence.fps)
    for name in TEXTS:
        group.attrs[name] = getattr(sequence, name)
    xyz = sequence.xyz.astype(np.float32)
    group.create_dataset("xyz", data=xyz, compression="gzip", shuffle=True, fletcher32=True)


def read_poses(path: Path) -> list[Sequence]:
    """All sequences of a pose file.

    Frames that are not finite are left out and counted in one line of the log. Raises DataError if the file is
    missing, damaged, another kind of HDF5 file, of a later format, or holds a sequence that does not fit.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with open_hdf5(path) as file:
            group = _open_sequences(path, file)
            allowance = Allowance(path)
            found = [_read_sequence(path, group, name, allowance=allowance) for name in group]
    except DataError:
        raise
    except Exception as error:  # h5py raises nearly all that there are
        raise DataError(f"{path}: not a readable pose file ({error}); fetch or prepare it again") from error
    if not found:
        raise DataError(f"{path}: holds no sequences")
    dropped = sum(count for _, count in found)
    if dropped:
        log.warning("%s: left out %d frames with coordinates that are not finite", path, dropped)
    return [sequence for sequence, _ in found]


def _open_sequences(path: Path, file: h5py.File) -> h5py.Group:
    """The group of sequences, after a look at the header."""
    if _text(file.attrs.get("format")) != FORMAT:
        raise DataError(f"{path}: an HDF5 file, but not one of poses; make one with posecli prepare-mocap")
    version = file.attrs.get("version")
    if not isinstance(version, (int, np.integer)) or version < 1:
        raise DataError(f"{path}: damaged header: no format version; prepare it again")
    if version > FORMAT_VERSION:
        raise DataError(f"{path}: format {version}, this posecli reads {FORMAT_VERSION}; update posecli")
    for name, expected in HEADER.items():
        if _text(file.attrs.get(name)) != expected:
            raise DataError(f"{path}: expected {name} {expected}, got {_text(file.attrs.get(name))}; prepare it again")
    group = file.get("sequences")
    if not isinstance(group, h5py.Group):
        raise DataError(f"{path}: expected a group 'sequences'; it is missing; prepare it again")
    return group


def _read_sequence(path: Path, group: h5py.Group, name: str, *, allowance: Allowance) -> tuple[Sequence, int]:
    """One sequence, and the number of its frames that were left out."""
    where = f"sequences/{name}"
    entry = group[name]
    data = entry.get("xyz") if isinstance(entry, h5py.Group) else None
    if not isinstance(data, h5py.Dataset):
        raise DataError(f"{path}: {where}: expected a data set 'xyz'; it is missing; prepare it again")
    _check_shape(path, where, data)
    texts = {key: _text(entry.attrs.get(key)) for key in TEXTS}
    absent = [key for key, text in texts.items() if text is None]
    fps = entry.attrs.get("fps")
    if not _is_rate(fps):
        absent.append("fps")
    if absent:
        raise DataError(f"{path}: {where}: has no valid {', '.join(absent)}; prepare it again")
    stored = stored_array(data, allowance).astype(np.float32)
    xyz = finite_frames(stored, name=f"{path}: {where}")
    return Sequence(fps=float(fps), xyz=xyz, **{key: str(text) for key, text in texts.items()}), len(stored) - len(xyz)


def _check_shape(path: Path, name: str, data: Any) -> None:
    if len(data.shape) != 3 or data.shape[1:] != (len(H36M17), 3) or data.dtype.kind != "f" or not data.shape[0]:
        raise DataError(f"{path}: {name}: expected float (T, {len(H36M17)}, 3), got {data.dtype} {tuple(data.shape)}")


def _is_rate(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and bool(np.isfinite(value) and value > 0)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
