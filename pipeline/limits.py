"""How much of the memory a file may take: asked before any is taken, so that files made to exhaust it are refused.

Two environment variables raise the limits for files that are larger and can be trusted:

    POSECLI_MAX_MEGAPIXELS  of a photo or of a frame of a video: 100, a million pixels each
    POSECLI_MAX_MEGABYTES   of a file of poses, labels or motion capture, and what it unpacks to: 512, 2^20 bytes each
"""

import math
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import DataError, InputError

PIXELS, BYTES = "POSECLI_MAX_MEGAPIXELS", "POSECLI_MAX_MEGABYTES"
DEFAULTS = {PIXELS: 100.0, BYTES: 512.0}


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
