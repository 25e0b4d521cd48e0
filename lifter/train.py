"""Training the lifters: one loop over random samples made on the device, with an own step for the adversarial one.

The default recipe is for shipped weights: endless augmentation, large batches, warm-up and cosine decay. PAPER_RECIPE
holds what Martinez et al. (2017) and Seth (2018) state.
"""

import math
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from lifter.augment import Augment, Batch, sample
from lifter.baseline import clip_weight_norm
from lifter.data import emphasised, load_split, parse_spec
from lifter.gan import Discriminator, Gan
from lifter.metrics import mpjpe, pa_mpjpe
from lifter.normalise import INPUT, OUTPUT, Statistics
from lifter.registry import LIFTERS, build_lifter
from pipeline.atomic import add_line, cannot_write, check_writable, replacing
from pipeline.checkpoint import Checkpoint, save_checkpoint
from pipeline.device import PRECISIONS, open_device, trains_in_bfloat16
from pipeline.errors import CheckpointError, InputError
from pipeline.weights import file_sha256

HOLD_OUT_BY = ("trial", "subject")
SCHEDULES = ("cosine", "exponential")
STATISTICS_SAMPLES = 50_000  # samples that mean and standard deviation of input and output are taken over
VALIDATION_SEED = 20180101  # of the cameras and errors of the held-out poses: the same in every run

# Martinez et al. 2017, section 3.3, and Seth 2018: Adam, decay of 0.96 per 100k steps, batch 64 (512 for the gan).
PAPER_RECIPE: dict[str, Any] = {
    "batch": 64,
    "rate": 1e-3,
    "schedule": "exponential",
    "warm_up": 0,
    "weight_decay": 0.0,
    "dropout": 0.5,
}


@dataclass(frozen=True)
class TrainLifterConfig:
    """A training run of a lifter: everything that decides its result. Fields are the options of `train-lifter`."""

    model: str  # a name of the registry
    data: str  # KIND:PATH of the poses to learn from (`lifter.data`)
    out: Path  # weights file; the log (.jsonl) and the resume file (.resume.pt) stand beside it
    steps: int = 20_000
    batch: int = 512  # samples per step
    seed: int = 1
    width: int = 1024  # units of every hidden layer
    dropout: float = 0.1  # share of units; little is needed when no sample is seen twice
    rate: float = 1e-3  # AdamW's, after the warm-up
    schedule: str = "cosine"  # to zero at the last step; or 'exponential': 0.96 per 100k steps
    warm_up: int = 500  # steps over which the rate rises to its full value
    weight_decay: float = 1e-2  # 0 makes AdamW plain Adam
    max_norm: float = 0.0  # every weight matrix is scaled to at most this Frobenius norm (Martinez: 1); 0: free
    adversarial_weight: float = 3e-3  # gan: weight of the adversarial loss beside the squared error of z-scores
    adversarial_from: float = 0.5  # gan: share of the steps before the discriminator joins
    keep_discriminator: bool = False  # gan: put it into the weights file too; the resume file always has it
    augment: Augment = field(default_factory=Augment)
    held_out: float = 0.1  # share of every source's frames, by whole trials, kept for validation
    hold_out_by: str = "trial"  # what is kept for validation as a whole: a 'trial' or a 'subject'
    held_out_trials: tuple[str, ...] = ()  # trials kept for validation in any case, say those of test videos
    validation_samples: int = 4096
    validate_every: int = 1000  # steps between validations, each followed by a resume file
    precision: str = "auto"  # of products: 'float32', 'bfloat16', or 'auto' for what the device is made for
    device: str = "cpu"


@dataclass
class Training:
    """What a run carries from step to step."""

    config: TrainLifterConfig
    network: nn.Module
    network_config: dict[str, Any]
    statistics: Statistics
    sampler: torch.Generator  # of the samples; dropout draws from torch's own
    bfloat16: bool
    optimisers: dict[str, torch.optim.Optimizer]
    step: int = 0
    seconds: float = 0.0

    @property
    def device(self) -> torch.device:
        return self.sampler.device


def train_lifter(config: TrainLifterConfig, *, resume: bool = False) -> Path:
    """Train a lifter and write its weights file; returns the path of that file.

    With `resume` the run goes on from its resume file, to the same weights as if it had never stopped.

    Raises InputError for an option out of range, DataError for poses that do not fit, DeviceError, OutputError, and
    CheckpointError for a resume file that does not fit.
    """
    check_config(config)
    data_path = parse_spec(config.data)
    device = open_device(config.device)
    split = load_split(
        data_path, share=config.held_out, seed=config.seed, named=config.held_out_trials, by=config.hold_out_by
    )
    train, held = (directions.to(device) for directions in split)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config.seed)
        emphasis = emphasised(train)
        training = start(config, emphasis)
        resume_file, log = config.out.with_suffix(".resume.pt"), config.out.with_suffix(".jsonl")
        if resume:
            load_resume(resume_file, training)
        views = validation_views(held, config)
        scores = run_steps(training, emphasis, views=views, log=log, resume_file=resume_file)
    provenance = describe(training, data_path, frames=(len(train), len(held)), scores=scores)
    save_checkpoint(config.out, to_checkpoint(training, provenance))
    return config.out


def check_config(config: TrainLifterConfig) -> None:
    """InputError that names the first option out of range, OutputError if nothing can be written."""
    if config.model not in LIFTERS:
        raise InputError(f"--model {config.model}: known lifters are {', '.join(LIFTERS)}")
    limits = {
        "steps": (1, math.inf),
        "batch": (2, math.inf),  # batch normalisation needs two
        "width": (1, math.inf),
        "dropout": (0, 0.99),
        "rate": (1e-9, 1),
        "adversarial_from": (0, 1),
        "held_out": (0.001, 0.9),
        "validation_samples": (2, math.inf),
        "validate_every": (1, math.inf),
    }
    for name, (low, high) in limits.items():
        if not low <= getattr(config, name) <= high:
            option = name.replace("_", "-")
            raise InputError(f"--{option} {getattr(config, name)}: expected a value from {low} to {high}")
    for name, known in (("schedule", SCHEDULES), ("precision", PRECISIONS), ("hold_out_by", HOLD_OUT_BY)):
        if getattr(config, name) not in known:
            option = name.replace("_", "-")
            raise InputError(f"--{option} {getattr(config, name)}: expected one of {', '.join(known)}")
    check_writable(config.out)


def start(config: TrainLifterConfig, train: Tensor) -> Training:
    """A run at step 0: a new network, and statistics over samples of the training poses (N, 12, 3)."""
    sampler = torch.Generator(train.device).manual_seed(config.seed)
    examples = sample(train, STATISTICS_SAMPLES, options=config.augment, generator=sampler)
    network, network_config = build_lifter(config.model, width=config.width, dropout=config.dropout)
    network = network.to(train.device)
    parts: dict[str, nn.Module] = {"lifter": network}
    if isinstance(network, Gan):
        assert network.discriminator is not None
        parts = {"lifter": network.generator, "discriminator": network.discriminator}
    optimisers: dict[str, torch.optim.Optimizer] = {
        name: torch.optim.AdamW(part.parameters(), lr=config.rate, weight_decay=config.weight_decay, fused=True)
        for name, part in parts.items()
    }
    statistics = Statistics.of(examples.points, examples.poses)
    bfloat16 = trains_in_bfloat16(config.precision, train.device)
    return Training(config, network, network_config, statistics, sampler, bfloat16, optimisers)


def run_steps(
    training: Training, train: Tensor, *, views: dict[str, Batch], log: Path, resume_file: Path
) -> dict[str, float]:
    """Train to the last step; returns the scores of the last validation."""
    config = training.config
    step: Callable[[Training, Batch], dict[str, Tensor]]
    step = adversarial_step if isinstance(training.network, Gan) else supervised_step
    scores: dict[str, float] = {}
    began = time.monotonic() - training.seconds
    with tqdm(total=config.steps, initial=training.step, desc=config.model, unit="step") as bar:
        while training.step < config.steps:
            set_rate(training)
            batch = sample(train, config.batch, options=config.augment, generator=training.sampler)
            metrics = step(training, batch)
            training.step += 1
            bar.update()
            if training.step % config.validate_every and training.step < config.steps:
                continue
            training.seconds = time.monotonic() - began
            scores = {name: value.item() for name, value in metrics.items()} | validate(training, views)
            if not math.isfinite(scores["loss"]):
                raise InputError(f"training diverged before step {training.step}; lower --rate ({config.rate})")
            add_line(log, {"step": training.step, "seconds": round(training.seconds, 1), **scores})
            save_resume(resume_file, training)
            speed = training.step * config.batch / training.seconds
            bar.set_postfix_str(
                f"loss {scores['loss']:.4f}, MPJPE {scores['mpjpe_noisy']:.1f} mm, {speed:.0f} samples/s"
            )
    return scores or validate(training, views)


def rate_at(step: int, config: TrainLifterConfig) -> float:
    """Learning rate of a step: linear warm-up, then cosine to zero or Martinez' continuous exponential decay."""
    rise = min((step + 1) / config.warm_up, 1.0) if config.warm_up else 1.0
    if config.schedule == "exponential":
        return config.rate * rise * 0.96 ** (step / 100_000)
    return config.rate * rise * (1 + math.cos(math.pi * step / config.steps)) / 2


def set_rate(training: Training) -> None:
    """Put this step's learning rate into the optimisers."""
    for optimiser in training.optimisers.values():
        for group in optimiser.param_groups:
            group["lr"] = rate_at(training.step, training.config)


def supervised_step(training: Training, batch: Batch) -> dict[str, Tensor]:
    """One step on the mean squared error of z-scored poses, summed over the network's outputs."""
    target = training.statistics.encode_pose(batch.poses)
    outputs = lift_z(training, batch)
    losses = [F.mse_loss(output, target) for output in outputs]
    descend(training, "lifter", torch.stack(losses).sum())
    names = ("loss", "loss_intermediate")
    return {name: loss.detach() for name, loss in zip(names, losses, strict=False)}


def adversarial_step(training: Training, batch: Batch) -> dict[str, Tensor]:
    """One step of the discriminator on true against lifted poses, then one of the generator (Goodfellow et al. 2014).

    The generator minimises squared error + weight * cross-entropy of being taken for true. Until the discriminator
    joins, while lifted poses are told apart at a glance, this is a supervised step.
    """
    config, network = training.config, training.network
    assert isinstance(network, Gan)
    assert network.discriminator is not None
    if training.step < config.adversarial_from * config.steps:
        return supervised_step(training, batch)
    target = training.statistics.encode_pose(batch.poses)
    (lifted,) = lift_z(training, batch)
    # true and lifted poses share one batch: apart, batch normalisation alone would tell them apart
    truth = torch.cat([torch.ones(len(target)), torch.zeros(len(target))]).to(target.device)
    logits = judge(training, network.discriminator, poses=torch.cat([target, lifted.detach()]))
    critic = F.binary_cross_entropy_with_logits(logits, truth)
    descend(training, "discriminator", critic)
    # judged in evaluation mode: by the running statistics of both kinds, and without dropout
    network.discriminator.eval().requires_grad_(False)
    fooled = F.binary_cross_entropy_with_logits(
        judge(training, network.discriminator, poses=lifted), torch.ones_like(truth[: len(lifted)])
    )
    network.discriminator.train().requires_grad_(True)
    loss = F.mse_loss(lifted, target)
    descend(training, "lifter", loss + config.adversarial_weight * fooled)
    right = ((logits > 0) == (truth > 0.5)).float().mean()
    losses = {"loss": loss, "loss_adversarial": fooled, "loss_discriminator": critic, "discriminator_accuracy": right}
    return {name: value.detach() for name, value in losses.items()}


def lift_z(training: Training, batch: Batch) -> tuple[Tensor, ...]:
    """The network's outputs for a batch, z-scored float32, final one first."""
    with torch.autocast(training.device.type, torch.bfloat16, enabled=training.bfloat16):
        outputs = training.network(training.statistics.encode_input(batch.points))
    return tuple(output.float() for output in outputs)


def judge(training: Training, discriminator: Discriminator, *, poses: Tensor) -> Tensor:
    """The discriminator's logits (N,) for z-scored poses, float32."""
    with torch.autocast(training.device.type, torch.bfloat16, enabled=training.bfloat16):
        logits = discriminator(poses)
    return logits.float()


def descend(training: Training, part: str, loss: Tensor) -> None:
    """One optimiser step of a part of the network down its loss."""
    optimiser = training.optimisers[part]
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    if training.config.max_norm:
        clip_weight_norm(training.network, training.config.max_norm)


def validation_views(held: Tensor, config: TrainLifterConfig) -> dict[str, Batch]:
    """The same held-out poses seen by a perfect detector ('clean') and by one with errors ('noisy')."""
    kinds = {"clean": config.augment.without_errors(), "noisy": config.augment.with_errors()}
    generator = torch.Generator(held.device)
    return {
        kind: sample(held, config.validation_samples, options=options, generator=generator.manual_seed(VALIDATION_SEED))
        for kind, options in kinds.items()
    }


@torch.no_grad()
def validate(training: Training, views: dict[str, Batch]) -> dict[str, float]:
    """MPJPE and PA-MPJPE over the 16 joints beside the pelvis, mm, of held-out trials, in float32."""
    training.network.eval()
    scores: dict[str, float] = {}
    for kind, view in views.items():
        outputs = training.network(training.statistics.encode_input(view.points))
        predicted = training.statistics.decode_pose(outputs[0]).cpu().numpy()
        true = view.poses.cpu().numpy()
        scores |= {f"mpjpe_{kind}": mpjpe(predicted, true), f"pa_mpjpe_{kind}": pa_mpjpe(predicted, true)}
    training.network.train()
    return scores


def plain_config(config: TrainLifterConfig) -> dict[str, Any]:
    """The fields that decide a run's result, as plain types; of paths only the names."""
    plain = asdict(config)
    del plain["out"], plain["device"]
    plain["data"] = f"{config.data.partition(':')[0]}:{parse_spec(config.data).name}"
    return plain


def save_resume(path: Path, training: Training) -> None:
    """Write everything that the next step depends on."""
    state = {
        "config": plain_config(training.config),
        "step": training.step,
        "seconds": training.seconds,
        "network": training.network.state_dict(),
        "optimisers": {name: optimiser.state_dict() for name, optimiser in training.optimisers.items()},
        "sampler": training.sampler.get_state(),
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state(training.device) if training.device.type == "cuda" else None,
    }
    with replacing(path) as temporary:
        try:
            torch.save(state, temporary)
        except OSError as error:
            raise cannot_write(path, error) from error


def load_resume(path: Path, training: Training) -> None:
    """Put a resume file's state into a run just started; CheckpointError if it is of another run or damaged."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no run to resume; start it without --resume")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        stored = state["config"]
    except Exception as error:  # torch raises many kinds for a damaged file
        raise CheckpointError(f"{path}: not a readable resume file ({type(error).__name__}); start anew") from error
    wanted = plain_config(training.config)
    for name in wanted:
        if stored.get(name) != wanted[name]:
            raise CheckpointError(f"{path}: of another run: {name} was {stored.get(name)}, now it is {wanted[name]}")
    training.network.load_state_dict(state["network"])
    for name, optimiser in training.optimisers.items():
        optimiser.load_state_dict(state["optimisers"][name])
    training.sampler.set_state(state["sampler"])
    torch.set_rng_state(state["random"])
    if state["random_cuda"] is not None and training.device.type == "cuda":
        torch.cuda.set_rng_state(state["random_cuda"], training.device)
    training.step, training.seconds = state["step"], state["seconds"]


def describe(training: Training, data: Path, *, frames: tuple[int, int], scores: dict[str, float]) -> dict[str, Any]:
    """Where the weights come from: data, configuration, length and scores of the run, versions."""
    return {
        "data": {
            "file": data.name,
            "sha256": file_sha256(data),
            "training_frames": frames[0],
            "held_out_frames": frames[1],
        },
        "config": plain_config(training.config),
        "samples": training.step * training.config.batch,
        "minutes": round(training.seconds / 60, 1),
        "bfloat16": training.bfloat16,
        "scores": {name: round(value, 4) for name, value in scores.items()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


def to_checkpoint(training: Training, provenance: dict[str, Any]) -> Checkpoint:
    """The trained network as a checkpoint; without the discriminator unless it is wanted."""
    tensors, config = training.network.state_dict(), dict(training.network_config)
    if isinstance(training.network, Gan) and not training.config.keep_discriminator:
        config["discriminator"] = False
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("discriminator.")}
    meta = {
        "input_skeleton": INPUT.name,
        "input_source": "simulated detections",  # not ground truth: see `lifter.augment`
        "output_skeleton": OUTPUT.name,
        "statistics": training.statistics.to_meta(),
        "provenance": provenance,
    }
    return Checkpoint("lifter", training.config.model, config, meta, tensors)
