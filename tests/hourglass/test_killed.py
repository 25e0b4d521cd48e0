"""kill -9 at any moment loses nothing but time."""

import multiprocessing
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from tqdm import tqdm

from hourglass.train import train_hourglass
from pipeline.checkpoint import load_checkpoint
from pipeline.jsonl import read_lines
from tests.hourglass.photos import simple_set
from tests.hourglass.tiny_run import tiny_config

STEPS = 30


def go_on(out: Path, photos: Path) -> None:
    """Continue the run, from the start if it has not saved yet."""
    tqdm.set_lock(threading.RLock())  # the bar's own is shared with the test, which would wait for ever for it
    config = tiny_config(out, photos, STEPS)
    train_hourglass(config, resume=config.resume_file.exists())


@pytest.mark.filterwarnings("ignore:This process")  # newer Pythons warn of forks
def test_ten_kills_and_the_same_weights_in_the_end(tmp_path):
    photos = simple_set(tmp_path / "photos", 14)
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    go_on(whole, photos)
    rng, kills, last = np.random.default_rng(5), 0, 0
    fork = multiprocessing.get_context("fork")
    resume, after_a_save = broken.with_suffix(".resume.pt"), 0
    while kills < 10 or after_a_save < 5:
        process = fork.Process(target=go_on, args=(broken, photos))
        process.start()
        process.join(rng.uniform(0.05, 1.0) * (1 + kills / 10))  # a slow machine comes to saving in the end
        if process.is_alive():
            after_a_save += resume.exists()
            process.kill()
            kills += 1
        process.join()
        assert process.exitcode in (0, -9)
        if resume.exists():
            step = torch.load(resume, weights_only=True)["step"]
            assert step >= last
            last = step
        if last == STEPS:  # faster than the kills: once more from the start
            resume.unlink()
            last = 0
    go_on(broken, photos)
    first, second = (load_checkpoint(path, "hourglass").tensors for path in (whole, broken))
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name])
    assert [
        {k: v for k, v in row.items() if k in ("step", "loss", "rate", "pck@0.2")}
        for row in read_lines(broken.with_suffix(".jsonl"))
    ] == [
        {k: v for k, v in row.items() if k in ("step", "loss", "rate", "pck@0.2")}
        for row in read_lines(whole.with_suffix(".jsonl"))
    ]
