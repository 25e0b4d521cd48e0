"""The lifters by name: the one list that the command line, training and checkpoints choose from."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lifter.baseline import Baseline, LifterConfig
from lifter.deepbase import DeepBase1, DeepBase2
from lifter.gan import Gan, GanConfig
from pipeline.checkpoint import Checkpoint, load_state
from pipeline.errors import CheckpointError, InputError

LIFTERS: dict[str, tuple[type[nn.Module], type[LifterConfig]]] = {
    "baseline": (Baseline, LifterConfig),
    "deepbase1": (DeepBase1, LifterConfig),
    "deepbase2": (DeepBase2, LifterConfig),
    "gan": (Gan, GanConfig),
}


def build_lifter(name: str, **fields: Any) -> tuple[nn.Module, dict[str, Any]]:
    """A new network and the plain fields of its config; `fields` are those of the config class, the rest its defaults.

    Raises InputError that lists the known names if there is no such lifter.
    """
    if name not in LIFTERS:
        raise InputError(f"unknown lifter {name!r}; known: {', '.join(LIFTERS)}")
    network, config_class = LIFTERS[name]
    config = config_class(**fields)
    return network(config), asdict(config)


def restore_lifter(checkpoint: Checkpoint, path: Path) -> nn.Module:
    """The network of a checkpoint, built from the checkpoint's own config and loaded strictly, ready for inference.

    Raises CheckpointError if the architecture or a config field is unknown, or the tensors do not fit.
    """
    if checkpoint.arch not in LIFTERS:
        raise CheckpointError(f"{path}: lifter {checkpoint.arch!r} is unknown; known: {', '.join(LIFTERS)}")
    try:
        with torch.device("meta"):
            network, _ = build_lifter(checkpoint.arch, **checkpoint.config)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(f"{path}: config does not fit {checkpoint.arch}: {error}; update posecli") from error
    load_state(network, checkpoint, path)
    return network.eval()
