"""How much of the memory a file may take: asked before any is taken, so that files made to exhaust it are refused.

Two environment variables raise the limits for files that are larger and can be trusted:

    POSECLI_MAX_MEGAPIXELS  of a photo or of a frame of a video: 100, a million pixels each
    POSECLI_MAX_MEGABYTES   of a file of poses, labels or motion capture, and what it unpacks to: 512, 2^20 bytes each
"""

import math
import os
import re
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import DataError, InputError

PIXELS, BYTES = "POSECLI_MAX_MEGAPIXELS", "POSECLI_MAX_MEGABYTES"
MAX_SCANS = 100  # of a JPEG; programs write some ten
MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")  # of JPEG, those that a segment follows, and the end
DEFAULTS = {PIXELS: 100.0, BYTES: 512.0}
PIECE = 1 << 20  # bytes that are unpacked at a time
GZIP = 31  # zlib's number for data within gzip's header and checksum


def limit(variable: str) -> float:
    """The value of one of the variables; InputError if it is no number above 0."""
    text = os.environ.get(variable) or str(DEFAULTS[variable])
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise InputError(f"{variable}={text}: give a number above 0, or leave it out")
    return value


def max_pixels() -> int:
    """Pixels that a photo or frame may have."""
    return round(limit(PIXELS) * 1_000_000)


def too_many_pixels(width: int, height: int) -> str:
    """What is wrong with a picture of this size, and the remedy; empty if it is within the limit."""
    if width * height <= max_pixels():
        return ""
    excess = f"{width} x {height} pixels exceed the limit of {limit(PIXELS):g} megapixels"
    return f"{excess}; make the picture smaller, or set {PIXELS}"


def whole_png(png: bytes) -> bool:
    """Whether all parts of a PNG lie within it, up to its end: OpenCV takes as much memory as a part claims to need."""
    at = 8
    while at + 12 <= len(png):
        length, kind = int.from_bytes(png[at : at + 4], "big"), png[at + 4 : at + 8]
        at += 12 + length
        if kind == b"IEND":
            return at <= len(png)
    return False


def too_many_scans(jpeg: bytes) -> str:
    """What is wrong with a JPEG of very many passes over its pixels, and the remedy; empty if there are not as many.

    A pass may be of a few bytes and still take as long as any other.
    """
    scans, at = 0, 2
    while (found := MARKER.search(jpeg, at)) and scans <= MAX_SCANS:
        at = found.end()
        if found[1] == b"\xd9":  # the end; what is behind it is no part of the picture
            break
        scans += found[1] == b"\xda"
        at += int.from_bytes(jpeg[at : at + 2], "big")
    return "" if scans <= MAX_SCANS else f"is a JPEG of more than {MAX_SCANS} scans; save it again, without so many"


class Allowance:
    """The bytes that one file may take: what is taken adds up, so that many small claims are as one large."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.taken = 0

    def take(self, count: int) -> None:
        """Account for so many bytes more; DataError that names the limit if they are too many."""
        self.taken += count
        if self.taken > limit(BYTES) * 2**20:
            size = f"{-(-self.taken // 2**20):,} MB, more than the limit of {limit(BYTES):g} MB"
            raise DataError(f"{self.path}: holds {size}; give a part of it, or set {BYTES}")


def check_files(paths: Iterable[Path], *, named: Path) -> None:
    """DataError, naming `named`, if files are larger together than the limit; one that is not there counts nothing."""
    allowance = Allowance(named)
    for path in paths:
        allowance.take(path.stat().st_size if path.is_file() else 0)


def check_archive(path: Path) -> None:
    """DataError if a zip file (.npz) unpacks to more than the limit; what zipfile raises if it is none."""
    allowance = Allowance(path)
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():  # a member is never read beyond the size that stands here
            allowance.take(entry.file_size)


def unpacked(data: bytes, allowance: Allowance, *, wbits: int = zlib.MAX_WBITS) -> bytes:
    """What zlib, or with GZIP as `wbits` gzip, packed; zlib.error or ValueError if it is damaged.

    DataError if it is too large. It is unpacked twice, first only to count, so that none of it is held before that.
    """
    return zlib.decompress(data, wbits, bufsize=max(_unpacked_size(data, allowance, wbits), 1))


def _unpacked_size(data: bytes, allowance: Allowance, wbits: int) -> int:
    unpacker, start, size = zlib.decompressobj(wbits), 0, 0
    given = b""
    while not unpacker.eof:
        if not given:
            given, start = data[start : start + PIECE], start + PIECE
        piece = unpacker.decompress(given, PIECE)
        if not (given or piece or unpacker.eof):
            raise ValueError("it is cut short")
        given = unpacker.unconsumed_tail
        allowance.take(len(piece))
        size += len(piece)
    return size
