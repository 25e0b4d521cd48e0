"""The finder learns, can be stopped and continued as if nothing had been, and says what is wrong in one line."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hourglass import train_finder as module
from hourglass.codec import Codec
from hourglass.finder import Finder
from hourglass.model import HourglassConfig, StackedHourglass
from hourglass.predict import save_detector
from hourglass.recipe import TrainConfig
from hourglass.train_finder import FinderTraining, train_finder
from pipeline.checkpoint import load_checkpoint
from pipeline.errors import CheckpointError, OutputError, PoseError
from pipeline.jsonl import read_lines
from pipeline.skeleton import LSP14
from pipeline.weights import assets_folder
from tests.hourglass.photos import simple_set

NETWORK = HourglassConfig(stacks=1, widths=(8, 8), stem_width=4, block="plain", input_size=64)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FinderTraining:
    """A run of eight steps on scenes of 64 pixels, of twelve photos, with two more held back."""
    monkeypatch.setattr(module, "VALIDATION", (1, 4))
    run = TrainConfig(
        data=(f"lspet:{simple_set(tmp_path / 'photos', 14)}",),
        out=tmp_path / "tiny.safetensors",
        model=NETWORK,
        hold_back=2,
        batch=3,
        log_every=2,
        save_every=4,
        device="cpu",
        precision="float32",
    )
    return FinderTraining(run, steps=8)


def resumed(config: FinderTraining) -> dict[str, Any]:
    return torch.load(config.run.resume_file, weights_only=True)


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Press Ctrl-C in the middle of the step that follows so many."""
    real = module._step

    def interrupted(state: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        if state.step + 1 == step:
            signal.raise_signal(signal.SIGINT)
        return real(state, *args, **kwargs)

    monkeypatch.setattr(module, "_step", interrupted)


def test_a_run_writes_weights_a_log_and_a_resume_file(tiny):
    assert train_finder(tiny) == tiny.run.out
    beside = {f"tiny{ending}" for ending in (".safetensors", ".jsonl", ".resume.pt")}
    assert {path.name for path in tiny.run.out.parent.iterdir()} == {"photos", *beside}
    rows = read_lines(tiny.run.log_file)
    assert [row["step"] for row in rows] == [2, 4, 6, 8, 8]
    assert rows[-1]["validation"]["people"] > 0
    finder = Finder.load(tiny.run.out, torch.device("cpu"))
    assert finder.model.config == NETWORK.with_joints(10)
    told = finder.meta["provenance"]
    assert (told["steps"], told["recipe"]["seed"], told["validation"]["photos"]) == (8, 1, 2)
    assert told["validation"]["score"] == rows[-1]["validation"]


def test_the_loss_falls(tiny):
    longer = replace(tiny, steps=60, run=replace(tiny.run, rate=1e-2, log_every=20))
    train_finder(longer)
    losses = [row["loss"] for row in read_lines(tiny.run.log_file) if "loss" in row]
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("stop", [1, 5])
def test_a_continued_run_is_the_uninterrupted_one_to_the_last_bit(tiny, tmp_path, monkeypatch, caplog, stop):
    train_finder(tiny)
    other = replace(tiny, run=replace(tiny.run, out=tmp_path / "other.safetensors"))
    with monkeypatch.context() as patch:
        interrupt_at(patch, stop)
        with pytest.raises(KeyboardInterrupt):
            train_finder(other)
    assert f"stopped at step {stop}; go on with the same command and --resume" in caplog.messages
    assert resumed(other)["step"] == stop
    train_finder(other, resume=True)
    whole, continued = (load_checkpoint(run.run.out, "finder").tensors for run in (tiny, other))
    assert all(torch.equal(continued[name], tensor) for name, tensor in whole.items())


def test_a_finished_run_that_is_resumed_writes_its_weights_again(tiny):
    train_finder(tiny)
    tiny.run.out.unlink()
    train_finder(tiny, resume=True)
    assert load_checkpoint(tiny.run.out, "finder").meta["provenance"]["steps"] == 8


def test_seeds_differ_and_hold_back_the_same_photos(tiny, tmp_path):
    runs = [replace(tiny.run, out=tmp_path / f"{seed}.safetensors", seed=seed) for seed in (1, 2)]
    first, second = (load_checkpoint(train_finder(replace(tiny, steps=2, run=run)), "finder") for run in runs)
    assert not torch.equal(first.tensors["scores.0.weight"], second.tensors["scores.0.weight"])
    held = [one.meta["provenance"]["validation"]["sha256"] for one in (first, second)]
    assert held[0] == held[1]


def test_without_validation_photos_there_is_no_score(tiny):
    path = train_finder(replace(tiny, steps=2, run=replace(tiny.run, hold_back=0)))
    assert load_checkpoint(path, "finder").meta["provenance"]["validation"]["score"] is None


def test_a_resume_file_of_another_run(tiny):
    with pytest.raises(CheckpointError, match="no run to resume; start it without --resume"):
        train_finder(tiny, resume=True)
    train_finder(tiny)
    for changes, reason in (
        ({"batch": 2}, "--batch 3, not 2"),
        ({"model": replace(NETWORK, input_size=96)}, "--size 64"),
    ):
        with pytest.raises(CheckpointError, match=reason):
            train_finder(replace(tiny, run=replace(tiny.run, **changes)), resume=True)


def test_weights_that_cannot_be_written(tiny, tmp_path):
    for out, reason in (
        (tmp_path / "a.pt", "weights are safetensors"),
        (tmp_path / "no" / "a.safetensors", "no folder"),
    ):
        with pytest.raises(OutputError, match=reason):
            train_finder(replace(tiny, run=replace(tiny.run, out=out)))


def test_a_loss_that_is_no_number_ends_the_run(tiny):
    with pytest.raises(PoseError, match=r"the loss is no longer a number at step [0-9]+; try a lower --rate"):
        train_finder(replace(tiny, steps=40, run=replace(tiny.run, rate=1e30)))
    assert not tiny.run.out.exists()


def test_the_command_from_photos_to_weights(posecli, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "NETWORK", NETWORK)
    monkeypatch.setattr(module, "VALIDATION", (1, 2))
    data, out = f"lspet:{simple_set(tmp_path / 'photos', 8)}", tmp_path / "f.safetensors"
    words = ("--data", data, "--out", out, "--batch", 2, "--hold-back", 2, "--device", "cpu", "--size", 64)
    done = posecli("train-finder", *words, "--steps", 3)
    assert (done.code, done.out) == (0, f"{out}\n")
    again = posecli("train-finder", *words, "--steps", 4, "--resume")
    assert again.code == 0
    finder = Finder.load(out, torch.device("cpu"))
    assert finder.meta["provenance"]["steps"] == 4
    frame = np.zeros((90, 160, 3), np.uint8)
    assert all(0 <= found.score <= 1 for found in finder.people(frame, lowest=0.0))


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (("--size", 100), 2, "100: give a multiple of 64"),
        (("--precision", "half"), 2, "give one of auto, float32, bfloat16"),
        (("--data", "lsp:/nowhere"), 1, "posecli: /nowhere: no such folder or file"),
        (("--hold-back", 8), 1, "cannot hold back 8 of 8 photos; ask for fewer"),
        (("--device", "cuda:77"), 1, "device 'cuda:77' cannot be used"),
    ],
)
def test_what_the_command_refuses(posecli, tmp_path, words, code, reason):
    data = f"lspet:{simple_set(tmp_path / 'photos', 8)}"
    out = tmp_path / "f.safetensors"
    result = posecli("train-finder", "--data", data, "--out", out, "--hold-back", 0, "--steps", 1, *words)
    assert result.code == code
    assert reason in result.err
    assert "Traceback" not in result.err
    assert not out.exists()


def test_a_run_may_start_from_a_detector(tiny, tmp_path):
    config = HourglassConfig(joints=14, stacks=1, widths=(8, 8, 8, 8, 8), stem_width=4, block="plain", input_size=64)
    torch.manual_seed(5)
    model = StackedHourglass(config)
    path = tmp_path / "detector.safetensors"
    save_detector(path, model, codec=Codec(), skeleton=LSP14, provenance={}, dtype=torch.float32)
    started = replace(tiny, run=replace(tiny.run, init=str(path), rate=0.0, ema=0.0), steps=1)
    finder = Finder.load(train_finder(started), torch.device("cpu"))
    assert finder.model.config.widths == config.widths
    assert finder.longer == tiny.run.model.input_size
    for name, kept in model.state_dict().items():
        if name.endswith("weight") and not name.startswith("scores."):
            torch.testing.assert_close(finder.model.state_dict()[name], kept, atol=1e-3, rtol=1e-3)
    assert finder.meta["provenance"]["recipe"]["init"] == "detector.safetensors"


def test_a_run_may_go_on_from_a_finder(tiny, tmp_path):
    codec = replace(tiny.codec, smallest=20.0)
    first = train_finder(replace(tiny, codec=codec))
    run = replace(tiny.run, init=str(first), out=tmp_path / "second.safetensors", rate=0.0, ema=0.0)
    before, after = (load_checkpoint(path, "finder") for path in (first, train_finder(replace(tiny, run=run, steps=1))))
    assert after.meta["codec"] == before.meta["codec"]
    for name, kept in before.tensors.items():
        if name.endswith(("weight", "bias")):
            torch.testing.assert_close(after.tensors[name], kept, atol=2e-3, rtol=2e-3)


def test_other_weights_are_no_start(tiny):
    with pytest.raises(CheckpointError, match="expected weights of a hourglass, got those of a lifter"):
        train_finder(replace(tiny, run=replace(tiny.run, init=str(assets_folder() / "lifter-baseline.safetensors"))))


def test_a_detector_of_several_stacks_is_no_start(tiny, tmp_path):
    config = HourglassConfig(joints=14, stacks=2, widths=(8, 8), stem_width=4, block="plain", input_size=64)
    path = tmp_path / "detector.safetensors"
    save_detector(path, StackedHourglass(config), codec=Codec(), skeleton=LSP14, provenance={})
    with pytest.raises(CheckpointError, match=r"detector.*has 2 stacks; start a finder from one of 1 stack"):
        train_finder(replace(tiny, run=replace(tiny.run, init=str(path))))
