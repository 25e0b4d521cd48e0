"""Still images in and out: JPEG and PNG as upright BGR arrays."""

import struct
from pathlib import Path

import cv2
import numpy as np

from pipeline.atomic import write_whole
from pipeline.errors import InputError, OutputError
from pipeline.limits import check_files, too_many_pixels, too_many_scans, whole_png

PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_END = b"IEND\xae\x42\x60\x82"
JPEG_START = b"\xff\xd8\xff"
JPEG_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xDA)}  # markers that stand alone
JPEG_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of the segment that has the size
SUFFIXES = (".jpg", ".jpeg", ".png")


def read_image(path: Path | str) -> np.ndarray:
    """A JPEG or PNG file, whatever its name, as an image (H, W, 3) uint8 BGR, turned as its EXIF tag says.

    Transparency is dropped, grey and 16-bit images are converted. Raises InputError if the file is missing, is
    neither kind, is damaged, or has more pixels than `pipeline.limits` allows.
    """
    path = Path(path)
    data = _read(path)
    size = _png_size(data) if data.startswith(PNG_START) else _jpeg_size(data)
    if size is None:
        raise _damaged(path)
    if excess := too_many_pixels(*size):  # before anything is decoded
        raise InputError(f"{path}: {excess}")
    if data.startswith(JPEG_START) and (excess := too_many_scans(data)):
        raise InputError(f"{path}: {excess}")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise _damaged(path) from error
    if image is None:
        raise _damaged(path)
    return image


def write_image(path: Path | str, image: np.ndarray) -> None:
    """Write an image (H, W, 3) uint8 BGR as JPEG or PNG, by the ending of `path`; whole or not at all.

    Raises OutputError if the ending is another one or the file cannot be written.
    """
    path = Path(path)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"expected a BGR image (H, W, 3) uint8, got {image.shape} {image.dtype}")
    if path.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{path}: images are written as {', '.join(SUFFIXES)}; choose one of these endings")
    try:
        done, data = cv2.imencode(path.suffix.lower(), image)
    except cv2.error:
        done = False
    if not done:
        raise OutputError(f"{path}: {image.shape[1]} x {image.shape[0]} pixels do not fit into such a file")
    write_whole(path, data.tobytes())


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            start = file.read(len(PNG_START))
            if not start.startswith((PNG_START, JPEG_START)):  # before a whole video is read into memory
                raise InputError(f"{path}: is neither JPEG nor PNG; convert it to one of them")
            check_files([path], named=path)
            return start + file.read()
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a folder; give an image file") from error
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file; check its name and folder") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error


def _damaged(path: Path) -> InputError:
    return InputError(f"{path}: is damaged or was cut short; copy or download it again")


def _png_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) of a PNG; None if it is cut short, so that the decoder needs not complain on the terminal, or
    if a part claims more than there is.
    """
    if data.rfind(PNG_END) < 0 or data[12:16] != b"IHDR" or not whole_png(data):
        return None
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) of a JPEG, as stored; None if there is no such segment."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in JPEG_FRAME:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in JPEG_WITHOUT_LENGTH:
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
