"""How fast the program is: what is timed is what the program does, and the figures add up."""

import json
import platform
import time
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from hourglass.model import HourglassConfig
from hourglass.recipe import TrainConfig
from lifter.recipe import TrainLifterConfig
from pipeline import bench, bench_training, machine, runtime
from pipeline.bench import STAGES, Contender, Race, Runner, contenders, table
from pipeline.errors import DeviceError, InputError
from pipeline.run import Wishes, clip_poses, find_poses
from pipeline.video import read_frames
from pipeline.weights import assets_folder
from tests.pipeline.clips import contents, make_clip
from tests.pipeline.tiny import tiny_models

TINY = HourglassConfig(joints=14, stacks=1, widths=(4, 4), stem_width=4, block="plain", input_size=32)
FRAMES = 12
STAGE_KEYS = {"calls", "ms", "median_ms", "cpu_ms", "frames_per_s"}
SPREAD_KEYS = {"median", "lowest", "highest"}
MACHINE_KEYS = {"cpu", "cores", "threads", "gpu", "system", "load", "versions"}


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """The start of the demo clip, small: somebody is in all of its frames."""
    frames = islice(read_frames(assets_folder() / "demo.mp4"), FRAMES)
    images = [cv2.resize(frame.image, (320, 180), interpolation=cv2.INTER_AREA) for frame in frames]
    return make_clip(tmp_path / "in.mp4", images=images)


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[str, str]:
    """The paths of a detector and a finder that have learnt nothing."""
    tiny_models(tmp_path)
    return str(tmp_path / "detector.safetensors"), str(tmp_path / "finder.safetensors")


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runners run here, where the tests can see them."""

    def here(one: Contender, race: Race, folder: Path, *, number: int, stack: object) -> Runner:
        own = folder / str(number)
        own.mkdir()
        return Runner(one, race, own)

    monkeypatch.setattr(bench, "_in_its_process", here)


# One contender


@pytest.fixture
def runner(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """One with the shipped models, in turns of five frames."""
    monkeypatch.setattr(bench, "TURN", 5)
    runner = Runner(Contender("hourglass-s", "torch", "cpu"), Race(clip, ()), tmp_path)
    assert runner.start() > 0
    return runner


def test_stages_do_what_the_program_does_and_add_up(runner, clip, tmp_path):
    began = time.perf_counter()
    turns = list(iter(runner.turn, None))
    took = time.perf_counter() - began
    assert [part for part, _ in turns] == ["find"] * 3 + ["draw"] * 3  # 5, 5 and 2 frames
    spent = sum(seconds for _, seconds in turns)
    # Nothing is counted twice, and hardly anything left out.
    assert 0.8 * spent <= runner.watch.seconds() <= spent <= took

    figures = runner.figures()
    assert figures["frames"] == figures["with_person"] == FRAMES
    stages = figures["stages"]
    assert sum(stage["ms"] for stage in stages.values()) == pytest.approx(1000 * runner.watch.seconds() / FRAMES)
    calls = {stage: stages[stage]["calls"] for stage in STAGES}
    assert calls["follow"] == FRAMES
    assert calls["network"] == calls["heatmaps"] >= FRAMES
    assert calls["crop"] >= calls["network"]
    assert 1 <= calls["search"] < FRAMES
    assert calls["clean"] == calls["lift"] == calls["place"] == 1
    assert calls["draw"] == FRAMES + 1  # and what is made ready
    assert calls["encode"] == FRAMES + 2  # and opening and closing the file
    assert all(stages[stage]["ms"] > 0 for stage in STAGES)
    assert stages["network"]["ms"] > stages["heatmaps"]["ms"]

    untimed = clip_poses(find_poses(clip, runner.models), wishes=Wishes(), provenance={})
    (one,), (other,) = runner.poses.people, untimed.people
    for name in ("frame", "xy", "score", "xyz", "world"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    staged = runner.output.read_bytes()
    whole = runner.whole()
    assert runner.output.read_bytes() == staged
    assert whole["frames_per_s"] > 0
    assert whole["cpu_ms"] > 0
    assert len(contents(runner.output, times_only=True).times) == FRAMES


def test_the_first_frames_only(clip, tiny, tmp_path):
    detector, finder = tiny
    runner = Runner(Contender(detector, "torch", "cpu"), Race(clip, (), frames=7, finder=finder), tmp_path)
    runner.start()
    assert [part for part, _ in iter(runner.turn, None)] == ["find", "draw"]
    assert runner.figures()["frames"] == 7
    assert len(contents(runner.output, times_only=True).times) == 7
    runner.output.unlink()
    runner.whole()
    assert len(contents(runner.output, times_only=True).times) == 7


# All of them


def test_the_figures_have_the_keys_that_are_documented(clip, tiny, in_this_process):
    detector, finder = tiny
    racing = (Contender(detector, "onnx", "cpu"), Contender(detector, "torch", "cpu"))
    race = Race(clip, racing, frames=6, rounds=2, finder=finder)
    result = json.loads(json.dumps(bench.bench(race)))
    assert set(result) == {"machine", "clip", "rounds", "contenders"}
    assert set(result["machine"]) == MACHINE_KEYS
    assert result["clip"] == {"file": "in.mp4", "width": 320, "height": 180, "rate": 25.0, "frames": 6}
    assert result["rounds"] == 2
    assert [row["runtime"] for row in result["contenders"]] == ["onnx", "torch"]
    for row in result["contenders"]:
        assert set(row) == {
            "hourglass", "runtime", "device", "with_person", "start_s", "peak_memory_mb", "peak_gpu_memory_mb",
            "stages", "stages_sum", "find_ratio", "end_to_end", "end_to_end_ratio",
        }  # fmt: skip
        for key in row:
            assert key in bench.bench.__doc__
        assert list(row["stages"]) == list(STAGES)
        assert all(set(stage) == STAGE_KEYS for stage in row["stages"].values())
        total = sum(stage["ms"] for stage in row["stages"].values())
        assert row["stages_sum"]["ms"] == pytest.approx(total)
        assert row["stages_sum"]["frames_per_s"] == pytest.approx(1000 / total)
        assert set(row["end_to_end"]) == {"frames_per_s", "cpu_ms"}
        for spread in (row["find_ratio"], row["end_to_end_ratio"], row["end_to_end"]["frames_per_s"]):
            assert set(spread) == SPREAD_KEYS
            assert 0 < spread["lowest"] <= spread["median"] <= spread["highest"]
        assert row["peak_memory_mb"] > 100
        assert row["peak_gpu_memory_mb"] is None
    first = result["contenders"][0]
    assert set(first["find_ratio"].values()) == set(first["end_to_end_ratio"].values()) == {1.0}
    text = table(result)
    for words in (
        "in.mp4, 320 x 180, 6 frames, 25 frames/s",
        "detector onnx cpu",
        "detector torch cpu",
        "heatmaps",
        "peak MB",
    ):
        assert words in text
    assert "None" not in text


def test_contenders_take_turns_and_nobody_is_always_first(clip, monkeypatch):
    order: list[tuple[int, str]] = []

    class Slow:
        """The second needs twice as long for everything, but the machine is ten times as slow at first."""

        def __init__(self, number: int) -> None:
            self.number, self.left = number, [10.0, 1.0]

        def start(self) -> float:
            return 0.5

        def turn(self) -> tuple[str, float] | None:
            order.append((self.number, "turn"))
            return ("find", self.left.pop(0) * (1 + self.number)) if self.left else None

        def whole(self) -> dict[str, float]:
            order.append((self.number, "whole"))
            return {"frames_per_s": 30 / (1 + self.number), "cpu_ms": 1.0}

        def figures(self) -> dict[str, Any]:
            stage = dict.fromkeys(STAGE_KEYS, 1.0)
            memory = {"peak_memory_mb": 1.0, "peak_gpu_memory_mb": None}
            return {"frames": 60, "with_person": 0, "threads": 1, **memory, "stages": dict.fromkeys(STAGES, stage)}

    monkeypatch.setattr(bench, "_in_its_process", lambda *_, number, **__: Slow(number))
    one = Contender("hourglass-s", "onnx", "cpu")
    result = bench.bench(Race(clip, (one, one), rounds=2))
    assert [number for number, _ in order] == [0, 1, 1, 0, 0, 1, 0, 1, 1, 0]
    other = result["contenders"][1]
    assert other["find_ratio"] == {"median": 0.5, "lowest": 0.5, "highest": 0.5}
    assert other["end_to_end_ratio"] == {"median": 0.5, "lowest": 0.5, "highest": 0.5}
    assert other["end_to_end"]["frames_per_s"] == {"median": 15, "lowest": 15, "highest": 15}


def test_a_process_that_the_system_ended(clip, monkeypatch):
    class Ended:
        def start(self) -> float:
            raise EOFError

    monkeypatch.setattr(bench, "_in_its_process", lambda *_, **__: Ended())
    with pytest.raises(DeviceError, match="ended by the system, as when memory runs out; measure fewer"):
        bench.bench(Race(clip, (Contender("hourglass-s", "onnx", "cpu"),)))


@pytest.mark.parametrize(
    ("runtimes", "devices", "expected"),
    [
        ((), ("cpu",), [("int8", "cpu"), ("onnx", "cpu"), ("torch", "cpu")]),
        (("auto", "int8"), ("cpu",), [("int8", "cpu")]),
        ((), ("cpu", "cuda"), [("int8", "cpu"), ("onnx", "cpu"), ("torch", "cpu"), ("torch", "cuda")]),
        (("onnx",), ("cuda", "cpu"), [("onnx", "cpu")]),
    ],
)
def test_all_that_go_together(monkeypatch, runtimes, devices, expected):
    monkeypatch.setattr(bench, "open_device", torch.device)
    monkeypatch.setattr(runtime, "multiplies_int8", lambda: True)
    found = contenders(["hourglass-s"], runtimes=runtimes, devices=devices)
    assert [(one.runtime, one.device) for one in found] == expected
    assert {one.hourglass for one in found} == {"hourglass-s"}


def test_nothing_that_goes_together(monkeypatch):
    monkeypatch.setattr(bench, "open_device", torch.device)
    with pytest.raises(DeviceError, match="runtime 'onnx' does not run on 'cuda'"):
        contenders(["hourglass-s"], runtimes=["onnx"], devices=["cuda"])
    with pytest.raises(InputError, match="no hourglass 'nope'"):
        contenders(["hourglass-s", "nope"])


def test_a_gpu_is_measured_where_there_is_one(monkeypatch):
    monkeypatch.setattr(bench, "open_device", torch.device)
    monkeypatch.setattr(runtime, "multiplies_int8", lambda: False)
    for there, expected in ((False, ["cpu", "cpu"]), (True, ["cpu", "cpu", "cuda"])):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert [one.device for one in contenders(["hourglass-s"])] == expected


# The machine


def test_the_machine_says_what_it_is():
    told = machine.describe_machine()
    assert set(told) == MACHINE_KEYS
    assert told["cpu"]
    assert told["threads"] == torch.get_num_threads()
    assert told["versions"]["torch"] == torch.__version__
    assert told["versions"]["python"] == platform.python_version()
    held = np.ones(50_000_000, np.uint8)
    assert machine.peak_memory_mb() > held.nbytes / 1e6


def test_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(machine, "PACKAGES", ("numpy", "no-such-package"))
    found = machine.versions()
    assert found == {"python": platform.python_version(), "numpy": np.__version__, "no-such-package": "unknown"}


@pytest.mark.parametrize(("load", "said"), [(3.0, True), (0.2, False), (None, False)])
def test_a_busy_machine_is_mentioned(load, said):
    told = {"cpu": "Zen", "cores": 2, "threads": 1, "gpu": None, "system": "Linux", "versions": {"x": "1", "y": "2"}}
    text = machine.summary({**told, "load": load})
    assert text.startswith("Zen, 2 cores, 1 threads, no GPU, Linux\nx 1, y 2")
    assert ("Something else was running (load 3.0)" in text) is said


def test_a_processor_without_a_name(monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda _: (_ for _ in ()).throw(OSError))
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    monkeypatch.setattr(machine.platform, "machine", lambda: "riscv64")
    assert machine._processor() == "riscv64"


# Training


@pytest.fixture
def small_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks and batches of next to nothing."""
    monkeypatch.setattr(bench_training, "PRESETS", {"s": TINY})
    monkeypatch.setattr(bench_training, "TrainConfig", partial(TrainConfig, batch=4))
    monkeypatch.setattr(bench_training, "TrainLifterConfig", partial(TrainLifterConfig, width=16, batch=8))
    monkeypatch.setattr(bench_training, "PHOTOS", 8)


def test_training_figures(small_training):
    result = json.loads(json.dumps(bench_training.bench_training(devices=["cpu"], rounds=1)))
    assert set(result) == {"machine", "rounds", "steps", "trainers"}
    assert set(result["machine"]) == {*MACHINE_KEYS, "peak_memory_mb"}
    assert result["steps"] == bench_training.STEPS
    names = ["hourglass-s", "baseline", "deepbase1", "deepbase2", "gan"]
    assert [row["name"] for row in result["trainers"]] == names
    for row in result["trainers"]:
        rates = {"samples_per_s", "drawing_per_s", "learning_per_s", "samples_per_cpu_s"}
        assert set(row) == {"name", "device", "batch", "precision", *rates}
        assert all(key in bench_training.bench_training.__doc__ for key in row)
        assert row["precision"] in ("float32", "bfloat16")
        assert 0 < row["samples_per_s"] < min(row["drawing_per_s"], row["learning_per_s"])
    text = bench_training.training_table(result)
    assert all(f"\n{name} " in text for name in names)


def test_rates_by_hand():
    trainer = bench_training.Trainer("x", torch.device("cpu"), "float32", 10, lambda: None, lambda _: None)
    trainer.drawing_s, trainer.learning_s, trainer.cpu_s = [1.0, 1.0, 4.0], [4.0, 4.0, 1.0], [2.0, 2.0, 9.0]
    row = bench_training._row(trainer)
    rates = {"samples_per_s": 2.0, "drawing_per_s": 10.0, "learning_per_s": 2.5, "samples_per_cpu_s": 5.0}
    assert row == {"name": "x", "device": "cpu", "batch": 10, "precision": "float32", **rates}


@pytest.mark.parametrize("name", ["hourglass", "baseline", "gan"])
def test_trainers_really_learn(small_training, name):
    """A batch that they are shown again and again, by heart."""
    cpu = torch.device("cpu")
    trainer = bench_training.hourglass_trainer(cpu) if name == "hourglass" else bench_training.lifter_trainer(name, cpu)
    batch = trainer.draw()
    results = [trainer.learn(batch) for _ in range(120)]
    losses = [float(one["loss"] if isinstance(one, dict) else one) for one in results]
    assert np.mean(losses[-10:]) < 0.97 * np.mean(losses[:10])
    assert name != "gan" or "loss_discriminator" in results[0]


# The command line


def test_the_command_from_end_to_end(posecli, clip, tiny, tmp_path):
    detector, finder = tiny
    words = ("bench", clip, "--hourglass", detector, "--finder", finder, "--runtime", "torch", "--device", "cpu")
    result = posecli(*words, "--rounds", 1, "--frames", 6, "--json", tmp_path / "r.json")
    assert result.code == 0, result.err
    assert result.out.startswith("in.mp4, 320 x 180, 6 frames, 25 frames/s\n")
    told = json.loads((tmp_path / "r.json").read_text())
    (row,) = told["contenders"]
    assert (row["hourglass"], row["runtime"], row["device"]) == (detector, "torch", "cpu")
    assert told["machine"]["threads"] >= 1
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"in.mp4", "r.json", "detector.safetensors", "finder.safetensors"}


def test_training_from_the_command_line(posecli, small_training, tmp_path):
    result = posecli("bench", "--training", "--device", "cpu", "--rounds", 1, "--json", tmp_path / "r.json")
    assert result.code == 0, result.err
    assert "gan " in result.out
    assert len(json.loads((tmp_path / "r.json").read_text())["trainers"]) == 5


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nowhere.mp4"], 1, "posecli: nowhere.mp4: there is no such file"),
        (["--hourglass", "nope"], 1, "no hourglass 'nope'"),
        (["--device", "toaster"], 1, "device 'toaster' cannot be used"),
        (["--json", "nowhere/r.json"], 1, "posecli: nowhere/r.json: there is no folder"),
        (["--training", "--device", "toaster"], 1, "device 'toaster' cannot be used"),
        (["--runtime", "tensorflow"], 2, "'tensorflow': give one of auto, torch, onnx"),
        (["--frames", "0"], 2, "--frames"),
        (["--training", "--frames", "5"], 2, "needs no clip, detector, runtime or frames"),
    ],
)
def test_what_cannot_be_measured(posecli, words, code, said):
    result = posecli("bench", *words)
    assert result.code == code
    assert said in result.err
    assert "Traceback" not in result.err


def test_a_corrupt_detector_is_one_line(posecli, clip, tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    result = posecli("bench", clip, "--hourglass", tmp_path / "bad.safetensors", "--runtime", "torch")
    assert result.code == 1
    line = result.err.replace("\r", "\n").strip().splitlines()[-1].strip()
    assert line.startswith(f"posecli: {tmp_path / 'bad.safetensors'}: ")
    assert "Traceback" not in result.err
