"""A run learns, can be stopped anywhere and continued as if nothing had been, and says where its weights come from."""

import json
import logging
import pickle
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from hourglass import train
from hourglass.augment import AugmentConfig
from hourglass.codec import Codec
from hourglass.data import fingerprint, hold_back, read_photos
from hourglass.model import HourglassConfig
from hourglass.predict import Detector, Pixels
from hourglass.recipe import RECIPES, TrainConfig, learning_rate
from hourglass.train import load_sets, stoppable, train_hourglass
from pipeline.checkpoint import load_checkpoint
from pipeline.errors import CheckpointError, DataError, InputError, OutputError, PoseError
from pipeline.jsonl import read_lines
from tests.full_disk import files_up_to
from tests.hourglass.photos import people, simple_set, write_lsp

CALM = AugmentConfig(rotated=0, wide=0, close=0, colour=0, blurred=0, noisy=0, compressed=0, occluded=0)


@pytest.fixture
def tiny(tmp_path: Path) -> TrainConfig:
    """A run of twelve steps in less than a second: 14 photos, two of them held back, three steps an epoch."""
    return TrainConfig(
        data=(f"lspet:{simple_set(tmp_path / 'photos', 14)}",),
        out=tmp_path / "tiny.safetensors",
        model=HourglassConfig(stacks=2, widths=(8, 8), stem_width=4, block="plain", input_size=32),
        hold_back=2,
        epochs=4,
        batch=4,
        warm_up=2,
        cool_down=0.25,
        rate=2e-3,
        precision="float32",
    )


def content(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def assert_same(first: Any, second: Any) -> None:
    """The same tensors to the last bit, in nested dicts and lists."""
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, list):
        assert len(first) == len(second)
        for a, b in zip(first, second, strict=True):
            assert_same(a, b)
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Press Ctrl-C in the middle of the step that follows so many."""
    real = train.train_step

    def interrupted(state: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        if state.step + 1 == step:
            signal.raise_signal(signal.SIGINT)
        return real(state, *args, **kwargs)

    monkeypatch.setattr(train, "train_step", interrupted)


def test_the_loss_falls_and_the_detector_learns(tiny):
    short = replace(tiny, model=tiny.model.with_stacks(1), epochs=30, augment=CALM, rate=5e-3)
    config = replace(short, evaluate_every=30, log_every=30)
    assert train_hourglass(config) == config.out
    rows = read_lines(config.log_file)
    assert [row["step"] for row in rows if "pck@0.2" in row] == [30, 60, 90]
    losses = [row["loss"] for row in rows if "loss" in row]
    # knowing nothing costs the logarithm of the number of heatmap pixels and one
    assert losses[0] < np.log(8 * 8 + 1)
    assert losses[2] < losses[1] < losses[0]
    assert losses[2] < 0.85 * losses[0]
    measured = [row["pck@0.2"]["mean"] for row in rows if "pck@0.2" in row]
    assert measured[2] > measured[0]
    rates = [row["rate"] for row in rows if "rate" in row]
    assert rates[2] < rates[0]


def test_a_run_writes_its_weights_a_log_and_a_resume_file(tiny):
    train_hourglass(tiny)
    folder = {path.name for path in tiny.out.parent.iterdir()}
    beside = {".safetensors", ".jsonl", ".resume.pt", ".curves.png", ".samples", ".tensorboard"}
    assert folder == {"photos", *(f"tiny{ending}" for ending in beside)}
    assert content(tiny.resume_file)["step"] == 12
    detector = Detector.load(tiny.out, torch.device("cpu"))
    assert detector.model.config == replace(tiny.model, joints=14)
    # What is kept is the averaged network.
    average = content(tiny.resume_file)["average"]
    for name, tensor in detector.model.state_dict().items():
        kept = average[name]
        torch.testing.assert_close(tensor, kept.half().float() if kept.is_floating_point() else kept, rtol=0, atol=0)


@pytest.mark.parametrize("stop", [1, 6, 7])
def test_a_continued_run_is_the_uninterrupted_one_to_the_last_bit(tiny, tmp_path, monkeypatch, stop):
    train_hourglass(tiny)
    other = replace(tiny, out=tmp_path / "other.safetensors")
    with monkeypatch.context() as patch:
        interrupt_at(patch, stop)
        with pytest.raises(KeyboardInterrupt):
            train_hourglass(other)
    assert content(other.resume_file)["step"] == stop
    train_hourglass(other, resume=True)
    whole, continued = content(tiny.resume_file), content(other.resume_file)
    assert whole["step"] == 12
    assert_same(continued, whole)
    assert_same(load_checkpoint(other.out, "hourglass").tensors, load_checkpoint(tiny.out, "hourglass").tensors)


def test_two_runs_of_a_seed_are_the_same_and_of_two_seeds_are_not(tiny, tmp_path):
    runs = [replace(tiny, out=tmp_path / f"{i}.safetensors", epochs=1, seed=seed) for i, seed in enumerate((1, 1, 2))]
    first, second, third = (load_checkpoint(train_hourglass(run), "hourglass").tensors for run in runs)
    assert_same(first, second)
    assert not torch.equal(first["scores.0.weight"], third["scores.0.weight"])


def test_ctrl_c_saves_the_state_and_says_how_to_go_on(tiny, monkeypatch, caplog):
    interrupt_at(monkeypatch, 5)
    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
        train_hourglass(tiny)
    assert caplog.messages == ["stopped at step 5; go on with the same command and --resume"]
    assert content(tiny.resume_file)["step"] == 5
    assert not tiny.out.exists()


def test_a_run_stopped_before_its_last_weights_were_written_writes_them_when_resumed(tiny, monkeypatch):
    with monkeypatch.context() as patch:

        def interrupted(*_args: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr(train, "_validate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_hourglass(tiny)
    assert content(tiny.resume_file)["step"] == 12
    assert not tiny.out.exists()
    train_hourglass(tiny, resume=True)
    assert load_checkpoint(tiny.out, "hourglass").meta["provenance"]["steps"] == 12


def test_a_run_may_be_made_longer_or_shorter(tiny):
    train_hourglass(tiny)
    longer = replace(tiny, epochs=5)
    train_hourglass(longer, resume=True)
    assert content(tiny.resume_file)["step"] == 15
    tiny.out.unlink()
    train_hourglass(replace(tiny, epochs=1), resume=True)
    assert load_checkpoint(tiny.out, "hourglass").meta["provenance"]["steps"] == 15


def test_nothing_to_resume(tiny):
    with pytest.raises(CheckpointError, match=r"tiny\.resume\.pt: no run to resume; start it without --resume"):
        train_hourglass(tiny, resume=True)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.mark, "executed"))


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "pickle", "list", "lacking", "weights", "network"])
def test_a_resume_file_that_does_not_fit_is_one_clear_line(tiny, tmp_path, damage):
    train_hourglass(replace(tiny, epochs=1))
    path, mark = tiny.resume_file, tmp_path / "mark"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1000])
    elif damage in ("empty", "text"):
        path.write_bytes(b"" if damage == "empty" else b"something else")
    elif damage == "pickle":
        path.write_bytes(pickle.dumps(Trap(mark)))
    elif damage == "list":
        torch.save([1, 2], path)
    elif damage == "lacking":
        torch.save({k: v for k, v in content(path).items() if k != "optimiser"}, path)
    elif damage == "weights":
        path.write_bytes(tiny.out.read_bytes())
    config = replace(tiny, model=replace(tiny.model, widths=(8, 10))) if damage == "network" else tiny
    with pytest.raises(CheckpointError) as caught:
        train_hourglass(config, resume=True)
    message = str(caught.value)
    assert message.startswith(f"{path}: cannot resume from it (")
    assert message.endswith("); start anew without --resume")
    assert "\n" not in message
    assert not mark.exists()


def test_an_error_without_words_is_named(tiny, monkeypatch):
    def wordless(*_args: Any, **_kwargs: Any) -> None:
        raise EOFError

    tiny.resume_file.touch()
    monkeypatch.setattr(train, "check_torch_file", wordless)
    with pytest.raises(CheckpointError, match=r"cannot resume from it \(EOFError\)"):
        train_hourglass(tiny, resume=True)


def test_a_resume_file_nested_deeply_is_refused_before_torch_reads_it(tiny):
    """A key a million deep, whose hashing ends the program."""
    tiny.resume_file.write_bytes(b"\x80\x02}" + b")" + b"\x85" * 10**6 + b"K\x01s.")
    with pytest.raises(CheckpointError, match=r"cannot resume from it \(.*nested too deeply"):
        train_hourglass(tiny, resume=True)


def test_a_full_disk_keeps_the_old_resume_file(tiny):
    train_hourglass(replace(tiny, epochs=1))
    before = tiny.resume_file.read_bytes()
    state = train.new_state(replace(tiny, model=tiny.model.with_joints(14)), torch.device("cpu"))
    with files_up_to(2000), pytest.raises(OutputError, match=r"tiny\.resume\.pt: cannot be written"):
        state.save(tiny.resume_file)
    assert tiny.resume_file.read_bytes() == before
    assert not list(tiny.out.parent.glob(".*"))


def test_learning_rate_by_hand(tiny):
    config = replace(tiny, rate=0.4, warm_up=4, cool_down=0.25)
    rates = [learning_rate(config, step, 20) for step in range(20)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, *[0.4] * 13, 0.32, 0.24, 0.16, 0.08])
    assert learning_rate(config, 20, 20) == 0


def test_learning_rate_without_warm_up_or_cool_down(tiny):
    assert learning_rate(replace(tiny, rate=0.4, warm_up=0), 0, 20) == 0.4
    assert learning_rate(replace(tiny, rate=0.4, warm_up=0, cool_down=0), 19, 20) == 0.4
    assert learning_rate(replace(tiny, rate=0.4, warm_up=40, cool_down=1), 9, 20) == pytest.approx(0.1)


def test_the_rate_reaches_the_optimiser(tiny, monkeypatch):
    seen = []
    monkeypatch.setattr(train, "learning_rate", lambda _config, step, _total: 1e-3 * (step + 1))
    monkeypatch.setattr(train, "_update_average", lambda *_args, **_kwargs: None)
    real = torch.optim.AdamW.step

    def spy(self: torch.optim.AdamW, *args: Any, **kwargs: Any) -> Any:
        seen.append(self.param_groups[0]["lr"])
        return real(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    train_hourglass(replace(tiny, epochs=1, optimiser="adamw"))
    assert seen == pytest.approx([1e-3, 2e-3, 3e-3])


def test_the_average_of_weights_by_hand():
    kept, new = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    with torch.no_grad():
        kept.weight.fill_(1.0)
        new.weight.fill_(2.0)
        new.running_mean.fill_(8.0)
        new.num_batches_tracked.fill_(7)
    train._update_average(kept, new, decay=0.75)
    assert kept.weight.tolist() == [1.25, 1.25]
    assert kept.running_mean.tolist() == [2.0, 2.0]
    assert kept.num_batches_tracked.item() == 7


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_read(tiny, tmp_path):
    config = replace(tiny, data=("lspet:not even looked for",))
    with pytest.raises(OutputError, match="there is no folder"):
        train_hourglass(replace(config, out=tmp_path / "nowhere" / "w.safetensors"))
    with pytest.raises(OutputError, match="is a folder"):
        train_hourglass(replace(config, out=tmp_path))
    with pytest.raises(DataError, match="no such folder"):
        train_hourglass(config)


def test_too_few_photos_for_a_step(tiny):
    for config in (replace(tiny, batch=13), replace(tiny, epochs=0.1)):
        with pytest.raises(DataError, match=r"12 photos .* not a single step"):
            train_hourglass(config)
        assert not tiny.out.exists()


def test_nothing_held_back(tiny):
    train_hourglass(replace(tiny, hold_back=0, epochs=1))
    assert Detector.load(tiny.out, torch.device("cpu")).meta["provenance"]["data"][0]["photos"] == 14


def test_the_weights_say_where_they_come_from(tiny, tmp_path):
    lsp = write_lsp(tmp_path / "lsp", people(5, seed=3), np.zeros((5, 14), bool))
    config = replace(tiny, data=(f"lsp:{lsp}", *tiny.data), epochs=2, seed=5, codec=Codec(sigma=1.2))
    train_hourglass(config)
    loaded = load_checkpoint(config.out, "hourglass")
    sets = [read_photos(config.data[0]), hold_back(read_photos(config.data[1]), 2, seed=5)[0]]
    told = loaded.meta["provenance"]
    assert told["data"] == [
        {"kind": "lsp", "photos": 5, "weight": 1.0, "sha256": fingerprint(sets[0])},
        {"kind": "lspet", "photos": 12, "weight": 1.0, "sha256": fingerprint(sets[1])},
    ]
    assert told["steps"] == 2 * ((5 + 12) // 4)
    assert told["epochs"] == pytest.approx(told["steps"] * 4 / 17)
    recipe = told["recipe"]
    assert (recipe["seed"], recipe["batch"], recipe["rate"]) == (5, 4, config.rate)
    assert recipe["augment"]["rotation_deg"] == config.augment.rotation_deg
    assert told["validation"]["held_back"] == 2
    assert set(told["validation"]["pck@0.2"]) == {"limbs", "mean", "per_joint"}
    assert told["torch"] == torch.__version__
    assert loaded.meta["codec"] == {"convention": "probability", "sigma": 1.2}
    assert loaded.meta["skeleton"] == "lsp14"
    assert str(tmp_path) not in json.dumps([loaded.meta, loaded.config])  # nobody's folders


def test_bfloat16_products_leave_float32_weights(tiny):
    config = replace(tiny, precision="bfloat16", epochs=1)
    train_hourglass(config)
    model = content(config.resume_file)["model"]
    assert {tensor.dtype for tensor in model.values() if tensor.is_floating_point()} == {torch.float32}
    assert all(torch.isfinite(tensor).all() for tensor in model.values())


def test_threads_are_an_option(tiny):
    torch.set_num_threads(2)
    train_hourglass(replace(tiny, epochs=1, threads=1))
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("recipe", ["default", "published"])
def test_every_recipe_trains(tiny, recipe):
    config = replace(tiny, **{**RECIPES[recipe], "model": tiny.model, "batch": 4, "epochs": 1})
    train_hourglass(config)
    told = load_checkpoint(tiny.out, "hourglass").meta
    assert told["codec"]["convention"] == ("height" if recipe == "published" else "probability")
    assert told["provenance"]["recipe"]["optimiser"] == ("rmsprop" if recipe == "published" else "muon")


def test_the_published_recipe_is_the_published_one():
    config = replace(TrainConfig(data=(), out=Path("w")), **RECIPES["published"])
    assert (config.optimiser, config.rate, config.batch, config.epochs) == ("rmsprop", 2.5e-4, 6, 100)
    assert (config.model.stacks, config.model.widths, config.model.input_size) == (2, (256,) * 5, 256)
    assert config.codec.convention == "height"
    rates = [learning_rate(config, step, 100) for step in (0, 59, 60, 89, 90)]
    assert rates == pytest.approx([2.5e-4, 2.5e-4, 2.5e-5, 2.5e-5, 2.5e-6])


def test_unknown_names_are_refused():
    for field, value in (("optimiser", "sgd"), ("schedule", "steps")):
        with pytest.raises(ValueError, match=f"unknown {field} '{value}'; known: "):
            TrainConfig(data=(), out=Path("w"), **{field: value})


def test_a_run_may_start_from_weights(tiny, tmp_path):
    train_hourglass(tiny)
    tuned = replace(tiny, out=tmp_path / "tuned.safetensors", init=str(tiny.out), epochs=1, rate=0.0, ema=0.0)
    train_hourglass(tuned)
    first, second = (load_checkpoint(path, "hourglass") for path in (tiny.out, tuned.out))
    for name, tensor in first.tensors.items():
        if "running" not in name and "tracked" not in name:
            torch.testing.assert_close(second.tensors[name], tensor)
    assert second.meta["provenance"]["recipe"]["init"] == "tiny.safetensors"


def test_a_run_from_weights_keeps_what_they_decide(tiny, tmp_path):
    """Say those of an imported network: other widths, codec and pixels."""
    model, pixels = replace(tiny.model, widths=(8, 10)), Pixels((0.4, 0.5, 0.6), 1)
    train_hourglass(replace(tiny, model=model, codec=Codec("height"), pixels=pixels, epochs=1))
    tuned = replace(tiny, out=tmp_path / "tuned.safetensors", init=str(tiny.out), epochs=1)
    train_hourglass(tuned)
    first, second = (load_checkpoint(path, "hourglass") for path in (tiny.out, tuned.out))
    assert first.config == second.config
    for part in ("codec", "pixels", "skeleton"):
        assert first.meta[part] == second.meta[part]
    assert second.meta["pixels"]["mean"] == [0.4, 0.5, 0.6]


def test_weights_that_have_seen_the_photos_for_validation_are_no_start(tiny, tmp_path):
    train_hourglass(replace(tiny, epochs=1))
    other = replace(tiny, out=tmp_path / "o.safetensors", init=str(tiny.out), epochs=1, seed=tiny.seed + 1)
    message = rf"trained on photos that would be held back now; give --seed {tiny.seed} --hold-back {tiny.hold_back}"
    with pytest.raises(InputError, match=message):
        train_hourglass(other)
    train_hourglass(replace(other, validation=tiny.data[0]))  # chosen on purpose


def test_weights_for_other_joints_are_no_start(tiny, tmp_path):
    train_hourglass(replace(tiny, epochs=1))
    other = replace(tiny, out=tmp_path / "o.safetensors", init=str(tiny.out), skeleton="mpii16")
    with pytest.raises(CheckpointError, match=r"tiny\.safetensors: finds the joints of lsp14, not of mpii16"):
        train_hourglass(other)


def test_another_set_for_validation(tiny, tmp_path):
    other = write_lsp(tmp_path / "lsp", people(5, seed=3), np.zeros((5, 14), bool))
    train_hourglass(replace(tiny, validation=f"lsp:{other}", epochs=1))
    assert load_checkpoint(tiny.out, "hourglass").meta["provenance"]["data"][0]["photos"] == 14


def test_sets_of_other_joints_mix(tiny):
    """What a set does not label carries no loss: LSP has no eyes."""
    config = replace(tiny, skeleton="coco17", epochs=1)
    sets, held = load_sets(config)
    assert {photos.skeleton.name for photos in (*sets, held)} == {"coco17"}
    nose = sets[0].skeleton.index("nose")
    assert not sets[0].labelled[:, nose].any()
    assert sets[0].labelled[:, sets[0].skeleton.index("l_knee")].all()
    train_hourglass(config)
    assert load_checkpoint(tiny.out, "hourglass").meta["skeleton"] == "coco17"


def test_a_loss_that_is_no_number_ends_the_run(tiny, monkeypatch):
    monkeypatch.setattr(train, "mean_loss", lambda losses, *_args, **_kwargs: losses.sum() * float("nan"))
    with pytest.raises(PoseError, match="the loss is no longer a number at step 12; try a lower --rate"):
        train_hourglass(tiny)
    assert not tiny.resume_file.exists()


def test_a_second_ctrl_c_ends_at_once():
    with stoppable() as stopping:
        assert not stopping()
        signal.raise_signal(signal.SIGINT)
        assert stopping()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_validation_leaves_a_picture_and_a_line(tiny):
    train_hourglass(replace(tiny, evaluate_every=6, log_every=3))
    rows = read_lines(tiny.log_file)
    assert [row["step"] for row in rows if "pck@0.2" in row] == [6, 12]
    assert [row["step"] for row in rows if "loss" in row] == [3, 6, 9, 12]
    assert {row["images_per_s"] > 0 and 0 <= row["waiting"] <= 1 for row in rows if "loss" in row} == {True}
    assert sorted(path.name for path in tiny.samples_folder.iterdir()) == ["step-000006.png", "step-000012.png"]
    assert cv2.imread(str(tiny.samples_folder / "step-000012.png")).std() > 1
    assert cv2.imread(str(tiny.curves_file)).std() > 1
    assert list(tiny.tensorboard_folder.glob("events*"))


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path):
    log = tmp_path / "run.jsonl"
    log.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert read_lines(log) == [{"step": 1, "loss": 2.0}]
    assert read_lines(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize(("field", "value"), [("optimiser", "adamw"), ("batch", 6), ("seed", 2)])
def test_settings_that_may_not_change_when_resumed(tiny, field, value):
    train_hourglass(replace(tiny, epochs=1))
    with pytest.raises(CheckpointError, match=f"it was made with --{field} .*, not {value}"):
        train_hourglass(replace(tiny, **{field: value}), resume=True)


def test_names_that_would_share_files_are_refused(tiny, tmp_path):
    with pytest.raises(OutputError, match=r"v1\.2: weights are safetensors; give a name that ends in \.safetensors"):
        train_hourglass(replace(tiny, out=tmp_path / "v1.2"))


def test_a_file_where_a_folder_should_be(tiny):
    tiny.samples_folder.write_text("in the way")
    with pytest.raises(OutputError, match=r"tiny\.samples: cannot be written"):
        train_hourglass(tiny)


def test_a_batch_that_processes_cannot_share(tiny, monkeypatch):
    shared = train.Processes(0, 3, torch.device("cpu"))
    monkeypatch.setattr(train.Processes, "from_environment", lambda _device: shared)
    with pytest.raises(InputError, match="--batch 4 cannot be shared evenly by 3 processes; give a multiple of 3"):
        train_hourglass(tiny)


def test_endless_training_is_refused(tiny):
    with pytest.raises(DataError, match="inf epochs: not a single step"):
        train_hourglass(replace(tiny, epochs=float("inf")))
