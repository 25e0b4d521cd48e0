"""Training the detector: one loop, resumable at any step, on one process or several (torchrun).

The rate rises over a short warm-up, stays, and falls to nothing over the last part. Since the first two phases do
not depend on the length of the run, a run may be made longer or shorter while it is under way.
"""

import io
import json
import logging
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

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
from pipeline.atomic import cannot_write, check_writable, replacing
from pipeline.device import open_device, trains_in_bfloat16
from pipeline.errors import CheckpointError, DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainConfig:
    """A training run of the detector: everything that decides its result."""

    data: tuple[str, ...]  # sets, each KIND:PATH
    out: Path  # weights file; the log and the resume file stand beside it
    model: HourglassConfig  # its number of joints is that of the sets' skeleton
    codec: Codec = field(default_factory=Codec)
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
    precision: str = "auto"  # of the network's products: "float32", "bfloat16", "auto": what the device is made for
    save_every: int = 500  # steps between resume files
    evaluate_every: int = 2000  # steps between validations
    device: str = "auto"  # a GPU when there is one
    threads: int = 0  # of each process on a CPU; 0: all

    @property
    def resume_file(self) -> Path:
        """Where the state of the run is kept, beside the weights."""
        return self.out.with_suffix(".resume.pt")

    @property
    def log_file(self) -> Path:
        """One JSON line per validation."""
        return self.out.with_suffix(".jsonl")


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

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def save(self, path: Path) -> None:
        """Write the resume file, to a temporary name first; OutputError if it cannot be written."""
        content = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
        }
        buffer = io.BytesIO()  # torch's own writer does not say why it failed
        torch.save(content, buffer)
        with replacing(path) as temporary:
            try:
                temporary.write_bytes(buffer.getbuffer())
            except OSError as error:
                raise cannot_write(path, error) from error

    def load(self, path: Path) -> None:
        """Continue from a resume file; CheckpointError if it does not fit this run."""
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            self.model.load_state_dict(content["model"])
            self.average.load_state_dict(content["average"])
            self.optimiser.load_state_dict(content["optimiser"])
            self.step = content["step"]
        except FileNotFoundError:
            raise CheckpointError(f"{path}: no run to resume; start it without --resume") from None
        except Exception as error:  # torch raises many kinds for a damaged or foreign file
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise CheckpointError(f"{path}: cannot resume from it ({reason}); start anew without --resume") from error


def learning_rate(config: TrainConfig, step: int, total: int) -> float:
    """The rate at a step: linear warm-up, constant, linear cool-down."""
    left = (total - step) / max(config.cool_down * total, 1)
    return config.rate * min(1.0, (step + 1) / max(config.warm_up, 1), max(left, 0.0))


def _new_state(config: TrainConfig) -> State:
    device = open_device(config.device)
    torch.manual_seed(config.seed)
    model = StackedHourglass(config.model).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = StackedHourglass(config.model).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
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


def _step(
    state: State, network: nn.Module, batch: tuple[Tensor, Tensor, Tensor], *, config: TrainConfig, rate: float
) -> float:
    """One update: the loss is the mean over stacks (intermediate supervision)."""
    images, xy, labelled = (part.to(state.device) for part in batch)
    network.train()
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    bfloat16 = trains_in_bfloat16(config.precision, images.device)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16):
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
    if len({photos.skeleton.name for photos in sets}) > 1:
        raise DataError(f"the sets label different joints: {', '.join(photos.skeleton.name for photos in sets)}")
    rest, held = hold_back(sets[-1], config.hold_back, seed=config.seed)
    return [*sets[:-1], rest], held


def provenance(config: TrainConfig, state: State, sets: list[PhotoSet], pck: dict[str, Any]) -> dict[str, Any]:
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


def _validate(state: State, config: TrainConfig, sets: list[PhotoSet], held: PhotoSet) -> dict[str, Any]:
    """Measure the averaged network on the held-back photos and write it out."""
    detector = Detector(state.average, config.codec, held.skeleton, state.device, {})
    pck = evaluate_pck(detector, held, flip_test=False)
    save_detector(
        config.out,
        state.average,
        codec=config.codec,
        skeleton=held.skeleton,
        provenance=provenance(config, state, sets, pck),
    )
    return pck


@dataclass(frozen=True)
class Processes:
    """The processes that share a run: this one's rank, and how many there are (1 unless torchrun started us)."""

    rank: int
    world: int

    @classmethod
    def from_environment(cls) -> "Processes":
        """As torchrun says in the environment; joins the group if there is one."""
        rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        if world > 1:
            dist.init_process_group("gloo")
        return cls(rank, world)

    def leave(self) -> None:
        """Wait for the others and leave the group."""
        if self.world > 1:
            dist.barrier()
            dist.destroy_process_group()


def train_hourglass(config: TrainConfig, *, resume: bool = False) -> Path:
    """Train a detector and return the path of its weights.

    Under torchrun the batch is shared among the processes. Ctrl-C saves the state first. Raises DataError for a set
    in the wrong layout, OutputError if `config.out` cannot be written, CheckpointError for a resume file that does
    not fit.
    """
    check_writable(config.out)
    if config.threads:
        torch.set_num_threads(config.threads)
    sets, held = load_sets(config)
    config = replace(config, model=config.model.with_joints(len(held.skeleton)))
    samples = Samples(sets, config)
    total = int(config.epochs * (len(samples) // config.batch))
    if total < 1:
        what = f"{len(samples)} photos in batches of {config.batch}, {config.epochs} epochs"
        raise DataError(f"{what}: not a single step of training; give more photos or epochs, or a smaller batch")
    state = _new_state(config)
    if resume:
        state.load(config.resume_file)
    processes = Processes.from_environment()
    try:
        _train(state, samples, held, total=total, config=config, processes=processes)
    except KeyboardInterrupt:
        if processes.rank == 0:
            state.save(config.resume_file)
            logger.warning("stopped at step %d; go on with the same command and --resume", state.step)
        raise
    processes.leave()
    return config.out


def _train(
    state: State, samples: Samples, held: PhotoSet, *, total: int, config: TrainConfig, processes: Processes
) -> None:
    """The loop: from the state's step to the end of the run, which is at step `total`."""
    network = nn.parallel.DistributedDataParallel(state.model) if processes.world > 1 else state.model
    first = processes.rank == 0
    if first and state.step >= total:  # stopped between the last step and its weights, or the run was made shorter
        _validate(state, config, samples.sets, held)
    losses: list[float] = []
    with tqdm(total=total, initial=state.step, unit="step", disable=not first, dynamic_ncols=True) as bar:
        while state.step < total:
            rate = learning_rate(config, state.step, total)
            batch = samples.batch(state.step, rank=processes.rank, world=processes.world)
            losses.append(_step(state, network, batch, config=config, rate=rate))
            last = state.step == total
            if first and (last or state.step % config.evaluate_every == 0):
                loss, pck = float(np.mean(losses)), _validate(state, config, samples.sets, held)
                _log(config.log_file, {"step": state.step, "loss": loss, "rate": rate, "pck@0.2": pck})
                losses.clear()
                bar.set_postfix(loss=f"{loss:.3f}", pck=f"{pck['limbs']:.1f}")
            if first and (last or state.step % config.save_every == 0):
                state.save(config.resume_file)
            bar.update()


def _log(path: Path, row: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
