"""Output files that appear whole or not at all: written beside their destination, renamed onto it when complete."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import OutputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of an empty temporary file that becomes `path` when the block ends well.

    It lies in the folder of `path`, so that the rename is one step, and has the same ending. Whatever exception
    leaves the block, the temporary is removed and a file that `path` already was stays as it was.

    Raises OutputError if `path` is a folder, its folder is missing, or nothing can be created there.
    """
    with _temporary(path) as temporary:
        yield temporary
        try:
            temporary.replace(path.resolve())
        except OSError as error:
            raise cannot_write(path, error) from error


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file, whole or not at all; OutputError if it cannot be written."""
    with replacing(path) as temporary:
        try:
            temporary.write_bytes(content)
        except OSError as error:
            raise cannot_write(path, error) from error


def check_writable(path: Path) -> None:
    """Raise OutputError, as `replacing` would, unless a file can be written at `path`; leaves nothing behind."""
    with _temporary(path):
        pass


def cannot_write(path: Path, error: Exception) -> OutputError:
    """The error for the user when the system refuses to write `path`; of an OSError or the like, its reason."""
    reason = getattr(error, "strerror", None) or error
    return OutputError(f"{path}: cannot be written ({reason}); free some space or choose another folder")


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    try:
        with suppress(FileNotFoundError):
            path.lstat()  # an impossible name, such as one that is too long, is found out here
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; give the name of a file in it")
        if not path.parent.is_dir():
            raise OutputError(f"{path}: there is no folder {path.parent}; create it first")
        # A link stays a link: the file that it points to is replaced, so the temporary must lie beside that.
        temporary = path.resolve().with_name(f".posecli-{secrets.token_hex(6)}{path.suffix}")
    except OSError as error:
        raise cannot_write(path, error) from error
    try:  # from before it is there, as Ctrl-C may come at any moment
        _create(temporary, path)
        yield temporary
    finally:
        with suppress(OSError):  # mostly it is gone; a disk that can only be read says that instead
            temporary.unlink()


def _create(temporary: Path, path: Path) -> None:
    """Tried for real: permission bits say little to root, on network shares and on read-only disks."""
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise cannot_write(path, error) from error
