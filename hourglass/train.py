"""Training the detector: one loop, resumable at any step, on one process or several (torchrun).

The rate rises over a short warm-up, stays, and falls to nothing over the last part. Since the first two phases do
not depend on the length of the run, a run may be made longer or shorter while it is under way.
"""

import json
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist
from tqdm import tqdm

from hourglass.augment import AugmentConfig, augmented_crop
from hourglass.codec import Codec, to_heatmap
from hourglass.data import PhotoSet, fingerprint, hold_back, read_photos
from hourglass.evaluate import evaluate_pck
from hourglass.model import HourglassConfig, StackedHourglass
from hourglass.predict import Detector, save_detector, to_input
from pipeline.checkpoint import replacing
from pipeline.errors import CheckpointError, DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainConfig:
    """A training run of the detector: everything that decides its result."""

    data: tuple[str, ...]  # sets, each KIND:PATH
    out: Path  # weights file; the log and the resume file stand beside it
    model: HourglassConfig
    codec: Codec = Codec()
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    hold_back: int = 1000  # photos of the last set kept out of training, for validation
    epochs: float = 100.0
    batch: int = 64  # samples a step, over all processes
    rate: float = 2e-3  # AdamW's
    weight_decay: float = 1e-2
    warm_up: int = 500  # steps
    cool_down: float = 0.25  # last part of the run, over which the rate falls to 0
    ema: float = 0.999  # decay per step of the moving average of weights, which is what is kept
    seed: int = 1
    precision: str = "float32"  # or "bfloat16": the network's own arithmetic; loss and weights stay float32
    save_every: int = 500  # steps between resume files
    evaluate_every: int = 2000  # steps between validations


class Samples:
    """Augmented crops drawn from photos held in memory. Sample i of epoch e is the same in every run of a seed."""

    def __init__(self, sets: list[PhotoSet], config: TrainConfig) -> None:
        self.sets, self.config = sets, config
        self.where = [(photos, row) for photos in sets for row in range(len(photos)) if photos.labelled[row].sum() > 3]
        self.images: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.where)

    def _image(self, index: int) -> np.ndarray:
        if index not in self.images:
            photos, row = self.where[index]
            self.images[index] = photos.read(row)
        return self.images[index]

    def sample(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Crop (S, S, 3) uint8 BGR, joints (J, 2) crop pixels, labelled (J,)."""
        rng = np.random.default_rng((self.config.seed, epoch, index))
        photos, row = self.where[index]
        return augmented_crop(
            rng,
            self._image(index),
            photos.xy[row],
            photos.labelled[row],
            skeleton=photos.skeleton,
            size=self.config.model.input_size,
            config=self.config.augment,
            other=self._image(int(rng.integers(len(self)))),
        )

    def batch(self, step: int, *, rank: int, world: int) -> tuple[Tensor, Tensor, Tensor]:
        """The part of a step's batch that falls to one process: images (B, 3, S, S), joints (B, J, 2) heatmap px,
        labelled (B, J).
        """
        size = self.config.batch
        per_epoch = len(self) // size
        epoch, position = divmod(step, per_epoch)
        order = np.random.default_rng((self.config.seed, epoch)).permutation(len(self))
        mine = order[position * size : (position + 1) * size][rank::world]
        crops, xy, labelled = (np.stack(part) for part in zip(*(self.sample(epoch, int(i)) for i in mine), strict=True))
        return to_input(crops), to_heatmap(torch.from_numpy(xy)), torch.from_numpy(labelled)


@dataclass
class State:
    """What changes during training, and what a resume file holds."""

    model: StackedHourglass
    average: StackedHourglass
    optimiser: torch.optim.AdamW
    step: int = 0

    def save(self, path: Path, config: TrainConfig) -> None:
        """Write the resume file, to a temporary name first."""
        content = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "network": asdict(config.model),
        }
        with replacing(path) as temporary:
            torch.save(content, temporary)

    def load(self, path: Path) -> None:
        """Continue from a resume file; CheckpointError if it does not fit this run."""
        try:
            content = torch.load(path, weights_only=True)
            self.model.load_state_dict(content["model"])
            self.average.load_state_dict(content["average"])
            self.optimiser.load_state_dict(content["optimiser"])
            self.step = content["step"]
        except FileNotFoundError:
            raise CheckpointError(f"{path}: no run to resume; start it without --resume") from None
        except Exception as error:  # torch raises many kinds for a damaged or foreign file
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{path}: cannot resume from it ({reason}); start anew without --resume") from error


def learning_rate(config: TrainConfig, step: int, total: int) -> float:
    """The rate at a step: linear warm-up, constant, linear cool-down."""
    left = (total - step) / max(config.cool_down * total, 1)
    return config.rate * min(1.0, (step + 1) / config.warm_up, max(left, 0.0))


def _new_state(config: TrainConfig) -> State:
    torch.manual_seed(config.seed)
    model = StackedHourglass(config.model).to(memory_format=torch.channels_last)
    average = StackedHourglass(config.model).to(memory_format=torch.channels_last)
    average.load_state_dict(model.state_dict())
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.rate, weight_decay=config.weight_decay)
    return State(model, average.eval(), optimiser)


@torch.no_grad()
def _update_average(average: nn.Module, model: nn.Module, *, decay: float) -> None:
    for kept, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)


def _step(state: State, network: nn.Module, batch: tuple[Tensor, Tensor, Tensor], config: TrainConfig) -> float:
    """One update: the loss is the mean over stacks (intermediate supervision)."""
    images, xy, labelled = batch
    with torch.autocast(images.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
        stacks = network(images)
    loss = torch.stack([config.codec.loss(maps, xy, labelled) for maps in stacks]).mean()
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(state.model.parameters(), 5.0)
    state.optimiser.step()
    # A young average follows quickly, or the random start would stay in it for long.
    _update_average(state.average, state.model, decay=min(config.ema, (1 + state.step) / (10 + state.step)))
    state.step += 1
    return float(loss.detach())


def load_sets(config: TrainConfig) -> tuple[list[PhotoSet], PhotoSet]:
    """The training sets, and the photos of the last one that are held back for validation."""
    sets = [read_photos(spec) for spec in config.data]
    if len({photos.skeleton.name for photos in sets}) > 1 or len(sets[0].skeleton) != config.model.joints:
        raise DataError("the sets do not share one skeleton with as many joints as the network")
    rest, held = hold_back(sets[-1], config.hold_back, seed=config.seed)
    return [*sets[:-1], rest], held


def provenance(config: TrainConfig, state: State, sets: list[PhotoSet], pck: dict[str, object]) -> dict[str, object]:
    """What the weights file says about where it comes from."""
    recipe = {k: v for k, v in asdict(config).items() if k not in ("data", "out", "model", "codec")}
    samples = state.step * config.batch
    return {
        "data": [{"kind": photos.name, "photos": len(photos), "sha256": fingerprint(photos)} for photos in sets],
        "recipe": recipe,
        "steps": state.step,
        "epochs": samples / sum(len(photos) for photos in sets),
        "validation": {"held_back": config.hold_back, "pck@0.2": pck},
        "torch": torch.__version__,
    }


def _validate(state: State, config: TrainConfig, sets: list[PhotoSet], held: PhotoSet) -> dict[str, object]:
    """Measure the averaged network on the held-back photos and write it out."""
    detector = Detector(state.average, config.codec, held.skeleton, torch.device("cpu"), {})
    pck = evaluate_pck(detector, held, flip_test=False)
    save_detector(
        config.out,
        state.average,
        codec=config.codec,
        skeleton=held.skeleton,
        provenance=provenance(config, state, sets, pck),
    )
    return pck


def _steps(state: State, total: int, *, show: bool) -> Iterator[tqdm]:
    with tqdm(total=total, initial=state.step, unit="step", disable=not show, dynamic_ncols=True) as bar:
        while state.step < total:
            yield bar
            bar.update()


def train_hourglass(config: TrainConfig, *, resume: bool = False) -> Path:
    """Train a detector and return the path of its weights.

    Under torchrun the batch is shared among the processes. Raises DataError for a set in the wrong layout and
    CheckpointError for a resume file that does not fit.
    """
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world > 1:
        dist.init_process_group("gloo")
    sets, held = load_sets(config)
    samples = Samples(sets, config)
    total = int(config.epochs * (len(samples) // config.batch))
    state = _new_state(config)
    resume_file = config.out.with_suffix(".resume.pt")
    if resume:
        state.load(resume_file)
    network = nn.parallel.DistributedDataParallel(state.model) if world > 1 else state.model
    log = config.out.with_suffix(".jsonl")
    started, since, losses = time.perf_counter(), state.step, []
    for bar in _steps(state, total, show=rank == 0):
        rate = learning_rate(config, state.step, total)
        for group in state.optimiser.param_groups:
            group["lr"] = rate
        network.train()
        losses.append(_step(state, network, samples.batch(state.step, rank=rank, world=world), config))
        if rank == 0 and (state.step % config.evaluate_every == 0 or state.step == total):
            pck = _validate(state, config, sets, held)
            seconds = time.perf_counter() - started
            row = {"step": state.step, "loss": float(np.mean(losses)), "rate": rate, "pck": pck}
            row["images_per_s"] = (state.step - since) * config.batch / seconds
            with log.open("a") as file:
                file.write(json.dumps(row) + "\n")
            losses.clear()
            bar.set_postfix(loss=f"{row['loss']:.3f}", pck=f"{pck['limbs']:.1f}")
        if rank == 0 and (state.step % config.save_every == 0 or state.step == total):
            state.save(resume_file, config)
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()
    return config.out
