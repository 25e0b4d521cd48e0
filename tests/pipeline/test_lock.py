"""A folder that one run at a time has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import OutputError
from pipeline.lock import LOCK, locked


def refusal(folder: Path) -> str:
    with pytest.raises(OutputError) as caught, locked(folder):
        pass
    return str(caught.value)


def test_the_second_is_refused_and_told_who_has_it(tmp_path):
    with locked(tmp_path):
        assert (tmp_path / LOCK).read_text() == f"{os.getpid()}\n"
        assert refusal(tmp_path) == (
            f"{tmp_path}: process {os.getpid()} is writing to it; wait until it is done, or choose another folder"
        )
        assert (tmp_path / LOCK).read_text() == f"{os.getpid()}\n"  # by the refused one untouched
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path):
        pass


def test_an_error_gives_it_back(tmp_path):
    with pytest.raises(KeyboardInterrupt), locked(tmp_path):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_process_that_was_killed_is_taken_over(tmp_path):
    code = """if True:
        import os, sys, signal
        from pathlib import Path
        from pipeline.lock import locked
        with locked(Path(sys.argv[1])):
            print("mine", flush=True)
            sys.stdin.read()
    """
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "mine\n"
        assert f"process {other.pid} is writing to it" in refusal(tmp_path)
        other.kill()
        other.wait()
    assert (tmp_path / LOCK).read_text() == f"{other.pid}\n"
    with locked(tmp_path):
        assert (tmp_path / LOCK).read_text() == f"{os.getpid()}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_lock_file_that_vanishes_while_it_is_taken_is_not_a_lock(tmp_path, monkeypatch):
    """The run that had it ended between the opening and the locking: whoever comes next would make a new file."""
    import fcntl

    flock, calls = fcntl.flock, []

    def slow(handle: int, how: int) -> None:
        if not calls:
            (tmp_path / LOCK).unlink()
        calls.append(handle)
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", slow)
    with locked(tmp_path):
        assert (tmp_path / LOCK).exists()
        assert len(calls) == 2
        assert "is writing to it" in refusal(tmp_path)


def test_a_link_is_not_followed(tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("precious")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / LOCK).symlink_to(other)
    assert refusal(folder).startswith(f"{folder / LOCK}: cannot be written (")
    assert other.read_text() == "precious"
