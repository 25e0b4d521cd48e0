"""Decoding while the network runs: an iterator's next items are made in a thread of its own, a few ahead."""

from collections import deque
from collections.abc import Generator, Iterable
from threading import Condition, Thread
from typing import Generic, TypeVar

Item = TypeVar("Item")

AHEAD = 4  # items; at 4K a frame has 25 MB


def read_ahead(items: Iterable[Item], *, limit: int = AHEAD) -> Generator[Item, None, None]:
    """The same items in the same order, of which at most `limit` wait to be taken while another is being made.

    The first one is asked for when the first is taken. An exception of `items` is raised after the items before it.
    When this iterator is closed, runs out or is forgotten, the thread has ended and `items`, if a generator, is closed;
    it must be used nowhere else.
    """
    if limit < 1:
        raise ValueError(f"at least one item must be allowed to wait, not {limit}")
    shelf: _Shelf[Item] = _Shelf(limit)
    thread = Thread(target=shelf.fill, args=(items,), name="read_ahead", daemon=True)
    thread.start()
    try:
        while (taken := shelf.take()) is not None:
            yield taken[0]
    finally:
        shelf.close()
        thread.join()


class _Shelf(Generic[Item]):
    """Where one thread puts items and another takes them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[Item] = deque()
        self._changed = Condition()
        self._closed = False  # nobody will take any more
        self._full_stop = False  # nothing more will be put
        self._error: BaseException | None = None

    def fill(self, items: Iterable[Item]) -> None:
        """Put all items, or as many as are wanted, and remember what went wrong."""
        try:
            for item in items:
                if not self._put(item):
                    break
            if isinstance(items, Generator):
                items.close()
        except BaseException as error:  # raised in the other thread
            self._error = error
        with self._changed:
            self._full_stop = True
            self._changed.notify()

    def _put(self, item: Item) -> bool:
        """Wait for room; False if no more items are wanted."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._limit)
            if not self._closed:
                self._items.append(item)
                self._changed.notify()
            return not self._closed

    def take(self) -> tuple[Item] | None:
        """Wait for the next item; None after the last one, or the error that ended them."""
        with self._changed:
            self._changed.wait_for(lambda: self._full_stop or self._items)
            if self._items:
                self._changed.notify()
                return (self._items.popleft(),)
        if self._error is not None:
            raise self._error
        return None

    def close(self) -> None:
        """Let the other thread end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
