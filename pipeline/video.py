"""Video files in and out: upright frames with their real times; H.264 with those times and the clip's sound."""

import logging
import math
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter
from av.video.stream import VideoStream

from pipeline.atomic import cannot_write, check_writable, replacing
from pipeline.audio import Sound, sound_packets, sound_stream
from pipeline.container import open_container
from pipeline.errors import InputError, OutputError
from pipeline.limits import PIXELS, limit, max_pixels, too_many_pixels
from pipeline.planes import BT709, Planes, from_bgr
from pipeline.timeline import Timeline
from pipeline.upright import Upright

logger = logging.getLogger(__name__)

MAX_THREADS = 8  # decoder and encoder hold some frames per thread: without a limit memory grows with the cores
PIXELS_AT_ONCE = 150_000_000  # in the decoder's threads: four frames of 8K, or one of the largest that is allowed
FALLBACK_RATE = Fraction(25)  # frames per second, for a raw stream that says nothing
SHORT = Fraction(99, 100)  # a clip whose frames span less of its promised length was cut short

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov"}  # file ending -> container
# x264: hardly visible loss, several times faster than its default. Motion by whole pixels, and no weighing of what
# fades, take a fifth to two fifths less time than the preset, for files that are about a quarter larger.
QUALITY = {"crf": "20", "preset": "veryfast", "x264-params": "subme=0:weightp=0"}
FINE_TIME_BASE = Fraction(1, 90_000)  # for clips whose own mp4 cannot hold; exact for all usual frame rates
MAX_TICKS_PER_S = 1_000_000  # an mp4 counts the ticks of a frame in 32 bits


Picture = TypeVar("Picture", np.ndarray, Planes)


@dataclass(frozen=True)
class Frame(Generic[Picture]):
    """One picture of a clip, as a player shows it.

    index   0, 1, 2, ... in order of presentation
    time_s  seconds since the clip, with its sound, starts; strictly increasing
    image   upright, square pixels, the same size for the whole clip: (H, W, 3) uint8, BGR, or planes
    """

    index: int
    time_s: float
    image: Picture


@dataclass(frozen=True)
class VideoInfo:
    """What a clip says about itself.

    width, height  pixels of the upright frame
    rate           frames per second on average, exact (30000/1001, not 29.97)
    time_base      seconds per tick of its timestamps
    frames         their number by the header, which may be wrong; None if it says nothing
    duration_s     seconds, likewise
    rotation       0, 90, 180 or 270: degrees clockwise from the stored to the upright frame
    """

    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    frames: int | None
    duration_s: float | None
    has_audio: bool
    rotation: int


def probe(path: Path | str) -> VideoInfo:
    """Read the description of a clip and, to be sure that it can be decoded, its first frame.

    Raises InputError if the file is missing, is no video, is damaged from the start, or its frames are too large.
    """
    with _opened(Path(path)) as clip:
        upright = Upright(next(clip.frames()), clip.stream)
        duration = clip.duration
        return VideoInfo(
            width=upright.width,
            height=upright.height,
            rate=clip.rate,
            time_base=clip.time_base,
            frames=clip.stream.frames or (round(duration * clip.rate) if duration else None),
            duration_s=float(duration) if duration else None,
            has_audio=sound_stream(clip.container) is not None,
            rotation=upright.rotation,
        )


def read_frames(path: Path | str, *, salvage: bool = False, exact: bool = True) -> Iterator[Frame[np.ndarray]]:
    """Decode a clip frame by frame; only a few frames are in memory at a time, however long it is.

    Colours that are not to be shown, but looked at by networks, need not be `exact`, which takes less time.
    Frames that are damaged are left out, and a warning is logged then. Raises InputError, on the first step, for the
    same reasons as `probe`, and at the end if the clip was cut short, unless `salvage` asks for what is left of it.
    """
    return _read(path, partial(Upright.image, exact=exact), salvage=salvage)


def read_planes(path: Path | str, *, salvage: bool = False) -> Iterator[Frame[Planes]]:
    """As `read_frames`, for what is written as a video again: most frames need not be converted for that."""
    return _read(path, Upright.planes, salvage=salvage)


def _read(
    path: Path | str, develop: Callable[[Upright, VideoFrame], Picture], *, salvage: bool
) -> Iterator[Frame[Picture]]:
    with _opened(Path(path)) as clip:
        upright: Upright | None = None
        for index, (tick, frame) in enumerate(clip.timed_frames(salvage=salvage)):
            upright = upright or Upright(frame, clip.stream)
            yield Frame(index, float(tick * clip.time_base), develop(upright, frame))


def check_output(path: Path | str, source: Path | str | None = None) -> None:
    """Raise OutputError, before any work is done, unless a video made from `source` can be written at `path`."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise OutputError(f"{path}: videos are written as {', '.join(FORMATS)}; choose one of these endings")
    check_writable(path)
    with suppress(OSError):  # one of them does not exist
        if source is not None and path.samefile(source):
            raise OutputError(f"{path}: is the video that is read; choose another name for the result")


class VideoWriter:
    """Writes images as H.264 into an mp4 that starts to play before it is loaded whole, with the sound of a clip.

        with VideoWriter("out.mp4", (640, 360), info=probe("in.mp4"), source="in.mp4") as writer:
            for frame in read_frames("in.mp4"):
                writer.write(draw(frame), frame)

    The file appears when the block ends well; if an exception ends it, what was at `path` before stays as it was.
    """

    def __init__(
        self,
        path: Path | str,
        size: tuple[int, int],
        *,
        info: VideoInfo,
        source: Path | str | None = None,
        quality: Mapping[str, str] = QUALITY,
    ) -> None:
        """Images will have `size` (width, height) and times on the ticks of `info`, the clip that they are made from.

        The sound is taken from `source`, if given; `quality` are options of x264. Raises OutputError like
        `check_output`.
        """
        check_output(path, source)
        self._path = Path(path)
        self._source = None if source is None else Path(source)
        self._size = size
        self._time_base = info.time_base if info.time_base.denominator <= MAX_TICKS_PER_S else FINE_TIME_BASE
        self._rate = info.rate
        self._quality = dict(quality)
        self._last_tick = -1
        self._scaler = VideoReformatter()

    def __enter__(self) -> "VideoWriter":
        with ExitStack() as stack:
            temporary = stack.enter_context(replacing(self._path))
            ticks = self._time_base.denominator
            self._container = av.open(
                str(temporary),
                "w",
                format=FORMATS[self._path.suffix.lower()],
                container_options={
                    "movflags": "+faststart",
                    # The clock that says by how much a stream starts late; by default it counts thousandths only.
                    "movie_timescale": str(ticks * math.ceil(1 / (ticks * FINE_TIME_BASE))),
                },
            )
            self._stream = self._add_pictures()
            self._sound: Sound = iter(())
            if self._source is not None:
                clip = stack.enter_context(_opened(self._source))
                self._sound = sound_packets(clip.container, self._container, start=clip.start)
            self._next_sound = next(self._sound, None)
            stack.push(self._close)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def write(self, image: np.ndarray | Planes, frame: Frame) -> None:
        """Append an image (H, W, 3) uint8, BGR, or planes of the writer's size, to be shown when `frame` was.

        Raises OutputError if it cannot be written, for one because the disk is full.
        """
        if isinstance(image, np.ndarray):
            self._check(image.shape, image.dtype)
            image = from_bgr(image, self._scaler)
        self._check((*image.y.shape, 3), image.y.dtype)
        self._last_tick = max(round(frame.time_s / self._time_base), self._last_tick + 1)
        coded = image.frame()
        coded.pts, coded.time_base = self._last_tick, self._time_base
        with self._reporting():
            self._container.mux(self._stream.encode(coded))
            self._mux_sound(until_s=frame.time_s)

    def _check(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        width, height = self._size
        if shape != (height, width, 3) or dtype != np.uint8:
            raise ValueError(f"expected a {width} x {height} image or its planes, uint8, got {shape} {dtype}")

    def _add_pictures(self) -> VideoStream:
        width, height = (side + side % 2 for side in self._size)
        stream = self._container.add_stream("libx264", rate=self._rate, options=self._quality)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base = stream.time_base = self._time_base
        context.max_b_frames = 0  # so that every player, also one that skips edit lists, starts at the right time
        context.color_range = ColorRange.MPEG
        context.colorspace = context.color_primaries = context.color_trc = BT709  # 1 in all three tables
        context.thread_count = min(os.cpu_count() or 1, MAX_THREADS)
        context.thread_type = "AUTO"
        return stream

    def _mux_sound(self, until_s: float) -> None:
        while self._next_sound is not None and self._next_sound[0] <= until_s:
            with suppress(av.InvalidDataError):  # a damaged packet is left out: a moment of silence
                self._container.mux(self._next_sound[1])
            self._next_sound = next(self._sound, None)

    def _close(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            with suppress(Exception):  # the file is thrown away; what ended the block is what matters
                self._container.close()
            return
        if self._last_tick < 0:
            raise OutputError(f"{self._path}: there was no frame to write")
        with self._reporting():
            try:
                self._container.mux(self._stream.encode(None))
                self._mux_sound(until_s=math.inf)
            finally:
                self._container.close()

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            raise cannot_write(self._path, error) from error


@contextmanager
def _opened(path: Path) -> Iterator["_Clip"]:
    """Open a clip and find its pictures. Raises InputError that names the file and the remedy."""
    _check_file(path)
    size = {"max_pixels": str(max_pixels())}
    options = {
        **size,
        "fflags": "-genpts",  # no times are better than invented ones: an AVI with B-frames gets them in disorder
    }
    try:
        container = open_container(path, options)
    except PermissionError as error:
        raise _cannot_read(path, error) from error
    except (av.FFmpegError, ValueError) as error:
        raise _no_video(path) from error
    with container:
        stream = _picture_stream(container, path)
        stream.codec_context.options = size
        at_once = PIXELS_AT_ONCE // max(stream.width * stream.height, 1)
        stream.codec_context.thread_count = max(min(os.cpu_count() or 1, MAX_THREADS, at_once), 1)
        stream.codec_context.thread_type = "AUTO"
        yield _Clip(path, container, stream)


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{path}: there is no such file; check its name and folder") from error
    except OSError as error:
        raise _cannot_read(path, error) from error
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{path}: is a folder; give a video file")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: is no regular file and cannot be read twice; save the video to a file first")
    if status.st_size == 0:
        raise InputError(f"{path}: is empty (0 bytes); copy or download it again")


def _cannot_read(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be read ({error.strerror}); check its name and permissions")


def _no_video(path: Path) -> InputError:
    return InputError(f"{path}: is no video, or one that was cut short; copy it again or convert it to mp4")


def _picture_stream(container: InputContainer, path: Path) -> VideoStream:
    """The moving pictures of a file. The cover of a song does not count."""
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams and container.streams.audio:
        raise InputError(f"{path}: has sound but no pictures; give a video file")
    if not streams:
        raise _no_video(path)
    best = container.streams.best("video")
    stream = best if isinstance(best, VideoStream) and best in streams else streams[0]
    if stream.codec_context is None:
        raise InputError(f"{path}: its video codec is unknown here; convert it to mp4 (H.264)")
    if excess := too_many_pixels(stream.width, stream.height):
        raise InputError(f"{path}: frames of {excess}")
    return stream


def _start(stream: VideoStream | AudioStream | None) -> Fraction | None:
    if stream is None or stream.start_time is None or stream.time_base is None:
        return None
    return stream.start_time * stream.time_base


class _Clip:
    """An open file and the stream of its pictures."""

    def __init__(self, path: Path, container: InputContainer, stream: VideoStream) -> None:
        self.path = path
        self.container = container
        self.stream = stream
        self.time_base = stream.time_base or FINE_TIME_BASE
        # A raw stream has no times, so its average is made up; but its codec may know the rate.
        average = stream.average_rate if stream.start_time is not None else None
        self.rate = average or stream.guessed_rate or FALLBACK_RATE
        self._errors = 0

    @property
    def duration(self) -> Fraction | None:
        """Seconds, by the header."""
        if self.stream.duration:
            return self.stream.duration * self.time_base
        return Fraction(self.container.duration, av.time_base) if self.container.duration else None

    @property
    def start(self) -> Fraction:
        """Seconds on the file's own clock when its pictures or its sound start; not every clock starts at 0."""
        pictures, sound = _start(self.stream), _start(sound_stream(self.container))
        if sound is not None:
            sound = max(sound, Fraction(0))  # what comes before 0 is the run-up of its codec, which no one hears
        return min((start for start in (pictures, sound) if start is not None), default=Fraction(0))

    def frames(self) -> Iterator[VideoFrame]:
        """All frames that decode, also the ones that the decoder holds back until the end; InputError if none does."""
        packets = (packet for packet in self.container.demux(self.stream) if packet.size)
        found = flushed = False
        while not flushed:
            frames: list[VideoFrame] = []
            try:
                packet = next(packets, None)  # also when reading failed half-way: then there is nothing after it
                flushed = packet is None
                frames = self.stream.decode(packet)
            except av.FFmpegError:
                self._errors += 1
            found = found or bool(frames)
            yield from frames
        if not found:
            raise InputError(
                f"{self.path}: none of its frames can be decoded, as they are damaged or exceed "
                f"{limit(PIXELS):g} megapixels; copy it again or make it smaller"
            )

    def timed_frames(self, *, salvage: bool) -> Iterator[tuple[int, VideoFrame]]:
        """The frames, each with its tick of `time_base` since the clip's start; see `read_frames` for missing ones."""
        timeline: Timeline | None = None
        count = first = end = 0
        for frame in self.frames():
            timeline = timeline or self._timeline(frame)
            tick = timeline.tick(frame.dts if frame.pts is None else frame.pts)
            yield tick, frame
            first = first if count else tick
            end = tick + frame.duration
            count += 1
        short = self._is_short(end - first)
        if short and not salvage:
            raise InputError(
                f"{self.path}: was cut short: only {count} frames can be read; copy it again, or use --salvage"
            )
        if short or self._errors:
            logger.warning("%s: is damaged or was cut short; %d frames could be read", self.path, count)

    def _timeline(self, first: VideoFrame) -> Timeline:
        origin = round(self.start / self.time_base)
        if first.pts is None and first.dts is not None:
            # All times are of decoding, which is ahead by as many frames as the decoder holds back: start at 0.
            origin = first.dts
        return Timeline(self.time_base, origin=origin, period=1 / (self.rate * self.time_base))

    def _is_short(self, ticks: int) -> bool:
        """Whether frames that span so many ticks are less than the header promised."""
        if self.container.format.name == "avi":  # FFmpeg knows the true length of one that was cut
            promised = Fraction(self.stream.frames) / self.rate
        elif self.stream.duration or not self.container.streams.audio:
            promised = self.duration or Fraction(0)
        else:
            return False  # the whole file's duration may be that of its sound
        return ticks * self.time_base < min(promised * SHORT, promised - 3 / self.rate)
