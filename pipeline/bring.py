"""Poses that are brought along: stored ones are drawn again, 2D poses of other detectors are lifted.

Both end in a `ClipPoses`, as does the finding of poses in a clip, so the same picture and files come of it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from lifter.predict import Lifter
from pipeline import posestore
from pipeline.ahead import read_ahead
from pipeline.clean import CleanTrack2D
from pipeline.errors import DataError, InputError
from pipeline.export import check_export, export
from pipeline.export_view import Footage
from pipeline.focal import focal_length
from pipeline.people import ClipPoses
from pipeline.place import CAMERA_UP
from pipeline.points import LAYOUTS, read_points, to_liftable
from pipeline.poses import Track2D
from pipeline.run import (
    Poses,
    Summary,
    Wishes,
    camera_of,
    check_wishes,
    clip_poses,
    draw_video,
    empty_clip,
    lift_track,
    pose_track,
    program,
    weights_note,
)
from pipeline.skeleton import H36M16, convert
from pipeline.video import Frame, Picture, check_output, probe, read_frames, read_planes
from pipeline.weights import find_weights

STORED = "h5"
FORMATS = (*LAYOUTS, STORED)
MAX_FRAMES = 10_000_000  # of a clip that is known by its poses alone: 46 hours at 60 frames per second
MAX_FPS = 100_000.0


@dataclass(frozen=True)
class Brought:
    """2D poses from elsewhere, and the clip that they were found in.

    layout  one of FORMATS; 'h5' is a file that posecli wrote, and knows its clip
    video   the clip; without one, and without 'h5', `size` (width, height) in pixels and `fps` say what is needed
    people  so many are lifted at most, those first who are seen longest and largest
    """

    file: Path
    layout: str
    video: Path | None = None
    size: tuple[int, int] | None = None
    fps: float | None = None
    people: int = 1


@dataclass(frozen=True)
class LoadedLifter:
    """A lifter ready for use, and what to note about it beside its poses."""

    lifter: Lifter
    note: dict[str, str]

    @classmethod
    def load(cls, name: str, device: torch.device) -> "LoadedLifter":
        """By name or path; InputError or CheckpointError if it cannot be had."""
        file = find_weights("lifter", name)
        return cls(Lifter.load(file, device), weights_note(file))


# Drawing again


def process_render(file: Path, video: Path, output: Path | None, *, exports: Sequence[Path] = ()) -> Summary:
    """The whole of `posecli render`: poses that `file` (.h5) holds over the clip that they were found in.

    Raises InputError or DataError if one of them cannot be read, InputError if the clip has another size or number of
    frames than the poses, OutputError if an output cannot be written.
    """
    _check_outputs(output, video, exports)
    started = time.perf_counter()
    poses = posestore.read(file)
    check_size(video, poses, file)
    written = _write(output, video, poses, exports=exports, file=file)
    return Summary.of(poses, seconds=time.perf_counter() - started, written=written)


def check_size(video: Path, poses: ClipPoses, file: Path) -> None:
    """InputError if the pictures of a clip have another size than those that the poses of `file` were found in."""
    info = probe(video)
    if (info.width, info.height) != poses.size:
        sizes = f"is {info.width} x {info.height} pixels, but {file} has poses for {poses.size[0]} x {poses.size[1]}"
        raise InputError(f"{video}: {sizes}; give the clip that they were found in")


def matching_frames(
    video: Path, poses: ClipPoses, file: Path, read: Callable[..., Iterator[Frame[Picture]]]
) -> Iterator[Frame[Picture]]:
    """The frames of a clip; InputError at its end if they are not as many as the poses of `file` are for."""
    count = 0
    for frame in read_ahead(read(video, salvage=True)):
        count += 1
        if count <= poses.frames:
            yield frame
    if count != poses.frames:
        counts = f"has {count} frames, but {file} has poses for {poses.frames}"
        raise InputError(f"{video}: {counts}; give the clip that they were found in")


def _check_outputs(output: Path | None, video: Path | None, exports: Sequence[Path]) -> None:
    """Raise, before the slow part, what writing them would."""
    if output is not None:
        check_output(output, video)
    for path in exports:
        check_export(path)


def _write(
    output: Path | None, video: Path | None, poses: ClipPoses, *, exports: Sequence[Path], file: Path
) -> list[Path]:
    """Draw the poses of `file` over the video and export them; the files that were written."""
    written = []
    if output is not None and video is not None:
        _draw(video, output, poses, file=file)
        written.append(output)
    for path in exports:
        footage = None if video is None else Footage(probe(video), matching_frames(video, poses, file, read_frames))
        written += export(path, poses, footage=footage)
    return written


def _draw(video: Path, output: Path, poses: ClipPoses, *, file: Path) -> None:
    with tqdm(total=poses.frames, unit="frame", desc="draw", leave=False, dynamic_ncols=True) as bar:
        draw_video(video, output, poses, frames=matching_frames(video, poses, file, read_planes), bar=bar)


# Lifting


def check_lift(brought: Brought, output: Path | None, *, exports: Sequence[Path], wishes: Wishes) -> None:
    """A look at all that can be wrong before the slow part.

    Raises InputError for a video that cannot be read or an option out of range, OutputError for an output that cannot
    be written.
    """
    _check_outputs(output, brought.video, exports)
    size = brought.size or (1, 1)
    if brought.video is not None:
        info = probe(brought.video)
        size = (info.width, info.height)
    check_wishes(wishes, size)
    if brought.fps is not None and not 0 < brought.fps <= MAX_FPS:
        raise InputError(f"--fps {brought.fps:g}: give the clip's frames per second, above 0 to {MAX_FPS:g}")


def process_lift(
    brought: Brought, output: Path | None, loaded: LoadedLifter, *, exports: Sequence[Path] = (), wishes: Wishes
) -> Summary:
    """The whole of `posecli lift`; `output` needs `brought.video`. Raises what `check_lift` and `lift_brought` do."""
    check_lift(brought, output, exports=exports, wishes=wishes)
    started = time.perf_counter()
    poses, shakes = lift_brought(brought, loaded, wishes=wishes)
    written = _write(output, brought.video, poses, exports=exports, file=brought.file)
    return replace(Summary.of(poses, seconds=time.perf_counter() - started, written=written), jitter_px=shakes)


def lift_brought(brought: Brought, loaded: LoadedLifter, *, wishes: Wishes) -> tuple[ClipPoses, tuple[float, float]]:
    """The poses of all that was brought, and the jitter, px/frame², of the first person before and after cleaning.

    The 2D of another detector is cleaned as that of our own. That of 'h5' is clean already and stays as it is; so the
    lifter that was used for it finds the same poses again. `wishes` are for everybody, the height too.

    Raises InputError or DataError if the file cannot be used or does not belong to the video, and InputError if joints
    are missing and the lifter cannot do without.
    """
    if brought.layout == STORED:
        found = _stored(brought, loaded.lifter, wishes)
    else:
        clip, people = _read(brought, wishes)
        found = [
            replace(pose_track(clip, seen, lifter=loaded.lifter, wishes=wishes), id=number) for number, seen in people
        ]
    for one in found:
        _check_whole(one.track, loaded, brought.file)
    detector = {"detector": {"file": brought.file.name, "format": brought.layout}}
    # What found the 2D of 'h5' stands in the file.
    provenance = {**(found[0].clip.provenance or detector), **program(), "lifter": loaded.note}
    return clip_poses(found, wishes=wishes, provenance=provenance), found[0].jitter_px


def _check_whole(track: CleanTrack2D, loaded: LoadedLifter, file: Path) -> None:
    """InputError if joints are missing and the lifter takes no scores, which would tell it so."""
    missing = ~np.isfinite(convert(track.xy, track.skeleton, H36M16)).all((0, 2))
    if missing.any() and not loaded.lifter.scored:
        joints = ", ".join(joint for joint, away in zip(H36M16.joints, missing, strict=True) if away)
        lifter = f"the lifter {loaded.note['file']} needs all joints"
        raise InputError(f"{file}: lacks {joints}, but {lifter}; give a --lifter trained with scores")


def _stored(brought: Brought, lifter: Lifter, wishes: Wishes) -> list[Poses]:
    """The people of a file that posecli wrote, lifted again."""
    stored = posestore.read(brought.file)
    if not stored.people:
        raise InputError(f"{brought.file}: has poses of nobody, so there is nothing to lift; give another clip's")
    if brought.video is not None:
        check_size(brought.video, stored, brought.file)
    clip = replace(stored, people=())
    if wishes.fov is not None:
        focal, origin = focal_length(*clip.size, fov=wishes.fov)
        clip = replace(clip, focal_px=focal, focal_origin=origin)
    found = []
    for person in stored.people[: brought.people]:
        never_seen = person.filled & (person.score == 0)  # as `pipeline.run.complete` marks them
        xy = np.where(never_seen[..., None], np.nan, person.xy)
        seen_2d = (person.frame, person.time_s, xy, person.score, clip.size, person.filled)
        track = CleanTrack2D(person.skeleton2d, *seen_2d)
        lifted = lift_track(track, lifter, camera_of(clip), wishes=wishes)
        found.append(Poses(clip, track, lifted, (float("nan"), float("nan")), person.id))
    return found


def _read(brought: Brought, wishes: Wishes) -> tuple[ClipPoses, list[tuple[int, Track2D]]]:
    """The clip, still without people, and the people of the file, each with an id and a track of H36M16."""
    size, fps = brought.size, brought.fps
    if brought.video is not None:
        info = probe(brought.video)
        size, fps = (info.width, info.height), float(info.rate)
    if size is None or fps is None:
        raise InputError(f"{brought.file}: says nothing of its clip; give --video, or --size and --fps")
    people = [to_liftable(one) for one in read_points(brought.file, layout=brought.layout, size=size, fps=fps)]
    people = [one for one in people if np.isfinite(one.xy).any()][: brought.people]
    if not people:
        raise DataError(f"{brought.file}: has no joint of a body, only of faces or hands; there is nothing to lift")
    last = max(int(one.frame[-1]) for one in people)
    clip = _clip(brought, last, size=size, fps=fps, wishes=wishes)
    tracks = []
    for one in people:
        rows = np.isfinite(one.xy).any((1, 2))
        xy, score = one.xy[rows].astype(np.float64), one.score[rows].astype(np.float64)
        frame = one.frame[rows]
        tracks.append((one.id, Track2D(H36M16, frame, clip.times[frame], xy, score, clip.size)))
    return clip, tracks


def _clip(brought: Brought, last: int, *, size: tuple[int, int], fps: float, wishes: Wishes) -> ClipPoses:
    """The clip of poses whose last frame is `last`; InputError if the video has no such frame."""
    if brought.video is not None:
        times = np.array([frame.time_s for frame in read_frames(brought.video, salvage=True, exact=False)])
        if last >= len(times):
            where = f"has poses in frame {last}, counted from 0, but {brought.video} has {len(times)} frames"
            raise InputError(f"{brought.file}: {where}; give the clip that they were found in")
        return empty_clip(brought.video, times, wishes=wishes)
    if last >= MAX_FRAMES:
        raise InputError(f"{brought.file}: has poses in frame {last}, too late for a clip; number the frames from 0")
    focal, origin = focal_length(*size, fov=wishes.fov)
    times = np.arange(last + 1) / fps
    return ClipPoses(brought.file.name, size, fps, len(times), times, focal, origin, CAMERA_UP)
