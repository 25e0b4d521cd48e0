"""How many images a second the detector's sample loader and its training step reach, each alone, on this machine.

    python -m tests.benchmarks.bench_training --data lspet:PATH [--preset s] [--batch 64] [--workers 0] [--device auto]
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hourglass.data import read_photos
from hourglass.model import PRESETS
from hourglass.recipe import TrainConfig
from hourglass.samples import Samples
from hourglass.train import _new_state, _step
from pipeline.device import open_device

PHOTOS = 1000  # of the set, evenly spread
BATCHES = 20


def main() -> None:
    """Measure and print both."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--preset", default="s", choices=list(PRESETS))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    photos = read_photos(given.data)
    photos = photos.select(np.unique(np.linspace(0, len(photos) - 1, PHOTOS).astype(int)))
    model = PRESETS[given.preset].with_joints(len(photos.skeleton))
    config = TrainConfig(data=(given.data,), out=Path("unused"), model=model, batch=given.batch)
    drawn = Samples([photos], config.augment, input_size=model.input_size, batch=given.batch, seed=1)
    first = drawn.steps_per_epoch  # an epoch to read the photos in
    batches = drawn.from_step(0, first + BATCHES, workers=given.workers, pin=False)
    for _ in range(first):
        batch = next(batches)
    began = time.perf_counter()
    for batch in batches:  # noqa: B007 (the last one is used below)
        pass
    loader = BATCHES * given.batch / (time.perf_counter() - began)
    state = _new_state(replace(config, device=given.device), open_device(given.device))
    _step(state, state.model, batch, config=config, rate=1e-3, trim=0.0).item()
    began = time.perf_counter()
    for _ in range(BATCHES):
        loss = _step(state, state.model, batch, config=config, rate=1e-3, trim=0.0)
    loss.item()  # waits for a GPU
    step = BATCHES * given.batch / (time.perf_counter() - began)
    print(f"loader {loader:.0f} images/s with {given.workers} workers; step {step:.0f} images/s on {state.device}")
    print(f"torch threads {torch.get_num_threads()}, batch {given.batch}, preset {given.preset}")


if __name__ == "__main__":
    main()
