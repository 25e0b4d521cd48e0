"""MATLAB files, versions 5 to 7 (MathWorks, MAT-File Format): a damaged one is an error, where SciPy may crash.

SciPy trusts the types that a file states and leaves its own memory when one is wrong. So all variables are checked tag
by tag before SciPy sees them, compressed ones as they come out of the decompression, which checks their checksums.
"""

import struct
from pathlib import Path
from typing import Any

import h5py
from scipy.io import loadmat

from pipeline.errors import DataError
from pipeline.limits import Allowance, unpacked

NUMBERS, TEXT, MATRIX, COMPRESSED = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13}, {1, 2, 3, 4, 16, 17, 18}, 14, 15
CELL, STRUCT, CHAR, NUMERIC = 1, 2, 4, range(6, 16)  # classes of a matrix


def read_matlab(path: Path, variable: str, *, what: str, **options: Any) -> Any:
    """A variable of a MATLAB file, by scipy.io.loadmat with these options; DataError if that is not to be had.

    `what` is what the error calls the variable, such as "an array".
    """
    allowance = Allowance(path)
    try:
        allowance.take(path.stat().st_size)
        data = path.read_bytes()
        if data[124:128] in (b"\x00\x01IM", b"\x01\x00MI"):
            _check(data, variable, allowance)
        return loadmat(path, variable_names=[variable], **options)[variable]
    except DataError:
        raise
    except Exception as error:  # scipy raises many kinds for a damaged or foreign file
        newer = isinstance(error, NotImplementedError) or h5py.is_hdf5(path)
        remedy = "it is of version 7.3, save it with MATLAB's option -v7" if newer else "unpack it again"
        raise DataError(f"{path}: not a MATLAB file with {what} '{variable}' ({error}); {remedy}") from error


def _check(data: bytes, variable: str, allowance: Allowance) -> None:
    """ValueError or zlib.error unless the variable of that name, if it is there, is sound; DataError for too much."""
    order = "<" if data[126:128] == b"IM" else ">"
    at = 128
    while at < len(data):
        kind, size = struct.unpack_from(order + "II", data, at)
        at += 8 + size
        if at > len(data):
            raise ValueError("it is cut short")
        if kind == COMPRESSED:
            inside = unpacked(data[at - size : at], allowance)
            kind, size = struct.unpack_from(order + "II", inside)
            if kind != MATRIX or 8 + size > len(inside):
                raise ValueError("it is damaged")
            _Tags(inside, order).check(8, 8 + size, name=variable)
        elif kind != MATRIX:
            raise ValueError("it is damaged")
        else:
            _Tags(data, order).check(at - size, at, name=variable)


class _Tags:
    """The data elements of a file: each has its type and size, then its content."""

    def __init__(self, data: bytes, order: str) -> None:
        self.data, self.pair = data, struct.Struct(order + "II")

    def _next(self, at: int, end: int, kinds: set[int]) -> tuple[int, int, int]:
        """Where the element at `at` has its content, where that ends, and where the next one is."""
        if at + 8 > end:
            raise ValueError("it is damaged")
        kind, size = self.pair.unpack_from(self.data, at)
        if kind >> 16:  # up to four bytes stand in the tag itself
            kind, size, start, following = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        else:
            start = at + 8
            following = start + (size if kind == MATRIX else (size + 7) // 8 * 8)
        if kind not in kinds or start + size > min(following, end) or following > end:
            raise ValueError("it is damaged")
        return start, start + size, following

    def check(self, at: int, end: int, *, name: str | None = None) -> None:
        """Raise ValueError unless the matrix with its content from `at` to `end` is sound, or has another name."""
        if at == end:  # how an empty one may be written
            return
        start, _, at = self._next(at, end, {6})
        flags, _ = self.pair.unpack_from(self.data, start)
        _, _, at = self._next(at, end, {5})
        start, stop, at = self._next(at, end, {1})
        if name is not None and self.data[start:stop] != name.encode():
            return
        kind = flags & 0xFF
        if kind == STRUCT:
            for kinds in ({5}, {1}):
                _, _, at = self._next(at, end, kinds)
        if kind in (CELL, STRUCT):
            while at < end:
                start, stop, at = self._next(at, end, {MATRIX})
                self.check(start, stop)
        elif kind == CHAR or kind in NUMERIC:
            for _ in range(2 if flags & 0x800 else 1):  # complex numbers are in two parts
                _, _, at = self._next(at, end, TEXT if kind == CHAR else NUMBERS)
        else:
            raise ValueError("it is of another kind, or damaged")
