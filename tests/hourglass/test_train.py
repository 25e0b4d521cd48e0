"""A run learns, can be stopped anywhere and continued as if nothing had been, and says where its weights come from."""

import json
import logging
import pickle
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hourglass import data, train
from hourglass.augment import AugmentConfig
from hourglass.codec import Codec
from hourglass.data import fingerprint, hold_back, read_photos
from hourglass.model import HourglassConfig
from hourglass.predict import Detector
from hourglass.train import Samples, TrainConfig, learning_rate, load_sets, train_hourglass
from pipeline.checkpoint import load_checkpoint
from pipeline.errors import CheckpointError, DataError, OutputError
from pipeline.skeleton import COCO17
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
    """Press Ctrl-C when so many steps are done."""
    real = train._step

    def interrupted(state: Any, *args: Any, **kwargs: Any) -> float:
        if state.step == step:
            raise KeyboardInterrupt
        return real(state, *args, **kwargs)

    monkeypatch.setattr(train, "_step", interrupted)


def test_the_loss_falls_and_the_detector_learns(tiny):
    config = replace(tiny, model=tiny.model.with_stacks(1), epochs=30, evaluate_every=30, augment=CALM, rate=5e-3)
    assert train_hourglass(config) == config.out
    rows = [json.loads(line) for line in config.log_file.read_text().splitlines()]
    assert [row["step"] for row in rows] == [30, 60, 90]
    losses = [row["loss"] for row in rows]
    # knowing nothing costs the logarithm of the number of heatmap pixels and one
    assert losses[0] < np.log(8 * 8 + 1)
    assert losses[2] < losses[1] < losses[0]
    assert losses[2] < 0.85 * losses[0]
    assert rows[2]["pck@0.2"]["mean"] > rows[0]["pck@0.2"]["mean"]
    assert rows[2]["rate"] < rows[0]["rate"]


def test_a_run_writes_its_weights_a_log_and_a_resume_file(tiny):
    train_hourglass(tiny)
    folder = {path.name for path in tiny.out.parent.iterdir()}
    assert folder == {"photos", "tiny.safetensors", "tiny.jsonl", "tiny.resume.pt"}
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
    monkeypatch.setattr(torch, "load", wordless)
    with pytest.raises(CheckpointError, match=r"cannot resume from it \(EOFError\)"):
        train_hourglass(tiny, resume=True)


def test_a_full_disk_keeps_the_old_resume_file(tiny):
    train_hourglass(replace(tiny, epochs=1))
    before = tiny.resume_file.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"tiny\.resume\.pt: cannot be written"):
            train._new_state(replace(tiny, model=tiny.model.with_joints(14))).save(tiny.resume_file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
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
    train_hourglass(replace(tiny, epochs=1))
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
        {"kind": "lsp", "photos": 5, "sha256": fingerprint(sets[0])},
        {"kind": "lspet", "photos": 12, "sha256": fingerprint(sets[1])},
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


def test_sets_of_different_joints_do_not_mix(tiny, monkeypatch):
    def read_other(folder: Path) -> data.PhotoSet:
        return replace(data.read_lspet(folder), skeleton=COCO17)

    monkeypatch.setitem(data.READERS, "other", read_other)
    other = tiny.data[0].replace("lspet:", "other:")
    with pytest.raises(DataError, match="the sets label different joints: lsp14, coco17"):
        load_sets(replace(tiny, data=(*tiny.data, other)))


@pytest.fixture
def samples(tiny: TrainConfig) -> Samples:
    config = replace(tiny, model=tiny.model.with_joints(14))
    return Samples([read_photos(tiny.data[0])], config)


def test_processes_share_a_batch(samples):
    whole = samples.batch(5, rank=0, world=1)
    halves = [samples.batch(5, rank=rank, world=2) for rank in range(2)]
    for together, first, second in zip(whole, *halves, strict=True):
        assert torch.equal(together[0::2], first)
        assert torch.equal(together[1::2], second)


def test_an_epoch_shows_every_photo_once_in_an_order_of_its_own(samples, monkeypatch):
    shown: list[tuple[int, int]] = []
    real = samples.sample

    def spy(epoch: int, index: int) -> Any:
        shown.append((epoch, index))
        return real(epoch, index)

    monkeypatch.setattr(samples, "sample", spy)
    for step in range(6):
        samples.batch(step, rank=0, world=1)
    epochs = [[index for epoch, index in shown if epoch == number] for number in range(2)]
    assert [len(set(order)) for order in epochs] == [12, 12]
    assert epochs[0] != epochs[1]


def test_a_batch_is_what_network_and_loss_take(samples):
    images, xy, labelled = samples.batch(0, rank=0, world=1)
    assert images.shape == (4, 3, 32, 32)
    assert xy.shape == (4, 14, 2)
    assert xy.dtype == torch.float32
    assert labelled.shape == (4, 14)
    assert labelled.dtype == torch.bool
    # heatmap pixels: a person fills about the heatmap's eight
    assert 2 < (xy.amax(1) - xy.amin(1)).amax(1).median() < 12


def test_photos_with_hardly_a_label_are_left_out(tiny):
    photos = read_photos(tiny.data[0])
    photos.labelled[3, 3:] = False
    photos.labelled[5, 4:] = False
    kept = [row for _, row in Samples([photos], tiny).where]
    assert kept == [row for row in range(14) if row != 3]


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
