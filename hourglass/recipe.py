"""What decides the result of a training run of the detector, and whole recipes by name."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hourglass.augment import AUGMENTATIONS, AugmentConfig
from hourglass.codec import Codec
from hourglass.model import PRESETS, HourglassConfig
from hourglass.predict import Pixels
from pipeline.device import PRECISIONS

OPTIMISERS = ("muon", "adamw", "rmsprop")
SCHEDULES = ("linear", "drops")
CALM_PART = 0.2  # last part of a run, in which photos are changed as `TrainConfig.calm` says
DROPS = (0.6, 0.9)  # parts of the run after which the published schedule divides the rate by ten


@dataclass(frozen=True)
class TrainConfig:
    """A training run of the detector: everything that decides its result."""

    data: tuple[str, ...]  # sets, each KIND:PATH or KIND:PATH@WEIGHT
    out: Path  # weights file; all else that a run writes stands beside it
    model: HourglassConfig = PRESETS["s"]  # its number of joints is that of the skeleton
    codec: Codec = field(default_factory=Codec)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    calm: str = ""  # name of the augmentation of the run's last part; "": as before it
    teacher: str = ""  # weights file of a detector whose heatmaps are learnt beside the labels; "": none
    teacher_share: float = 0.7  # of the loss
    validation: str = ""  # set to validate on, KIND:PATH; "": photos held back from the last set of `data`
    hold_back: int = 1000  # so many of them
    skeleton: str = ""  # joints to learn; "": those of the set for validation
    init: str = ""  # weights file to start from, whose network, codec, joints and pixels it keeps; "": a random start
    pixels: Pixels = field(default_factory=Pixels)  # what the network takes for pixels
    epochs: float = 100.0
    batch: int = 64  # samples a step, over all processes
    optimiser: str = "muon"
    rate: float = 4e-3
    weight_decay: float = 1e-2
    schedule: str = "linear"  # or "drops"
    warm_up: int = 500  # steps
    cool_down: float = 0.7  # "linear": last part of the run, over which the rate falls to 0
    trim: float = 0.0  # share of each batch's joints, those of the highest loss, that teach nothing: wrong labels
    trim_from: float = 0.3  # share of the run before that, while everything has a high loss
    ema: float = 0.999  # decay per step of the moving average of weights, which is what is kept; 0: none
    seed: int = 1
    precision: str = "auto"  # of the network's products: "float32", "bfloat16", "auto": what the device is made for
    sync_batch_norm: bool = False  # several processes normalise over the whole batch, as one process would
    workers: int = 0  # processes that draw samples ahead, for each training process; 0: it draws them itself
    log_every: int = 50  # steps between lines of the log
    save_every: int = 250  # steps between resume files
    evaluate_every: int = 2000  # steps between validations
    device: str = "auto"  # a GPU when there is one
    threads: int = 0  # of each process on a CPU; 0: all

    def __post_init__(self) -> None:
        for name, value, known in (
            ("optimiser", self.optimiser, OPTIMISERS),
            ("schedule", self.schedule, SCHEDULES),
            ("precision", self.precision, PRECISIONS),
        ):
            if value not in known:
                raise ValueError(f"unknown {name} {value!r}; known: {', '.join(known)}")

    @property
    def resume_file(self) -> Path:
        """Where the state of the run is kept, beside the weights."""
        return self.out.with_suffix(".resume.pt")

    @property
    def log_file(self) -> Path:
        """One JSON object per line."""
        return self.out.with_suffix(".jsonl")

    @property
    def curves_file(self) -> Path:
        """Loss, PCK and rate over the steps."""
        return self.out.with_suffix(".curves.png")

    @property
    def samples_folder(self) -> Path:
        """A sheet of predictions from every validation."""
        return self.out.with_suffix(".samples")

    @property
    def tensorboard_folder(self) -> Path:
        """What `tensorboard --logdir` is to be given."""
        return self.out.with_suffix(".tensorboard")


# Whole recipes by name; fields that a recipe doesn't name are TrainConfig's. 'published' follows Newell, Yang and Deng
# (2016) as their PyTorch successors train it (batch 6, 100 epochs, rate divided by ten after 60 and 90 of them).
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "published": {
        "model": PRESETS["published"],
        "codec": Codec(convention="height"),
        "augment": AUGMENTATIONS["published"],
        "optimiser": "rmsprop",
        "rate": 2.5e-4,
        "weight_decay": 0.0,
        "schedule": "drops",
        "warm_up": 0,
        "batch": 6,
        "ema": 0.0,
        "precision": "float32",
    },
}


def learning_rate(config: TrainConfig, step: int, total: int) -> float:
    """The rate at a step: a linear warm-up, then "linear": constant, then falling to 0; "drops": a tenth after each."""
    warm = min(1.0, (step + 1) / max(config.warm_up, 1))
    if config.schedule == "drops":
        return config.rate * min(warm, 0.1 ** sum(step >= part * total for part in DROPS))
    left = (total - step) / max(config.cool_down * total, 1)
    return config.rate * min(warm, max(left, 0.0))
