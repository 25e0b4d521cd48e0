"""Training the lifters: one loop over samples on the device, with an own step for the adversarial lifter.

The recipes are in `lifter.recipe`, the samples in `lifter.samples`. Beside the weights a run writes a log of JSON lines
(loss, rate, the gradient's norm in every layer; errors at every validation), curves, and a resume file.
"""

import math
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from lifter.figures import draw_curves
from lifter.gan import Discriminator, Gan
from lifter.metrics import mpjpe, pa_mpjpe
from lifter.normalise import INPUT, OUTPUT
from lifter.recipe import LEAST_GAIN, PATIENCE, TrainLifterConfig, check_config, learning_rate
from lifter.registry import build_lifter
from lifter.samples import FixedSets, LifterData, Samples, open_data
from pipeline.atomic import cannot_write, replacing
from pipeline.checkpoint import Checkpoint, save_checkpoint
from pipeline.device import open_device, trains_in_bfloat16
from pipeline.errors import CheckpointError, InputError
from pipeline.jsonl import add_line, cut_lines, read_lines
from pipeline.pickles import check_torch_file

VALIDATE_EVERY = 1000  # steps, where there are no epochs
MAX_VALIDATION_BATCH = 8192
CONTENTS = "contents of the data"  # what their hash is called when a run is of others
PLATEAU = ("loss_sum", "loss_steps", "best", "waited", "cuts")  # what the schedule 'plateau' remembers


@dataclass
class Training:
    """What a run carries from step to step."""

    config: TrainLifterConfig
    data: LifterData
    network: nn.Module
    network_config: dict[str, Any]
    device: torch.device
    bfloat16: bool
    optimisers: dict[str, torch.optim.Optimizer]
    total: int  # steps
    validate_every: int
    step: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0  # over the steps since the last validation
    loss_steps: int = 0
    best: float = math.inf  # of what the schedule 'plateau' watches
    waited: int = 0  # validations since then
    cuts: int = 0


def train_lifter(config: TrainLifterConfig, *, resume: bool = False, sets: FixedSets | None = None) -> Path:
    """Train a lifter and write its weights file; returns the path of that file.

    With `resume` the run goes on from its resume file, on a CPU to the same weights as if it had never stopped. `sets`
    are the data of fixed cameras, for callers that train on them more than once.

    Raises InputError for an option out of range, DataError for poses that do not fit, DeviceError, OutputError, and
    CheckpointError for a resume file that does not fit.
    """
    check_config(config)
    device = open_device(config.device)
    if resume and not config.resume_file.is_file():
        raise CheckpointError(f"{config.resume_file}: no run to resume; start it without --resume")
    data = open_data(config, device, sets=sets)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config.seed)
        training = start(config, data, device=device)
        if resume:
            load_resume(training)
        else:
            config.resume_file.unlink(missing_ok=True)  # of an earlier run, which --resume would go on with
        cut_lines(config.log_file, training.step)
        scores = run_steps(training)
    save_checkpoint(config.out, to_checkpoint(training, describe(training, scores)))
    draw_curves(config.curves_file, {config.model: read_lines(config.log_file)})
    return config.out


def start(config: TrainLifterConfig, data: LifterData, *, device: torch.device) -> Training:
    """A run at step 0 with a new network."""
    fields = {"width": config.width, "dropout": config.dropout, "max_norm": config.max_norm}
    network, network_config = build_lifter(config.model, in_channels=data.channels, **fields)
    network = network.to(device)
    parts: dict[str, nn.Module] = {"lifter": network}
    if isinstance(network, Gan):
        assert network.discriminator is not None
        parts = {"lifter": network.generator, "discriminator": network.discriminator}
    optimisers: dict[str, torch.optim.Optimizer] = {
        name: torch.optim.AdamW(part.parameters(), lr=config.rate, weight_decay=config.weight_decay, fused=True)
        for name, part in parts.items()
    }
    per_epoch = getattr(data.source, "per_epoch", 0)
    total = max(1, round(config.epochs * per_epoch)) if config.epochs else config.steps
    every = config.validate_every or per_epoch or VALIDATE_EVERY
    bfloat16 = trains_in_bfloat16(config.precision, device)
    return Training(config, data, network, network_config, device, bfloat16, optimisers, total, every)


def run_steps(training: Training) -> dict[str, float]:
    """Train to the last step; returns the scores of the last validation."""
    config = training.config
    step: Callable[[Training, Samples], dict[str, Tensor]]
    step = adversarial_step if isinstance(training.network, Gan) else supervised_step
    began = time.monotonic() - training.seconds
    scores: dict[str, float] = {}
    collected: list[dict[str, Tensor]] = []
    with tqdm(total=training.total, initial=training.step, desc=config.model, unit="step") as bar:
        while training.step < training.total:
            rate = set_rate(training)
            collected.append(step(training, training.data.source.draw(training.step, config.batch)))
            training.step += 1
            bar.update()
            last = training.step == training.total
            validates = training.step % training.validate_every == 0 or last
            saves = validates or training.step % config.save_every == 0
            if not saves and training.step % config.log_every:
                continue
            training.seconds = time.monotonic() - began
            losses = log_losses(training, collected, rate=rate)
            collected = []
            if validates:
                scores = validate(training)
                add_line(config.log_file, {"step": training.step, "seconds": round(training.seconds, 1), **scores})
                watch(training, scores)
                show(bar, training, loss=losses["loss"], scores=scores)
            if saves:
                save_resume(training)
    return scores or validate(training)


def log_losses(training: Training, collected: list[dict[str, Tensor]], *, rate: float) -> dict[str, float]:
    """Write a line with the mean of every loss since the last one; InputError if the training has diverged."""
    names = collected[-1].keys()
    rows = [row for row in collected if row.keys() == names]  # the adversarial loss joins later
    losses = {name: float(torch.stack([row[name] for row in rows]).mean()) for name in names}
    if not math.isfinite(losses["loss"]):
        raise InputError(f"training diverged before step {training.step}; lower --rate ({training.config.rate})")
    training.loss_sum += float(torch.stack([row["loss"] for row in collected]).sum())
    training.loss_steps += len(collected)
    row = {"step": training.step, "rate": rate, **losses, "gradient_norms": gradient_norms(training.network)}
    add_line(training.config.log_file, row)
    return losses


def gradient_norms(network: nn.Module) -> dict[str, float]:
    """Norm of the last step's gradient, clipped if that is asked for, of every fully connected layer's weights, from
    input to output.
    """
    lifter = network.generator if isinstance(network, Gan) else network
    layers = [(name, layer) for name, layer in lifter.named_modules() if isinstance(layer, nn.Linear)]
    known = [(name.removesuffix(".0"), layer.weight.grad) for name, layer in layers]
    return {name: float(gradient.norm()) for name, gradient in known if gradient is not None}


def watched(scores: dict[str, float]) -> str:
    """The name of the score that stands for a validation: the last MPJPE, with errors where there are two."""
    return [name for name in scores if name.startswith("mpjpe")][-1]


def show(bar: tqdm, training: Training, *, loss: float, scores: dict[str, float]) -> None:
    """Put loss, error and speed behind the progress bar."""
    error = scores[watched(scores)]
    speed = training.step * training.config.batch / max(training.seconds, 1e-9)
    bar.set_postfix_str(f"loss {loss:.4f}, MPJPE {error:.1f} mm, {speed:.0f} samples/s")


def set_rate(training: Training) -> float:
    """Put this step's learning rate into the optimisers and return it."""
    rate = learning_rate(training.config, training.step, total=training.total, cuts=training.cuts)
    for optimiser in training.optimisers.values():
        for group in optimiser.param_groups:
            group["lr"] = rate
    return rate


def watch(training: Training, scores: dict[str, float]) -> None:
    """Schedule 'plateau': cut the rate when nothing has been gained for some validations.

    It watches the error of held-out poses, but where these are the test set of a protocol, which must not steer the
    training, the mean training loss since the last validation.
    """
    now = training.loss_sum / training.loss_steps if training.data.tests else scores[watched(scores)]
    training.loss_sum, training.loss_steps = 0.0, 0
    if now < training.best * (1 - LEAST_GAIN):
        training.best, training.waited = now, 0
        return
    training.waited += 1
    if training.config.schedule == "plateau" and training.waited >= PATIENCE:
        training.cuts, training.waited = training.cuts + 1, 0


def supervised_step(training: Training, batch: Samples) -> dict[str, Tensor]:
    """One step on the mean squared error of z-scored poses, summed over the network's outputs."""
    losses = [F.mse_loss(output, batch.poses) for output in lift_z(training, batch)]
    descend(training, "lifter", torch.stack(losses).sum())
    names = ("loss", "loss_intermediate")
    return {name: loss.detach() for name, loss in zip(names, losses, strict=False)}


def adversarial_step(training: Training, batch: Samples) -> dict[str, Tensor]:
    """One step of the discriminator on true against lifted poses, then one of the generator (Goodfellow et al. 2014).

    The generator minimises squared error + weight * cross-entropy of being taken for true. Until the discriminator
    joins, while lifted poses are told apart at a glance, this is a supervised step.
    """
    config, network = training.config, training.network
    assert isinstance(network, Gan)
    assert network.discriminator is not None
    if training.step < config.adversarial_from * training.total:
        return supervised_step(training, batch)
    (lifted,) = lift_z(training, batch)
    # true and lifted poses share one batch: apart, batch normalisation alone would tell them apart
    count = len(batch.poses)
    truth = (torch.arange(2 * count, device=training.device) < count).float()
    logits = judge(training, network.discriminator, poses=torch.cat([batch.poses, lifted.detach()]))
    critic = F.binary_cross_entropy_with_logits(logits, truth)
    descend(training, "discriminator", critic)
    # judged in evaluation mode: by the running statistics of both kinds, and without dropout
    network.discriminator.eval().requires_grad_(False)
    fooled = F.binary_cross_entropy_with_logits(
        judge(training, network.discriminator, poses=lifted), torch.ones_like(truth[:count])
    )
    network.discriminator.train().requires_grad_(True)
    loss = F.mse_loss(lifted, batch.poses)
    descend(training, "lifter", loss + config.adversarial_weight * fooled)
    right = ((logits > 0) == (truth > 0.5)).float().mean()
    losses = {"loss": loss, "loss_adversarial": fooled, "loss_discriminator": critic, "discriminator_accuracy": right}
    return {name: value.detach() for name, value in losses.items()}


def lift_z(training: Training, batch: Samples) -> tuple[Tensor, ...]:
    """The network's outputs for a batch, z-scored float32, final one first."""
    with torch.autocast(training.device.type, torch.bfloat16, enabled=training.bfloat16):
        outputs = training.network(batch.inputs)
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
    if training.config.clip_gradient:
        parameters = [weight for group in optimiser.param_groups for weight in group["params"]]
        nn.utils.clip_grad_norm_(parameters, training.config.clip_gradient)
    optimiser.step()


@torch.no_grad()
def validate(training: Training) -> dict[str, float]:
    """MPJPE and PA-MPJPE over the 16 joints beside the pelvis, mm, of unseen poses, in float32."""
    training.network.eval()
    scores: dict[str, float] = {}
    for kind, rows in training.data.validation.items():
        parts = [training.network(part)[0] for part in rows.inputs.split(MAX_VALIDATION_BATCH)]
        predicted = training.data.statistics.decode_pose(torch.cat(parts)).cpu().numpy()
        true = rows.poses.cpu().numpy()
        scores |= {f"mpjpe_{kind}": mpjpe(predicted, true), f"pa_mpjpe_{kind}": pa_mpjpe(predicted, true)}
    training.network.train()
    return scores


def plain_config(config: TrainLifterConfig) -> dict[str, Any]:
    """The fields that decide a run's result, as plain types; of paths only the names."""
    plain = asdict(config)
    del plain["out"], plain["device"]
    plain["data"] = config.kind  # its contents are known by their hash
    return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}


def changed(stored: dict[str, Any], wanted: dict[str, Any]) -> str:
    """The first thing that is wanted otherwise than a run has it, in words; empty if there is none."""
    return next(
        (
            f"{name} was {stored.get(name)}, now it is {value}"
            for name, value in wanted.items()
            if stored.get(name) != value
        ),
        "",
    )


def save_resume(training: Training) -> None:
    """Write everything that the next step depends on."""
    generator = getattr(training.data.source, "generator", None)
    state = {
        "config": plain_config(training.config),
        "data": training.data.description["sha256"],
        "bfloat16": training.bfloat16,
        "step": training.step,
        "seconds": training.seconds,
        "plateau": {name: getattr(training, name) for name in PLATEAU},
        "network": training.network.state_dict(),
        "optimisers": {name: optimiser.state_dict() for name, optimiser in training.optimisers.items()},
        "sampler": None if generator is None else generator.get_state(),
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state(training.device) if training.device.type == "cuda" else None,
    }
    path = training.config.resume_file
    with replacing(path) as temporary:
        try:
            torch.save(state, temporary)
        except (OSError, RuntimeError) as error:  # torch's own writer raises the latter
            raise cannot_write(path, error) from error


def load_resume(training: Training) -> None:
    """Put a resume file's state into a run just started; CheckpointError if it is of another run or damaged."""
    path = training.config.resume_file
    try:
        check_torch_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        stored = {**state["config"], CONTENTS: state["data"], "bfloat16": state["bfloat16"]}
    except Exception as error:  # torch raises many kinds for a damaged file
        raise CheckpointError(f"{path}: not a readable resume file ({type(error).__name__}); start anew") from error
    # 'auto' may mean another precision on another machine
    wanted = {**plain_config(training.config), "bfloat16": training.bfloat16}
    wanted[CONTENTS] = training.data.description["sha256"]
    if change := changed(stored, wanted):
        raise CheckpointError(f"{path}: of another run: {change}")
    try:
        _put(training, state)
    except Exception as error:  # torch raises many kinds for what does not fit
        raise CheckpointError(f"{path}: damaged ({type(error).__name__}); start anew") from error


def _put(training: Training, state: dict[str, Any]) -> None:
    training.network.load_state_dict(state["network"])
    for name, optimiser in training.optimisers.items():
        optimiser.load_state_dict(state["optimisers"][name])
    if state["sampler"] is not None:
        training.data.source.generator.set_state(state["sampler"])  # type: ignore[union-attr]
    torch.set_rng_state(state["random"])
    if state["random_cuda"] is not None and training.device.type == "cuda":
        torch.cuda.set_rng_state(state["random_cuda"], training.device)
    training.step, training.seconds = int(state["step"]), float(state["seconds"])
    for name in PLATEAU:
        setattr(training, name, state["plateau"][name])


def describe(training: Training, scores: dict[str, float]) -> dict[str, Any]:
    """Where the weights come from: data, configuration, length and scores of the run, versions."""
    return {
        "data": training.data.description,
        "config": plain_config(training.config),
        "steps": training.step,
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
    pixels = training.data.pixels
    meta = {
        "input_skeleton": INPUT.name,
        "input_source": training.data.description.get("input_source", "simulated detections"),
        "space": training.config.space,
        "pixels": None if pixels is None else asdict(pixels),
        "output_skeleton": OUTPUT.name,
        "statistics": training.data.statistics.to_meta(),
        "provenance": provenance,
    }
    return Checkpoint("lifter", training.config.model, config, meta, tensors)
