"""Training the finder on composed scenes: one loop, resumable at any step."""

import logging
import math
import time
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from hourglass.data import PhotoSet, fingerprint
from hourglass.finder import KIND, Finder, FinderCodec, save_finder
from hourglass.finder_score import score_finder
from hourglass.model import STRIDE, HourglassConfig
from hourglass.predict import Detector, to_input
from hourglass.recipe import TrainConfig, learning_rate
from hourglass.scene_samples import SceneBatch, SceneSamples
from hourglass.scenes import SceneConfig
from hourglass.train import State, about_sets, load_sets, new_state, stoppable
from pipeline.atomic import check_writable
from pipeline.checkpoint import kind_of
from pipeline.device import open_device, trains_in_bfloat16
from pipeline.errors import CheckpointError, OutputError, PoseError
from pipeline.jsonl import add_line, cut_lines
from pipeline.skeleton import LSP14

logger = logging.getLogger(__name__)

# Leaner at the first sizes than preset 's': a whole frame is large.
NETWORK = HourglassConfig(
    joints=10, stacks=1, widths=(24, 48, 96, 160, 192), stem_width=24, block="plain", input_size=448
)
SURE_START = -4.0  # the maps' logits at first: hardly anywhere is a person
HOLD_BACK_SEED = 1  # as the detector holds photos back, whatever the seed of the run
VALIDATION = 8, 32  # batches of so many scenes


@dataclass(frozen=True)
class FinderTraining:
    """A training run of the finder: everything that decides its result."""

    run: TrainConfig  # what it has in common with the detector's; lengths count in steps, not epochs
    steps: int = 20_000
    codec: FinderCodec = field(default_factory=FinderCodec)
    scenes: SceneConfig = field(default_factory=SceneConfig)

    def samples(self, sets: list[PhotoSet], *, batch: int, seed: int) -> SceneSamples:
        """Scenes of the size that the network is trained on."""
        model = self.run.model
        multiple = STRIDE * 2 ** (len(model.widths) - 1)
        return SceneSamples(
            sets,
            self.scenes,
            longer=model.input_size,
            multiple=multiple,
            smallest=self.codec.least,
            batch=batch,
            seed=seed,
        )


def _load_start(path: Path) -> Detector | Finder:
    """What a run starts from; CheckpointError if it is neither a detector nor a finder."""
    load = Finder.load if kind_of(path) == KIND else Detector.load
    return load(path, torch.device("cpu"))


def _first_state(config: FinderTraining, device: torch.device, *, start: Detector | Finder | None) -> State:
    """A random start, one from all of a detector's weights but those of its joints' maps, or a finder's weights."""
    state = new_state(config.run, device)
    for network in (state.model, state.average):
        if isinstance(start, Finder):
            network.load_state_dict(start.model.state_dict())
            continue
        if start is not None:
            shared = {name: value for name, value in start.model.state_dict().items() if not name.startswith("scores.")}
            network.load_state_dict(shared, strict=False)
        bias = network.scores[-1].bias
        assert isinstance(bias, nn.Parameter)
        nn.init.constant_(bias, SURE_START)
    return state


def _continued(config: FinderTraining, start: Detector | Finder) -> FinderTraining:
    """The run with the network, the pixels and a finder's codec of what it starts from, for frames of its own size."""
    run, stacks = config.run, start.model.config.stacks
    if stacks != 1:
        raise CheckpointError(f"{run.init}: has {stacks} stacks; start a finder from one of 1 stack")
    run = replace(run, model=replace(start.model.config, input_size=run.model.input_size), pixels=start.pixels)
    return replace(config, run=run, codec=start.codec if isinstance(start, Finder) else config.codec)


def _step(state: State, batch: SceneBatch, *, config: FinderTraining, rate: float) -> Tensor:
    """One update; the loss."""
    run = config.run
    crops, people, labelled, ignored = (part.to(state.device, non_blocking=True) for part in batch)
    images = to_input(crops, run.pixels)
    state.model.train()
    bfloat16 = trains_in_bfloat16(run.precision, images.device)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16):
        maps = state.model(images)[-1]
    loss = config.codec.loss(maps, people, labelled=labelled, ignored=ignored)
    state.learn(loss, rate=rate, ema=run.ema)
    return loss.detach()


def _validate(
    state: State, config: FinderTraining, sets: list[PhotoSet], *, held: PhotoSet, scenes: list[SceneBatch]
) -> dict[str, Any] | None:
    """Measure the averaged network on scenes of the held-back photos and write it out."""
    finder = Finder(state.average, config.codec, state.device, {}, config.run.pixels)
    score = score_finder(finder, scenes) if scenes else None
    kept = ("batch", "optimiser", "rate", "weight_decay", "warm_up", "cool_down", "ema", "seed", "precision")
    recipe = {name: getattr(config.run, name) for name in kept}
    told = {
        "data": about_sets(sets),
        "recipe": {**recipe, "init": Path(config.run.init).name, "scenes": asdict(config.scenes)},
        "steps": state.step,
        "validation": {"kind": held.name, "photos": len(held), "sha256": fingerprint(held), "score": score},
        "torch": torch.__version__,
    }
    save_finder(config.run.out, state.average, codec=config.codec, provenance=told, pixels=config.run.pixels)
    return score


def train_finder(config: FinderTraining, *, resume: bool = False) -> Path:
    """Train a finder and return the path of its weights. Ctrl-C saves the state first.

    `config.run.init` is a detector of one stack, whose network the finder then has and starts from, or a finder that is
    trained on. Raises DataError for a set in the wrong layout or without whole people, OutputError if weights cannot be
    written, CheckpointError for a resume file or weights to start from that do not fit, PoseError if the loss stops
    being a number.
    """
    warm_up = min(config.run.warm_up, config.steps // 10)  # of a short run
    start = _load_start(Path(config.run.init)) if config.run.init else None
    config = config if start is None else _continued(config, start)
    run = replace(config.run, model=config.run.model.with_joints(config.codec.classes), warm_up=warm_up)
    config = replace(config, run=run)
    check_writable(run.out)
    if run.out.suffix != ".safetensors":
        raise OutputError(f"{run.out}: weights are safetensors; give a name that ends in .safetensors")
    if run.threads:
        torch.set_num_threads(run.threads)
    sets, held = load_sets(replace(run, seed=HOLD_BACK_SEED, skeleton=LSP14.name))
    samples = config.samples(sets, batch=run.batch, seed=run.seed)
    batches, size = VALIDATION
    seen = config.samples([held], batch=size, seed=0) if len(held) else None
    device = open_device(run.device)
    # A handful of sizes, so it pays to try which of cuDNN's ways is the quickest for each.
    torch.backends.cudnn.benchmark = device.type == "cuda"
    state = _first_state(config, device, start=start)
    state.run["size"] = run.model.input_size
    if resume:
        state.load(run.resume_file)
    scenes = [seen[number] for number in range(batches)] if seen is not None else []
    _Run(config, state, samples, held, scenes).train()
    return run.out


@dataclass
class _Run:
    """A run under way."""

    config: FinderTraining
    state: State
    samples: SceneSamples
    held: PhotoSet
    scenes: list[SceneBatch]
    losses: list[Tensor] = field(default_factory=list)
    waited: float = 0.0
    since: float = 0.0

    def train(self) -> None:
        """The loop."""
        config, state, run = self.config, self.state, self.config.run
        cut_lines(run.log_file, state.step)
        pin = state.device.type == "cuda"
        batches = self.samples.from_step(state.step, config.steps, workers=run.workers, pin=pin)
        if state.step >= config.steps:  # stopped before that was done, or the run was made shorter
            self._validate()
        bar = tqdm(total=config.steps, initial=state.step, unit="step", dynamic_ncols=True)
        self.since = time.perf_counter()
        with bar, closing(batches), stoppable() as stopping:
            while state.step < config.steps:
                asked = time.perf_counter()
                batch = next(batches)
                self.waited += time.perf_counter() - asked
                rate = learning_rate(run, state.step, config.steps)
                self.losses.append(_step(state, batch, config=config, rate=rate))
                self._report(bar, rate=rate)
                bar.update()
                if stopping():
                    state.save(run.resume_file)
                    logger.warning("stopped at step %d; go on with the same command and --resume", state.step)
                    raise KeyboardInterrupt

    def _report(self, bar: tqdm, *, rate: float) -> None:
        """Log, save and validate, each when its turn has come; all of it at the end of the run."""
        run, step = self.config.run, self.state.step
        last = step == self.config.steps
        if last or step % run.log_every == 0 or step % run.save_every == 0:
            seconds = time.perf_counter() - self.since
            row = {
                "step": step,
                "loss": float(torch.stack(self.losses).mean()),
                "rate": rate,
                "scenes_per_s": len(self.losses) * run.batch / seconds,
                "waiting": self.waited / seconds,
            }
            if not math.isfinite(row["loss"]):
                raise PoseError(f"the loss is no longer a number at step {step}; try a lower --rate")
            add_line(run.log_file, row)
            bar.set_postfix(loss=f"{row['loss']:.3f}", scenes_per_s=f"{row['scenes_per_s']:.0f}")
            self.losses, self.waited, self.since = [], 0.0, time.perf_counter()
        if last or step % run.save_every == 0:
            self.state.save(run.resume_file)
        if last or step % run.evaluate_every == 0:
            self._validate()
            self.since = time.perf_counter()  # a validation is not training

    def _validate(self) -> None:
        score = _validate(self.state, self.config, self.samples.sets, held=self.held, scenes=self.scenes)
        add_line(self.config.run.log_file, {"step": self.state.step, "validation": score})
