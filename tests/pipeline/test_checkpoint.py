"""Weights files come back as they were written, and every way to be wrong has its own clear message."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from pipeline.checkpoint import (
    FORMAT_VERSION,
    HEADER_KEY,
    Checkpoint,
    digest,
    load_checkpoint,
    load_state,
    save_checkpoint,
)
from pipeline.errors import CheckpointError, OutputError
from tests.full_disk import files_up_to

META = {"skeleton": "lsp14", "normalisation": {"mean": [0.5, -1e-3]}, "note": "Größe in px", "none": None}


def network(*, seed: int = 0, width: int = 6) -> nn.Sequential:
    """A small network with every kind of tensor that a state dict has."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, 2, 1, bias=False))
    module(torch.randn(4, 3, 8, 8))  # running statistics, and a count of batches
    return module


def checkpoint(**changes: Any) -> Checkpoint:
    fields = {"kind": "lifter", "arch": "tiny", "config": {"width": 6}, "meta": META, "tensors": network().state_dict()}
    return Checkpoint(**{**fields, **changes})


def header_of(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()[HEADER_KEY])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


@pytest.fixture
def saved(path: Path) -> Path:
    save_checkpoint(path, checkpoint())
    return path


def write_with_header(path: Path, **changes: Any) -> None:
    """A file whose tensors are sound and whose header has these fields changed, or left out where None."""
    save_checkpoint(path, checkpoint())
    header = {k: v for k, v in {**header_of(path), **changes}.items() if v is not None}
    tensors = {k: v.half() if v.is_floating_point() else v for k, v in checkpoint().tensors.items()}
    save_file(tensors, path, metadata={HEADER_KEY: json.dumps(header)})


def test_round_trip_in_float32_is_exact(path):
    save_checkpoint(path, checkpoint(), dtype=torch.float32)
    loaded = load_checkpoint(path, "lifter")
    assert (loaded.kind, loaded.arch, loaded.config, loaded.meta) == ("lifter", "tiny", {"width": 6}, META)
    assert loaded.tensors.keys() == checkpoint().tensors.keys()
    for name, tensor in checkpoint().tensors.items():
        assert torch.equal(loaded.tensors[name], tensor)
        assert loaded.tensors[name].dtype == tensor.dtype


@pytest.mark.parametrize(("dtype", "precision"), [(torch.float16, 2**-11), (torch.bfloat16, 2**-8)])
def test_round_trip_in_half_precision(path, dtype, precision):
    save_checkpoint(path, checkpoint(), dtype=dtype)
    loaded = load_checkpoint(path, "lifter").tensors
    for name, tensor in checkpoint().tensors.items():
        if tensor.is_floating_point():
            assert loaded[name].dtype == torch.float32
            assert torch.equal(loaded[name], tensor.to(dtype).float())
            torch.testing.assert_close(loaded[name], tensor, rtol=precision, atol=1e-7)
        else:
            assert torch.equal(loaded[name], tensor)
    assert path.stat().st_size < 4096


def test_a_file_of_half_precision_can_be_written_again_without_loss(saved, tmp_path):
    again = tmp_path / "again.safetensors"
    save_checkpoint(again, load_checkpoint(saved, "lifter"))
    assert again.read_bytes() == saved.read_bytes()


def test_values_that_half_precision_cannot_hold_stay_finite(path):
    tensors = {"running_var": torch.tensor([1e5, 3.0]), "weight": torch.tensor([0.1])}
    save_checkpoint(path, checkpoint(tensors=tensors))
    loaded = load_checkpoint(path, "lifter").tensors
    assert loaded["running_var"].tolist() == [1e5, 3.0]
    assert loaded["weight"].item() == pytest.approx(0.1, rel=2**-11)


def test_any_memory_layout_is_written_in_the_plain_one(path):
    module = network().to(memory_format=torch.channels_last)
    save_checkpoint(path, checkpoint(tensors=module.state_dict()))
    assert torch.equal(load_checkpoint(path, "lifter").tensors["0.weight"], network()[0].weight.half().float())


def test_digest_sees_names_types_shapes_and_values():
    base = {"a": torch.arange(6.0), "b": torch.tensor(1)}
    others = [
        {"c": torch.arange(6.0), "b": torch.tensor(1)},
        {"a": torch.arange(6.0).double(), "b": torch.tensor(1)},
        {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1)},
        {"a": torch.arange(6.0), "b": torch.tensor(2)},
        {"a": torch.arange(6.0)},
    ]
    assert len({digest(tensors) for tensors in (base, *others)}) == 6
    assert digest(dict(reversed(base.items()))) == digest(base)


def test_missing_file(path):
    with pytest.raises(CheckpointError, match="no such weights file"):
        load_checkpoint(path, "lifter")
    with pytest.raises(CheckpointError, match="no such weights file"):
        load_checkpoint(path.parent, "lifter")


@pytest.mark.parametrize("place", [1, 100, -1])
def test_a_damaged_byte_in_the_tensors(saved, place):
    content = bytearray(saved.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    content[start + place if place > 0 else place] ^= 0x10
    saved.write_bytes(content)
    with pytest.raises(
        CheckpointError, match=r"damaged: expected sha256 [0-9a-f]{64}, got [0-9a-f]{64}; fetch it again"
    ):
        load_checkpoint(saved, "lifter")


@pytest.mark.parametrize("keep", [0, 5, 300, -1])
def test_a_file_cut_short(saved, keep):
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(
        CheckpointError, match=r"weights\.safetensors: not a readable weights file \(.+\); fetch or train"
    ):
        load_checkpoint(saved, "lifter")


def test_a_damaged_header(saved):
    content = bytearray(saved.read_bytes())
    content[8] = ord("x")
    saved.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a readable weights file"):
        load_checkpoint(saved, "lifter")


@pytest.mark.parametrize("text", ["{", "[]", "7", '{"version": 1}', '{"version": "1", "kind": "lifter"}'])
def test_a_damaged_description(path, text):
    save_file({"a": torch.zeros(2)}, path, metadata={HEADER_KEY: text})
    with pytest.raises(CheckpointError, match="damaged header"):
        load_checkpoint(path, "lifter")


@pytest.mark.parametrize("field", ["version", "kind", "arch", "config", "meta", "sha256"])
def test_every_field_is_needed_and_of_its_type(path, field):
    for wrong in (None, ["list"]):
        write_with_header(path, **{field: wrong})
        with pytest.raises(
            CheckpointError, match="damaged header: expected the fields version, kind, arch, config, meta"
        ):
            load_checkpoint(path, "lifter")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_somebody_elses_safetensors(path, metadata):
    save_file({"a": torch.zeros(2)}, path, metadata=metadata)
    with pytest.raises(CheckpointError, match="a safetensors file, but not one of posecli"):
        load_checkpoint(path, "lifter")


def test_a_later_format_says_so_whatever_its_other_fields_are(path):
    message = f"format {FORMAT_VERSION + 1}, this posecli reads {FORMAT_VERSION}; update posecli"
    write_with_header(path, version=FORMAT_VERSION + 1)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path, "lifter")
    write_with_header(path, version=FORMAT_VERSION + 1, sha256=None, config=["something", "new"])
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path, "lifter")


def test_wrong_kind(saved):
    with pytest.raises(CheckpointError, match="expected weights of a hourglass, got those of a lifter"):
        load_checkpoint(saved, "hourglass")


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.mark, "executed"))


def test_a_pickle_under_our_ending_is_refused_and_not_executed(path, tmp_path):
    mark = tmp_path / "mark"
    torch.save({"state_dict": Trap(mark)}, path)
    with pytest.raises(CheckpointError, match="not a readable weights file"):
        load_checkpoint(path, "lifter")
    path.write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(CheckpointError, match="not a readable weights file"):
        load_checkpoint(path, "lifter")
    assert not mark.exists()
    pickle.loads(path.read_bytes())  # the trap does work
    assert mark.exists()


def test_load_state_fills_the_network(saved):
    module = network(seed=1)
    load_state(module, load_checkpoint(saved, "lifter"), saved)
    image = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(module.eval()(image), network().eval()(image), rtol=1e-2, atol=1e-3)


def test_a_mismatch_names_both_sides(saved):
    loaded = load_checkpoint(saved, "lifter")
    with pytest.raises(CheckpointError, match=re.escape("tiny expects 0.bias of shape (7,), the file has (6,)")):
        load_state(network(width=7), loaded, saved)
    with pytest.raises(CheckpointError, match=re.escape("tiny expects 3.bias of shape (5,), the file has none")):
        load_state(network().append(nn.Linear(2, 5)), loaded, saved)
    with pytest.raises(CheckpointError, match=re.escape("expects 1.bias of shape none, the file has (6,)")):
        load_state(network()[:1], loaded, saved)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OutputError, match="there is no folder"):
        save_checkpoint(tmp_path / "nowhere" / "w.safetensors", checkpoint())


def test_a_full_disk_leaves_the_old_file_and_nothing_else(saved):
    before = saved.read_bytes()
    told = r"weights\.safetensors: cannot be written \(.*[Ff]ile too large.*\)"
    with files_up_to(1000), pytest.raises(OutputError, match=told):
        save_checkpoint(saved, checkpoint())
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_weights_file_can_be_read_by_whom_any_new_file_can(saved):
    other = saved.with_name("other")
    other.touch()
    assert saved.stat().st_mode == other.stat().st_mode


def test_an_interrupted_save_leaves_nothing(path, monkeypatch):
    def interrupted(_path: Path, _content: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, checkpoint())
    assert list(path.parent.iterdir()) == []
