"""What can go wrong through no fault of the program.

    PoseError                 one clear line for the user; the command line prints it and exits 1
    ├── InputError            a file or argument given by the user cannot be used
    ├── OutputError           a result cannot be written
    ├── CheckpointError       a weights file is damaged, foreign or does not fit
    ├── DataError             a training or evaluation set is not in the expected layout
    └── DeviceError           the asked-for device is absent or out of memory

Everything else is a bug of ours and keeps its traceback.
"""

LONGEST = 1000  # letters of a message; its middle is left out beyond


class PoseError(Exception):
    """Base of all errors that a user can mend. The message names the file and the remedy.

    It is one line of letters that a terminal shows, whatever a damaged file put into it.
    """

    def __init__(self, message: str) -> None:
        line = "".join(_shown(letter) for letter in message)
        half = LONGEST // 2
        super().__init__(line if len(line) <= LONGEST else f"{line[:half]} ... {line[-half:]}")


def _shown(letter: str) -> str:
    if letter.isprintable():
        return letter
    return " " if letter.isspace() else repr(letter)[1:-1]


class InputError(PoseError):
    """A file or argument given by the user cannot be used."""


class OutputError(PoseError):
    """A result cannot be written where it was asked for."""


class CheckpointError(PoseError):
    """A weights file is damaged, foreign, or does not fit what it is wanted for."""


class DataError(PoseError):
    """A data set is not in the layout that its kind promises."""


class DeviceError(PoseError):
    """The device that was asked for is absent or exhausted."""
