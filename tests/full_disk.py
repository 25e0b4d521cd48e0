"""A limit on the size of files, which to a program is much like a full disk."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Files grow to so many bytes and no further.

    Only within the block: pytest's own output may be a file too.
    """
    resource = pytest.importorskip("resource", reason="limits on the size of files are a matter of Unix")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
