"""Makes small video files for the tests, and reads files back without the code under test."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.stream import Disposition

SOUND_RATE = 44_100
BEEP_S = 0.2  # when the sound of a clip, silent so far, begins to be heard

# The quarters of every picture, in BGR: they tell which way is up.
RED, GREEN, BLUE, WHITE = (0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 255)


def picture(size: tuple[int, int]) -> np.ndarray:
    """Red and green above, blue and white below, as an image (H, W, 3) uint8 BGR of `size` (width, height)."""
    width, height = size
    image = np.empty((height, width, 3), np.uint8)
    image[: (height + 1) // 2, : (width + 1) // 2] = RED
    image[: (height + 1) // 2, (width + 1) // 2 :] = GREEN
    image[(height + 1) // 2 :, : (width + 1) // 2] = BLUE
    image[(height + 1) // 2 :, (width + 1) // 2 :] = WHITE
    return image


def quarters(image: np.ndarray) -> list[str]:
    """What colour the quarters of a picture have: top left, top right, bottom left, bottom right."""
    height, width = image.shape[:2]
    colours = {"red": RED, "green": GREEN, "blue": BLUE, "white": WHITE}
    names = []
    for y in (height // 4, height * 3 // 4):
        for x in (width // 4, width * 3 // 4):
            far = {name: np.abs(np.subtract(image[y, x], bgr, dtype=int)).max() for name, bgr in colours.items()}
            names.append(min(far, key=lambda name: far[name]) if min(far.values()) < 60 else "other")
    return names


def numbered(index: int, size: tuple[int, int]) -> np.ndarray:
    """A grey picture (H, W, 3) whose brightness tells its number, 0 to 24."""
    return np.full((size[1], size[0], 3), 10 * index, np.uint8)


def number_of(image: np.ndarray) -> int:
    """The number that `numbered` drew."""
    return round(float(image.mean()) / 10)


def make_clip(
    path: Path,
    *,
    images: Sequence[np.ndarray] | None = None,
    ticks: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    container: str | None = None,
    turn: int | None = None,
    mirrored: bool = False,
    options: dict[str, str] | None = None,
    faststart: bool = False,
    sound: str | None = None,
    sound_start_s: float = 0.0,
    sound_rate: int = SOUND_RATE,
    layout: str = "stereo",
    pixel_aspect: Fraction | None = None,
    tags: dict[str, str] | None = None,
) -> Path:
    """Write images (numbered ones if none are given) at `ticks` of `time_base`, and `sound`, a codec, if given.

    `turn` is how far a player must turn the pictures, in degrees clockwise, as a phone notes it. Returns `path`.
    """
    images = images if images is not None else [numbered(i, (64, 48)) for i in range(12)]
    ticks = ticks if ticks is not None else range(len(images))
    muxer = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", format=container, container_options=muxer) as output:
        height, width = images[0].shape[:2]
        stream = output.add_stream(codec, rate=1 / time_base, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = stream.time_base = time_base
        if pixel_aspect:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if turn is not None:
            stream.set_display_rotation(-turn, hflip=mirrored)
        stream.metadata.update(tags or {})
        voice = output.add_stream(sound, rate=sound_rate, layout=layout) if sound else None
        for image, tick in zip(images, ticks, strict=True):
            frame = av.VideoFrame.from_ndarray(image, "bgr24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = tick, time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if voice is not None:
            end_s = float(ticks[-1] * time_base) + 0.2  # sound seldom ends with the pictures
            for frame in _beep(end_s, sound_start_s, sound_rate, layout):
                output.mux(voice.encode(frame))
            output.mux(voice.encode(None))
    return path


def make_sound(path: Path) -> Path:
    """Write a file that has nothing but sound. Returns `path`."""
    with av.open(str(path), "w") as output:
        voice = output.add_stream("aac", rate=SOUND_RATE, layout="stereo")
        for frame in _beep(1.0, 0.0, SOUND_RATE, "stereo"):
            output.mux(voice.encode(frame))
        output.mux(voice.encode(None))
    return path


def make_song_with_cover(path: Path) -> Path:
    """Write a song whose file has a picture, but no moving ones. Returns `path`."""
    make_sound(path)
    cover = av.Packet(cv2.imencode(".png", picture((64, 48)))[1].tobytes())
    whole = path.with_name(f"cover_{path.name}")
    with av.open(str(path)) as song, av.open(str(whole), "w", format="mp4") as output:
        voice = output.add_stream_from_template(song.streams.audio[0])
        still = output.add_stream("png", width=64, height=48, pix_fmt="rgb24")
        still.disposition = Disposition.attached_pic.value
        cover.stream, cover.pts, cover.dts, cover.is_keyframe = still, 0, 0, True
        output.mux(cover)
        for packet in song.demux(audio=0):
            if packet.size:
                packet.stream = voice
                output.mux(packet)
    return whole.replace(path)


def make_flat(path: Path, ycbcr: tuple[int, int, int], *, size: tuple[int, int]) -> Path:
    """Write one frame of one colour, given as stored, that does not tell how colours are stored. Returns `path`."""
    frame = av.VideoFrame(*size, "yuv420p")
    for plane, value in zip(frame.planes, ycbcr, strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def _beep(until_s: float, start_s: float, rate: int, layout: str) -> Iterator[av.AudioFrame]:
    samples = np.arange(round((until_s - start_s) * rate))
    wave = 0.5 * np.sin(2 * np.pi * 440 * samples / rate) * (samples / rate + start_s >= BEEP_S)
    channels = av.AudioLayout(layout).nb_channels
    for first in range(0, len(wave), 1024):
        block = np.repeat(wave[first : first + 1024].astype(np.float32), channels)[None]
        frame = av.AudioFrame.from_ndarray(block, "flt", layout)
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = first + round(start_s * rate)
        yield frame


@dataclass(frozen=True)
class Contents:
    """What a plain decode of a file finds: exact times in seconds and pictures in BGR, and its packets of sound."""

    times: list[Fraction]
    images: list[np.ndarray]
    sound: list[tuple[Fraction, int]]  # time in seconds, bytes
    sound_codec: str | None
    sound_s: float  # duration, by the header
    codec: str
    pix_fmt: str
    rate: Fraction
    duration: Fraction
    colours: tuple[int, int, int, int]  # matrix, primaries, transfer, range


def contents(path: Path, *, times_only: bool = False) -> Contents:
    """Decode a whole file; with `times_only`, without its pictures."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        times, images = [], []
        for frame in file.decode(stream):
            times.append(frame.pts * stream.time_base)
            if not times_only:
                images.append(frame.to_ndarray(format="bgr24"))
        context = stream.codec_context
        colours = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
        codec, pix_fmt, rate = context.name, context.pix_fmt, stream.average_rate
        duration = (stream.duration or 0) * stream.time_base
    sound, sound_codec, sound_s = _sound(path)
    return Contents(times, images, sound, sound_codec, sound_s, codec, pix_fmt, rate, duration, colours)


def _sound(path: Path) -> tuple[list[tuple[Fraction, int]], str | None, float]:
    with av.open(str(path)) as file:
        if not file.streams.audio:
            return [], None, 0.0
        stream = file.streams.audio[0]
        packets = [(p.pts * p.time_base, p.size) for p in file.demux(stream) if p.size]
        duration = (stream.duration or 0) * stream.time_base
        return packets, stream.codec_context.codec.canonical_name, float(duration)


def beep_s(path: Path) -> float:
    """When the sound of a file is first heard, seconds on the file's clock."""
    with av.open(str(path)) as file:
        for frame in file.decode(audio=0):
            samples = frame.to_ndarray().astype(np.float64)
            if frame.format.is_planar:
                loud = np.abs(samples).max(0)
            else:
                loud = np.abs(samples.reshape(-1, len(frame.layout.channels))).max(1)
            full = 1.0 if frame.format.name.startswith("flt") else 32768.0
            heard = np.flatnonzero(loud > 0.2 * full)
            if len(heard):
                return float(frame.pts * frame.time_base) + heard[0] / frame.sample_rate
    raise AssertionError(f"{path} is silent")


def atoms(path: Path) -> list[str]:
    """The names of the outermost boxes of an mp4, in order."""
    data, names, at = path.read_bytes(), [], 0
    while at < len(data):
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8].decode("latin-1")
        names.append(name)
        at += int.from_bytes(data[at + 8 : at + 16], "big") if size == 1 else size or len(data)
    return names
