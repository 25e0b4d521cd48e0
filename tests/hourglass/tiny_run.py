"""A training run of seconds, to be started as a program of its own: by torchrun, or to be killed.

    python -m tests.hourglass.tiny_run OUT PHOTOS STEPS [FIELD=VALUE ...]

Continues a run whose resume file exists.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from hourglass.model import HourglassConfig
from hourglass.recipe import TrainConfig
from hourglass.train import train_hourglass


def tiny_config(out: Path, photos: Path, steps: int) -> TrainConfig:
    """So many steps on photos of which two are held back."""
    config = TrainConfig(
        data=(f"lspet:{photos}",),
        out=out,
        model=HourglassConfig(stacks=2, widths=(8, 8), stem_width=4, block="plain", input_size=32),
        hold_back=2,
        batch=4,
        warm_up=2,
        precision="float32",
        log_every=1,
        save_every=3,
        evaluate_every=10,
        device="cpu",
        threads=1,
    )
    return replace(config, epochs=(steps + 0.5) / 3)  # twelve photos are three steps an epoch


if __name__ == "__main__":
    out, photos, steps, *changes = sys.argv[1:]
    fields = dict(change.split("=") for change in changes)
    config = tiny_config(Path(out), Path(photos), int(steps))
    config = replace(config, **{name: json.loads(value) for name, value in fields.items()})
    train_hourglass(config, resume=config.resume_file.exists())
