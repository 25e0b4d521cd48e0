"""HDF5 files that others made: opened, and read, so that a damaged or hostile one ends in an error."""

import math
import mmap
from pathlib import Path

import h5py
import numpy as np

from pipeline.errors import DataError
from pipeline.limits import Allowance

HEAP = b"GCOL\x01\0\0\0"  # begins a collection of texts (HDF5 File Format Specification 3.0, III.E)
HEAD = 16  # bytes of the head of a collection, and of each object in it, with 8 for its size


def open_hdf5(path: Path) -> h5py.File:
    """The file, to be read; OSError or ValueError if it is none or is damaged, further errors as it is read."""
    _check_heaps(path)
    return h5py.File(path, "r")


def _check_heaps(path: Path) -> None:
    """ValueError if an object among the texts has an impossible size: on one of none, the library goes on for ever."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = data.find(HEAP)
        while start >= 0:
            end = start + int.from_bytes(data[start + 8 : start + HEAD], "little")
            at = start + HEAD
            while at + HEAD <= min(end, len(data)):
                size = int.from_bytes(data[at + 8 : at + HEAD], "little")
                free = data[at : at + 2] == b"\0\0"  # what is left over: its size is with its head
                at += size if free else HEAD + (size + 7) // 8 * 8
                if at > end or (free and size < HEAD):
                    raise ValueError("damaged texts")
            start = data.find(HEAP, start + 1)


def stored_array(data: h5py.Dataset, allowance: Allowance) -> np.ndarray:
    """What a data set of an HDF5 file holds, within the allowance.

    Neither the shape nor the chunks, which are unpacked whole, need to have anything to do with the file's size. Raises
    DataError for too much, and for data that lie in another file, which nobody has named.
    """
    if data.external or data.is_virtual or Path(data.file.filename) != allowance.path:
        raise DataError(f"{allowance.path}: {data.name}: refers to another file; give a file that holds its own data")
    shapes = (data.shape or (), data.chunks or ())
    allowance.take(max(math.prod(shape) for shape in shapes) * data.dtype.itemsize)
    return np.asarray(data[()])
