"""The command line. Every command reads its options, calls one function, and prints the result; no logic here.

torch is imported inside the commands, so that --help answers at once.
"""

import gc
import json
import logging
import re
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import PoseError
from pipeline.signals import tidy_end
from pipeline.weights import DEFAULT_FINDER, DEFAULT_HOURGLASS, DEFAULT_LIFTER

if TYPE_CHECKING:
    from pipeline.batch import Batch
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
FinderName = Annotated[str, typer.Option(help="the shipped finder of people, or the path of a weights file")]
LifterName = Annotated[str, typer.Option(help="baseline, deepbase1, deepbase2, gan, or the path of a weights file")]
Device = Annotated[str, typer.Option(help="auto (a GPU when there is one), cpu, cuda, cuda:1, ...")]
Runtime = Annotated[
    str, typer.Option(help="of the networks: torch, the reference; on the CPU onnx, quicker, and int8, quickest; auto")
]
Fov = Annotated[float | None, typer.Option(help="the camera's horizontal field of view, degrees; none: a guess")]
Exports = Annotated[
    list[Path] | None,
    typer.Option(
        "--export",
        "--save",
        help="also hand over the poses, FILE.h5, .json, .csv, .npz, .bvh, .trc or .c3d, or a page to look at, .html; "
        "repeatable",
    ),
]
Smooth = Annotated[str, typer.Option(help="off, light or strong")]
People = Annotated[int, typer.Option(min=1, help="to follow at a time, the most prominent ones")]
Height = Annotated[float | None, typer.Option(help="of the person, cm; none: an adult of average build")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="also write the figures to this file")]

QUICK_HOURGLASS = "hourglass-s"


def main() -> None:
    """Run the program. An error that the user can mend becomes one line on stderr and exit code 1."""
    logging.basicConfig(level=logging.WARNING, format="posecli: %(message)s")
    try:
        with tidy_end():
            app()
    except PoseError as error:
        print(f"posecli: {error}", file=sys.stderr)
        sys.exit(1)


def _models(hourglass: str, finder: str, lifter: str, device: str, runtime: str) -> "Models":
    from pipeline.device import open_device, share_processor
    from pipeline.run import Models

    _check_runtime(runtime)
    share_processor()
    opened = open_device(device)
    models = Models.load(hourglass=hourglass, finder=finder, lifter=lifter, device=opened, runtime=runtime)
    gc.freeze()  # what is loaded by now stays: to look again and again whether it can go takes 2 % of the time
    return models


def _check_runtime(runtime: str) -> None:
    """A usage error unless it is the name of a runtime."""
    from pipeline.runtime import RUNTIMES

    if runtime not in RUNTIMES:
        raise typer.BadParameter(f"{runtime!r}: give one of {', '.join(RUNTIMES)}", param_hint="--runtime")


def _write_json(path: Path | None, content: object) -> None:
    from pipeline.atomic import write_whole

    if path is not None:
        write_whole(path, (json.dumps(content, indent=2) + "\n").encode())


@app.command()
def video(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="the file to read, or several; or live: a camera's number (0) or a stream's address (rtsp://, "
            "http://, tcp://, udp://, rtmp://)",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="the file to write, of one source; live, it may be left out with --show")
    ] = None,
    hourglass: Annotated[
        str | None,
        typer.Option(
            help="a shipped detector by name, or the path of a weights file; "
            f"none: {DEFAULT_HOURGLASS}, or live without a GPU {QUICK_HOURGLASS}"
        ),
    ] = None,
    finder: FinderName = DEFAULT_FINDER,
    lifter: LifterName = DEFAULT_LIFTER,
    device: Device = "auto",
    runtime: Runtime = "auto",
    export: Exports = None,
    people: People = 1,
    smooth: Smooth = "light",
    fov: Fov = None,
    height: Height = None,
    salvage: Annotated[bool, typer.Option("--salvage", help="use what is left of a clip that was cut short")] = False,
    show: Annotated[bool, typer.Option("--show", help="live: in a window, until q or Esc is pressed there")] = False,
    out_dir: Annotated[
        Path | None,
        typer.Option(help="instead of --out: the folder for NAME.mp4 of each source; --export then takes endings, bvh"),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="with --out-dir: also clips that are finished")] = False,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="with --out-dir: on a Ray cluster at auto, local or host:port"),
    ] = None,
) -> None:
    """Write a clip with its 2D skeleton beside the 3D skeleton, as an mp4 that every browser plays; or show a camera or
    a stream so while it goes on; or many clips, into a folder with a report, going on after a bad one. Run again, that
    makes what is missing.
    """
    from pipeline.capture import is_live
    from pipeline.run import Wishes, check_job, process_video

    _check_smooth(smooth)
    wishes = Wishes(smooth=smooth, fov=fov, height_cm=height, people=people, salvage=salvage)
    live = len(sources) == 1 and is_live(sources[0])
    if show and not live:
        raise typer.BadParameter("is for a camera or a stream; open the video when it is done", param_hint="--show")
    only_then = {"--again": again, "--ray": ray is not None}
    _check_batch_options(sources, out, out_dir, only_then=only_then)
    if out_dir is not None:
        from pipeline.batch import Batch, pose_ending

        _check_runtime(runtime)
        endings = tuple(dict.fromkeys(pose_ending(str(word)) for word in export or ()))
        batch = Batch(out_dir, hourglass or DEFAULT_HOURGLASS, lifter, device, runtime, wishes, endings, finder)
        _run_batch(batch, [Path(source) for source in sources], again=again, ray=ray)
        return
    exports = tuple(export or ())
    if live:
        from pipeline.live import LiveJob, process_live

        _check_live(out, show=show, salvage=salvage)
        _check_runtime(runtime)
        job = LiveJob(sources[0], out, show=show, exports=exports, wishes=wishes)
        print(process_live(job, lambda: _models(hourglass or _live_hourglass(device), finder, lifter, device, runtime)))
        return
    if out is None:
        raise typer.BadParameter("give the video to write, such as out.mp4, or --out-dir, a folder", param_hint="--out")
    clip = Path(sources[0])
    check_job(clip, out, exports=exports, wishes=wishes)  # before the models are loaded
    models = _models(hourglass or DEFAULT_HOURGLASS, finder, lifter, device, runtime)
    print(process_video(clip, out, models, exports=exports, wishes=wishes))


def _live_hourglass(device: str) -> str:
    """The shipped detector that keeps up with a camera on a device."""
    from pipeline.device import open_device

    return QUICK_HOURGLASS if open_device(device).type == "cpu" else DEFAULT_HOURGLASS


def _check_live(out: Path | None, *, show: bool, salvage: bool) -> None:
    """A usage error unless there is something to do with live pictures."""
    if out is None and not show:
        raise typer.BadParameter("nothing to do with the pictures; give --show, --out or both", param_hint="--out")
    if salvage:
        raise typer.BadParameter("is for files; a recording is whole however it ends", param_hint="--salvage")


def _run_batch(batch: "Batch", sources: list[Path], *, again: bool, ray: str | None) -> None:
    """Many clips; exit code 1 if one failed."""
    from pipeline.batch import here, process_batch
    from pipeline.ray_batch import on_ray

    worker = here if ray is None else on_ray(ray)
    tally = process_batch(batch, sources, again=again, worker=worker, say=partial(print, file=sys.stdout, flush=True))
    print(tally)
    if tally.failed:
        raise typer.Exit(1)


def _check_batch_options(
    sources: list[str], out: Path | None, out_dir: Path | None, *, only_then: dict[str, bool]
) -> None:
    """A usage error for sources and options that do not go together; `only_then`: those that need --out-dir."""
    if out_dir is None and len(sources) > 1:
        raise typer.BadParameter("give a folder for the videos of several sources", param_hint="--out-dir")
    if out_dir is not None and out is not None:
        raise typer.BadParameter("give --out for one source or --out-dir for several, not both", param_hint="--out")
    for option, given in only_then.items():
        if given and out_dir is None:
            raise typer.BadParameter("goes with --out-dir only", param_hint=option)


@app.command()
def image(
    source: Source,
    out: Out,
    hourglass: HourglassName = DEFAULT_HOURGLASS,
    finder: FinderName = DEFAULT_FINDER,
    lifter: LifterName = DEFAULT_LIFTER,
    device: Device = "auto",
    runtime: Runtime = "auto",
    people: People = 1,
    fov: Fov = None,
) -> None:
    """Write a photo (jpg, png) with its 2D skeleton beside the 3D skeleton."""
    from pipeline.run import Wishes, process_image

    wishes = Wishes(fov=fov, people=people)
    print(process_image(source, out, _models(hourglass, finder, lifter, device, runtime), wishes=wishes))


@app.command()
def render(
    poses: Annotated[
        Path, typer.Argument(metavar="POSES.h5", help="what video or lift handed over", show_default=False)
    ],
    clip: Annotated[Path, typer.Option("--video", help="the clip that they were found in", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="the video to write")] = None,
    export: Exports = None,
) -> None:
    """Draw stored poses over their clip again, without finding anything anew; a video, files, or both."""
    from pipeline.bring import process_render

    _check_something_to_write(out, export)
    print(process_render(poses, clip, out, exports=tuple(export or ())))


@app.command()
def lift(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="file or folder of 2D poses", show_default=False)],
    layout: Annotated[
        str,
        typer.Option("--format", help="coco, openpose, halpe, blazepose, or h5 of --export", show_default=False),
    ],
    clip: Annotated[Path | None, typer.Option("--video", help="the clip that they were found in")] = None,
    out: Annotated[Path | None, typer.Option(help="the video to write; needs --video")] = None,
    export: Exports = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="without --video: pixels of a frame")] = None,
    fps: Annotated[float | None, typer.Option(help="without --video: frames per second")] = None,
    people: Annotated[int, typer.Option(min=1, help="so many at most, those seen longest and largest")] = 1,
    lifter: LifterName = DEFAULT_LIFTER,
    device: Device = "auto",
    smooth: Smooth = "light",
    fov: Fov = None,
    height: Height = None,
) -> None:
    """Lift 2D poses of other detectors, or the stored ones of a clip with another lifter; a video, files, or both."""
    from pipeline.bring import FORMATS, STORED, Brought, LoadedLifter, check_lift, process_lift
    from pipeline.device import open_device, share_processor
    from pipeline.run import Wishes

    _check_smooth(smooth)
    if layout not in FORMATS:
        raise typer.BadParameter(f"{layout!r}: give one of {', '.join(FORMATS)}", param_hint="--format")
    _check_something_to_write(out, export)
    if out is not None and clip is None:
        raise typer.BadParameter("give --video too, the clip to draw on", param_hint="--out")
    told = clip is not None or layout == STORED  # by the file itself
    if told and (size, fps) != (None, None):
        raise typer.BadParameter("the file tells; leave out --size and --fps", param_hint="--size")
    if not told and (size is None or fps is None):
        raise typer.BadParameter("give --video, or both --size and --fps", param_hint="--video")
    brought = Brought(source, layout, clip, size=_size(size), fps=fps, people=people)
    wishes, exports = Wishes(smooth=smooth, fov=fov, height_cm=height), tuple(export or ())
    check_lift(brought, out, exports=exports, wishes=wishes)  # before the lifter is loaded
    share_processor()
    loaded = LoadedLifter.load(lifter, open_device(device))
    print(process_lift(brought, out, loaded, exports=exports, wishes=wishes))


def _check_something_to_write(out: Path | None, export: list[Path] | None) -> None:
    """A usage error if there is nothing."""
    if out is None and not export:
        raise typer.BadParameter("nothing to write; give --out, --export or both", param_hint="--out")


def _check_smooth(smooth: str) -> None:
    """A usage error unless it is the name of a kind of smoothing."""
    from pipeline.clean import SMOOTHING

    if smooth not in SMOOTHING:
        raise typer.BadParameter(f"{smooth!r}: give one of {', '.join(SMOOTHING)}", param_hint="--smooth")


def _size(text: str | None) -> tuple[int, int] | None:
    """Width and height of 'WIDTHxHEIGHT', both above 0 and of six digits at most."""
    if text is None:
        return None
    found = re.fullmatch("([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", text)
    if found is None:
        raise typer.BadParameter(f"{text!r}: give pixels as in 1280x720", param_hint="--size")
    return int(found[1]), int(found[2])


@app.command()
def eval_clips(
    folder: Annotated[Path, typer.Argument(help="folder of NAME.mp4 with NAME_gt.json", show_default=False)],
    hourglass: HourglassName = DEFAULT_HOURGLASS,
    finder: FinderName = DEFAULT_FINDER,
    lifter: LifterName = DEFAULT_LIFTER,
    device: Device = "auto",
    runtime: Runtime = "auto",
    json_file: JsonFile = None,
) -> None:
    """Measure the whole program on clips whose exact 2D and 3D truth is known."""
    from pipeline.eval_clips import evaluate_clips, table

    result = evaluate_clips(folder, _models(hourglass, finder, lifter, device, runtime))
    print(table(result))
    _write_json(json_file, result)


@app.command()
def eval_views(
    calibration: Annotated[
        Path,
        typer.Argument(metavar="CALIBRATION", help="Pose2Sim's .toml or Qualisys' .qca.txt", show_default=False),
    ],
    clips: Annotated[
        list[Path], typer.Argument(metavar="CLIP...", help="a clip of each camera, in its order", show_default=False)
    ],
    hourglass: HourglassName = DEFAULT_HOURGLASS,
    finder: FinderName = DEFAULT_FINDER,
    lifter: LifterName = DEFAULT_LIFTER,
    device: Device = "auto",
    runtime: Runtime = "auto",
    json_file: JsonFile = None,
) -> None:
    """Measure 3D from single views against the same person triangulated from several calibrated, synchronised ones."""
    from pipeline.eval_views import check_views, evaluate_views, table

    check_views(calibration, clips)  # before the models are loaded
    result = evaluate_views(calibration, clips, _models(hourglass, finder, lifter, device, runtime))
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
    runtime: Runtime = "auto",
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

    _check_runtime(runtime)
    if json_file:
        check_writable(json_file)  # before the slow part
    if pictures:
        check_sheet(pictures)
    share_processor()
    weights = find_weights("hourglass", hourglass)
    detector = Detector.load(weights, open_device(device), runtime=runtime)
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
def bench(
    clip: Annotated[Path | None, typer.Argument(help="the clip to run on; none: the demo clip")] = None,
    hourglass: Annotated[
        list[str] | None, typer.Option(help="a shipped detector by name, or a weights file; repeatable")
    ] = None,
    finder: FinderName = DEFAULT_FINDER,
    runtime: Annotated[
        list[str] | None, typer.Option(help="int8, onnx, torch; repeatable; none: all that run here")
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="cpu, cuda, ...; repeatable; none: the CPU, and a GPU when there is one")
    ] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="use only so many of the clip; none: all")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="how often each is measured, in turns")] = 3,
    training: Annotated[
        bool, typer.Option("--training", help="instead, how fast both networks train, on made-up data")
    ] = False,
    json_file: JsonFile = None,
) -> None:
    """Measure how fast this machine runs the program, stage by stage and as a whole, or trains the networks."""
    from pipeline.atomic import check_writable
    from pipeline.bench import Race, contenders, table
    from pipeline.bench import bench as run
    from pipeline.bench_training import bench_training, training_table
    from pipeline.weights import assets_folder

    for name in runtime or ():
        _check_runtime(name)
    if training and (clip, hourglass, runtime, frames) != (None, None, None, None):
        raise typer.BadParameter("needs no clip, detector, runtime or frames", param_hint="--training")
    if json_file:
        check_writable(json_file)  # before the slow part
    if training:
        result = bench_training(devices=device or (), rounds=rounds)
        print(training_table(result))
    else:
        racing = contenders(hourglass or [DEFAULT_HOURGLASS], runtimes=runtime or (), devices=device or ())
        result = run(Race(clip or assets_folder() / "demo.mp4", racing, frames, rounds, finder))
        print(table(result))
    _write_json(json_file, result)


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
def export_onnx(
    out: Out,
    hourglass: Annotated[str | None, typer.Option(help="a shipped detector by name, or a weights file")] = None,
    lifter: Annotated[str | None, typer.Option(help="a shipped lifter by name, or a weights file")] = None,
) -> None:
    """Hand over a trained network as FILE.onnx for other programs, with all that is needed to use it, and check it."""
    from pipeline.export_onnx import export_hourglass, export_lifter

    if hourglass is not None and lifter is None:
        print(export_hourglass(hourglass, out))
    elif lifter is not None and hourglass is None:
        print(export_lifter(lifter, out))
    else:
        raise typer.BadParameter("give one of --hourglass and --lifter", param_hint="--hourglass")


@app.command()
def quantise(
    weights: Annotated[
        str, typer.Argument(help="a detector or finder: a shipped name, or a weights file", show_default=False)
    ],
    data: Annotated[
        list[str],
        typer.Option(help="KIND:PATH it was trained on; KIND lsp, lspet, mpii, coco; repeatable", show_default=False),
    ],
    out: Out,
    photos: Annotated[int, typer.Option(min=1, help="examples to look at")] = 256,
    hold_back: Annotated[int, typer.Option(min=0, help="photos of the last set that were kept for validation")] = 1000,
) -> None:
    """Measure between what bounds a network's values lie and keep it in its weights file: `--runtime int8` needs it."""
    from hourglass.quantise import quantise as measure
    from hourglass.recipe import TrainConfig
    from hourglass.train import load_sets
    from hourglass.train_finder import HOLD_BACK_SEED
    from pipeline.device import share_processor
    from pipeline.weights import find_weights, names

    share_processor()
    path = find_weights("finder" if weights in names("finder") else "hourglass", weights)
    sets, _held = load_sets(TrainConfig(tuple(data), out, hold_back=hold_back, seed=HOLD_BACK_SEED))
    ranges = measure(path, out, sets, photos=photos)
    print(f"{len(ranges)} ranges over {photos} photos -> {out}")


@app.command()
def train_hourglass(
    data: Annotated[
        list[str],
        typer.Option(help="KIND:PATH, KIND:PATH@WEIGHT; KIND lsp, lspet, mpii, coco; repeatable", show_default=False),
    ],
    out: Out,
    recipe: Annotated[str, typer.Option(help="default, or published: Newell et al. 2016")] = "default",
    preset: Annotated[str | None, typer.Option(help="shape of the network: s (for a CPU), m, published")] = None,
    stacks: Annotated[int | None, typer.Option(min=1, help="number of hourglasses instead of the preset's")] = None,
    init: Annotated[str | None, typer.Option(help="weights to start from: a shipped name, or a file")] = None,
    validation: Annotated[str | None, typer.Option(help="KIND:PATH to validate on, instead of --hold-back")] = None,
    hold_back: Annotated[int | None, typer.Option(min=0, help="photos of the last set kept for validation")] = None,
    skeleton: Annotated[str | None, typer.Option(help="joints to learn: lsp14, mpii16 or coco17")] = None,
    loss: Annotated[str | None, typer.Option(help="probability (cross-entropy) or height (squared error)")] = None,
    augmentation: Annotated[
        str | None, typer.Option(help="how much photos are changed: strong, light, faint, published, none")
    ] = None,
    calm: Annotated[str | None, typer.Option(help="as --augmentation, for the last fifth of the run")] = None,
    teacher: Annotated[str | None, typer.Option(help="weights whose heatmaps to learn too, a name or a file")] = None,
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
        ("calm", calm, AUGMENTATIONS),
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
        "calm": calm,
        "teacher": None if teacher is None else str(find_weights("hourglass", teacher)),
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
def train_finder(
    data: Annotated[
        list[str],
        typer.Option(help="KIND:PATH, KIND:PATH@WEIGHT; KIND lsp, lspet, mpii, coco; repeatable", show_default=False),
    ],
    out: Out,
    init: Annotated[
        str, typer.Option(help="a detector or finder to start from, a shipped name or a file; none: at random")
    ] = "",
    steps: Annotated[int, typer.Option(min=1, help="length of the run")] = 20_000,
    batch: Annotated[int, typer.Option(min=1, help="scenes a step")] = 32,
    size: Annotated[int, typer.Option(min=64, help="longer side of a frame as the network sees it, pixels")] = 448,
    hold_back: Annotated[int, typer.Option(min=0, help="photos of the last set kept for validation")] = 1000,
    rate: Annotated[float, typer.Option(min=0, help="learning rate")] = 4e-3,
    seed: Annotated[int, typer.Option(min=0, help="decides the start and the scenes")] = 1,
    precision: Annotated[str, typer.Option(help="float32, bfloat16, auto (as the device likes)")] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="processes that compose scenes ahead; 14 for a GPU")] = 0,
    evaluate_every: Annotated[int, typer.Option(min=1, help="steps between validations")] = 2000,
    save_every: Annotated[int, typer.Option(min=1, help="steps between resume files")] = 250,
    device: Device = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: all")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="continue the run whose files stand beside --out")] = False,
) -> None:
    """Train the finder, which finds people in whole frames, on scenes composed of labelled photos."""
    from hourglass.recipe import TrainConfig
    from hourglass.train_finder import NETWORK, FinderTraining
    from hourglass.train_finder import train_finder as train
    from pipeline.device import PRECISIONS
    from pipeline.weights import find_weights, names

    if precision not in PRECISIONS:
        raise typer.BadParameter(f"{precision!r}: give one of {', '.join(PRECISIONS)}", param_hint="--precision")
    if size % 64:
        raise typer.BadParameter(f"{size}: give a multiple of 64", param_hint="--size")
    run = TrainConfig(
        data=tuple(data),
        out=out,
        init=str(find_weights("finder" if init in names("finder") else "hourglass", init)) if init else "",
        model=replace(NETWORK, input_size=size),
        hold_back=hold_back,
        batch=batch,
        rate=rate,
        seed=seed,
        precision=precision,
        workers=workers,
        evaluate_every=evaluate_every,
        save_every=save_every,
        device=device,
        threads=threads,
    )
    print(train(FinderTraining(run, steps), resume=resume))


@app.command()
def train_lifter(
    model: Annotated[str, typer.Option(help="baseline, deepbase1, deepbase2 or gan", show_default=False)],
    data: Annotated[str, typer.Option(help="poses to learn from: mocap:FILE (.h5, .npz) or h36m:FOLDER")],
    out: Out,
    recipe: Annotated[str, typer.Option(help="default, or paper: Martinez et al. 2017 and Seth 2018")] = "default",
    points: Annotated[str | None, typer.Option(help="h36m: 2D input, gt, sh, or a detector's name")] = None,
    cameras: Annotated[str | None, typer.Option(help="mocap: seen by random cameras, or by four fixed ones")] = None,
    space: Annotated[str | None, typer.Option(help="what it sees people in: camera, or pixels as published")] = None,
    mirror: Annotated[bool | None, typer.Option(help="fixed cameras: learn every frame mirrored too")] = None,
    train_subjects: Annotated[str | None, typer.Option(help="h36m: S1,S5,S6,S7,S8 unless said otherwise")] = None,
    test_subjects: Annotated[str | None, typer.Option(help="h36m: S9,S11 unless said otherwise")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="length of the run")] = None,
    epochs: Annotated[
        float | None, typer.Option(min=1e-6, help="fixed cameras: length in passes over the data")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="samples a step")] = None,
    seed: Annotated[int | None, typer.Option(help="decides the start, the order, the cameras and the errors")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="train so many times, and tell median and range")] = 1,
    width: Annotated[int | None, typer.Option(min=1, help="units of every hidden layer")] = None,
    dropout: Annotated[float | None, typer.Option(help="share of units left out while training")] = None,
    rate: Annotated[float | None, typer.Option(help="learning rate")] = None,
    schedule: Annotated[
        str | None, typer.Option(help="cosine; exponential: 0.96 per 100k steps; plateau: that, and cut when it stalls")
    ] = None,
    warm_up: Annotated[int | None, typer.Option(help="steps over which the rate rises to its full value")] = None,
    max_norm: Annotated[float | None, typer.Option(help="limit of each weight matrix's norm; 0: none")] = None,
    clip_gradient: Annotated[float | None, typer.Option(help="limit of the gradient's norm; 0: none")] = None,
    adversarial_weight: Annotated[float | None, typer.Option(help="gan: weight of the adversarial loss")] = None,
    adversarial_from: Annotated[float | None, typer.Option(help="gan: share of the run before it joins")] = None,
    held_out_trial: Annotated[list[str] | None, typer.Option(help="mocap: a trial held out; repeatable")] = None,
    hold_out_by: Annotated[str | None, typer.Option(help="mocap: held out as a whole: trial or subject")] = None,
    validate_every: Annotated[int | None, typer.Option(min=1, help="steps between validations")] = None,
    precision: Annotated[str | None, typer.Option(help="float32, bfloat16, auto (as the device likes)")] = None,
    device: Device = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: all")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="continue the run whose files stand beside --out")] = False,
) -> None:
    """Train a lifter, on motion capture or on Human3.6M. Every option that is not given is the recipe's."""
    import torch

    from lifter.recipe import RECIPES, TrainLifterConfig, with_recipe
    from lifter.registry import LIFTERS
    from lifter.seeds import summary_lines, train_seeds
    from lifter.train import train_lifter as train

    for option, value, known in (("recipe", recipe, RECIPES), ("model", model, LIFTERS)):
        if value not in known:
            raise typer.BadParameter(f"{value!r}: give one of {', '.join(known)}", param_hint=f"--{option}")
    if steps is not None and epochs is not None:
        raise typer.BadParameter("give --steps or --epochs, not both", param_hint="--epochs")
    if threads:
        torch.set_num_threads(threads)
    given: dict[str, Any] = {
        "points": points,
        "cameras": cameras,
        "space": space,
        "mirror": mirror,
        "train_subjects": _words(train_subjects),
        "test_subjects": _words(test_subjects),
        "steps": steps,
        "epochs": 0.0 if steps is not None else epochs,
        "batch": batch,
        "seed": seed,
        "width": width,
        "dropout": dropout,
        "rate": rate,
        "schedule": schedule,
        "warm_up": warm_up,
        "max_norm": max_norm,
        "clip_gradient": clip_gradient,
        "adversarial_weight": adversarial_weight,
        "adversarial_from": adversarial_from,
        "held_out_trials": tuple(held_out_trial) if held_out_trial else None,
        "hold_out_by": hold_out_by,
        "validate_every": validate_every,
        "precision": precision,
    }
    config = TrainLifterConfig(model, data, out, device=device)
    config = with_recipe(replace(config, cameras=cameras or config.cameras), recipe)
    config = replace(config, **{name: value for name, value in given.items() if value is not None})
    if seeds > 1:
        print(summary_lines(train_seeds(config, seeds, resume=resume)))
    else:
        print(train(config, resume=resume))


def _words(text: str | None) -> tuple[str, ...] | None:
    """The parts of a list with commas."""
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


@app.command()
def eval_lifter(
    data: Annotated[str, typer.Option(help="what to measure on: mocap:FILE (.h5, .npz) or h36m:FOLDER")],
    lifter: Annotated[
        list[str] | None,
        typer.Option(help="a shipped lifter by name, or a weights file; repeatable; none: all shipped"),
    ] = None,
    cameras: Annotated[str, typer.Option(help="mocap: seen by random cameras, or by four fixed ones")] = "random",
    points: Annotated[str, typer.Option(help="h36m: 2D input, gt, sh, or a detector's name")] = "gt",
    subjects: Annotated[str, typer.Option(help="h36m: the test subjects")] = "S9,S11",
    flip_test: Annotated[bool, typer.Option(help="average over the pose and its mirror image")] = False,
    device: Device = "auto",
    json_file: JsonFile = None,
    markdown_file: Annotated[Path | None, typer.Option("--markdown", help="also write the tables, FILE.md")] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="also draw 2D input, true and lifted 3D of the first one, FILE.png")
    ] = None,
    robustness: Annotated[
        Path | None, typer.Option(help="mocap: also the curves of error against pitch, focal length, noise, FILE.png")
    ] = None,
) -> None:
    """Measure lifters by the published protocols: MPJPE, after Procrustes, normalised; PCK3D, AUC, velocity, bones."""
    from lifter.protocol import Test, draw_examples, labelled, measure, measure_robustness
    from lifter.registry import LIFTERS
    from lifter.report import markdown, terminal
    from lifter.robustness import draw_robustness, robustness_table
    from pipeline.atomic import check_writable, write_whole
    from pipeline.device import open_device

    if cameras not in ("random", "fixed"):
        raise typer.BadParameter(f"{cameras!r}: give random or fixed", param_hint="--cameras")
    for path in (json_file, markdown_file, pictures, robustness, robustness and robustness.with_suffix(".json")):
        if path:
            check_writable(path)  # before the slow part
    test = Test(data, cameras=cameras, points=points, subjects=_words(subjects) or (), flip=flip_test)
    if robustness:
        test.check_for_robustness()
    files = labelled(tuple(lifter or LIFTERS))
    target = open_device(device)
    results = measure(files, test, target)
    print(terminal(results))
    if markdown_file:
        write_whole(markdown_file, markdown(results).encode())
    only = next(iter(results.values()))
    _write_json(json_file, only if len(results) == 1 else results)
    if pictures:
        draw_examples(pictures, next(iter(files.values())), test, target)
    if robustness:
        curves = measure_robustness(files, test, target)
        for label, result in curves.items():
            print(f"\n{label}\n{robustness_table(result)}")
        draw_robustness(robustness, curves)
        _write_json(robustness.with_suffix(".json"), curves)


@app.command()
def table1(
    data: Annotated[str, typer.Option(help="h36m:FOLDER, or mocap:FILE as four fixed cameras see it")],
    out: Annotated[Path, typer.Option(help="the folder to write to; what is there already is not done again")],
    models: Annotated[str, typer.Option(help="the lifters to compare")] = "baseline,deepbase1,deepbase2,gan",
    points: Annotated[str | None, typer.Option(help="2D inputs, gt,sh; none: gt, and sh where it is there")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="trainings of each")] = 1,
    recipe: Annotated[str, typer.Option(help="paper, or default: our own")] = "paper",
    train_subjects: Annotated[str | None, typer.Option(help="h36m: S1,S5,S6,S7,S8 unless said otherwise")] = None,
    test_subjects: Annotated[str | None, typer.Option(help="h36m: S9,S11 unless said otherwise")] = None,
    epochs: Annotated[float | None, typer.Option(min=1e-6, help="passes over the data, alike for all")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="steps, alike for all, instead of epochs")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="samples a step, alike for all")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="units of every hidden layer")] = None,
    schedule: Annotated[str | None, typer.Option(help="cosine, exponential or plateau, alike for all")] = None,
    adversarial_weight: Annotated[float | None, typer.Option(help="gan: weight of the adversarial loss")] = None,
    hold_out_by: Annotated[str | None, typer.Option(help="mocap: held out as a whole: trial or subject")] = None,
    precision: Annotated[str | None, typer.Option(help="float32, bfloat16, auto (as the device likes)")] = None,
    device: Device = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: all")] = 0,
) -> None:
    """Train and measure all lifters of Seth 2018, and write its table and figures. Run it again to go on."""
    import torch

    from lifter.h36m import has_detections
    from lifter.recipe import RECIPES
    from lifter.registry import LIFTERS
    from lifter.table1 import plan, table_text
    from lifter.table1 import table1 as compare

    if steps is not None and epochs is not None:
        raise typer.BadParameter("give --steps or --epochs, not both", param_hint="--epochs")
    names = _words(models) or ()
    for option, values, known in (("recipe", (recipe,), RECIPES), ("models", names, LIFTERS)):
        for value in values:
            if value not in known:
                raise typer.BadParameter(f"{value!r}: give of {', '.join(known)}", param_hint=f"--{option}")
    if threads:
        torch.set_num_threads(threads)
    inputs = _words(points) or (
        ("gt", "sh") if data.startswith("h36m:") and has_detections(Path(data[5:])) else ("gt",)
    )
    given = {
        "train_subjects": _words(train_subjects),
        "test_subjects": _words(test_subjects),
        "epochs": 0.0 if steps is not None else epochs,
        "steps": steps,
        "batch": batch,
        "width": width,
        "schedule": schedule,
        "adversarial_weight": adversarial_weight,
        "hold_out_by": hold_out_by,
        "precision": precision,
        "device": device,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    runs = plan(data, out, models=names, inputs=inputs, seeds=seeds, recipe=recipe, changes=changes)
    print(table_text(compare(runs, out)))


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
