"""kill -9 at any moment of a lifter's training loses nothing but time."""

import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tqdm import tqdm

from lifter import train
from pipeline import cli
from pipeline.checkpoint import load_checkpoint
from pipeline.jsonl import read_lines
from tests.lifter.test_samples import write_motions

PATIENCE_S = 120  # a machine may be slow to start


def words(data: Path, out: Path, *more: str) -> list[str]:
    """A run of some seconds on the command line."""
    given = ["train-lifter", "--data", f"mocap:{data}", "--out", str(out), "--batch", "16", "--width", "8"]
    return [*given, "--validate-every", "10", "--precision", "float32", "--device", "cpu", "--threads", "1", *more]


def kill_after_a_save(alive: Callable[[], bool], kill: Callable[[], None], *, resume: Path, delay: float) -> None:
    """Wait until the resume file is another than now, then for a moment, and kill."""
    before = resume.stat().st_mtime_ns if resume.exists() else None
    limit = time.monotonic() + PATIENCE_S
    while not resume.exists() or resume.stat().st_mtime_ns == before:
        assert alive(), "the run ended before it could be killed"
        assert time.monotonic() < limit
        time.sleep(0.002)
    time.sleep(delay)
    assert alive(), "the run ended before it could be killed"
    kill()


def in_fork(arguments: list[str]) -> None:
    tqdm.set_lock(threading.RLock())  # the bar's own is shared with the test, which would wait for ever for it
    sys.argv = ["posecli", *arguments]
    cli.main()


def without_seconds(log: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in read_lines(log)]


@pytest.mark.filterwarnings("ignore:This process")  # newer Pythons warn of forks
@pytest.mark.parametrize(
    ("kills", "way"),
    [
        (3, ["--model", "deepbase2", "--cameras", "fixed", "--schedule", "plateau", "--steps", "250"]),
        (2, ["--model", "gan", "--cameras", "random", "--adversarial-from", "0.2", "--steps", "80"]),
    ],
)
def test_kills_and_the_same_weights_and_log_in_the_end(
    tmp_path: Path, posecli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, kills: int, way: list[str]
) -> None:
    monkeypatch.setattr(train, "draw_curves", lambda *_: None)  # takes longer than the run
    data = write_motions(tmp_path / "motions.npz")
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    resume, delays = broken.with_suffix(".resume.pt"), np.random.default_rng(kills).uniform(0, 0.05, kills)

    program = [sys.executable, "-m", "pipeline.cli", *words(data, broken, *way)]
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kill_after_a_save(lambda: process.poll() is None, process.kill, resume=resume, delay=delays[0])
    assert process.wait() == -9
    fork = multiprocessing.get_context("fork")
    steps = [torch.load(resume, weights_only=True)["step"]]
    for delay in delays[1:]:  # forks, as starting the program takes far longer than the run
        again = fork.Process(target=in_fork, args=(words(data, broken, *way, "--resume"),))
        again.start()
        kill_after_a_save(again.is_alive, again.kill, resume=resume, delay=delay)
        again.join()
        assert again.exitcode == -9
        steps.append(torch.load(resume, weights_only=True)["step"])
    assert steps == sorted(set(steps))  # every one went on from the one before
    assert not broken.exists()

    assert posecli(*words(data, broken, *way, "--resume")).code == 0
    assert posecli(*words(data, whole, *way)).code == 0
    first, second = (load_checkpoint(path, "lifter") for path in (whole, broken))
    assert first.tensors.keys() == second.tensors.keys()
    assert all(torch.equal(tensor, second.tensors[name]) for name, tensor in first.tensors.items())
    assert first.meta["provenance"]["scores"] == second.meta["provenance"]["scores"]
    assert without_seconds(whole.with_suffix(".jsonl")) == without_seconds(broken.with_suffix(".jsonl"))
