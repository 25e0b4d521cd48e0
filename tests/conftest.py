"""What all tests share: the program, run in this process."""

import os
import signal
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from pipeline import cli

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # some tests load ONNX Runtime themselves, which calls its makers otherwise
# A suite that runs in the background ignores these.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Outcome(NamedTuple):
    """Exit code and output of one run of the program."""

    code: int
    out: str
    err: str


@pytest.fixture
def posecli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the program in this process, as its console script does."""

    def run(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["posecli", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Outcome(code, *capfd.readouterr())

    return run
