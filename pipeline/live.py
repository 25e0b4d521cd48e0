"""`posecli video` of a camera or a stream: people and their poses in a window while they happen, a recording, or both.

Frame by frame and never late: while one frame is computed only the newest of those that come is kept. Times are those
of the clock on the wall.
"""

import logging
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline.capture import SILENT_S, Latest, check_source, live, source_name
from pipeline.causal import CAUSAL_SMOOTHING, CausalPoses
from pipeline.errors import InputError
from pipeline.export import check_export, export
from pipeline.focal import focal_length
from pipeline.people import ClipPoses
from pipeline.place import CAMERA_UP
from pipeline.render import Figure, Renderer
from pipeline.run import Models, Wishes, check_wishes, clip_poses, pose_people
from pipeline.sighting import Sighting
from pipeline.signals import ENDINGS
from pipeline.skeleton import H36M17
from pipeline.stage import LEASH_MM, LiveWay
from pipeline.track import SeenPeople
from pipeline.video import FINE_TIME_BASE, Frame, VideoInfo, VideoWriter, check_output
from pipeline.window import Window, check_screen

logger = logging.getLogger(__name__)

WAIT_S = 0.05  # for a frame, before the window is looked after again
RATE = Fraction(30)  # frames per second in a recording's header; the frames have their own times
ROOM_MM = LEASH_MM + 300.0, 1900.0  # radius and height of what the 3D view shows
MORE_ROOM_MM = 400.0  # by which everyone beyond the first widens it


@dataclass(frozen=True)
class LiveJob:
    """What to watch, and what to do with it: show it, record it as an mp4, or both."""

    source: str  # a camera's number or a stream's address
    out: Path | None = None
    show: bool = False
    exports: tuple[Path, ...] = ()  # pose files, written at the end
    wishes: Wishes = field(default_factory=Wishes)

    @property
    def name(self) -> str:
        return source_name(self.source)


@dataclass(frozen=True)
class LiveSummary:
    """The last line of a run."""

    shown: int
    dropped: int
    with_person: int
    seconds: float
    written: tuple[Path, ...]

    def __str__(self) -> str:
        rate = self.shown / self.seconds if self.seconds > 0 else 0.0
        what = f"{self.shown} frames shown, {self.dropped} dropped, {self.with_person} with a person"
        files = f" -> {', '.join(map(str, self.written))}" if self.written else ""
        return f"{what}, {rate:.1f} frames/s{files}"


def process_live(job: LiveJob, load: Callable[[], Models]) -> LiveSummary:
    """Watch until the user ends it or no more pictures come, with the models that `load` gives.

    Raises, before the models are loaded, InputError for a source that cannot be opened, an option out of range or a
    missing screen, OutputError for an output that cannot be written.
    """
    check_job(job)
    with live(job.source) as (latest, first):
        models = load()
        models.warm_up(first.image)
        with ended_by_signals() as asked:
            watched = watch(job, latest, models, size=(first.image.shape[1], first.image.shape[0]), asked=asked)
    written = [] if job.out is None else [job.out]
    if job.exports:
        poses = watched.poses(models, job.wishes)
        for path in job.exports:
            written += export(path, poses)
    return watched.summary(written)


def check_job(job: LiveJob) -> None:
    """Raise what can be known to be wrong before anything is opened."""
    check_source(job.source)
    check_wishes(job.wishes, (1, 1))
    if job.out is not None:
        check_output(job.out)
    for path in job.exports:
        check_export(path)
    if job.show:
        check_screen()


@contextmanager
def ended_by_signals() -> Iterator[Event]:
    """An event that Ctrl-C, a request to terminate and a closed terminal set; they then end nothing by themselves.

    Signals that were being ignored, as under nohup, still are.
    """
    asked = Event()
    numbers = [getattr(signal, name) for name in ("SIGINT", *ENDINGS) if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    heard = [number for number in numbers if before[number] is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, lambda *_: asked.set())
    try:
        yield asked
    finally:
        for number in heard:
            signal.signal(number, before[number])


# Watching


@dataclass
class Watched:
    """What has been seen of a source."""

    name: str
    size: tuple[int, int]
    times: list[float] = field(default_factory=list)  # of the frames shown, s
    dropped: int = 0
    with_person: int = 0
    seen: SeenPeople | None = None  # for pose files

    def note(self, frame: Frame, sightings: dict[int, Sighting]) -> None:
        """Write down a frame and who is in it."""
        self.times.append(frame.time_s)
        self.with_person += bool(sightings)
        if self.seen is not None:
            self.seen.add(frame.index, frame.time_s, sightings)

    def poses(self, models: Models, wishes: Wishes) -> ClipPoses:
        """The poses as those of a clip are found, in knowledge of all that was seen."""
        focal, origin = focal_length(*self.size, fov=wishes.fov)
        times = np.array(self.times)
        rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else float(RATE)
        clip = ClipPoses(self.name, self.size, float(rate), len(times), times, focal, origin, CAMERA_UP)
        found = pose_people(clip, self.seen or SeenPeople(models.detector.skeleton), models=models, wishes=wishes)
        return clip_poses(found, wishes=wishes, provenance=models.provenance)

    def summary(self, written: Sequence[Path]) -> LiveSummary:
        """Of a run that ended with these files; the rate is over the time from the first frame to the last."""
        seconds = self.times[-1] - self.times[0]
        return LiveSummary(len(self.times), self.dropped, self.with_person, seconds, tuple(written))


def watch(job: LiveJob, latest: Latest[Any], models: Models, *, size: tuple[int, int], asked: Event) -> Watched:
    """Show and record pictures of a (width, height) until no more come or the user has asked for the end.

    An error that comes up while there is a recording is raised when that is saved. InputError if it ends before the
    first picture.
    """
    watched = Watched(job.name, size, seen=SeenPeople(models.detector.skeleton) if job.exports else None)
    artist, failure = LiveArtist(models, size, wishes=job.wishes), None
    with ExitStack() as stack:
        writer = stack.enter_context(_recording(job.out, artist.renderer.size)) if job.out else None
        window = stack.enter_context(Window(f"posecli - {job.name}")) if job.show else None
        bar = stack.enter_context(tqdm(unit="frame", desc="live", leave=False, dynamic_ncols=True))
        try:
            for frame in _newest(latest, watched, window=window, asked=asked):
                picture, sightings = artist.draw(frame)
                if writer is not None:
                    writer.write(picture, frame)
                if window is not None:
                    window.show(picture)
                watched.note(frame, sightings)
                bar.set_postfix_str(f"{watched.dropped} dropped", refresh=False)
                bar.update()
        except Exception as error:
            failure = error
        if not watched.times:
            raise failure or InputError(f"{job.name}: ended before a picture could be shown; nothing was recorded")
    if failure is not None:
        raise failure
    if not asked.is_set() and not (window is not None and window.left):
        logger.warning("%s: no more pictures come: it was switched off, or the connection is lost", job.name)
    return watched


def _newest(latest: Latest[Any], watched: Watched, *, window: Window | None, asked: Event) -> Iterator[Frame]:
    """The newest frames, counted and timed from the first of them, until there are no more or the user wants none."""
    first = last = None
    heard = time.perf_counter()
    while not latest.ended and not asked.is_set() and not (window is not None and window.left):
        frame = latest.take(WAIT_S)
        if frame is not None:
            first = first or frame
            watched.dropped += 0 if last is None else frame.index - last.index - 1
            last = frame
            yield replace(frame, index=len(watched.times), time_s=frame.time_s - first.time_s)
            heard = time.perf_counter()
        elif time.perf_counter() - heard > SILENT_S:
            return
        if window is not None:
            window.react()


def _recording(path: Path, size: tuple[int, int]) -> VideoWriter:
    info = VideoInfo(*size, RATE, FINE_TIME_BASE, None, None, has_audio=False, rotation=0)
    return VideoWriter(path, size, info=info)


# Drawing


class LiveArtist:
    """Finds the people of frames of one (width, height) that come one after another, and draws them."""

    def __init__(self, models: Models, size: tuple[int, int], *, wishes: Wishes) -> None:
        self._tracker = models.tracker(people=wishes.people)
        focal, _ = focal_length(*size, fov=wishes.fov)
        self._poses = CausalPoses(
            models.lifter,
            models.detector.skeleton,
            size,
            focal_px=focal,
            options=CAUSAL_SMOOTHING[wishes.smooth],
            height_mm=None if wishes.height_cm is None else 10 * wishes.height_cm,
        )
        self._way = LiveWay()
        self.renderer = Renderer(
            size, [room(wishes.people)], way=self._way, skeleton_2d=models.detector.skeleton, skeleton_3d=H36M17
        )

    def draw(self, frame: Frame) -> tuple[np.ndarray, dict[int, Sighting]]:
        """The picture of the next frame, and who was seen in it."""
        sightings = self._tracker.update(frame.image, frame.time_s)
        figures = self._poses.update(sightings, frame.time_s)
        self._follow(figures, frame.time_s)
        return self.renderer.draw(frame.image, figures, frame.time_s), sightings

    def _follow(self, figures: Sequence[Figure], time_s: float) -> None:
        middles = [np.median(figure.xyz[:, :2], axis=0) for figure in figures if figure.xyz is not None]
        if middles:
            self._way.go(np.mean(middles, axis=0), time_s)


def room(people: int) -> np.ndarray:
    """Points (1, 2 N, 3), mm, around the space that so many people of average build need who stand near its middle."""
    radius = ROOM_MM[0] + MORE_ROOM_MM * (people - 1)
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    return np.concatenate([np.stack([x, y, np.full_like(x, z)], axis=-1) for z in (0.0, ROOM_MM[1])])[None]
