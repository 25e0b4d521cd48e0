"""Signals from outside end the program tidily."""

import signal

import pytest

from pipeline.signals import tidy_end


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_is_an_exit_that_tidies_up(name, code):
    number, tidied = getattr(signal, name), []
    before = signal.getsignal(number)

    def work() -> None:
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(number)  # an impatient second one does not stop the tidying
            tidied.append(True)

    with pytest.raises(SystemExit) as caught, tidy_end():
        work()
    assert caught.value.code == code
    assert tidied
    assert signal.getsignal(number) is before


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with tidy_end():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("other", [SystemExit(1), ValueError("stopped")])
def test_the_exit_code_is_right_whatever_a_library_makes_of_it(other):
    def library() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except SystemExit:
            raise other from None

    with pytest.raises(SystemExit) as caught, tidy_end():
        library()
    assert caught.value.code == 143


def test_other_errors_pass():
    with pytest.raises(ValueError, match="as ever"), tidy_end():
        raise ValueError("as ever")
