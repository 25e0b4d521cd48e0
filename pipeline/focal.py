"""The focal length of the camera: told by the user, noted in the file by the camera, or guessed from the frame.

Cameras that note it write the 35 mm equivalent: the focal length that sees as much on 35 mm film. By the diagonals
(CIPA DCG-001) it is f35 / 43.27 mm of the frame's diagonal, whichever way the frame is turned.
"""

import struct
from itertools import chain
from pathlib import Path

import av
import numpy as np

from pipeline.camera import Intrinsics
from pipeline.container import open_container
from pipeline.errors import InputError

FILM_DIAGONAL_MM = float(np.hypot(36.0, 24.0))
LEAST_MM, GREATEST_MM = 5.0, 2000.0  # of a 35 mm equivalent; what is beyond is a mistake, and 0 means unknown
LEAST_FOV, GREATEST_FOV = 10.0, 170.0  # degrees

VIDEO_TAG = "com.apple.quicktime.camera.focal_length.35mm_equivalent"
EXIF_START = b"Exif\0\0"
EXIF_WITHIN = 1 << 18  # bytes from the start of a photo: the tags come before the picture
EXIF_IFD, FOCAL_IN_35MM = 0x8769, 0xA405  # tags of EXIF 2.32


def focal_length(
    width: int, height: int, *, fov: float | None = None, equivalent_mm: float | None = None
) -> tuple[float, str]:
    """Focal length in pixels of a frame, and its origin: '--fov', 'metadata' or 'guess', the first that there is.

    `fov` is the horizontal field of view in degrees, `equivalent_mm` the 35 mm equivalent that the file notes. The
    guess is that of `Intrinsics.guess`. InputError if `fov` is not within 10 to 170.
    """
    if fov is not None:
        if not LEAST_FOV <= fov <= GREATEST_FOV:
            raise InputError(
                f"--fov {fov:g}: give the horizontal field of view, {LEAST_FOV:g} to {GREATEST_FOV:g} degrees"
            )
        return width / 2 / float(np.tan(np.radians(fov / 2))), "--fov"
    if equivalent_mm is not None:
        return equivalent_mm / FILM_DIAGONAL_MM * float(np.hypot(width, height)), "metadata"
    return Intrinsics.guess(width, height).fx, "guess"


def video_equivalent(path: Path | str) -> float | None:
    """The 35 mm equivalent, mm, that a QuickTime or MP4 file notes for its camera; None if it notes no likely one.

    Raises InputError if the file cannot be opened as a video.
    """
    try:
        with open_container(Path(path)) as container:
            tags = [container.metadata, *(stream.metadata for stream in container.streams.video)]
            values = [value for name, value in chain.from_iterable(tag.items() for tag in tags) if name == VIDEO_TAG]
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{path}: cannot be opened as a video; check its name, or convert it to mp4") from error
    return next((number for number in map(_number, values) if _likely(number)), None)


def photo_equivalent(path: Path | str) -> float | None:
    """The 35 mm equivalent, mm, in the EXIF tags of a JPEG; None if there is no likely one, or the tags are damaged.

    Raises InputError if the file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(EXIF_WITHIN)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its name and permissions") from error
    at = max(data.find(EXIF_START + b"II*\0"), data.find(EXIF_START + b"MM\0*"))
    if at < 0:
        return None
    try:
        number = _exif_short(data[at + len(EXIF_START) :])
    except struct.error:  # the tags point outside of the file
        return None
    return number if _likely(number) else None


def _exif_short(tiff: bytes) -> float:
    """FocalLengthIn35mmFilm of a TIFF block, 0 if it is not there; struct.error if the block is damaged."""
    order = "<" if tiff.startswith(b"II") else ">"
    first = _entries(tiff, struct.unpack_from(f"{order}I", tiff, 4)[0], order)
    if EXIF_IFD not in first:
        return 0.0
    inner = _entries(tiff, struct.unpack(f"{order}I", first[EXIF_IFD])[0], order)
    return float(struct.unpack(f"{order}H", inner[FOCAL_IN_35MM][:2])[0]) if FOCAL_IN_35MM in inner else 0.0


def _entries(tiff: bytes, offset: int, order: str) -> dict[int, bytes]:
    """Tag -> its four bytes of value, of the directory at an offset of a TIFF block."""
    count = struct.unpack_from(f"{order}H", tiff, offset)[0]
    rows = [struct.unpack_from(f"{order}HHI4s", tiff, offset + 2 + 12 * row) for row in range(count)]
    return {tag: value for tag, _, _, value in rows}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _likely(equivalent_mm: float) -> bool:
    return LEAST_MM <= equivalent_mm <= GREATEST_MM
