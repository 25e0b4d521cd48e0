"""How fast the program is on this machine: stage by stage and as a whole, several contenders side by side.

Each contender, a detector on a runtime on a device, lives in a process of its own, so that its memory is its own. They
take turns of a few frames, so that whatever else the machine does meanwhile hurts all alike, and what they take is
compared turn by turn.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from multiprocessing import get_context
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from hourglass.predict import Detector
from pipeline.device import open_device, share_processor
from pipeline.errors import DeviceError
from pipeline.machine import describe_machine, peak_memory_mb, summary
from pipeline.people import ClipPoses
from pipeline.run import Models, Wishes, clip_poses, empty_clip, picture_of, pose_people, process_video
from pipeline.runtime import runtime_of
from pipeline.stopwatch import Stopwatch
from pipeline.track import SeenPeople
from pipeline.video import Frame, Picture, VideoWriter, probe, read_frames, read_planes
from pipeline.weights import DEFAULT_FINDER, DEFAULT_LIFTER, find_weights

TURN = 30  # frames
STAGES = {
    "decode": "read the clip, once to find people and once to draw",
    "search": "find people in the whole frame, now and then",
    "crop": "cut out where someone is",
    "network": "heatmaps of all looks at the person, averaged",
    "heatmaps": "joints from heatmaps",
    "follow": "all else that following people takes",
    "clean": "fill gaps, smooth",
    "lift": "2D to 3D",
    "place": "where in the world people are",
    "draw": "the picture",
    "encode": "write the video",
}


@dataclass(frozen=True)
class Contender:
    """What is measured: a detector by name or path, on a runtime of `pipeline.runtime`, on a device."""

    hourglass: str
    runtime: str
    device: str

    def __str__(self) -> str:
        return f"{Path(self.hourglass).stem} {self.runtime} {self.device}"


@dataclass(frozen=True)
class Race:
    """A clip, how many of its frames to use (None: all), how often each contender does the whole, and the finder of
    people by name or path.
    """

    source: Path
    contenders: tuple[Contender, ...]
    frames: int | None = None
    rounds: int = 3
    finder: str = DEFAULT_FINDER


def contenders(
    hourglasses: Sequence[str], *, runtimes: Sequence[str] = (), devices: Sequence[str] = ()
) -> tuple[Contender, ...]:
    """All that these make together; no runtimes: all; no devices: the CPU, and a GPU when there is one.

    Raises InputError for unknown detectors, DeviceError if a device is absent or no runtime runs on any of them.
    """
    devices = devices or ("cpu", *(["cuda"] if torch.cuda.is_available() else []))
    opened = [open_device(name) for name in devices]
    found: list[Contender] = []
    failed: list[DeviceError] = []
    for hourglass, device, runtime in product(hourglasses, opened, runtimes or ("auto", "onnx", "torch")):
        try:
            found.append(Contender(hourglass, _runtime(hourglass, runtime, device), str(device)))
        except DeviceError as error:
            failed.append(error)
    if not found:
        raise failed[0]
    return tuple(dict.fromkeys(found))


def _runtime(hourglass: str, name: str, device: torch.device) -> str:
    """The runtime of that name for a detector; CheckpointError if its weights cannot be used with it."""
    path = find_weights("hourglass", hourglass)
    return runtime_of(path, Detector.load(path, torch.device("cpu")).ranges, name, device)


# One contender


class Runner:
    """The work of one of the contenders of a race; its outputs go into a folder."""

    def __init__(self, contender: Contender, race: Race, folder: Path) -> None:
        self.contender, self.source, self.finder = contender, race.source, race.finder
        self.output = folder / "out.mp4"
        self.wishes = Wishes(frames=race.frames, salvage=True)
        self.poses: ClipPoses | None = None

    def start(self) -> float:
        """Load the models and make them ready; returns how long that took, s. Raises what `Models.load` does."""
        share_processor()
        began = time.perf_counter()
        device = open_device(self.contender.device)
        names = {"hourglass": self.contender.hourglass, "finder": self.finder, "lifter": DEFAULT_LIFTER}
        self.models = Models.load(**names, device=device, runtime=self.contender.runtime)
        self.models.warm_up(next(read_frames(self.source)).image)
        self.watch = Stopwatch(partial(torch.cuda.synchronize, device) if device.type == "cuda" else None)
        self.parts = self._parts()
        return time.perf_counter() - began

    def turn(self) -> tuple[str, float] | None:
        """Do the next part of the work stage by stage, without any overlap; returns what it was, 'find' or 'draw', and
        the seconds; None when all is done.
        """
        began = time.perf_counter()
        part = next(self.parts, None)
        return None if part is None else (part, time.perf_counter() - began)

    def whole(self) -> dict[str, float]:
        """The whole clip as `posecli video` does it: frames_per_s, and cpu_ms per frame over all threads."""
        cpu = time.process_time()
        done = process_video(self.source, self.output, self.models, wishes=self.wishes, progress=False)
        cpu_ms = 1000 * (time.process_time() - cpu) / done.frames
        return {"frames_per_s": done.frames / done.seconds, "cpu_ms": cpu_ms}

    def figures(self) -> dict[str, Any]:
        """What was measured in all turns, with the keys of `bench`."""
        assert self.poses is not None
        frames = self.poses.frames
        on_gpu = self.models.detector.device.type == "cuda"
        return {
            "frames": frames,
            "with_person": len({int(number) for person in self.poses.people for number in person.frame}),
            "threads": torch.get_num_threads(),
            "peak_memory_mb": peak_memory_mb(),
            "peak_gpu_memory_mb": torch.cuda.max_memory_allocated() / 1e6 if on_gpu else None,
            "stages": {stage: self.watch.figures(stage, frames=frames) for stage in STAGES},
        }

    def _parts(self) -> Iterator[str]:
        """The work of `process_video`; what was done by each step, 'find' or 'draw'."""
        watch = self.watch
        watched = {
            "detector": watch.watched(self.models.detector, cut="crop", views="network", joints="heatmaps"),
            "finder": watch.watched(self.models.finder, people="search"),
            "lifter": watch.watched(self.models.lifter, lift="lift"),
        }
        models = replace(self.models, **watched)  # type: ignore[arg-type]
        update = watch.timed("follow", models.tracker(people=self.wishes.people).update)
        seen, times = SeenPeople(models.detector.skeleton), []
        for frame in self._frames(partial(read_frames, exact=False), self.wishes.frames):
            times.append(frame.time_s)
            seen.add(frame.index, frame.time_s, update(frame.image, frame.time_s))
            if len(times) % TURN == 0:
                yield "find"
        if len(times) % TURN:
            yield "find"
        watch.frame = None
        clip = watch.timed("decode", empty_clip)(self.source, np.array(times), wishes=self.wishes)
        found = watch.timed("clean", pose_people)(clip, seen, models=models, wishes=self.wishes)
        self.poses = watch.timed("place", clip_poses)(found, wishes=self.wishes, provenance={})
        yield from self._drawn(self.poses)

    def _drawn(self, poses: ClipPoses) -> Iterator[str]:
        """Draw and write the video, part by part."""
        watch = self.watch
        renderer, figures = watch.timed("draw", picture_of)(poses)
        draw = watch.timed("draw", renderer.draw)
        info = watch.timed("decode", probe)(self.source)
        writer = VideoWriter(self.output, size=renderer.size, source=self.source, info=info)
        write = watch.timed("encode", writer.write)
        with ExitStack() as stack:
            watch.timed("encode", writer.__enter__)()
            stack.push(watch.timed("encode", writer.__exit__))
            for frame in self._frames(read_planes, poses.frames):
                write(draw(frame.image, figures.get(frame.index, []), frame.time_s), frame)
                if (frame.index + 1) % TURN == 0:
                    yield "draw"
        yield "draw"

    def _frames(self, read: Callable[..., Iterator[Frame[Picture]]], count: int | None) -> Iterator[Frame[Picture]]:
        """The first so many frames of the clip, each decoded when it is asked for."""
        frames = read(self.source, salvage=True)
        decode = self.watch.timed("decode", partial(next, frames, None))
        self.watch.frame = 0
        while (count is None or self.watch.frame < count) and (frame := decode()) is not None:
            yield frame
            self.watch.frame += 1


class _Processes(BaseManager):
    """A process of its own for a runner."""


_Processes.register("Runner", Runner, exposed=("start", "turn", "whole", "figures"))


# All of them


def bench(race: Race) -> dict[str, Any]:
    """Let the contenders run; the figures, ready for JSON:

    machine      see `describe_machine`; threads are those of the networks
    clip         file, width, height, rate (frames/s), frames (used)
    rounds       how often each did the whole clip
    contenders   a list, in order:
        hourglass, runtime, device
        with_person         frames in which someone was found
        start_s             seconds to load the weights and make the networks ready
        peak_memory_mb      resident memory of the process at its highest; None where the system does not tell
        peak_gpu_memory_mb  the same of tensors on the GPU; None without one
        stages              by stage, see `STAGES`: see `Stopwatch.figures`, each stage waiting for the one before
        stages_sum          ms, cpu_ms, frames_per_s of all stages one after the other
        find_ratio          how many times as fast as the first contender people were found and followed, stage by
                            stage, see below, over the turns
        end_to_end          frames_per_s (median, lowest, highest over the rounds) of `posecli video` without its start:
                            decoding and encoding overlap with the rest; cpu_ms per frame
        end_to_end_ratio    how many times as fast as the first contender, over the rounds

    A ratio is median, lowest and highest of what was measured in turns of the same frames, or rounds, one after the
    other. Raises InputError for a clip that cannot be read, CheckpointError for weights that do not fit.
    """
    info = probe(race.source)
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        runners = [
            _in_its_process(one, race, Path(folder), number=number, stack=stack)
            for number, one in enumerate(race.contenders)
        ]
        bar = stack.enter_context(tqdm(desc="bench", unit="turn", leave=False, dynamic_ncols=True))
        starts = _each(runners, "start", bar)
        turns: list[list[tuple[str, float]]] = []
        while None not in (seconds := _each(runners, "turn", bar, backwards=len(turns) % 2 == 1)):
            turns.append(seconds)
        rounds = [_each(runners, "whole", bar, backwards=number % 2 == 1) for number in range(race.rounds)]
        figures = [runner.figures() for runner in runners]
    rates = [[one["frames_per_s"] for one in done] for done in rounds]
    finding = _ratios([[1 / seconds for _, seconds in turn] for turn in turns if turn[0][0] == "find"])
    measured = zip(race.contenders, starts, figures, zip(*rounds, strict=True), strict=True)
    ratios = (
        {"find_ratio": find, "end_to_end_ratio": whole} for find, whole in zip(finding, _ratios(rates), strict=True)
    )
    frames, threads = figures[0]["frames"], figures[0]["threads"]
    clip = {"file": race.source.name, "width": info.width, "height": info.height, "rate": float(info.rate)}
    return {
        "machine": {**machine, "threads": threads},
        "clip": {**clip, "frames": frames},
        "rounds": race.rounds,
        "contenders": [{**_row(*one), **ratio} for one, ratio in zip(measured, ratios, strict=True)],
    }


def _in_its_process(one: Contender, race: Race, folder: Path, *, number: int, stack: ExitStack) -> Any:
    """A runner whose methods run in another process, which ends with the stack."""
    manager = stack.enter_context(_Processes(ctx=get_context("spawn")))
    own = folder / str(number)
    own.mkdir()
    return manager.Runner(one, race, own)  # type: ignore[attr-defined]


def _each(runners: Sequence[Any], method: str, bar: tqdm, *, backwards: bool = False) -> list[Any]:
    """What a method of each runner gives, one after the other, in the order of the runners."""
    results = {}
    for number in sorted(range(len(runners)), reverse=backwards):
        try:
            results[number] = getattr(runners[number], method)()
        except (EOFError, ConnectionError) as error:
            raise DeviceError("a process was ended by the system, as when memory runs out; measure fewer") from error
        bar.update()
    return [results[number] for number in range(len(runners))]


def _ratios(speeds: Sequence[Sequence[float]]) -> list[dict[str, float]]:
    """Of every contender, how many times as fast as the first one, over turns of speeds (T, contenders)."""
    return [_spread([turn[number] / turn[0] for turn in speeds]) for number in range(len(speeds[0]))]


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def _row(
    contender: Contender, start_s: float, figures: dict[str, Any], rounds: Sequence[dict[str, float]]
) -> dict[str, Any]:
    """All about one contender but the ratios, with the keys of `bench`."""
    stages = figures["stages"].values()
    ms, cpu_ms = (sum(stage[key] for stage in stages) for key in ("ms", "cpu_ms"))
    kept = ("with_person", "peak_memory_mb", "peak_gpu_memory_mb", "stages")
    return {
        **asdict(contender),
        "start_s": start_s,
        **{key: figures[key] for key in kept},
        "stages_sum": {"ms": ms, "cpu_ms": cpu_ms, "frames_per_s": 1000 / ms},
        "end_to_end": {
            "frames_per_s": _spread([done["frames_per_s"] for done in rounds]),
            "cpu_ms": statistics.median(done["cpu_ms"] for done in rounds),
        },
    }


# As text


def table(result: dict[str, Any]) -> str:
    """The figures as text: the stages of every contender, then all contenders beside each other."""
    clip = result["clip"]
    head = f"{clip['file']}, {clip['width']} x {clip['height']}, {clip['frames']} frames, {clip['rate']:.4g} frames/s"
    blocks = [f"{head}\n{summary(result['machine'])}"]
    blocks += [_stages_table(row) for row in result["contenders"]]
    return "\n\n".join([*blocks, _side_by_side(result["contenders"], rounds=result["rounds"])])


def _name(row: dict[str, Any]) -> str:
    return str(Contender(row["hourglass"], row["runtime"], row["device"]))


def _stages_table(row: dict[str, Any]) -> str:
    columns = (("calls", "calls", 0), ("ms", "ms/frame", 2), ("median_ms", "median", 2), ("cpu_ms", "CPU ms", 2),
               ("frames_per_s", "frames/s", 0))  # fmt: skip
    lines = [f"{_name(row):<24}" + "".join(f"{heading:>10}" for _, heading, _ in columns)]
    for stage, figures in [*row["stages"].items(), ("sum", row["stages_sum"])]:
        cells = [_number(figures.get(key), digits) for key, _, digits in columns]
        lines.append(f"{stage:<24}" + "".join(f"{cell:>10}" for cell in cells) + f"  {STAGES.get(stage, '')}".rstrip())
    return "\n".join(lines)


def _side_by_side(rows: Sequence[dict[str, Any]], *, rounds: int) -> str:
    names = [_name(row) for row in rows]
    width = max(len("end to end"), *map(len, names))
    headings = ("frames/s", "(range)", "CPU ms", "ratio", "(range)", "find", "(range)", "start s", "peak MB", "GPU MB")
    lines = [f"{'end to end':<{width}}" + "".join(f"{heading:>12}" for heading in headings)]
    for name, row in zip(names, rows, strict=True):
        rate, cpu_ms = row["end_to_end"]["frames_per_s"], row["end_to_end"]["cpu_ms"]
        cells = [
            *_with_range(rate, 1),
            _number(cpu_ms, 1),
            *_with_range(row["end_to_end_ratio"], 2),
            *_with_range(row["find_ratio"], 2),
            _number(row["start_s"], 1),
            _number(row["peak_memory_mb"], 0),
            _number(row["peak_gpu_memory_mb"], 0),
        ]
        lines.append(f"{name:<{width}}" + "".join(f"{cell:>12}" for cell in cells))
    return "\n".join([*lines, LEGEND.format(rounds=rounds, turn=TURN)])


LEGEND = """
frames/s  of `posecli video` after its start, with all that overlaps; median and range of {rounds} rounds
CPU ms    a frame, of all threads; of a stage with what decoder and encoder do meanwhile in threads of their own
ratio     how many times as fast as the first, of rounds next to each other; find: of turns of {turn} frames"""


def _with_range(spread: dict[str, float], digits: int) -> tuple[str, str]:
    return _number(spread["median"], digits), f"{spread['lowest']:.{digits}f}–{spread['highest']:.{digits}f}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
