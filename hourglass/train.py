"""Training the detector: one loop, resumable at any step, on one process or several (torchrun)."""

import io
import logging
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist
from tqdm import tqdm

from hourglass.augment import AUGMENTATIONS
from hourglass.batch_norm import share_batch_norm
from hourglass.data import PhotoSet, fingerprint, hold_back, read_photos
from hourglass.evaluate import evaluate_pck, predict_photos
from hourglass.model import StackedHourglass
from hourglass.muon import muon_for
from hourglass.predict import Detector, save_detector, to_input
from hourglass.progress import Journal
from hourglass.recipe import CALM_PART, TrainConfig, learning_rate
from hourglass.samples import Batch, Samples, Share
from hourglass.sheets import TILES, sample_sheet, write_sheet
from hourglass.teacher import Teacher
from pipeline.atomic import cannot_write, check_writable, write_whole
from pipeline.device import open_device, trains_in_bfloat16
from pipeline.errors import CheckpointError, DataError, InputError, OutputError, PoseError
from pipeline.pickles import check_torch_file
from pipeline.skeleton import get_skeleton
from pipeline.weights import file_sha256

logger = logging.getLogger(__name__)

PATIENCE = timedelta(hours=12)  # that processes wait for the first, which measures and writes


@dataclass
class State:
    """What changes during training, and what a resume file holds."""

    model: StackedHourglass
    average: StackedHourglass
    optimiser: torch.optim.Optimizer
    run: dict[str, Any]  # settings that may not change when the run is resumed
    step: int = 0

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def learn(self, loss: Tensor, *, rate: float, ema: float) -> None:
        """One step down the gradient of a loss at a rate, and of the moving average with this decay."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimiser.step()
        # A young average follows quickly, or the random start would stay in it for long.
        _update_average(self.average, self.model, decay=min(ema, (1 + self.step) / (10 + self.step)))
        self.step += 1

    def save(self, path: Path) -> None:
        """Write the resume file, to a temporary name first; OutputError if it cannot be written."""
        content = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "run": self.run,
        }
        buffer = io.BytesIO()  # torch's own writer does not say why it failed
        torch.save(content, buffer)
        write_whole(path, buffer.getbuffer())

    def load(self, path: Path) -> None:
        """Continue from a resume file; CheckpointError if it does not fit this run."""
        try:
            check_torch_file(path)
            content = torch.load(path, map_location="cpu", weights_only=True)
            for name, value in content["run"].items():
                if value != self.run[name]:
                    raise ValueError(f"it was made with --{name} {value}, not {self.run[name]}")
            self.model.load_state_dict(content["model"])
            self.average.load_state_dict(content["average"])
            self.optimiser.load_state_dict(content["optimiser"])
            self.step = content["step"]
        except FileNotFoundError:
            raise CheckpointError(f"{path}: no run to resume; start it without --resume") from None
        except Exception as error:  # torch raises many kinds for a damaged or foreign file
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise CheckpointError(f"{path}: cannot resume from it ({reason}); start anew without --resume") from error


def _optimiser(config: TrainConfig, model: nn.Module) -> torch.optim.Optimizer:
    rate, decay = config.rate, config.weight_decay
    if config.optimiser == "muon":
        return muon_for(model, rate=rate, weight_decay=decay)
    if config.optimiser == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)
    return torch.optim.RMSprop(model.parameters(), lr=rate, weight_decay=decay)


def new_state(config: TrainConfig, device: torch.device, *, start: Detector | None = None) -> State:
    """The state before the first step: from a random start by the seed, or a detector's weights."""
    torch.manual_seed(config.seed)
    model, average = StackedHourglass(config.model), StackedHourglass(config.model)
    if start is not None:
        model.load_state_dict(start.model.state_dict())
    average.load_state_dict(model.state_dict())
    for network in (model, average):
        network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    fixed = {name: getattr(config, name) for name in ("optimiser", "batch", "seed")}
    return State(model, average.eval(), _optimiser(config, model), fixed)


@torch.no_grad()
def _update_average(average: nn.Module, model: nn.Module, *, decay: float) -> None:
    pairs = list(zip(average.state_dict().values(), model.state_dict().values(), strict=True))
    floats = [pair for pair in pairs if pair[0].is_floating_point()]
    torch._foreach_lerp_([kept for kept, _ in floats], [new for _, new in floats], 1 - decay)
    for kept, new in pairs:
        if not kept.is_floating_point():
            kept.copy_(new)


def mean_loss(losses: Tensor, labelled: Tensor, *, trim: float) -> Tensor:
    """Mean of the losses (K, B, J) of K stacks over the joints labelled (B, J) bool, those of all processes together.

    With `trim`, this share of the labelled joints of each process's part, the ones with the highest loss in the last
    stack, are left out: among them are the wrong labels (the small-loss rule of Han et al. 2018, "Co-teaching", within
    one network).
    """
    counted = labelled
    if trim > 0 and labelled.any():
        highest = torch.quantile(losses[-1].detach()[labelled].float(), 1 - trim)
        counted = labelled & (losses[-1].detach() <= highest)
    count = counted.sum().float()
    if dist.is_initialized():  # gradients are averaged over the processes, which may count different numbers of joints
        dist.all_reduce(count)
        count = count / dist.get_world_size()
    return (losses * counted).sum() / (count.clamp_min(1) * len(losses))


def _loss(
    network: nn.Module, batch: Batch, *, config: TrainConfig, teacher: Teacher | None, trim: float, bfloat16: bool
) -> Tensor:
    """Loss of a batch on its device, the mean over stacks (intermediate supervision)."""
    crops, xy, labelled = batch
    products = partial(torch.autocast, crops.device.type, torch.bfloat16, enabled=bfloat16)
    with products():
        stacks = network(to_input(crops, config.pixels) if teacher is None else teacher.shown(crops, config.pixels))
    placed = xy if teacher is None else teacher.placed(xy)
    loss = mean_loss(torch.stack([config.codec.losses(maps, placed) for maps in stacks]), labelled, trim=trim)
    if teacher is None:
        return loss
    with products():
        targets = teacher.targets(crops)
    taught = torch.stack([config.codec.losses_against(maps, targets) for maps in stacks])
    return loss.lerp(mean_loss(taught, torch.ones_like(labelled), trim=0.0), teacher.share)


def train_step(
    state: State,
    network: nn.Module,
    batch: Batch,
    *,
    config: TrainConfig,
    teacher: Teacher | None,
    rate: float,
    trim: float,
) -> Tensor:
    """One update, and the loss before it."""
    crops, xy, labelled = (part.to(state.device, non_blocking=True) for part in batch)
    network.train()
    bfloat16 = trains_in_bfloat16(config.precision, crops.device)
    loss = _loss(network, (crops, xy, labelled), config=config, teacher=teacher, trim=trim, bfloat16=bfloat16)
    state.learn(loss, rate=rate, ema=config.ema)
    return _over_processes(loss.detach())


def _over_processes(loss: Tensor) -> Tensor:
    """The mean of a figure over all processes."""
    if dist.is_initialized():
        dist.all_reduce(loss)
        loss /= dist.get_world_size()
    return loss


def _continued(config: TrainConfig, start: Detector) -> TrainConfig:
    """The run with everything that the weights it starts from decide."""
    if config.skeleton not in ("", start.skeleton.name):
        raise CheckpointError(f"{config.init}: finds the joints of {start.skeleton.name}, not of {config.skeleton}")
    return replace(
        config, skeleton=start.skeleton.name, model=start.model.config, codec=start.codec, pixels=start.pixels
    )


def check_held_back(config: TrainConfig, start: Detector, *, held: PhotoSet, sets: list[PhotoSet]) -> None:
    """InputError if the weights that the run starts from have seen the photos that it would be validated on.

    They have if they held back another part of a set of the same kind and size.
    """
    told = start.meta.get("provenance") or {}
    seen, before = told.get("data", ()), told.get("validation", {})
    size = len(held) + len(sets[-1])
    same = any(part["kind"] == held.name and part["photos"] + before.get("photos", 0) == size for part in seen)
    if same and before.get("held_back") and before.get("sha256") != fingerprint(held):
        seed = told.get("recipe", {}).get("seed")
        what = f"{config.init}: was trained on photos that would be held back now"
        raise InputError(f"{what}; give --seed {seed} --hold-back {before['held_back']}, as it had")


def load_sets(config: TrainConfig) -> tuple[list[PhotoSet], PhotoSet]:
    """The training sets and the photos for validation, all with the joints of one skeleton."""
    sets = [read_photos(spec) for spec in config.data]
    if config.validation:
        held = read_photos(config.validation)
    else:
        sets[-1], held = hold_back(sets[-1], config.hold_back, seed=config.seed)
    skeleton = get_skeleton(config.skeleton) if config.skeleton else held.skeleton
    return [photos.to_skeleton(skeleton) for photos in sets], held.to_skeleton(skeleton)


def about_sets(sets: list[PhotoSet]) -> list[dict[str, Any]]:
    """What weights say about the sets that they were trained on."""
    return [{"kind": p.name, "photos": len(p), "weight": p.weight, "sha256": fingerprint(p)} for p in sets]


def provenance(
    config: TrainConfig, state: State, sets: list[PhotoSet], *, held: PhotoSet, pck: dict[str, Any] | None
) -> dict[str, Any]:
    """What the weights file says about where it comes from."""
    elsewhere = ("data", "out", "model", "codec", "pixels", "skeleton", "validation", "hold_back")
    recipe = {name: value for name, value in asdict(config).items() if name not in elsewhere}
    for name in ("init", "teacher"):
        recipe[name] = Path(recipe[name]).name
    if config.teacher:
        recipe["teacher_sha256"] = file_sha256(Path(config.teacher))
    samples = state.step * config.batch
    return {
        "data": about_sets(sets),
        "recipe": recipe,
        "steps": state.step,
        "epochs": samples / sum(len(photos) * photos.weight for photos in sets),
        "validation": {
            "kind": held.name,
            "photos": len(held),
            "sha256": fingerprint(held),
            "held_back": 0 if config.validation else config.hold_back,
            "pck@0.2": pck,
        },
        "torch": torch.__version__,
    }


def _validate(state: State, config: TrainConfig, sets: list[PhotoSet], held: PhotoSet) -> dict[str, Any] | None:
    """Measure the averaged network on the photos for validation, draw some of them, and write the network out."""
    detector = Detector(state.average, config.codec, held.skeleton, state.device, {}, config.pixels)
    pck = evaluate_pck(detector, held, flip_test=False) if len(held) else None
    told = provenance(config, state, sets, held=held, pck=pck)
    save_detector(
        config.out, state.average, codec=config.codec, skeleton=held.skeleton, provenance=told, pixels=config.pixels
    )
    if len(held):
        shown = held.select(_evenly(len(held), TILES))
        sheet = sample_sheet(shown, predict_photos(detector, shown, flip_test=False))
        write_sheet(config.samples_folder / f"step-{state.step:06d}.png", sheet)
    return pck


def _evenly(count: int, wanted: int) -> np.ndarray:
    """So many of the numbers below `count`, evenly spread."""
    return np.unique(np.linspace(0, count - 1, wanted).round().astype(int))


@dataclass(frozen=True)
class Processes:
    """The processes that share a run: this one's rank, and how many there are (1 unless torchrun started us)."""

    rank: int
    world: int
    device: torch.device
    control: dist.ProcessGroup | None = None  # for words among the processes, beside the gradients

    @classmethod
    def from_environment(cls, device: str) -> "Processes":
        """As torchrun says in the environment; joins the group if there is one, each process with a GPU of its own."""
        rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        if world == 1:
            return cls(rank, world, open_device(device))
        gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        opened = open_device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if gpu else device)
        if gpu:
            torch.cuda.set_device(opened)
        dist.init_process_group("nccl" if gpu else "gloo", timeout=PATIENCE, device_id=opened if gpu else None)
        return cls(rank, world, opened, dist.new_group(backend="gloo", timeout=PATIENCE))

    @property
    def first(self) -> bool:
        """Whether this is the one that measures and writes."""
        return self.rank == 0

    def any(self, asked: bool) -> bool:
        """Whether any of them was asked to stop: all must stop at the same step, or one would wait for the others."""
        if self.world == 1:
            return asked
        flag = torch.tensor(int(asked))
        dist.all_reduce(flag, dist.ReduceOp.MAX, group=self.control)
        return bool(flag)

    def leave(self) -> None:
        """Wait for the others and leave the group."""
        if self.world > 1:
            dist.barrier()
            dist.destroy_process_group()


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """While the block runs, Ctrl-C and SIGTERM only make the given function return True; a second one ends at once."""
    asked: list[int] = []

    def ask(number: int, _frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train_hourglass(config: TrainConfig, *, resume: bool = False) -> Path:
    """Train a detector and return the path of its weights.

    Under torchrun the batch is shared among the processes. Ctrl-C saves the state first. Raises DataError for a set
    in the wrong layout, OutputError if `config.out` cannot be written, CheckpointError for a resume file or weights
    to start from that do not fit, InputError for a batch that cannot be shared, PoseError if the loss stops being a
    number.
    """
    check_writable(config.out)
    if config.out.suffix != ".safetensors":
        raise OutputError(f"{config.out}: weights are safetensors; give a name that ends in .safetensors")
    if config.threads:
        torch.set_num_threads(config.threads)
    start = Detector.load(Path(config.init), torch.device("cpu")) if config.init else None
    if start is not None:
        config = _continued(config, start)
    sets, held = load_sets(config)
    if start is not None and not config.validation:
        check_held_back(config, start, held=held, sets=sets)
    config = replace(config, model=config.model.with_joints(len(held.skeleton)))
    processes = Processes.from_environment(config.device)
    if config.batch % processes.world:
        what = f"--batch {config.batch} cannot be shared evenly by {processes.world} processes"
        raise InputError(f"{what}; give a multiple of {processes.world}")
    teacher = None
    if config.teacher:
        path = Path(config.teacher)
        teacher = Teacher.load(path, share=config.teacher_share, student=config.model, device=processes.device)
        teacher.check(path, skeleton=held.skeleton, codec=config.codec)
    samples = Samples(
        sets,
        config.augment,
        input_size=config.model.input_size if teacher is None else teacher.detector.input_size,
        batch=config.batch,
        seed=config.seed,
        share=Share(processes.rank, processes.world),
    )
    total = int(config.epochs * samples.steps_per_epoch) if math.isfinite(config.epochs) else 0
    if total < 1:
        what = f"{len(samples.where)} photos in batches of {config.batch}, {config.epochs} epochs"
        raise DataError(f"{what}: not a single step of training; give more photos or epochs, or a smaller batch")
    if config.calm:
        samples.calm_down(AUGMENTATIONS[config.calm], step=round((1 - CALM_PART) * total))
    _make_folders(config)
    # The sizes never change, so it pays to try which of cuDNN's ways is the quickest for each.
    torch.backends.cudnn.benchmark = processes.device.type == "cuda"
    state = new_state(config, processes.device, start=start)
    if resume:
        state.load(config.resume_file)
    Run(config, state, samples, held, processes, total, teacher).train()
    processes.leave()
    return config.out


def _make_folders(config: TrainConfig) -> None:
    for folder in (config.samples_folder, config.tensorboard_folder):
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise cannot_write(folder, error) from error


@dataclass
class Run:
    """A run under way: from the state's step to step `total`."""

    config: TrainConfig
    state: State
    samples: Samples
    held: PhotoSet
    processes: Processes
    total: int
    teacher: Teacher | None = None

    def train(self) -> None:
        """The loop."""
        config, state, first = self.config, self.state, self.processes.first
        network = self._network()
        pin = state.device.type == "cuda"
        batches = self.samples.from_step(state.step, self.total, workers=config.workers, pin=pin)
        journal = Journal(config, step=state.step, writes=first)
        if first and self._validates():  # stopped before that was done, or the run was made shorter
            journal.validated(state.step, self._validate())
        bar = tqdm(total=self.total, initial=state.step, unit="step", disable=not first, dynamic_ncols=True)
        with bar, journal, closing(batches), stoppable() as stopping:
            while state.step < self.total:
                asked = time.perf_counter()
                batch = next(batches)
                rate = learning_rate(config, state.step, self.total)
                trim = config.trim if state.step >= config.trim_from * self.total else 0.0
                waited = time.perf_counter() - asked
                loss = train_step(state, network, batch, config=config, teacher=self.teacher, rate=rate, trim=trim)
                journal.add(loss, waited=waited)
                self._report(journal, bar, rate=rate)
                bar.update()
                if self.processes.any(stopping()):
                    self._stop()

    def _network(self) -> nn.Module:
        """The network as it is trained: shared among the processes if there are several."""
        if self.processes.world == 1:
            return self.state.model
        if self.config.sync_batch_norm:
            share_batch_norm(self.state.model)
        return nn.parallel.DistributedDataParallel(self.state.model)

    def _report(self, journal: Journal, bar: tqdm, *, rate: float) -> None:
        """Log, save and validate, each when its turn has come; all of it at the end of the run."""
        config, step = self.config, self.state.step
        last = step == self.total
        if not self.processes.first:
            return
        if last or step % config.log_every == 0 or step % config.save_every == 0:
            row = journal.log(step, rate=rate)
            if not math.isfinite(row["loss"]):
                raise PoseError(f"the loss is no longer a number at step {step}; try a lower --rate")
            bar.set_postfix(loss=f"{row['loss']:.3f}", pck=journal.pck, images_per_s=f"{row['images_per_s']:.0f}")
        if last or step % config.save_every == 0:
            self.state.save(config.resume_file)
        if self._validates():
            journal.validated(step, self._validate())

    def _validates(self) -> bool:
        """Whether a validation is due at this step; always at the end, even of a run that was made shorter."""
        step = self.state.step
        return step >= self.total or (step > 0 and step % self.config.evaluate_every == 0)

    def _validate(self) -> dict[str, Any] | None:
        return _validate(self.state, self.config, self.samples.sets, self.held)

    def _stop(self) -> None:
        if self.processes.first:
            self.state.save(self.config.resume_file)
            logger.warning("stopped at step %d; go on with the same command and --resume", self.state.step)
        raise KeyboardInterrupt
