"""Photo files: their size and whether they are whole, from a few bytes, and their pixels as they are stored.

Labels count the pixels as stored, so an orientation noted in the file (EXIF) is ignored.
"""

import io
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from pipeline.errors import DataError

AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION

MAX_PIXELS = 100_000_000  # a header that says more is damaged, or made to exhaust the memory
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"
NOT_FRAMES = (0xC4, 0xC8, 0xCC)  # the JPEG markers among 0xC0 to 0xCF that do not start a frame


def read_photo(path: Path) -> np.ndarray:
    """The photo as (H, W, 3) uint8 BGR, not turned; DataError if it is missing, cut short or no photo."""
    try:
        data = path.read_bytes()
    except (OSError, ValueError):  # ValueError: a name that no file can have
        data = b""
    image = None
    if _known(data) and _size(io.BytesIO(data)) is None:  # OpenCV would make up what is missing
        raise DataError(f"{path}: damaged or cut short; unpack the data set again")
    if data:
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), AS_STORED)
        except cv2.error:  # larger than OpenCV allows
            image = None
    if image is None:
        raise DataError(f"{path}: missing or not an image; unpack the data set again")
    return image


def is_there(path: Path) -> bool:
    """Whether there is a file of this name; no name is too odd to ask for."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def photo_size(path: Path) -> tuple[int, int] | None:
    """(width, height) in pixels as stored; None if the photo is missing, cut short or no photo.

    Of JPEG and PNG only the first and last bytes are read. Others are decoded.
    """
    try:
        if not is_there(path):
            return None
        with path.open("rb") as file:
            if _known(file.read(len(PNG_START))):
                return _size(file)
        height, width = read_photo(path).shape[:2]
    except (OSError, DataError):
        return None
    return width, height


def photo_sizes(files: list[Path]) -> np.ndarray:
    """`photo_size` of every file as (N, 2) float64, NaN where there is none; a file named again is not read again."""
    sizes = {path: photo_size(path) or (np.nan, np.nan) for path in dict.fromkeys(files)}
    return np.array([sizes[path] for path in files], np.float64).reshape(-1, 2)


def _known(start: bytes) -> bool:
    return start.startswith((JPEG_START, PNG_START))


def _size(file: BinaryIO) -> tuple[int, int] | None:
    """(width, height) of a whole JPEG or PNG, None of a damaged one."""
    file.seek(0)
    size, end = (_jpeg_size(file), JPEG_END) if file.read(2) == JPEG_START else (_png_size(file), PNG_END)
    plausible = size is not None and 0 < size[0] * size[1] <= MAX_PIXELS
    return size if plausible and _has_end(file, end) else None


def _png_size(file: BinaryIO) -> tuple[int, int]:
    file.seek(16)
    return int.from_bytes(file.read(4), "big"), int.from_bytes(file.read(4), "big")


def _jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    """Size of a JPEG (ITU-T T.81, annex B) read from behind its first marker; leaves `file` where the pixels start."""
    size = None
    while True:
        mark = file.read(4)
        while mark[:2] == b"\xff\xff":  # a marker may be padded
            mark = mark[1:] + file.read(1)
        length = int.from_bytes(mark[2:], "big")
        if len(mark) < 4 or mark[0] != 0xFF or length < 2:
            return None
        if mark[1] == 0xDA:  # start of scan
            return size
        content = file.read(length - 2)
        if 0xC0 <= mark[1] <= 0xCF and mark[1] not in NOT_FRAMES:
            size = int.from_bytes(content[3:5], "big"), int.from_bytes(content[1:3], "big")


def _has_end(file: BinaryIO, end: bytes) -> bool:
    """Whether the end mark comes somewhere behind the place where `file` is; some programs append to a photo."""
    start = file.tell()
    tail = max(file.seek(0, io.SEEK_END) - 512, start)
    file.seek(tail)
    if end in file.read():
        return True
    file.seek(start)
    return end in file.read()
