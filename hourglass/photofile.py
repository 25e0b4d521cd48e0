"""Photo files: their size and whether they are whole, from a few bytes, and their pixels as they are stored.

Labels count the pixels as stored, so an orientation noted in the file (EXIF) is ignored.
"""

import io
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from pipeline.errors import DataError
from pipeline.limits import check_files, too_many_pixels, too_many_scans, whole_png

AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"
BITMAP_START, WEBP_START = b"BM", (b"RIFF", b"WEBP")  # the second with four bytes between
NOT_FRAMES = (0xC4, 0xC8, 0xCC)  # the JPEG markers among 0xC0 to 0xCF that do not start a frame


def read_photo(path: Path) -> np.ndarray:
    """The photo as (H, W, 3) uint8 BGR, not turned; DataError if it is missing, cut short or no photo."""
    try:
        check_files([path], named=path)
        data = path.read_bytes()
    except (OSError, ValueError):  # ValueError: a name that no file can have
        data = b""
    image = None
    size = _size(io.BytesIO(data))
    cut = size is None or (data.startswith(PNG_START) and not whole_png(data))
    if _known(data) and cut:  # OpenCV would make up what is missing
        raise DataError(f"{path}: damaged or cut short; unpack the data set again")
    if size is not None:  # OpenCV reads more kinds, whose size would not be known before all memory is taken
        if excess := too_many_pixels(*size):
            raise DataError(f"{path}: {excess}")
        if data.startswith(JPEG_START) and (excess := too_many_scans(data)):
            raise DataError(f"{path}: {excess}")
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
    """(width, height) in pixels as stored; None if the photo is missing, cut short, too large or no photo.

    Of JPEG and PNG only the first and last bytes are read. Others are decoded.
    """
    try:
        if not is_there(path):
            return None
        with path.open("rb") as file:
            if _known(file.read(len(PNG_START))):
                size = _size(file)
                return None if size is None or too_many_pixels(*size) else size
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
    """(width, height) of a whole JPEG or PNG, or by the header of a BMP or WebP; None if there is none."""
    file.seek(0)
    start = file.read(30)
    if start.startswith(BITMAP_START) or (start[:4], start[8:12]) == WEBP_START:
        size = _bitmap_size(start) if start.startswith(BITMAP_START) else _webp_size(start)
        return size if size is not None and size[0] * size[1] > 0 else None
    if not _known(start):
        return None
    file.seek(2)
    size, end = (_jpeg_size(file), JPEG_END) if start.startswith(JPEG_START) else (_png_size(file), PNG_END)
    return size if size is not None and size[0] * size[1] > 0 and _has_end(file, end) else None


def _bitmap_size(start: bytes) -> tuple[int, int]:
    """By the header of Windows', or the older one of OS/2; rows from the top down are written as a negative height."""
    old = start[14:18] == b"\x0c\0\0\0"
    width, height = (start[18:20], start[20:22]) if old else (start[18:22], start[22:26])
    across, down = (abs(int.from_bytes(side, "little", signed=not old)) for side in (width, height))
    return across, down


def _webp_size(start: bytes) -> tuple[int, int] | None:
    """By the first chunk (RFC 9649): with loss, without, or of several parts."""
    shape = start[12:16]
    if shape == b"VP8 ":
        return int.from_bytes(start[26:28], "little") & 0x3FFF, int.from_bytes(start[28:30], "little") & 0x3FFF
    if shape == b"VP8L":
        bits = int.from_bytes(start[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if shape == b"VP8X":
        return int.from_bytes(start[24:27], "little") + 1, int.from_bytes(start[27:30], "little") + 1
    return None


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
