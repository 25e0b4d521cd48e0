"""The command line. Every command reads its options, calls one function, and prints the result; no logic here.

torch is imported inside the commands, so that --help answers at once.
"""

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    from pipeline.atomic import write_whole

    if path is not None:
        write_whole(path, (json.dumps(content, indent=2) + "\n").encode())


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
    data: Annotated[str, typer.Option(help="the set to measure on, KIND:PATH, such as lspet:data/lspet")],
    hourglass: HourglassName = DEFAULT_HOURGLASS,
    held_back: Annotated[int, typer.Option(min=0, help="only the photos that training held back, so many; 0: all")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="the seed that training held them back by")] = 1,
    flip_test: Annotated[bool, typer.Option(help="average over the photo and its mirror image")] = True,
    multi_scale: Annotated[bool, typer.Option(help="average over two sizes of the crop")] = True,
    visible_only: Annotated[bool, typer.Option("--visible-only", help="leave out joints labelled as hidden")] = False,
    device: Device = "auto",
    json_file: JsonFile = None,
    pictures: Annotated[Path | None, typer.Option(help="also draw the worst photos, FILE.png")] = None,
) -> None:
    """Measure the detector on labelled photos, joint by joint: PCK@0.2, PCKh@0.5 and PCKh@0.1, with the flip and
    multi-scale test and without.
    """
    from hourglass.data import hold_back, read_photos
    from hourglass.evaluate import measure, table
    from hourglass.predict import ZOOMS, Detector
    from hourglass.sheets import check_sheet, worst_sheet, write_sheet
    from pipeline.atomic import check_writable
    from pipeline.device import open_device, share_processor
    from pipeline.weights import file_sha256, find_weights

    if json_file:
        check_writable(json_file)  # before the slow part
    if pictures:
        check_sheet(pictures)
    share_processor()
    weights = find_weights("hourglass", hourglass)
    detector = Detector.load(weights, open_device(device))
    photos = read_photos(data)
    if held_back:
        photos = hold_back(photos, held_back, seed=seed)[1]
    zooms = ZOOMS if multi_scale else ()
    result, found = measure(detector, photos, flip_test=flip_test, zooms=zooms, visible_only=visible_only)
    print(table(result))
    _write_json(json_file, {"weights": {"file": weights.name, "sha256": file_sha256(weights)}, **result})
    if pictures:
        write_sheet(pictures, worst_sheet(photos, found.xy))


@app.command()
def import_weights(
    source: Annotated[Path, typer.Argument(help="a checkpoint file (.pth.tar, .pth, .pt)", show_default=False)],
    layout: Annotated[
        str, typer.Option("--from", help="what made it: pytorch-pose (bearpaw) or princeton", show_default=False)
    ],
    out: Out,
) -> None:
    """Turn a public stacked hourglass, trained on MPII, into weights for --hourglass. Executes nothing in the file."""
    from hourglass.importing import LAYOUTS
    from hourglass.importing import import_weights as convert

    if layout not in LAYOUTS:
        raise typer.BadParameter(f"{layout!r}: give one of {', '.join(LAYOUTS)}", param_hint="--from")
    print(convert(source, out, layout=layout))


@app.command()
def train_hourglass(
    data: Annotated[
        list[str],
        typer.Option(help="KIND:PATH, KIND:PATH@WEIGHT; KIND lsp, lspet, mpii, coco; repeatable", show_default=False),
    ],
    out: Out,
    recipe: Annotated[str, typer.Option(help="default, or published: Newell et al. 2016")] = "default",
    preset: Annotated[str | None, typer.Option(help="shape of the network: s (lean, for a CPU) or published")] = None,
    stacks: Annotated[int | None, typer.Option(min=1, help="number of hourglasses instead of the preset's")] = None,
    init: Annotated[str | None, typer.Option(help="weights to start from: a shipped name, or a file")] = None,
    validation: Annotated[str | None, typer.Option(help="KIND:PATH to validate on, instead of --hold-back")] = None,
    hold_back: Annotated[int | None, typer.Option(min=0, help="photos of the last set kept for validation")] = None,
    skeleton: Annotated[str | None, typer.Option(help="joints to learn: lsp14, mpii16 or coco17")] = None,
    loss: Annotated[str | None, typer.Option(help="probability (cross-entropy) or height (squared error)")] = None,
    augmentation: Annotated[
        str | None, typer.Option(help="how much photos are changed: strong, light, faint, published, none")
    ] = None,
    trim: Annotated[float | None, typer.Option(min=0, max=0.9, help="share of joints of highest loss left out")] = None,
    epochs: Annotated[float | None, typer.Option(min=0, max=1e6, help="passes over the photos")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="samples a step, over all processes")] = None,
    optimiser: Annotated[str | None, typer.Option(help="muon, adamw or rmsprop")] = None,
    rate: Annotated[float | None, typer.Option(min=0, help="learning rate")] = None,
    warm_up: Annotated[int | None, typer.Option(min=0, help="steps over which the rate rises")] = None,
    cool_down: Annotated[float | None, typer.Option(min=0, max=1, help="last part: the rate falls to 0")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="decides the start, the order and the augmentation")] = None,
    precision: Annotated[str | None, typer.Option(help="float32, bfloat16, auto (as the device likes)")] = None,
    sync_batch_norm: Annotated[
        bool, typer.Option("--sync-batch-norm", help="several processes normalise over the whole batch, as one would")
    ] = False,
    workers: Annotated[int | None, typer.Option(min=0, help="processes that draw samples ahead; 8 for a GPU")] = None,
    evaluate_every: Annotated[int | None, typer.Option(min=1, help="steps between validations")] = None,
    save_every: Annotated[int | None, typer.Option(min=1, help="steps between resume files")] = None,
    device: Device = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads of each process; 0: all")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="continue the run whose files stand beside --out")] = False,
) -> None:
    """Train the detector on labelled photos. Under torchrun the batch is shared among the processes.

    Every option that is not given is the recipe's.
    """
    from hourglass.augment import AUGMENTATIONS
    from hourglass.codec import CONVENTIONS, Codec
    from hourglass.model import PRESETS
    from hourglass.recipe import OPTIMISERS, RECIPES, TrainConfig
    from hourglass.train import train_hourglass as train
    from pipeline.device import PRECISIONS
    from pipeline.weights import find_weights

    for option, value, known in (
        ("recipe", recipe, RECIPES),
        ("preset", preset, PRESETS),
        ("augmentation", augmentation, AUGMENTATIONS),
        ("optimiser", optimiser, OPTIMISERS),
        ("loss", loss, CONVENTIONS),
        ("precision", precision, PRECISIONS),
    ):
        if value is not None and value not in known:
            raise typer.BadParameter(f"{value!r}: give one of {', '.join(known)}", param_hint=f"--{option}")
    if init is not None and (preset, stacks, loss) != (None, None, None):
        raise typer.BadParameter("the weights decide --preset, --stacks, --loss; leave them out", param_hint="--init")
    config = TrainConfig(data=tuple(data), out=out, device=device, threads=threads, sync_batch_norm=sync_batch_norm)
    config = replace(config, **RECIPES[recipe])
    model = config.model if preset is None else PRESETS[preset]
    given: dict[str, Any] = {
        "model": model if stacks is None else model.with_stacks(stacks),
        "init": None if init is None else str(find_weights("hourglass", init)),
        "validation": validation,
        "hold_back": hold_back,
        "skeleton": skeleton,
        "codec": None if loss is None else Codec(convention=loss),
        "augment": None if augmentation is None else AUGMENTATIONS[augmentation],
        "trim": trim,
        "epochs": epochs,
        "batch": batch,
        "optimiser": optimiser,
        "rate": rate,
        "warm_up": warm_up,
        "cool_down": cool_down,
        "seed": seed,
        "precision": precision,
        "workers": workers,
        "evaluate_every": evaluate_every,
        "save_every": save_every,
    }
    print(train(replace(config, **{name: value for name, value in given.items() if value is not None}), resume=resume))


@app.command()
def train_lifter(
    model: Annotated[str, typer.Option(help="baseline, deepbase1, deepbase2 or gan", show_default=False)],
    data: Annotated[str, typer.Option(help="poses to learn from, mocap:PATH of an .h5 or .npz", show_default=False)],
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
    hold_out_by: Annotated[str, typer.Option(help="kept for validation as a whole: trial or subject")] = "trial",
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
        hold_out_by=hold_out_by,
        held_out_trials=tuple(held_out_trial or ()),
        precision=precision,
        device=device,
    )
    print(train(config, resume=resume))


@app.command()
def prepare_mocap(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help=".bvh, .amc beside .asf, or folders", show_default=False)
    ],
    out: Out,
    fps: Annotated[float, typer.Option(help="frames a second to keep")] = 30.0,
    source_fps: Annotated[float, typer.Option(help="frames a second of .amc files, which do not say")] = 120.0,
    unit: Annotated[str | None, typer.Option(help="mm, cm, m, inch or cmu (inch / 0.45), instead of a guess")] = None,
    up: Annotated[str, typer.Option(help="the axis that points up in the files, y or z")] = "y",
    rig_map: Annotated[Path | None, typer.Option("--map", help="JSON that names the joints of an unknown rig")] = None,
) -> None:
    """Gather motion capture files into one pose file (.h5) that train-lifter learns from."""
    from lifter.prepare import PrepareConfig
    from lifter.prepare import prepare_mocap as prepare

    config = PrepareConfig(fps=fps, source_fps=source_fps, unit=unit, up=up, rig_map=rig_map)
    print(prepare(inputs, out, config=config))


if __name__ == "__main__":
    main()
