"""Ranges are measured on photos and kept in the weights file, whose weights stay as they are."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hourglass.codec import Codec
from hourglass.data import hold_back, read_photos
from hourglass.evaluate import evaluate_pck
from hourglass.finder import Finder, FinderCodec, save_finder
from hourglass.model import HourglassConfig, StackedHourglass
from hourglass.predict import ZOOMS, Detector, Pixels, save_detector
from hourglass.quantise import quantise
from pipeline.checkpoint import load_checkpoint
from pipeline.errors import CheckpointError, DataError
from pipeline.skeleton import LSP14
from pipeline.weights import assets_folder, find_weights
from tests.hourglass.photos import simple_set

CPU = torch.device("cpu")


def network(joints: int) -> StackedHourglass:
    torch.manual_seed(1)
    config = HourglassConfig(joints=joints, stacks=1, widths=(8, 8), stem_width=4, block="plain", input_size=64)
    return StackedHourglass(config).eval()


@pytest.fixture(params=[torch.float16, torch.float32])
def detector(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "detector.safetensors"
    save_detector(path, network(14), codec=Codec(), skeleton=LSP14, provenance={"seed": 1}, dtype=request.param)
    return path


@pytest.fixture
def finder(tmp_path: Path) -> Path:
    path = tmp_path / "finder.safetensors"
    save_finder(path, network(10), codec=FinderCodec(), provenance={}, pixels=Pixels())
    return path


def test_a_detector_gets_ranges_and_keeps_its_weights(detector, tmp_path):
    sets, out = [read_photos(f"lspet:{simple_set(tmp_path / 'photos', 12)}")], tmp_path / "out.safetensors"
    ranges = quantise(detector, out, sets, photos=10)
    before, after = (load_checkpoint(path, "hourglass") for path in (detector, out))
    assert after.meta == {**before.meta, "int8": {name: list(both) for name, both in ranges.items()}}
    assert before.tensors.keys() == after.tensors.keys()
    assert all(torch.equal(tensor, after.tensors[name]) for name, tensor in before.tensors.items())
    quick, exact = (Detector.load(out, CPU, runtime=runtime) for runtime in ("int8", "torch"))
    crops = np.random.default_rng(0).integers(0, 256, (3, 1, 64, 64, 3), np.uint8)
    maps, same = quick.views(crops), exact.views(crops)
    assert not np.array_equal(maps, same)
    torch.testing.assert_close(maps, same, atol=0.02, rtol=0.1)


def test_a_finder_too(finder, tmp_path):
    sets, out = [read_photos(f"lspet:{simple_set(tmp_path / 'photos', 12)}")], tmp_path / "out.safetensors"
    quantise(finder, out, sets, photos=9)
    quick, exact = (Finder.load(out, CPU, runtime=runtime) for runtime in ("int8", "torch"))
    frame = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    found, same = (one.people(frame, lowest=0.0, overlap=1.0) for one in (quick, exact))
    assert abs(found[0].score - same[0].score) < 0.05


def test_more_photos_widen_ranges(detector, tmp_path):
    sets, out = [read_photos(f"lspet:{simple_set(tmp_path / 'photos', 12)}")], tmp_path / "out.safetensors"
    few, many = (quantise(detector, out, sets, photos=count) for count in (1, 12))
    assert all(many[name][0] <= few[name][0] and many[name][1] >= few[name][1] for name in few)
    assert few != many


def test_photos_without_labels(detector, tmp_path):
    photos = read_photos(f"lspet:{simple_set(tmp_path / 'photos', 4)}")
    photos.labelled[:] = False
    with pytest.raises(DataError, match="no photo has enough labels to be an example; give a larger set"):
        quantise(detector, tmp_path / "out.safetensors", [photos], photos=4)
    assert not (tmp_path / "out.safetensors").exists()


def test_a_lifter_has_no_ranges(tmp_path):
    lifter = assets_folder() / "lifter-baseline.safetensors"
    with pytest.raises(CheckpointError, match="weights of a lifter; int8 is for detectors and finders"):
        quantise(lifter, tmp_path / "out.safetensors", [], photos=4)


def test_the_command(posecli, detector, tmp_path):
    data, out = f"lspet:{simple_set(tmp_path / 'photos', 12)}", tmp_path / "out.safetensors"
    lacking = posecli("image", "no.jpg", "--out", tmp_path / "x.png", "--hourglass", detector, "--runtime", "int8")
    assert lacking.code == 1
    assert "lacks what int8 needs; add it with `posecli quantise`, or use --runtime onnx" in lacking.err
    done = posecli("quantise", detector, "--data", data, "--out", out, "--hold-back", 2, "--photos", 6)
    assert done.code == 0
    assert done.out.endswith(f"ranges over 6 photos -> {out}\n")
    assert Detector.load(out, CPU, runtime="int8").ranges


def test_accuracy_holds_on_photos_not_trained_on(data_folder):
    """Few photos, so a wide bound; the model card has the figures of 1,000."""
    held = hold_back(read_photos(f"lspet:{data_folder / 'lspet'}"), 1000, seed=1)[1]
    some = held.select(np.arange(len(held)) % 5 == 0)
    exact, quick = (
        Detector.load(find_weights("hourglass", "hourglass-s"), CPU, runtime=runtime) for runtime in ("onnx", "int8")
    )
    scores = [evaluate_pck(one, some, flip_test=True, zooms=ZOOMS)["limbs"] for one in (exact, quick)]
    assert scores[0] > 60
    assert abs(scores[0] - scores[1]) < 1
