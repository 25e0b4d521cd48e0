"""A variable of a CDF file, by the package cdflib, which goes wherever a damaged file sends it, without end, and
unpacks whatever is packed in it.
"""

import importlib
import io
import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pipeline.errors import DataError
from pipeline.limits import GZIP, Allowance, check_files, unpacked

LOOKS, BYTES_A_LOOK = 10_000, 8  # so many at least, and for every so many bytes of the file one more
NOT_PACKED = b"\x00\x00\xff\xff"  # behind the four bytes that every CDF file begins with; else it is packed as a whole
LATER = b"\xcd\xf3\x00\x01"  # version 3, where sizes and places take 8 bytes; in version 2 they take 4
BY_GZIP, PACKED_BLOCK, BLOCK = 5, 13, 7  # CDF's numbers of a way to pack, and of kinds of records
TEXTS = (51, 52)  # ... and of types


def read_cdf(path: Path, variable: str) -> np.ndarray:
    """All records of a numeric variable, float64; DataError without cdflib, or if the file is damaged, has none, or
    takes more memory than `pipeline.limits` allows.
    """
    try:
        cdflib = importlib.import_module("cdflib")
    except ImportError as error:
        raise DataError(f"{path}: .cdf files need the package cdflib: pip install 'posecli[h36m]'") from error
    check_files([path], named=path)
    try:
        file = _reader(cdflib.CDF)(path)
        Allowance(path).take(_claimed(file.varinq(variable)))
        return np.asarray(file.varget(variable), np.float64)
    except DataError:
        raise
    except Exception as error:  # cdflib raises many kinds for a damaged or foreign file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: not a CDF file with a variable '{variable}' ({reason}); fetch it again") from error


def _claimed(about: Any) -> int:
    """Bytes that the numbers of a variable take, by what it says of itself; ValueError if it cannot be."""
    if about.Data_Type in TEXTS:
        raise ValueError("it is of texts")
    sizes = [int(size) for size, varies in zip(about.Dim_Sizes, about.Dim_Vary, strict=True) if varies]
    if min([about.Last_Rec, *sizes]) < 0:
        raise ValueError("it has no records, or a size below nothing")
    return 8 * (about.Last_Rec + 1) * math.prod(sizes)


def _reader(cdf: Any) -> Any:
    """cdflib's class, reading through `_Patience` and unpacking within the limit."""

    class Reader(cdf):
        def _file_or_url_or_s3_handler(self, name: str, *_: Any) -> "_Patience":
            self.allowance = Allowance(Path(name))
            return _Patience(_whole(Path(name)))

        def _read_vvr_block(self, offset: int) -> bytes:
            return self._block(offset, word=8)

        def _read_vvr_block2(self, offset: int) -> bytes:
            return self._block(offset, word=4)

        def _block(self, offset: int, *, word: int) -> bytes:
            """The records of a block, unpacked. Many entries may name the same one, so each use counts."""
            self._f.seek(offset)
            size = int.from_bytes(self._f.read(word), "big")
            kind = int.from_bytes(self._f.read(4), "big")
            inside = bytes(self._f.read(max(size - word - 4, 0)))
            if kind == BLOCK:
                self.allowance.take(len(inside))
                return inside
            if kind != PACKED_BLOCK:
                raise ValueError("a block of another kind")
            size = int.from_bytes(inside[4 : 4 + word], "big")
            return unpacked(inside[4 + word : 4 + word + size], self.allowance, wbits=GZIP)

    return Reader


def _whole(path: Path) -> BinaryIO:
    """The file, or in its place what is in it if it is packed as a whole, of which cdflib would make a second file.

    Raises DataError for too much, zlib.error or ValueError if it is damaged or packed in a way other than gzip's.
    """
    file = path.open("rb")
    start = file.read(8)
    file.seek(0)
    if start[4:] == NOT_PACKED:
        return file
    with file:
        data = file.read()
    word = 8 if start[:4] == LATER else 4
    size, at = (int.from_bytes(data[place : place + word], "big") for place in (8, 12 + word))
    if int.from_bytes(data[at + word + 4 : at + word + 8], "big") != BY_GZIP:
        raise ValueError("it is not packed by gzip")
    inside = data[16 + 3 * word : 8 + size]
    return io.BytesIO(start[:4] + NOT_PACKED + unpacked(inside, Allowance(path), wbits=GZIP))


class _Patience:
    """An open file that gives up, by ValueError, after more looks at its bytes than any sound file needs."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = LOOKS + file.seek(0, io.SEEK_END) // BYTES_A_LOOK
        file.seek(0)

    def read(self, *size: int) -> bytes:
        """As of any file."""
        self.look()
        record = _Record(self._file.read(*size))
        record.patience = self
        return record

    def look(self) -> None:
        """Account for one more."""
        self._left -= 1
        if self._left < 0:
            raise ValueError("its parts point to each other")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Record(bytes):
    """Bytes of a file; each look at a part of them counts."""

    patience: _Patience

    def __getitem__(self, part: Any) -> Any:
        self.patience.look()
        return super().__getitem__(part)
