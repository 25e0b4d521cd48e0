"""How long the stages of a program take. Functions are wrapped from outside; what they run stays as it is."""

import copy
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")
Stage = TypeVar("Stage")


class Stopwatch:
    """Time by stage and frame. A stage within another counts for itself alone, so that the sum counts nothing twice.

    `frame` is the number of the frame that is being worked on, None for what is done once for the whole clip.
    `settle` waits for what a device has not finished when a function returns.
    """

    def __init__(self, settle: Callable[[], object] | None = None) -> None:
        self.frame: int | None = None
        self._settle = settle or (lambda: None)
        self._calls: Counter[str] = Counter()
        self._wall: dict[str, dict[int | None, float]] = defaultdict(lambda: defaultdict(float))  # s
        self._cpu: dict[str, float] = defaultdict(float)  # s of all threads of the process
        self._inner = (0.0, 0.0)  # s, wall and CPU, of the stages that ended within the one that runs

    def timed(self, stage: str, function: Callable[Given, Result]) -> Callable[Given, Result]:
        """The same function, whose time is that of a stage."""

        def run(*args: Given.args, **named: Given.kwargs) -> Result:
            outer, self._inner = self._inner, (0.0, 0.0)
            wall, cpu = time.perf_counter(), time.process_time()
            try:
                result = function(*args, **named)
                self._settle()
                return result
            finally:
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                self._calls[stage] += 1
                self._wall[stage][self.frame] += wall - self._inner[0]
                self._cpu[stage] += cpu - self._inner[1]
                self._inner = (outer[0] + wall, outer[1] + cpu)

        return run

    def watched(self, thing: Stage, **methods: str) -> Stage:
        """A copy of a thing that shares all it has, whose methods of these names count for these stages."""
        twin = copy.copy(thing)
        vars(twin).update({name: self.timed(stage, getattr(thing, name)) for name, stage in methods.items()})
        return twin

    def seconds(self) -> float:
        """Of all stages together, on the clock."""
        return sum(sum(frames.values()) for frames in self._wall.values())

    def figures(self, stage: str, *, frames: int) -> dict[str, Any]:
        """What a stage of a clip of so many frames took:

        calls         number of calls
        ms            mean per frame, milliseconds on the clock, what is done once for the clip shared out
        median_ms     median over the frames of what was done for each; None if nothing was
        cpu_ms        as `ms`, of processor time over all threads
        frames_per_s  1000 / ms: how fast this stage would be alone; None where it took no time
        """
        spent = self._wall[stage]
        each = [spent.get(number, 0.0) for number in range(frames)]
        ms = 1000 * sum(spent.values()) / frames
        return {
            "calls": self._calls[stage],
            "ms": ms,
            "median_ms": 1000 * statistics.median(each) if any(number is not None for number in spent) else None,
            "cpu_ms": 1000 * self._cpu[stage] / frames,
            "frames_per_s": 1000 / ms if ms else None,
        }
