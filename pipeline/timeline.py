"""Timestamps as containers give them, made fit for use: present, strictly increasing, without jumps back."""

from fractions import Fraction

JUMP_S = 1  # seconds; a timestamp that falls back by more is a clock that was reset, by less it is mere disorder


class Timeline:
    """Turns the timestamps of one stream, in their order of presentation, into strictly increasing ones.

    Timestamps are in ticks of `time_base` seconds. `origin` is the one that becomes 0; `period` is the usual distance
    of two, in ticks, a fraction so that it adds up without drift.
    """

    def __init__(self, time_base: Fraction, *, origin: int, period: Fraction) -> None:
        self._origin = origin
        self._period = period
        self._jump = JUMP_S / time_base
        self._last: int | None = None
        self._known = 0  # the last tick that the container told, and how many came since
        self._since = -1

    def tick(self, timestamp: int | None) -> int:
        """The tick for the next timestamp; None stands for a frame that the container has no time for."""
        self._since += 1
        if timestamp is not None:
            self._known, self._since = self._follow(timestamp), 0
        tick = self._known + round(self._since * self._period)
        if self._last is not None:
            tick = max(tick, self._last + 1)
        self._last = tick
        return tick

    def _follow(self, timestamp: int) -> int:
        if self._last is not None and timestamp - self._origin < self._last - self._jump:
            self._origin = timestamp - self._last - max(round(self._period), 1)
        return timestamp - self._origin
