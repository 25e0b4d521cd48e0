"""Poses of a clip as files for other programs: the choice of a format by the file's ending, and the small formats.

    .h5     everything, exactly; what posecli itself reads         pipeline.posestore
    .json   everything, for the web and for scripts; described by assets/poses.schema.json
    .csv    a table for a spreadsheet
    .npz    plain arrays for NumPy
    .bvh    moving skeleton for animation, a file for each person  pipeline.export_bvh
    .trc    markers for OpenSim, a file for each person            pipeline.export_trc
    .c3d    points for motion capture software, likewise           pipeline.export_c3d
    .html   a page to look at, with the clip itself in it          pipeline.export_view

Shapes, units and axes are those of `pipeline.people` where nothing else is said.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import export_bvh, export_c3d, export_trc, export_view, posestore
from pipeline.atomic import check_writable, write_whole
from pipeline.errors import InputError
from pipeline.export_view import Footage
from pipeline.people import ClipPoses, Person
from pipeline.skeleton import H36M17, Skeleton

JSON_FORMAT, JSON_VERSION = "posecli poses", 1
NPZ_VERSION = 1
DECIMALS = 3  # of millimetres, pixels and scores in text files
TIME_DECIMALS = 6  # of seconds


def export(path: Path, clip: ClipPoses, *, footage: Footage | None = None) -> tuple[Path, ...]:
    """Write the poses in the format that the file's ending names, and return the files that were written.

    Formats of one person put the first one into `path` and the others beside it, with their id: walk.bvh, walk_2.bvh.
    A format that shows the clip takes its pixels from `footage`, or goes without; others leave that unread.

    Raises InputError if the ending is not known, or there is nobody and the format needs someone; OutputError if a
    file cannot be written; what the frames of `footage` raise.
    """
    writer = _writer(path)
    if writer is export_view.write:
        return export_view.write(path, clip, footage)
    return writer(path, clip)


def check_export(path: Path) -> None:
    """Raise, before the slow part, what `export` would: InputError for an unknown ending, OutputError."""
    _writer(path)
    check_writable(path)


def write_json(path: Path, clip: ClipPoses) -> tuple[Path, ...]:
    """Write JSON as assets/poses.schema.json describes it; OutputError if it cannot be written."""
    content = {
        "format": JSON_FORMAT,
        "version": JSON_VERSION,
        "source": clip.source.encode("utf-8", "replace").decode(),
        "size_px": list(clip.size),
        "fps": clip.fps,
        "frames": clip.frames,
        "times_s": _rounded(clip.times, TIME_DECIMALS),
        "focal_px": clip.focal_px,
        "focal_origin": clip.focal_origin,
        "up": clip.up.tolist(),
        "axes": {
            "pixels": "x right, y down; the centre of the first pixel is 0, 0",
            "camera": "x right, y down, z away from the camera; relative to the pelvis",
            "world": "x right, y forward, z up; the floor is at z = 0",
        },
        "skeleton_3d": _skeleton_json(H36M17),
        "people": [_person_json(person) for person in clip.people],
        "provenance": clip.provenance,
    }
    write_whole(path, (json.dumps(content, allow_nan=False) + "\n").encode())
    return (path,)


def _skeleton_json(skeleton: Skeleton) -> dict[str, Any]:
    parents = [None if parent < 0 else skeleton.joints[parent] for parent in skeleton.parents]
    return {"name": skeleton.name, "joints": list(skeleton.joints), "parents": parents}


def _person_json(person: Person) -> dict[str, Any]:
    return {
        "id": person.id,
        "skeleton_2d": _skeleton_json(person.skeleton2d),
        "frame": person.frame.tolist(),
        "time_s": _rounded(person.time_s, TIME_DECIMALS),
        "xy_px": _rounded(person.xy),
        "score": _rounded(person.score),
        "filled": person.filled.tolist(),
        "camera_mm": _rounded(person.xyz),
        "world_mm": _rounded(person.world),
    }


def _rounded(array: np.ndarray, decimals: int = DECIMALS) -> list[Any]:
    """Numbers as nested lists; + 0.0, as -0.0 puzzles people."""
    values: list[Any] = (np.round(array.astype(np.float64), decimals) + 0.0).tolist()
    return values


def write_csv(path: Path, clip: ClipPoses) -> tuple[Path, ...]:
    """Write a table (RFC 4180) with a row for each person and frame; OutputError if it cannot be written.

    Columns: person, frame, time_s; x, y and z of every 3D joint in the world, mm; then u and v in pixels, score, and
    filled (1 where the joint was not observed) of every 2D joint. With nobody there, only the names of the first two
    groups.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(_csv_header(clip))
    for person in clip.people:
        table.writerows(_csv_rows(person))
    write_whole(path, text.getvalue().encode())
    return (path,)


def _csv_header(clip: ClipPoses) -> list[str]:
    header = ["person", "frame", "time_s", *(f"{joint}_{axis}_mm" for joint in H36M17.joints for axis in "xyz")]
    for person in clip.people[:1]:  # all have the same 2D skeleton
        parts = ("u_px", "v_px", "score", "filled")
        header += [f"{joint}_{part}" for joint in person.skeleton2d.joints for part in parts]
    return header


def _csv_rows(person: Person) -> Iterator[list[str]]:
    world = _rounded(person.world.reshape(len(person), -1))
    image = _rounded(np.concatenate([person.xy, person.score[..., None]], axis=-1))
    for row, (frame, time) in enumerate(zip(person.frame, person.time_s, strict=True)):
        cells = [str(person.id), str(frame), f"{time:.{TIME_DECIMALS}f}"]
        cells += [f"{value:.{DECIMALS}f}" for value in world[row]]
        for values, filled in zip(image[row], person.filled[row], strict=True):
            cells += [*(f"{value:.{DECIMALS}f}" for value in values), str(int(filled))]
        yield cells


def write_npz(path: Path, clip: ClipPoses) -> tuple[Path, ...]:
    """Write arrays that numpy.load reads without unpickling; OutputError if they cannot be written.

    The clip: version, source, size, fps, times, focal_px, focal_origin, up, joints_3d, parents_3d (indices, -1: none),
    provenance (JSON), ids. Each person, by id: person1_joints_2d, person1_frame, and so on with time_s, xy, score,
    filled, xyz and world, named and shaped as in `pipeline.people`.
    """
    arrays: dict[str, Any] = {
        "version": NPZ_VERSION,
        "source": clip.source,
        "size": clip.size,
        "fps": clip.fps,
        "times": clip.times,
        "focal_px": clip.focal_px,
        "focal_origin": clip.focal_origin,
        "up": clip.up,
        "joints_3d": H36M17.joints,
        "parents_3d": H36M17.parents,
        "provenance": json.dumps(clip.provenance),
        "ids": np.array([person.id for person in clip.people], np.int64),
    }
    for person in clip.people:
        arrays[f"person{person.id}_joints_2d"] = person.skeleton2d.joints
        for name in posestore.ARRAYS:
            arrays[f"person{person.id}_{name}"] = getattr(person, name)
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    write_whole(path, content.getbuffer())
    return (path,)


WRITERS: dict[str, Callable[[Path, ClipPoses], tuple[Path, ...]]] = {
    ".h5": posestore.write,
    ".json": write_json,
    ".csv": write_csv,
    ".npz": write_npz,
    ".bvh": export_bvh.write,
    ".trc": export_trc.write,
    ".c3d": export_c3d.write,
    ".html": export_view.write,
}


def _writer(path: Path) -> Callable[[Path, ClipPoses], tuple[Path, ...]]:
    try:
        return WRITERS[path.suffix.lower()]
    except KeyError:
        raise InputError(f"{path}: unknown kind of pose file; give a name that ends in {', '.join(WRITERS)}") from None
