"""A folder to which one run at a time writes."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.atomic import cannot_write
from pipeline.errors import OutputError

LOCK = ".posecli.lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock file, in which the number of this process stands, while the block runs.

    The lock is the system's (flock), which lets go of it whenever a process ends, however it does: the file that a dead
    one has left behind stops nobody. Raises OutputError if another process has it, or the folder cannot be written.
    """
    path = folder / LOCK
    try:
        handle = _take(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)  # only now may others have it


def _take(path: Path) -> int:
    """The lock file, open and locked."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(handle, path):
                return handle
            os.close(handle)  # that of a run which has just ended and removed it
        except BlockingIOError as error:
            number = os.pread(handle, 20, 0).decode(errors="replace").strip()
            os.close(handle)
            who = f"process {number}" if number else "another process"
            raise OutputError(
                f"{path.parent}: {who} is writing to it; wait until it is done, or choose another folder"
            ) from error


def _is_at(handle: int, path: Path) -> bool:
    """Whether an open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
