"""How fast this machine trains both networks: a few steps of each, in turns, on made-up pictures and poses.

How fast a step is does not depend on what is to be seen, so nothing has to be downloaded to know how long a training
will take. Each trainer is what `train-hourglass` and `train-lifter` set up by default.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from hourglass.model import PRESETS
from hourglass.photos import PhotoSet
from hourglass.recipe import TrainConfig
from hourglass.recipe import learning_rate as hourglass_rate
from hourglass.samples import Samples
from hourglass.train import new_state, train_step
from lifter.augment import Augment, sample
from lifter.body import DIRECTIONS, unit
from lifter.gan import Gan
from lifter.normalise import Statistics
from lifter.recipe import TrainLifterConfig
from lifter.registry import LIFTERS
from lifter.samples import LifterData, RandomSamples
from lifter.samples import Samples as LifterSamples
from lifter.train import adversarial_step, set_rate, start, supervised_step
from pipeline.device import open_device, trains_in_bfloat16
from pipeline.machine import describe_machine, peak_memory_mb, summary
from pipeline.skeleton import LSP14

PRESET = "s"
PHOTOS, SIDE = 128, 240  # of made-up photos, and their sides, pixels: as Leeds Sports Pose Extended has them
POSES = 4096  # made-up ones, and samples to take their statistics of
UNTIMED = 2  # first steps: caches are cold
STEPS = 4  # timed ones of each trainer in a round
STANDING = {"hips": (1, 0, 0), "shoulders": (1, 0, 0), "trunk": (0, 1, 0), "head": (0, 1, 0)}  # limbs hang down
NOWHERE = Path("nowhere.safetensors")  # nothing is written


@dataclass
class Trainer:
    """A training under way: how a batch is drawn, and what a step does with it; seconds of both, step by step."""

    name: str
    device: torch.device
    precision: str  # of products: float32 or bfloat16
    batch: int
    draw: Callable[[], Any]
    learn: Callable[[Any], object]
    drawing_s: list[float] = field(default_factory=list)
    learning_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)  # processor time of whole steps, over all threads

    def step(self, *, timed: bool) -> None:
        """Take one step."""
        began, cpu = self._now(), time.process_time()
        batch = self.draw()
        drawn = self._now()
        self.learn(batch)
        if timed:
            self.drawing_s.append(drawn - began)
            self.learning_s.append(self._now() - drawn)
            self.cpu_s.append(time.process_time() - cpu)

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def bench_training(*, devices: Sequence[str] = (), rounds: int = 3) -> dict[str, Any]:
    """Train everything on each device (none given: the CPU, and a GPU when there is one); the figures, for JSON:

    machine         see `describe_machine`; peak_memory_mb: resident memory of this process at its highest
    rounds, steps   rounds, and timed steps of each trainer in them
    trainers        a list:
        name, device, batch, precision (of products)
        samples_per_s       of whole steps, median: drawing the samples, then learning from them
        drawing_per_s       samples drawn in a second, if nothing else is done, in this one process
        learning_per_s      samples learnt in a second, if they are there already
        samples_per_cpu_s   samples for a second of one core, what a busy machine hurts less

    Raises DeviceError if a device is absent.
    """
    names = devices or ("cpu", *(["cuda"] if torch.cuda.is_available() else []))
    machine = describe_machine()
    opened = [open_device(name) for name in names]
    trainers = [trainer for device in opened for trainer in _trainers(device)]
    for trainer in trainers * UNTIMED:
        trainer.step(timed=False)
    for trainer in trainers * (rounds * STEPS):
        trainer.step(timed=True)
    return {
        "machine": {**machine, "peak_memory_mb": peak_memory_mb()},
        "rounds": rounds,
        "steps": rounds * STEPS,
        "trainers": [_row(trainer) for trainer in trainers],
    }


def _row(trainer: Trainer) -> dict[str, Any]:
    whole = [drawing + learning for drawing, learning in zip(trainer.drawing_s, trainer.learning_s, strict=True)]
    seconds = {"samples_per_s": whole, "drawing_per_s": trainer.drawing_s, "learning_per_s": trainer.learning_s}
    seconds["samples_per_cpu_s"] = trainer.cpu_s
    rates = {name: trainer.batch / statistics.median(values) for name, values in seconds.items()}
    about = {"name": trainer.name, "device": str(trainer.device), "batch": trainer.batch}
    return {**about, "precision": trainer.precision, **rates}


def training_table(result: dict[str, Any]) -> str:
    """The figures as text."""
    lines = [summary(result["machine"]), ""]
    headings = ("device", "precision", "batch", "samples/s", "drawing", "learning", "per core")
    lines.append(f"{'trainer':<14}" + "".join(f"{heading:>12}" for heading in headings))
    for row in result["trainers"]:
        keys = ("samples_per_s", "drawing_per_s", "learning_per_s", "samples_per_cpu_s")
        cells = (row["device"], row["precision"], str(row["batch"]), *(f"{row[key]:.0f}" for key in keys))
        lines.append(f"{row['name']:<14}" + "".join(f"{cell:>12}" for cell in cells))
    return "\n".join([*lines, LEGEND.format(steps=result["steps"])])


LEGEND = """
samples/s  of whole steps, median of {steps}; drawing, learning: if there were nothing but one of the two; per core:
           for a second of one core. The hourglass draws ahead in other processes with --workers; gan: generator and
           discriminator"""


# What is trained


def _trainers(device: torch.device) -> list[Trainer]:
    return [hourglass_trainer(device), *(lifter_trainer(name, device) for name in LIFTERS)]


def _precision(asked: str, device: torch.device) -> str:
    return "bfloat16" if trains_in_bfloat16(asked, device) else "float32"


def hourglass_trainer(device: torch.device, *, preset: str = PRESET) -> Trainer:
    """A training of the detector on made-up photos."""
    config = TrainConfig(data=(), out=NOWHERE, model=PRESETS[preset].with_joints(len(LSP14)))
    photos, images = made_up_photos()
    samples = Samples(
        [photos], config.augment, input_size=config.model.input_size, batch=config.batch, seed=config.seed
    )
    samples.images.update(enumerate(images))
    state = new_state(config, device)
    total = int(config.epochs * samples.steps_per_epoch)

    def learn(batch: Any) -> torch.Tensor:
        rate = hourglass_rate(config, state.step, total)
        return train_step(state, state.model, batch, config=config, teacher=None, rate=rate, trim=config.trim)

    precision = _precision(config.precision, device)
    return Trainer(f"hourglass-{preset}", device, precision, config.batch, lambda: samples[state.step], learn)


def made_up_photos() -> tuple[PhotoSet, list[np.ndarray]]:
    """Labels of people who fill their photos, and the photos (SIDE, SIDE, 3), of soft colours with some grain."""
    rng = np.random.default_rng(0)
    soft = (cv2.resize(rng.integers(0, 256, (12, 12, 3), np.uint8), (SIDE, SIDE)) for _ in range(PHOTOS))
    images = [cv2.add(image, rng.integers(0, 12, image.shape, np.uint8)) for image in soft]
    xy = rng.uniform(0.2 * SIDE, 0.8 * SIDE, (PHOTOS, len(LSP14), 2)).astype(np.float32)
    known = np.ones(xy.shape[:2], bool)
    files = [Path(f"{number}.jpg") for number in range(PHOTOS)]
    regions, heads = np.full((PHOTOS, 3), np.nan), np.full(PHOTOS, np.nan)
    return PhotoSet("made up", LSP14, files, xy, known, known, regions, heads), images


def lifter_trainer(name: str, device: torch.device) -> Trainer:
    """A training of a lifter on made-up poses, seen by random cameras; `gan` with its discriminator from the start."""
    config = TrainLifterConfig(name, "mocap:", NOWHERE, adversarial_from=0.0)
    training = start(config, made_up_poses(config.augment, device), device=device)
    step = adversarial_step if isinstance(training.network, Gan) else supervised_step

    def learn(batch: Any) -> object:
        set_rate(training)
        losses = step(training, batch)
        training.step += 1
        return losses

    def draw() -> LifterSamples:
        return training.data.source.draw(training.step, config.batch)

    return Trainer(name, device, _precision(config.precision, device), config.batch, draw, learn)


def made_up_poses(augment: Augment, device: torch.device) -> LifterData:
    """Endless samples of people about upright, their limbs anywhere near."""
    generator = torch.Generator(device).manual_seed(0)
    upright = torch.tensor([STANDING.get(name, (0, -1, 0)) for name in DIRECTIONS], dtype=torch.float32, device=device)
    directions = unit(upright + 0.4 * torch.randn(POSES, len(DIRECTIONS), 3, generator=generator, device=device))
    seen = sample(directions, POSES, options=augment, generator=generator)
    statistics_ = Statistics.of(seen.points, seen.poses)
    source = RandomSamples(directions, options=augment, statistics=statistics_, generator=generator)
    return LifterData(source, statistics_, {}, channels=3, pixels=None, description={})
