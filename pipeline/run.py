"""The main job: a clip or a photo in, the same with its 2D skeleton beside the 3D one out, and the poses as files.

A clip is read twice, once to find the person and once to draw. Frames stream and are never all held; poses are. All
that is known about a clip is one `ClipPoses`, from which the picture is drawn and the files are written.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from hourglass.finder import Finder
from hourglass.predict import ZOOMS, Detector
from lifter.predict import Lifter
from pipeline.ahead import read_ahead
from pipeline.camera import Intrinsics
from pipeline.clean import SMOOTHING, CleanTrack2D, clean, jitter, lasting, parts, smooth
from pipeline.crop import Region
from pipeline.export import check_export, export
from pipeline.export_view import Footage
from pipeline.focal import focal_length, photo_equivalent, video_equivalent
from pipeline.image import read_image, write_image
from pipeline.people import ClipPoses, Person
from pipeline.place import CAMERA_UP, up_direction
from pipeline.poses import Track2D, Track3D
from pipeline.render import Figure, Renderer
from pipeline.skeleton import H36M17
from pipeline.track import SeenPeople, Tracker, TrackOptions
from pipeline.trajectory import (
    Ground,
    check_height,
    find_ground,
    joint_rays,
    root_path,
    scale_to_height,
    world_path,
)
from pipeline.video import Frame, Picture, VideoInfo, VideoWriter, check_output, probe, read_frames, read_planes
from pipeline.weights import DEFAULT_FINDER, file_sha256, find_weights

QUICK_PX = 160  # side of the input of detectors that are taken for their speed, at most
PICTURES_AHEAD = 2  # drawn, that wait to be encoded
NEAREST_MM = 100.0  # from the camera; the picture of a lifted joint that is closer says nothing


@dataclass(frozen=True)
class Models:
    """The trained networks, ready for use, and what to note about them beside their poses."""

    detector: Detector
    finder: Finder
    lifter: Lifter
    provenance: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(
        cls, *, hourglass: str, lifter: str, device: torch.device, finder: str = DEFAULT_FINDER, runtime: str = "auto"
    ) -> "Models":
        """Load all by name or path, detector and finder for a runtime of `pipeline.runtime`.

        Raises InputError or CheckpointError if one cannot be had, DeviceError if the runtime does not know the device.
        """
        files = weights_files(hourglass=hourglass, finder=finder, lifter=lifter)
        provenance = {**program(), **{stage: weights_note(file) for stage, file in files.items()}}
        return cls(
            Detector.load(files["detector"], device, runtime=runtime),
            Finder.load(files["finder"], device, runtime=runtime),
            Lifter.load(files["lifter"], device),
            provenance,
        )

    def find_joints(
        self, image: np.ndarray, regions: Sequence[Region], turn: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Joints in regions of a frame, as the detector's `regions` gives them with all looks, or those of a turn."""
        return self.detector.regions(image, regions, flip_test=True, zooms=ZOOMS, turn=turn)

    def warm_up(self, image: np.ndarray) -> None:
        """Have the networks make themselves ready for frames like this one, which takes seconds the first time."""
        height, width = image.shape[:2]
        self.finder.people(image)
        self.find_joints(image, [Region((width - 1) / 2, (height - 1) / 2, float(max(width, height)))])

    def tracker(self, *, people: int = 1, thorough: bool = False, aside: Executor | None = None) -> Tracker:
        """A tracker for one clip and so many people at a time, with all looks in every frame if it is to be thorough or
        the detector is a large one, taken for its accuracy; else by turns. `aside`: see there.
        """
        by_turns = not thorough and self.detector.input_size <= QUICK_PX
        options = TrackOptions(people=people, by_turns=by_turns)
        find_people = partial(self.finder.people, lowest=options.hopeful)
        return Tracker(self.find_joints, find_people, self.detector.skeleton, options, aside)


def weights_files(*, hourglass: str, finder: str, lifter: str) -> dict[str, Path]:
    """The weights of each stage, by name or path; InputError or CheckpointError if they cannot be had."""
    return {
        "detector": find_weights("hourglass", hourglass),
        "finder": find_weights("finder", finder),
        "lifter": find_weights("lifter", lifter),
    }


def program() -> dict[str, str]:
    """Which posecli this is, as a note beside poses; 'unknown' where it runs without having been installed."""
    try:
        return {"posecli": version("posecli")}
    except PackageNotFoundError:
        return {"posecli": "unknown"}


def weights_note(path: Path) -> dict[str, str]:
    """Which weights these are, as a note beside poses."""
    return {"file": path.name, "sha256": file_sha256(path)}


@dataclass(frozen=True)
class Wishes:
    """What the user may ask for beyond the input itself."""

    smooth: str = "light"  # a name of SMOOTHING
    fov: float | None = None  # horizontal field of view of the camera, degrees
    height_cm: float | None = None  # of the person; None: an adult of average build
    people: int = 1  # to follow at a time, the most prominent
    salvage: bool = False  # use what is left of a clip that was cut short
    frames: int | None = None  # to use, from the first one on; None: all


@dataclass(frozen=True)
class Poses:
    """One person of a clip: the cleaned 2D track and the 3D track, row for row the same frames.

    `clip` is the clip without its people. The 2D track may have NaN where a joint was not seen for long.
    """

    clip: ClipPoses
    track: CleanTrack2D
    lifted: Track3D
    jitter_px: tuple[float, float]  # mean second difference from frame to frame, before and after cleaning
    id: int = 1

    @property
    def frames(self) -> int:
        """Number of frames of the clip, with and without the person."""
        return self.clip.frames


@dataclass(frozen=True)
class Summary:
    """The last line of a run."""

    frames: int
    with_person: int
    seconds: float
    written: tuple[Path, ...]
    jitter_px: tuple[float, float] = (float("nan"), float("nan"))

    @classmethod
    def of(cls, poses: ClipPoses, *, seconds: float, written: Sequence[Path]) -> "Summary":
        """Of a run that ended with these poses."""
        seen = {int(frame) for person in poses.people for frame in person.frame}
        return cls(poses.frames, len(seen), seconds, tuple(written))

    def __str__(self) -> str:
        rate = self.frames / self.seconds if self.seconds > 0 else 0.0
        before, after = self.jitter_px
        calm = f", jitter {before:.1f} -> {after:.1f} px/frame²" if np.isfinite(before) else ""
        what = f"{self.frames} frames, {self.with_person} with a person{calm}, {rate:.1f} frames/s"
        return f"{what} -> {', '.join(map(str, self.written))}"


# Poses of one person


def empty_clip(source: Path, times: np.ndarray, *, wishes: Wishes) -> ClipPoses:
    """What is known of a video, whose frames have these times (F,) s, before its people are.

    Raises InputError if it cannot be read or the field of view is out of range.
    """
    info = probe(source)
    size = (info.width, info.height)
    focal, origin = focal_length(*size, fov=wishes.fov, equivalent_mm=video_equivalent(source))
    return ClipPoses(source.name, size, float(info.rate), len(times), times, focal, origin, CAMERA_UP)


def camera_of(clip: ClipPoses) -> Intrinsics:
    """The camera that a clip's poses are found with."""
    return Intrinsics.centred(clip.focal_px, *clip.size)


def lift_track(track: Track2D, lifter: Lifter, camera: Intrinsics, *, wishes: Wishes) -> Track3D:
    """The 3D track of a cleaned 2D track, smoothed in its parts, and as tall as the wishes say."""
    options = SMOOTHING[wishes.smooth]
    lifted = lifter.lift(track, camera)
    xyz = lifted.xyz.copy()
    for part in parts(track, options):
        xyz[part] = smooth(xyz[part], track.time_s[part], cutoff_hz=options.lifted_hz)
    lifted = replace(lifted, xyz=xyz)
    return lifted if wishes.height_cm is None else scale_to_height(lifted, 10 * wishes.height_cm)


def pose_track(clip: ClipPoses, seen: Track2D, *, lifter: Lifter, wishes: Wishes) -> Poses:
    """The poses of a person from a track as it was seen."""
    options = SMOOTHING[wishes.smooth]
    track = clean(seen, options)
    calm = tuple(jitter(t.xy, t.time_s, within=parts(t, options)) for t in (seen, track))
    return Poses(clip, track, lift_track(track, lifter, camera_of(clip), wishes=wishes), (calm[0], calm[1]))


def find_poses(source: Path, models: Models, wishes: Wishes = Wishes(), *, bar: tqdm | None = None) -> list[Poses]:
    """Find and follow people through a clip, clean their tracks and lift them, in the order in which they were found.

    There is one at least, who is in no frame if nobody was found. Raises InputError if the clip cannot be read, or was
    cut short and `wishes` do not ask for what is left.
    """
    thorough = wishes.smooth == "off"  # then nothing evens out what one frame's looks see otherwise than the next's
    seen, times = SeenPeople(models.detector.skeleton), []
    frames = read_ahead(read_frames(source, salvage=wishes.salvage, exact=False))
    with ThreadPoolExecutor(1, "aside") as aside:
        tracker = models.tracker(people=wishes.people, thorough=thorough, aside=aside)
        for frame in islice(frames, wishes.frames):
            times.append(frame.time_s)
            seen.add(frame.index, frame.time_s, tracker.update(frame.image, frame.time_s))
            if bar is not None:
                bar.update()
    clip = empty_clip(source, np.array(times), wishes=wishes)
    return pose_people(clip, seen, models=models, wishes=wishes)


def pose_people(clip: ClipPoses, seen: SeenPeople, *, models: Models, wishes: Wishes) -> list[Poses]:
    """The poses of everyone who was seen, at least one; those who were hardly seen are left out if others were not."""
    found = [pose_track(clip, track, lifter=models.lifter, wishes=wishes) for track in lasting(seen.tracks(clip.size))]
    return [replace(one, id=number) for number, one in enumerate(found, 1)]


def as_one(found: Sequence[Poses]) -> Poses:
    """All that was found as one person: who was lost and found again may have got another number."""
    frames = np.concatenate([one.track.frame for one in found])
    order = np.argsort(frames)

    def rows(arrays: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(arrays)[order]

    seen = ("xy", "score", "filled")
    track: dict[str, Any] = {name: rows([getattr(one.track, name) for one in found]) for name in seen}
    time: dict[str, Any] = {"frame": frames[order], "time_s": rows([one.track.time_s for one in found])}
    lifted = replace(found[0].lifted, **time, xyz=rows([one.lifted.xyz for one in found]))
    return replace(found[0], track=replace(found[0].track, **time, **track), lifted=lifted)


# All that is known about a clip


@dataclass(frozen=True)
class Scene:
    """Where the people of a clip are: the floor they share, and of each, row for row as in the tracks, the root as the
    picture alone tells it, `roots` (T, 3), mm, camera axes, and the joints on the floor, `worlds` (T, 17, 3), mm.
    """

    ground: Ground
    roots: tuple[np.ndarray, ...]
    worlds: tuple[np.ndarray, ...]


def place_people(found: Sequence[Poses], *, wishes: Wishes) -> Scene:
    """Where people are, each of whom is in some frame of the same clip."""
    stretches = [parts(one.track, SMOOTHING[wishes.smooth]) for one in found]
    lifted, roots = [one.lifted for one in found], []
    for one, stretch in zip(found, stretches, strict=True):
        rays, weight = joint_rays(one.track, camera_of(one.clip))
        roots.append(root_path(one.lifted, rays, weight=weight, parts=stretch).xyz)
    ground = find_ground(up_direction(*lifted), *zip(lifted, roots, strict=True))
    each = zip(lifted, roots, stretches, strict=True)
    worlds = tuple(world_path(one, root, ground, parts=stretch) for one, root, stretch in each)
    return Scene(ground, tuple(roots), worlds)


def clip_poses(found: Sequence[Poses], *, wishes: Wishes, provenance: dict[str, Any]) -> ClipPoses:
    """The people of one clip in the world they share, with moving roots; those who are in no frame are left out.

    `found` is one person at least. A joint that is NaN in 2D gets a place by `complete`, score 0, and counts as filled.
    """
    clip, camera = found[0].clip, camera_of(found[0].clip)
    found = [one for one in found if len(one.track)]
    scene = place_people(found, wishes=wishes)
    people = []
    for one, root, world in zip(found, scene.roots, scene.worlds, strict=True):
        track = complete(one.track, one.lifted.xyz + root[:, None], camera)
        seen_2d = (track.frame, track.time_s, track.xy, track.score, track.filled)
        people.append(Person(one.id, track.skeleton, *seen_2d, one.lifted.xyz, world))
    return replace(clip, up=scene.ground.up, people=tuple(people), provenance=provenance)


def complete(track: CleanTrack2D, points: np.ndarray, camera: Intrinsics) -> CleanTrack2D:
    """The track with a place for every joint; those that were NaN have score 0 and count as filled.

    They are where the camera sees the lifted joints, `points` (T, 17, 3) of H36M17, mm, camera axes. Where these are
    NaN, not before the camera, or lack the joint, it is the mean of the frame's known joints.
    """
    known = np.isfinite(track.xy).all(-1)
    if known.all():
        return track
    guess = np.broadcast_to(np.nanmean(track.xy, axis=1, keepdims=True), track.xy.shape).copy()
    shared = tuple(joint for joint in track.skeleton.joints if joint in H36M17.joints)
    there = points[:, H36M17.indices(shared)]
    pictured = camera.project(np.where(there[..., 2:] > NEAREST_MM, there, np.nan))
    columns = track.skeleton.indices(shared)
    guess[:, columns] = np.where(np.isfinite(pictured), pictured, guess[:, columns])
    xy, score = np.where(known[..., None], track.xy, guess), np.where(known, track.score, 0.0)
    return replace(track, xy=xy, score=score, filled=track.filled | ~known)


# Drawing


def picture_of(poses: ClipPoses) -> tuple[Renderer, dict[int, list[Figure]]]:
    """What draws a clip's frames, and the figures in each frame that has some, by the frame's index.

    People are drawn where they are in the world, with their numbers where several are in one frame.
    """
    frames = np.concatenate([person.frame for person in poses.people] or [np.zeros(0, np.int64)])
    crowd = len(np.unique(frames)) < len(frames)
    figures: dict[int, list[Figure]] = {}
    for person in poses.people:
        for row, frame in enumerate(person.frame.tolist()):
            name = str(person.id) if crowd else ""
            figure = Figure(person.xy[row], person.score[row], person.world[row], name)
            figures.setdefault(frame, []).append(figure)
    skeleton_2d = poses.people[0].skeleton2d if poses.people else H36M17  # with nobody there it does not matter
    worlds, times = [person.world for person in poses.people], [person.time_s for person in poses.people]
    return Renderer(poses.size, worlds, times=times, skeleton_2d=skeleton_2d, skeleton_3d=H36M17), figures


def draw_video(
    source: Path, output: Path, poses: ClipPoses, *, frames: Iterable[Frame], bar: tqdm | None = None
) -> None:
    """Write the frames of the clip at `source` beside its poses, each at its own time, with the clip's sound.

    Raises OutputError if the output cannot be written; then, as after an error of `frames`, nothing is left behind.
    """
    renderer, figures = picture_of(poses)

    def pictures() -> Iterator[tuple[Any, Frame]]:
        for frame in frames:
            yield renderer.draw(frame.image, figures.get(frame.index, []), frame.time_s), frame

    with (
        VideoWriter(output, size=renderer.size, source=source, info=probe(source)) as writer,
        closing(read_ahead(pictures(), limit=PICTURES_AHEAD)) as drawn,  # while the encoder is at work
    ):
        for picture, frame in drawn:
            writer.write(picture, frame)
            if bar is not None:
                bar.update()


# The commands


def check_wishes(wishes: Wishes, size: tuple[int, int]) -> None:
    """InputError for an option out of range."""
    focal_length(*size, fov=wishes.fov)
    if wishes.height_cm is not None:
        check_height(10 * wishes.height_cm)


def check_job(source: Path, output: Path, *, exports: Sequence[Path], wishes: Wishes) -> VideoInfo:
    """What the clip says about itself, after a look at all that can be wrong before the slow part.

    Raises InputError for a clip that cannot be read or an option out of range, OutputError for an output that cannot
    be written.
    """
    check_output(output, source)
    for path in exports:
        check_export(path)
    info = probe(source)
    check_wishes(wishes, (info.width, info.height))
    return info


def process_video(
    source: Path,
    output: Path,
    models: Models,
    *,
    exports: Sequence[Path] = (),
    wishes: Wishes = Wishes(),
    progress: bool = True,
) -> Summary:
    """The whole of `posecli video` for one clip, with a bar that shows the progress unless told otherwise."""
    info = check_job(source, output, exports=exports, wishes=wishes)
    started = time.perf_counter()
    total = None if info.frames is None else 2 * info.frames
    with tqdm(total=total, unit="frame", desc="find", leave=False, dynamic_ncols=True, disable=not progress) as bar:
        found = find_poses(source, models, wishes, bar=bar)
        poses = clip_poses(found, wishes=wishes, provenance=models.provenance)
        bar.set_description("draw")
        bar.total = 2 * poses.frames  # now known for sure
        draw_video(source, output, poses, frames=_frames_of(source, poses, read_planes), bar=bar)
    written = [output]
    for path in exports:
        written += export(path, poses, footage=Footage(info, _frames_of(source, poses, read_frames)))
    summary = Summary.of(poses, seconds=time.perf_counter() - started, written=written)
    return replace(summary, jitter_px=found[0].jitter_px)


def _frames_of(
    source: Path, poses: ClipPoses, read: Callable[..., Iterator[Frame[Picture]]]
) -> Iterator[Frame[Picture]]:
    """The frames of a clip whose poses were just found.

    No further than the first reading went: how a damaged clip ends has been said by then.
    """
    return read_ahead(islice(read(source, salvage=True), poses.frames))


def process_image(source: Path, output: Path, models: Models, *, wishes: Wishes = Wishes()) -> Summary:
    """The whole of `posecli image` for one photo, a clip of one frame."""
    started = time.perf_counter()
    image = read_image(source)
    size = (image.shape[1], image.shape[0])
    focal, origin = focal_length(*size, fov=wishes.fov, equivalent_mm=photo_equivalent(source))
    seen = SeenPeople(models.detector.skeleton)
    seen.add(0, 0.0, models.tracker(people=wishes.people).update(image, 0.0))
    clip = ClipPoses(source.name, size, 1.0, 1, np.zeros(1), focal, origin, CAMERA_UP)
    found = pose_people(clip, seen, models=models, wishes=wishes)
    poses = clip_poses(found, wishes=wishes, provenance=models.provenance)
    renderer, figures = picture_of(poses)
    write_image(output, renderer.draw(image, figures.get(0, []), 0.0))
    return Summary.of(poses, seconds=time.perf_counter() - started, written=[output])
