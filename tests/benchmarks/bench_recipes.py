"""What each part of the detector's recipe is worth, in short runs of one small network, all of the same length.

    python -m tests.benchmarks.bench_recipes --data lspet:PATH --out FOLDER [--steps 400] [--only NAME ...]

Prints a Markdown table: PCK@0.2 of the 12 limb joints on 1,000 held-back photos, one crop each, no flip test. A row
whose weights are there already is not run again.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from hourglass.augment import AUGMENTATIONS
from hourglass.codec import Codec
from hourglass.model import HourglassConfig
from hourglass.recipe import TrainConfig
from hourglass.train import train_hourglass
from pipeline.checkpoint import load_checkpoint

SMALL = HourglassConfig(stacks=1, widths=(16, 32, 64, 96, 96), stem_width=16, block="plain", input_size=128)
ROWS: dict[str, dict[str, Any]] = {
    "cross-entropy, Muon, light augmentation": {},
    "mean squared error instead": {"codec": Codec(convention="height")},
    "AdamW 2e-3 instead": {"optimiser": "adamw", "rate": 2e-3},
    "strong augmentation instead": {"augment": AUGMENTATIONS["strong"]},
    "mirror images only": {"augment": AUGMENTATIONS["none"]},
    "10 % of the joints trimmed": {"trim": 0.1},
}


def main() -> None:
    """Run the rows and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--only", action="append")
    given = parser.parse_args()
    print(f"| recipe | PCK@0.2 after {given.steps * 64:,} samples |\n|---|---|")
    for number, (name, changes) in enumerate(ROWS.items()):
        if given.only and name not in given.only:
            continue
        out = given.out / f"row-{number}.safetensors"
        config = TrainConfig(
            data=tuple(given.data), out=out, model=SMALL, augment=AUGMENTATIONS["light"],
            warm_up=50, evaluate_every=10**6, threads=1, precision="bfloat16",
        )  # fmt: skip
        per_epoch = 9000 * len(given.data) // 64  # only decides where the cool-down lies
        config = replace(config, epochs=given.steps / per_epoch, **changes)
        if not out.exists():
            train_hourglass(config, resume=config.resume_file.exists())
        provenance = load_checkpoint(out, "hourglass").meta["provenance"]
        print(f"| {name} | {provenance['validation']['pck@0.2']['limbs']:.1f} |", flush=True)


if __name__ == "__main__":
    main()
