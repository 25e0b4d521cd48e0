"""A variable of a CDF file, by the package cdflib, which goes wherever a damaged file sends it, without end."""

import importlib
import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import DataError
from pipeline.limits import Allowance

READS, BYTES_A_READ = 10_000, 8  # so many reads at least, and for every so many bytes of the file one more


def read_cdf(path: Path, variable: str) -> np.ndarray:
    """All records of a numeric variable, float64; DataError without cdflib, or if the file is damaged or has none."""
    try:
        cdflib = importlib.import_module("cdflib")
    except ImportError as error:
        raise DataError(f"{path}: .cdf files need the package cdflib: pip install 'posecli[h36m]'") from error
    allowance = Allowance(path)
    try:
        file = _reader(cdflib.CDF)(path)
        about = file.varinq(variable)
        allowance.take(8 * (about.Last_Rec + 1) * math.prod(int(size) for size in about.Dim_Sizes))
        return np.asarray(file.varget(variable), np.float64)
    except DataError:
        raise
    except Exception as error:  # cdflib raises many kinds for a damaged or foreign file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: not a CDF file with a variable '{variable}' ({reason}); fetch it again") from error


def _reader(cdf: Any) -> Any:
    """cdflib's class, reading through `_Patience`."""

    class Reader(cdf):
        def _file_or_url_or_s3_handler(self, name: str, *_: Any) -> "_Patience":
            return _Patience(Path(name).open("rb"))

    return Reader


class _Patience:
    """An open file that gives up, by ValueError, after more reads than any sound file needs."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._left = READS + file.seek(0, io.SEEK_END) // BYTES_A_READ
        file.seek(0)

    def read(self, *size: int) -> bytes:
        """As of any file."""
        self._left -= 1
        if self._left < 0:
            raise ValueError("its parts point to each other")
        return self._file.read(*size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
