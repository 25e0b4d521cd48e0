"""A look at pickles before anything reads them, also where what reads them executes nothing.

Unpicklers hash the keys of dictionaries and follow what is nested in C, where nesting has no limit but the stack: a
small file can end the program, or double what it holds thirty times over. Poses and checkpoints are of a plain shape,
and what is not is refused. And PyTorch's files, which hold pickles.
"""

import pickletools
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.errors import CheckpointError

ZIP, PICKLE = b"PK\x03\x04", b"\x80"
MAX_DEPTH = 100  # of what is nested
MAX_PARTS = 10_000_000  # of everything, what is there twice counted twice
MAX_KEY = 100  # parts of a key
LEGACY_PICKLES = 5  # in a file of PyTorch's before 1.6, one after another
CHANGING = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")  # operations on what is there already


@dataclass
class _Part:
    """What stands on the stack of an unpickler, by its size alone."""

    parts: int = 1  # that it has, itself included
    depth: int = 1
    held: bool = False  # it is a part of something else


def check_pickle(file: IO[bytes]) -> None:
    """Walk through a pickle, from where `file` is to behind its end, without making anything of it.

    Raises ValueError if it is nested deeply or holds itself, if it unfolds to very much, if it has keys that are large,
    or if it is damaged.
    """
    stack: list[_Part | None] = []  # None is a mark
    memo: dict[object, _Part] = {}
    for operation, argument, _ in pickletools.genops(file):
        name = operation.name
        try:
            if name == "MARK":
                stack.append(None)
            elif "PUT" in name or name == "MEMOIZE":
                memo[len(memo) if argument is None else argument] = _top(stack)
            elif "GET" in name:
                stack.append(memo[argument])
            elif name == "DUP":
                stack.append(_top(stack))
            else:
                taken = _taken(stack, operation)
                for _ in operation.stack_after:  # one or none
                    stack.append(_changed(taken, name) if taken else _Part())
        except (IndexError, KeyError) as error:
            raise ValueError("a damaged pickle") from error


def _top(stack: list[_Part | None]) -> _Part:
    part = stack[-1]
    if part is None:
        raise ValueError("a damaged pickle")
    return part


def _taken(stack: list[_Part | None], operation: pickletools.OpcodeInfo) -> list[_Part]:
    """Take off the stack what an operation does."""
    wanted = operation.stack_before
    behind: list[_Part] = []
    if pickletools.markobject in wanted:
        while (part := stack.pop()) is not None:
            behind.append(part)
        wanted = wanted[: wanted.index(pickletools.markobject)]
    before: list[_Part] = []
    for _ in wanted:
        before.append(_top(stack))
        stack.pop()
    return [*reversed(before), *reversed(behind)]


def _changed(taken: list[_Part], name: str) -> _Part:
    """What comes of an operation's operands: a new part that holds them, or the first with the others added to it."""
    first, *others = taken
    keys = others[::2] if name.startswith("SETITEM") else taken[::2] if name == "DICT" else []
    if name in ("ADDITEMS", "FROZENSET"):
        keys = others if name == "ADDITEMS" else taken
    if any(key.parts > MAX_KEY for key in keys):
        raise ValueError("a pickle with keys of many parts")
    whole = first if name in CHANGING else _Part()
    if whole.held or any(part is whole for part in others):  # so that nothing grows behind the back of what holds it
        raise ValueError("a pickle of things that hold each other")
    for part in others if whole is first else taken:
        part.held = True
        whole.parts += part.parts
        whole.depth = max(whole.depth, part.depth + 1)
    if whole.depth > MAX_DEPTH or whole.parts > MAX_PARTS:
        raise ValueError("a pickle that is nested too deeply or too often")
    return whole


def check_torch_file(path: Path) -> None:
    """CheckpointError unless a file begins like one of PyTorch's, and does not unpack to more than it is.

    Raises ValueError for pickles in it that `check_pickle` refuses, and what zipfile raises if it is damaged.
    """
    with path.open("rb") as file:
        start = file.read(len(ZIP))
        if start[:1] == PICKLE:
            file.seek(0)
            for _ in range(LEGACY_PICKLES):
                check_pickle(file)
            return
    if start != ZIP:
        raise CheckpointError(f"{path}: not a checkpoint of PyTorch; give the .pth, .pt or .pth.tar file itself")
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        # torch.save never compresses, so that a file which grows was made for that.
        if any(e.compress_type for e in entries) or sum(e.file_size for e in entries) > path.stat().st_size:
            raise CheckpointError(f"{path}: unpacks to more than it holds, as no checkpoint does; fetch it elsewhere")
        for entry in entries:
            if entry.filename.endswith(".pkl"):
                with archive.open(entry) as member:
                    check_pickle(member)
