"""Live pictures: of a camera by its number, or of a stream by its address; only the newest one is ever kept.

A thread takes the pictures as they come. Whoever computes asks for the newest when there is time for it, and those in
between are dropped, so that what is shown is never late.
"""

import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import av
import cv2
import numpy as np

from pipeline.errors import InputError
from pipeline.limits import max_pixels
from pipeline.upright import Upright
from pipeline.video import Frame

SCHEMES = ("rtsp", "rtsps", "rtmp", "http", "https", "tcp", "udp")
SILENT_S = 10.0  # so long nothing may come; then there is nobody, or the connection is lost
CLOSE_S = 2.0  # to wait for a thread that hangs in a driver; it cannot keep the program from ending

Raw = TypeVar("Raw")  # a picture as it comes


def is_live(source: str) -> bool:
    """Whether this is a camera's number or a stream's address rather than the name of a file."""
    return _is_camera(source) or "://" in source


def source_name(source: str) -> str:
    """What a camera or a stream is called where others may read it: an address without password and query."""
    if _is_camera(source):
        return f"camera {int(source)}"
    with suppress(ValueError):
        parts = urlsplit(source)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return source


def check_source(source: str) -> None:
    """InputError unless this is a camera's number or an address of a kind that is known."""
    scheme = source.partition("://")[0]
    if not _is_camera(source) and scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise InputError(f"{source}: no address of a stream, which starts with one of {known}; give a file by its path")


def _is_camera(source: str) -> bool:
    return source.isascii() and source.isdigit()


# The newest picture


@dataclass(frozen=True)
class _Shot(Generic[Raw]):
    """A picture as it came; index and time are those of the frame."""

    index: int
    time_s: float
    raw: Raw


class Latest(Generic[Raw]):
    """The newest of the pictures, all of one size, that a thread takes from an iterable.

    with Latest(pictures, develop) as latest:
        while not latest.ended:
            frame = latest.take(1.0)

    `develop` makes a picture of the iterable an image (H, W, 3) uint8 BGR; only those that are taken need it. A frame's
    index counts the pictures that came, its time is seconds since the first one. The iterable is used in the thread
    only and, if a generator, closed there.
    """

    def __init__(self, pictures: Iterable[Raw], develop: Callable[[Raw], np.ndarray]) -> None:
        self._pictures, self._develop = pictures, develop
        self._changed = Condition()
        self._newest: _Shot[Raw] | None = None
        self._error: BaseException | None = None
        self._over = False  # nothing more will come
        self._closed = False  # nobody will ask any more
        self._thread = Thread(target=self._fill, name="latest", daemon=True)

    def __enter__(self) -> "Latest[Raw]":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
        self._thread.join(CLOSE_S)

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to take, and nothing will come."""
        with self._changed:
            return self._over and self._newest is None and self._error is None

    def take(self, timeout_s: float) -> Frame | None:
        """The newest picture, if it was not taken before, after waiting for it so long; None if none has come by then.

        Raises what the iterable raised, after the last picture.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._newest is not None, timeout_s)
            shot, self._newest = self._newest, None
            if shot is None and self._error is not None:
                error, self._error = self._error, None
                raise error
        return None if shot is None else Frame(shot.index, shot.time_s, self._develop(shot.raw))

    def _fill(self) -> None:
        try:
            start = None
            for index, raw in enumerate(self._pictures):
                now = time.perf_counter()
                start = now if start is None else start
                if not self._put(_Shot(index, now - start, raw)):
                    break
            if isinstance(self._pictures, Generator):
                self._pictures.close()
        except BaseException as error:  # raised where pictures are taken
            self._error = error
        with self._changed:
            self._over = True
            self._changed.notify()

    def _put(self, shot: _Shot[Raw]) -> bool:
        """False if nobody wants any more."""
        with self._changed:
            self._newest = shot
            self._changed.notify()
            return not self._closed


@contextmanager
def live(source: str) -> Iterator[tuple[Latest[Any], Frame]]:
    """The newest pictures of a camera or a stream, and the first one, which tells their size.

    Raises InputError if it cannot be opened, or no picture comes within `SILENT_S`.
    """
    check_source(source)
    newest: Latest[Any]
    if _is_camera(source):
        newest = Latest(_camera_pictures(int(source)), lambda image: image)
    else:
        newest = Latest(_stream_pictures(source), lambda pair: pair[0].image(pair[1]))
    with newest as latest:
        first = latest.take(SILENT_S + 1)
        if first is None:
            reason = "ended before its first picture" if latest.ended else f"no picture came in {SILENT_S:g} s"
            raise InputError(f"{source_name(source)}: {reason}; {_remedy(source)}")
        yield latest, first


def _cannot_open(source: str, reason: str) -> InputError:
    return InputError(f"{source_name(source)}: cannot be opened ({reason}); {_remedy(source)}")


def _remedy(source: str) -> str:
    if _is_camera(source):
        return "check that it is plugged in, that no other program uses it, and its number (0 is the first)"
    return "check the address, and that it is sending"


# Cameras


def _camera_pictures(number: int) -> Iterator[np.ndarray]:
    """The pictures of a camera until it gives no more. InputError if it cannot be opened."""
    with _quiet():
        camera = cv2.VideoCapture(number, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)
        try:
            if not camera.isOpened():
                raise _cannot_open(str(number), "there is no such camera, or it is in use")
            there, image = camera.read()
            while there:
                yield image
                there, image = camera.read()
        finally:
            camera.release()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep OpenCV from writing to the terminal what is told in our words."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


# Streams


def _stream_pictures(address: str) -> Iterator[tuple[Upright, av.VideoFrame]]:
    """The frames of a stream, with what turns them into images, until it ends or is silent for too long.

    InputError if it cannot be opened. A clip on a server, which could be read as fast as the line allows, is read at
    its own pace.
    """
    with _opened(address) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = {"max_pixels": str(max_pixels())}
        stream.thread_type = "SLICE"  # threads that take a frame each give them out so many frames late
        upright: Upright | None = None
        started: float | None = None
        for frame in _decoded(container):
            upright = upright or Upright(frame, stream)
            if container.duration is not None and frame.time is not None:
                now = time.perf_counter()
                started = now - frame.time if started is None else started
                time.sleep(max(0.0, min(started + frame.time - now, SILENT_S)))
            yield upright, frame


@contextmanager
def _opened(address: str) -> Iterator[av.container.InputContainer]:
    options = {"rtsp_flags": "prefer_tcp"} if address.startswith("rtsp") else {}
    options["max_pixels"] = str(max_pixels())
    started = time.perf_counter()
    try:
        container = av.open(address, options=options, timeout=SILENT_S, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        # Not every protocol names the true reason when it was told to give up.
        late = time.perf_counter() - started >= SILENT_S
        reason = f"no answer in {SILENT_S:g} s" if late else getattr(error, "strerror", None) or str(error)
        raise _cannot_open(address, reason) from error
    with container:
        if not container.streams.video or container.streams.video[0].codec_context is None:
            raise _cannot_open(address, "it has no pictures that can be decoded")
        yield container


def _decoded(container: av.container.InputContainer) -> Iterator[av.VideoFrame]:
    """The frames that decode, also those that the decoder holds back. A lost connection is the end of them."""
    stream = container.streams.video[0]
    packets = (packet for packet in container.demux(stream) if packet.size)
    flushed = False
    while not flushed:
        packet = None
        with suppress(av.FFmpegError, OSError):
            packet = next(packets, None)
        flushed = packet is None
        frames: list[av.VideoFrame] = []
        with suppress(av.FFmpegError):  # damaged on the way
            frames = stream.decode(packet)
        yield from frames
