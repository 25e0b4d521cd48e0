"""Plain values out of JSON files that other programs wrote: every surprise is a DataError that names the file."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import DataError, InputError
from pipeline.json_text import parse_json
from pipeline.limits import check_files

MAX_FRAME = 10**9  # larger numbers are times or hashes
NUMBERS = (int, float, type(None))  # not bool
KINDS = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "null"}


def load_json(path: Path) -> Any:
    """What a JSON file holds. NaN and Infinity, which Python's writer makes, are read as such.

    Raises InputError if it cannot be read, DataError if it is not JSON or larger than `pipeline.limits` allows.
    """
    check_size([path])
    try:
        return parse_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path}: is not valid JSON ({_short(str(error))}); write it anew") from error


def check_size(files: Sequence[Path]) -> None:
    """DataError if the files are larger together than the limit, InputError if one is no ordinary file."""
    for path in files:
        if not path.is_file():
            raise InputError(f"{path}: is not a file; give a file of poses")
    check_files(files, named=files[0] if len(files) == 1 else files[0].parent)


def numbered_files(folder: Path) -> dict[int, Path]:
    """The .json files of a folder by the frame number in their names, in order; hidden files are left out.

    Raises InputError if it is no folder or has no such files, DataError if a name has no number or two have the same.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder; give the folder of the .json files, one for each frame")
    files: dict[int, Path] = {}
    for path in sorted(folder.glob("*.json")):
        if path.name.startswith("."):
            continue
        number = frame_number(path.stem, path)
        if number in files:
            names = f"{files[number].name} and {path.name}"
            raise DataError(f"{folder}: {names} are both frame {number}; keep one clip in a folder")
        files[number] = path
    if not files:
        raise InputError(f"{folder}: has no .json files; give the folder of the .json files, one for each frame")
    check_size(list(files.values()))
    return dict(sorted(files.items()))


def frame_number(label: object, path: Path) -> int:
    """The frame of a label: a whole number, or the last number in a text such as 'clip_000123.jpg' or '123'."""
    number = whole(label)
    if isinstance(label, str):
        found = re.findall("[0-9]+", re.sub(r"\.[A-Za-z]\w*$", "", label))
        digits = found[-1].lstrip("0") if found else ""
        number = int(digits or "0") if found and len(digits) < 12 else None
    if number is None or not 0 <= number <= MAX_FRAME:
        raise DataError(f"{path}: {_short(repr(label))} holds no frame number; number the frames from 0 or 1")
    return number


def whole(value: object) -> int | None:
    """The value if it is a whole number, as int; else None."""
    if type(value) is float and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def expect_list(value: object, path: Path, what: str) -> list[Any]:
    """The value if it is a list; DataError that says what should be one."""
    if not isinstance(value, list):
        raise DataError(f"{path}: {what} should be a list, found {_kind(value)}; does --format fit the file?")
    return value


def expect_object(value: object, path: Path, what: str) -> dict[str, Any]:
    """The value if it is an object; DataError that says what should be one."""
    if not isinstance(value, dict):
        raise DataError(f"{path}: {what} should be an object, found {_kind(value)}; does --format fit the file?")
    return value


def numbers(values: object, path: Path, what: str) -> np.ndarray:
    """Numbers, in lists of equal length, as an array of float64; null is NaN. DataError for anything else."""
    array = np.array(expect_list(values, path, what), object)
    # What is uneven comes out as an array of lists.
    if array.ndim > 2 or any(type(value) not in NUMBERS for value in array.flat):
        raise DataError(f"{path}: {what} should be numbers in lists of equal length; write the file anew")
    try:
        return array.astype(np.float64)
    except OverflowError:
        raise DataError(f"{path}: {what} hold a number that is too large; write the file anew") from None


def _kind(value: object) -> str:
    return KINDS.get(type(value), "a number")


def _short(text: str) -> str:
    """A text of one line and at most 60 characters."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:57] + "..."
