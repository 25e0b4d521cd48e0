"""The main job: a clip or a photo in, the same with its 2D skeleton beside the 3D one out.

A clip is read twice, once to find the person and once to draw. Frames stream and are never all held; poses are.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from hourglass.predict import ZOOMS, Detector
from lifter.predict import Lifter
from pipeline.camera import Intrinsics
from pipeline.clean import CleanOptions, clean, parts, smooth
from pipeline.crop import Region
from pipeline.image import read_image, write_image
from pipeline.place import stand
from pipeline.poses import Track2D, Track3D
from pipeline.render import Figure, Renderer
from pipeline.skeleton import Skeleton
from pipeline.track import Sighting, Tracker, track_of
from pipeline.video import VideoInfo, VideoWriter, check_output, probe, read_frames
from pipeline.weights import find_weights


@dataclass(frozen=True)
class Models:
    """The two trained stages, ready for use."""

    detector: Detector
    lifter: Lifter

    @classmethod
    def load(cls, *, hourglass: str, lifter: str, device: torch.device) -> "Models":
        """Load both by name or path; InputError or CheckpointError if one cannot be had."""
        hourglass_file, lifter_file = find_weights("hourglass", hourglass), find_weights("lifter", lifter)
        return cls(Detector.load(hourglass_file, device), Lifter.load(lifter_file, device))

    def tracker(self) -> Tracker:
        """A tracker for one clip."""

        def find_joints(image: np.ndarray, regions: Sequence[Region]) -> tuple[np.ndarray, np.ndarray]:
            return self.detector.regions(image, regions, flip_test=True, zooms=ZOOMS)

        return Tracker(find_joints, self.detector.skeleton)


@dataclass(frozen=True)
class Poses:
    """What was found in a clip: the cleaned 2D track and the 3D track, row for row the same frames."""

    frames: int  # of the clip, with and without a person
    track: Track2D
    lifted: Track3D


@dataclass(frozen=True)
class Summary:
    """The last line of a run."""

    frames: int
    with_person: int
    seconds: float
    output: Path

    def __str__(self) -> str:
        rate = self.frames / self.seconds if self.seconds > 0 else 0.0
        return f"{self.frames} frames, {self.with_person} with a person, {rate:.1f} frames/s -> {self.output}"


def lift_track(track: Track2D, lifter: Lifter, options: CleanOptions) -> Track3D:
    """The 3D track of a cleaned 2D track, smoothed like it. The focal length is guessed from the frame size."""
    lifted = lifter.lift(track, Intrinsics.guess(*track.size))
    xyz = lifted.xyz.copy()
    for part in parts(track, options):
        xyz[part] = smooth(xyz[part], track.time_s[part], cutoff_hz=options.cutoff_hz, order=options.order)
    return replace(lifted, xyz=xyz)


def find_poses(source: Path, models: Models, *, salvage: bool = False, bar: tqdm | None = None) -> Poses:
    """Find and follow the person through a clip, clean the track and lift it.

    Raises InputError if the clip cannot be read, or was cut short and `salvage` does not ask for what is left.
    """
    tracker, sightings, frames, size = models.tracker(), [], 0, (1, 1)
    for frame in read_frames(source, salvage=salvage):
        frames += 1
        size = (frame.image.shape[1], frame.image.shape[0])
        sighting = tracker.update(frame.image)
        if sighting is not None:
            sightings.append((frame.index, frame.time_s, sighting))
        if bar is not None:
            bar.update()
    options = CleanOptions()
    track = clean(track_of(sightings, models.detector.skeleton, size), options)
    return Poses(frames, track, lift_track(track, models.lifter, options))


def draw_video(source: Path, output: Path, poses: Poses, info: VideoInfo, *, bar: tqdm | None = None) -> None:
    """Write the clip beside its poses, every frame at its own time, with the clip's sound.

    Raises OutputError if the output cannot be written; then nothing is left behind.
    """
    track, world = poses.track, stand(poses.lifted)
    renderer = _renderer(track, world, poses.lifted.skeleton)
    row_of = {int(frame): row for row, frame in enumerate(track.frame)}
    with VideoWriter(output, size=renderer.size, source=source, info=info) as writer:
        # No further than the first reading went: how a damaged clip ends has been said by then.
        for frame in islice(read_frames(source, salvage=True), poses.frames):
            row = row_of.get(frame.index)
            figures = [] if row is None else [Figure(track.xy[row], track.score[row], world[row])]
            writer.write(renderer.draw(frame.image, figures, frame.time_s), frame)
            if bar is not None:
                bar.update()


def _renderer(track: Track2D, world: np.ndarray, skeleton_3d: Skeleton) -> Renderer:
    return Renderer(track.size, [world], skeleton_2d=track.skeleton, skeleton_3d=skeleton_3d)


def process_video(source: Path, output: Path, models: Models, *, salvage: bool = False) -> Summary:
    """The whole of `posecli video` for one clip."""
    check_output(output, source)
    info = probe(source)
    started = time.perf_counter()
    total = None if info.frames is None else 2 * info.frames
    with tqdm(total=total, unit="frame", desc="find", leave=False, dynamic_ncols=True) as bar:
        poses = find_poses(source, models, salvage=salvage, bar=bar)
        bar.set_description("draw")
        bar.total = 2 * poses.frames  # now known for sure
        draw_video(source, output, poses, info, bar=bar)
    return Summary(poses.frames, len(poses.track), time.perf_counter() - started, output)


def process_image(source: Path, output: Path, models: Models) -> Summary:
    """The whole of `posecli image` for one photo."""
    started = time.perf_counter()
    image = read_image(source)
    sighting: Sighting | None = models.tracker().update(image)
    found = [] if sighting is None else [(0, 0.0, sighting)]
    track = track_of(found, models.detector.skeleton, (image.shape[1], image.shape[0]))
    lifted = models.lifter.lift(track, Intrinsics.guess(*track.size))
    world = stand(lifted)
    renderer = _renderer(track, world, lifted.skeleton)
    figures = [Figure(xy, score, xyz) for xy, score, xyz in zip(track.xy, track.score, world, strict=True)]
    write_image(output, renderer.draw(image, figures, 0.0))
    return Summary(1, len(track), time.perf_counter() - started, output)
