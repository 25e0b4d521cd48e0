"""The command line. Every command reads its options, calls one function, and prints the result; no logic here.

torch is imported inside the commands, so that --help answers at once.
"""

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import PoseError

if TYPE_CHECKING:
    from pipeline.run import Models

app = typer.Typer(
    help="An ordinary video in, a 3D skeleton out; and both networks that do it, trained by one command each.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Source = Annotated[Path, typer.Argument(help="the file to read", show_default=False)]
Out = Annotated[Path, typer.Option(help="the file to write", show_default=False)]
HourglassName = Annotated[str, typer.Option(help="a shipped detector by name, or the path of a weights file")]
LifterName = Annotated[str, typer.Option(help="baseline, deepbase1, deepbase2, gan, or the path of a weights file")]
Device = Annotated[str, typer.Option(help="auto (a GPU when there is one), cpu, cuda, cuda:1, ...")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="also write the figures to this file")]

DEFAULT_HOURGLASS = "hourglass-s"
DEFAULT_LIFTER = "baseline"


def main() -> None:
    """Run the program. An error that the user can mend becomes one line on stderr and exit code 1."""
    logging.basicConfig(level=logging.WARNING, format="posecli: %(message)s")
    try:
        app()
    except PoseError as error:
        print(f"posecli: {error}", file=sys.stderr)
        sys.exit(1)


def _models(hourglass: str, lifter: str, device: str) -> "Models":
    from pipeline.device import open_device, share_processor
    from pipeline.run import Models

    share_processor()
    return Models.load(hourglass=hourglass, lifter=lifter, device=open_device(device))


def _write_json(path: Path | None, content: object) -> None:
    from pipeline.atomic import replacing

    if path is not None:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n")


@app.command()
def video(
    source: Source,
    out: Out,
    hourglass: HourglassName = DEFAULT_HOURGLASS,
    lifter: LifterName = DEFAULT_LIFTER,
    device: Device = "auto",
    salvage: Annotated[bool, typer.Option("--salvage", help="use what is left of a clip that was cut short")] = False,
) -> None:
    """Write a clip with its 2D skeleton beside the 3D skeleton, as an mp4 that every browser plays."""
    from pipeline.run import process_video
    from pipeline.video import check_output, probe

    check_output(out, source)  # before the slow part
    probe(source)
    print(process_video(source, out, _models(hourglass, lifter, device), salvage=salvage))


@app.command()
def image(
    source: Source,
    out: Out,
    hourglass: HourglassName = DEFAULT_HOURGLASS,
    lifter: LifterName = DEFAULT_LIFTER,
    device: Device = "auto",
) -> None:
    """Write a photo (jpg, png) with its 2D skeleton beside the 3D skeleton."""
    from pipeline.run import process_image

    print(process_image(source, out, _models(hourglass, lifter, device)))


@app.command()
def eval_clips(
    folder: Annotated[Path, typer.Argument(help="folder of NAME.mp4 with NAME_gt.json", show_default=False)],
    hourglass: HourglassName = DEFAULT_HOURGLASS,
    lifter: LifterName = DEFAULT_LIFTER,
    device: Device = "auto",
    json_file: JsonFile = None,
) -> None:
    """Measure the whole program on clips whose exact 2D and 3D truth is known."""
    from pipeline.eval_clips import evaluate_clips, table

    result = evaluate_clips(folder, _models(hourglass, lifter, device))
    print(table(result))
    _write_json(json_file, result)


@app.command()
def eval_hourglass(
    data: Annotated[str, typer.Option(help="the set to measure on, KIND:PATH with KIND lsp or lspet")],
    hourglass: HourglassName = DEFAULT_HOURGLASS,
    held_back: Annotated[int, typer.Option(min=0, help="only the photos that training held back, so many; 0: all")] = 0,
    seed: Annotated[int, typer.Option(help="the seed that training held them back by")] = 1,
    flip_test: Annotated[bool, typer.Option(help="average over the photo and its mirror image")] = True,
    multi_scale: Annotated[bool, typer.Option(help="average over two sizes of the crop")] = True,
    device: Device = "auto",
    json_file: JsonFile = None,
) -> None:
    """Measure the detector on labelled photos: PCK@0.2, person-centric, by joint; flip and multi-scale test."""
    from hourglass.data import hold_back, read_photos
    from hourglass.evaluate import evaluate_pck, table
    from hourglass.predict import ZOOMS, Detector
    from pipeline.device import open_device, share_processor
    from pipeline.weights import find_weights

    share_processor()
    photos = read_photos(data)
    if held_back:
        photos = hold_back(photos, held_back, seed=seed)[1]
    detector = Detector.load(find_weights("hourglass", hourglass), open_device(device))
    zooms = ZOOMS if multi_scale else ()
    result = {"images": len(photos), "pck@0.2": evaluate_pck(detector, photos, flip_test=flip_test, zooms=zooms)}
    print(table(result))
    _write_json(json_file, result)


@app.command()
def train_hourglass(
    data: Annotated[list[str], typer.Option(help="KIND:PATH with KIND lsp or lspet; repeatable", show_default=False)],
    out: Out,
    preset: Annotated[str, typer.Option(help="shape of the network: s (lean, for a CPU) or published")] = "s",
    augmentation: Annotated[str, typer.Option(help="how much photos are changed: strong, light or faint")] = "strong",
    stacks: Annotated[int, typer.Option(min=0, help="number of hourglasses; 0: the preset's")] = 0,
    epochs: Annotated[float, typer.Option(help="passes over the photos")] = 100,
    batch: Annotated[int, typer.Option(min=1, help="samples a step, over all processes")] = 64,
    rate: Annotated[float, typer.Option(help="learning rate of AdamW")] = 2e-3,
    cool_down: Annotated[float, typer.Option(help="last part of the run, over which the rate falls to 0")] = 0.25,
    hold_back: Annotated[int, typer.Option(min=0, help="photos of the last set kept for validation")] = 1000,
    seed: Annotated[int, typer.Option(help="decides the start, the order and the augmentation")] = 1,
    precision: Annotated[
        str, typer.Option(help="float32, or bfloat16 where the processor has units for it")
    ] = "float32",
    evaluate_every: Annotated[int, typer.Option(min=1, help="steps between validations")] = 2000,
    device: Device = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads of each process; 0: all")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="continue the run whose files stand beside --out")] = False,
) -> None:
    """Train the detector on labelled photos. Under torchrun the batch is shared among the processes."""
    from hourglass.augment import AUGMENTATIONS
    from hourglass.model import PRESETS
    from hourglass.train import TrainConfig
    from hourglass.train import train_hourglass as train

    for option, value, known in (("preset", preset, PRESETS), ("augmentation", augmentation, AUGMENTATIONS)):
        if value not in known:
            raise typer.BadParameter(f"{value!r}: give one of {', '.join(known)}", param_hint=f"--{option}")
    config = TrainConfig(
        data=tuple(data),
        out=out,
        model=PRESETS[preset] if stacks == 0 else PRESETS[preset].with_stacks(stacks),
        augment=AUGMENTATIONS[augmentation],
        hold_back=hold_back,
        epochs=epochs,
        batch=batch,
        rate=rate,
        cool_down=cool_down,
        seed=seed,
        precision=precision,
        evaluate_every=evaluate_every,
        device=device,
        threads=threads,
    )
    print(train(config, resume=resume))


@app.command()
def train_lifter(
    model: Annotated[str, typer.Option(help="baseline, deepbase1, deepbase2 or gan", show_default=False)],
    data: Annotated[str, typer.Option(help="poses to learn from, mocap:PATH of an npz file", show_default=False)],
    out: Out,
    steps: Annotated[int, typer.Option(min=1, help="length of the run")] = 20_000,
    batch: Annotated[int, typer.Option(min=1, help="samples a step")] = 512,
    seed: Annotated[int, typer.Option(help="decides the start, the cameras and the errors")] = 1,
    width: Annotated[int, typer.Option(min=1, help="units of every hidden layer")] = 1024,
    dropout: Annotated[float, typer.Option(help="share of units left out while training")] = 0.1,
    rate: Annotated[float, typer.Option(help="learning rate of AdamW")] = 1e-3,
    schedule: Annotated[str, typer.Option(help="cosine, or exponential: 0.96 per 100k steps, as published")] = "cosine",
    warm_up: Annotated[int, typer.Option(help="steps over which the rate rises to its full value")] = 500,
    max_norm: Annotated[float, typer.Option(help="limit of each weight matrix's norm; 0: none; published: 1")] = 0.0,
    adversarial_weight: Annotated[float, typer.Option(help="gan: weight of the adversarial loss")] = 3e-3,
    adversarial_from: Annotated[float, typer.Option(help="gan: share of the run before it joins")] = 0.5,
    held_out_trial: Annotated[list[str] | None, typer.Option(help="a trial kept for validation; repeatable")] = None,
    validate_every: Annotated[int, typer.Option(min=1, help="steps between validations")] = 1000,
    precision: Annotated[str, typer.Option(help="float32, bfloat16, or auto: what the device is made for")] = "auto",
    device: Device = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: all")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="continue the run whose files stand beside --out")] = False,
) -> None:
    """Train a lifter on motion capture seen by random cameras, with errors like a detector's."""
    import torch

    from lifter.train import TrainLifterConfig
    from lifter.train import train_lifter as train

    if threads:
        torch.set_num_threads(threads)
    config = TrainLifterConfig(
        model=model,
        data=data,
        out=out,
        steps=steps,
        batch=batch,
        seed=seed,
        width=width,
        dropout=dropout,
        rate=rate,
        schedule=schedule,
        warm_up=warm_up,
        validate_every=validate_every,
        max_norm=max_norm,
        adversarial_weight=adversarial_weight,
        adversarial_from=adversarial_from,
        held_out_trials=tuple(held_out_trial or ()),
        precision=precision,
        device=device,
    )
    print(train(config, resume=resume))


if __name__ == "__main__":
    main()
