"""The poses of a clip as an HDF5 file from which they come back exactly: to draw them later, or to go on from them.

    /               attributes: format "posecli clip", version, skeleton3d "h36m17", source, size, fps, focal_px,
                    focal_origin, up, provenance (JSON)
    /times          (frames,) seconds
    /people/NUMBER  attributes: id, skeleton2d; data sets frame, time_s, xy, score, filled, xyz, world

Shapes, units and axes are those of `pipeline.people`. Data sets carry Fletcher's checksum, attributes and the
structure of the file HDF5's own, so that damage is noticed. Nothing in the file is ever executed.
"""

import json
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np

from pipeline.atomic import write_whole
from pipeline.errors import DataError, InputError
from pipeline.hdf5 import open_hdf5, stored_array
from pipeline.json_text import MOST_NESTED, parse_json
from pipeline.limits import Allowance
from pipeline.people import ClipPoses, Person
from pipeline.skeleton import H36M17, get_skeleton

FORMAT, FORMAT_VERSION = "posecli clip", 1
ARRAYS = ("frame", "time_s", "xy", "score", "filled", "xyz", "world")
# From HDF5 1.10 (2016) on: earlier layouts have no checksums for attributes and the file's own structure.
LAYOUT = ("v110", "v110")


def write(path: Path, clip: ClipPoses) -> tuple[Path, ...]:
    """Write the file and return its path; OutputError if it cannot be written."""
    content = BytesIO()
    with h5py.File(content, "w", libver=LAYOUT) as file:
        _put_text(file, format=FORMAT, skeleton3d=H36M17.name, source=clip.source, focal_origin=clip.focal_origin)
        _put_text(file, provenance=json.dumps(clip.provenance))
        file.attrs["version"] = FORMAT_VERSION
        for name in ("size", "fps", "focal_px", "up"):
            file.attrs[name] = getattr(clip, name)
        _put(file, "times", clip.times)
        people = file.create_group("people")
        for number, person in enumerate(clip.people):
            group = people.create_group(f"{number:06d}")
            group.attrs["id"] = person.id
            _put_text(group, skeleton2d=person.skeleton2d.name)
            for name in ARRAYS:
                _put(group, name, getattr(person, name))
    write_whole(path, content.getbuffer())
    return (path,)


def _put(group: h5py.Group, name: str, array: np.ndarray) -> None:
    group.create_dataset(name, data=array, compression="gzip", shuffle=True, fletcher32=True)


def _put_text(group: h5py.Group, **texts: str) -> None:
    """Set attributes of fixed length: the heap in which h5py keeps the others has no checksums."""
    for name, text in texts.items():
        encoded = text.encode("utf-8", "surrogateescape")
        group.attrs.create(name, encoded, dtype=h5py.string_dtype("utf-8", len(encoded)))


def _text(group: h5py.Group, name: str) -> str:
    text: str = group.attrs[name].decode("utf-8", "surrogateescape")
    return text


def read(path: Path) -> ClipPoses:
    """The poses of a file, exactly as they were written.

    Raises InputError if there is no such file, and DataError if it is damaged, another kind of HDF5 file or of a
    later format.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with open_hdf5(path) as file:
            _check_header(path, file)
            return _clip(file, Allowance(path))
    except DataError:
        raise
    except Exception as error:  # h5py and the checks of `ClipPoses` raise nearly all that there are
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: not a readable file of poses ({reason}); write it again") from error


def _check_header(path: Path, file: h5py.File) -> None:
    if file.attrs.get("format") != FORMAT.encode():
        raise DataError(f"{path}: an HDF5 file, but not one of a clip's poses; write one by exporting to .h5")
    version = int(file.attrs["version"])
    if version > FORMAT_VERSION:
        raise DataError(f"{path}: format {version}, this posecli reads {FORMAT_VERSION}; update posecli")
    skeleton = _text(file, "skeleton3d")
    if skeleton != H36M17.name:
        raise DataError(f"{path}: expected 3D skeleton {H36M17.name}, got {skeleton}; write it again")


def _clip(file: h5py.File, allowance: Allowance) -> ClipPoses:
    width, height = (int(side) for side in file.attrs["size"])
    times = stored_array(file["times"], allowance)
    return ClipPoses(
        source=_text(file, "source"),
        size=(width, height),
        fps=float(file.attrs["fps"]),
        frames=len(times),
        times=times,
        focal_px=float(file.attrs["focal_px"]),
        focal_origin=_text(file, "focal_origin"),
        up=file.attrs["up"],
        people=tuple(_person(group, allowance) for group in file["people"].values()),
        provenance=parse_json(_text(file, "provenance"), most_nested=MOST_NESTED),
    )


def _person(group: h5py.Group, allowance: Allowance) -> Person:
    arrays = {name: stored_array(group[name], allowance) for name in ARRAYS}
    return Person(id=int(group.attrs["id"]), skeleton2d=get_skeleton(_text(group, "skeleton2d")), **arrays)
