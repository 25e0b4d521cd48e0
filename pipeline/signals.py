"""How the program ends when it is told to from outside: tidily, like after Ctrl-C."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

ENDINGS = ("SIGTERM", "SIGHUP")  # of `kill`, a shutdown or a job's time limit; of a terminal that is closed


@contextmanager
def tidy_end() -> Iterator[None]:
    """While the block runs, signals that would end the program at once raise SystemExit in it instead.

    Temporary files are removed on the way out. The exit code is 128 + the signal's number, as shells have it: 143 for
    SIGTERM; Python's own KeyboardInterrupt is Ctrl-C. More of the same are ignored from then on, so that nothing cuts
    the tidying short. Signals that were being ignored, as under nohup, still are. Only for the main thread.
    """
    numbers = [getattr(signal, name) for name in ENDINGS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    theirs = [number for number in numbers if before[number] is signal.SIG_DFL]
    came: list[int] = []

    def end(number: int, _frame: object) -> None:
        for each in theirs:
            signal.signal(each, signal.SIG_IGN)
        came.append(number)
        raise SystemExit(128 + number)

    for number in theirs:
        signal.signal(number, end)
    try:
        yield
    except BaseException as error:
        if came:  # whatever a library, such as Ray, has made of it
            raise SystemExit(128 + came[0]) from error
        raise
    finally:
        for number in theirs:
            signal.signal(number, before[number])
