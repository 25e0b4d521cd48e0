"""People as peaks in place and scale: drawn, learned, read; frames there and back; the weights file."""

import math
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hourglass.finder import (
    ARCH,
    KIND,
    Finder,
    FinderCodec,
    _highest,
    fitted,
    save_finder,
    without_doubles,
)
from hourglass.finder_score import FinderScore, average_precision
from hourglass.model import HourglassConfig, StackedHourglass
from hourglass.predict import Pixels
from pipeline.checkpoint import Checkpoint, save_checkpoint
from pipeline.crop import overlaps
from pipeline.errors import CheckpointError

CODEC = FinderCodec()
SIZE = (80, 96)
TINY = HourglassConfig(joints=10, stacks=1, widths=(6, 8), stem_width=4, block="plain", input_size=64)


def one(x: float, y: float, side: float) -> tuple[Tensor, Tensor]:
    """Somebody as (1, 1, 3), and that he is there (1, 1)."""
    return torch.tensor([[[x, y, side]]], dtype=torch.float32), torch.ones(1, 1, dtype=torch.bool)


@pytest.mark.parametrize("seed", range(20))
def test_people_of_every_place_and_size_are_read_as_they_were_drawn(seed):
    rng = np.random.default_rng(seed)
    side = float(np.exp(rng.uniform(np.log(21), np.log(600))))
    x, y = rng.uniform((-1, -1), (4 * SIZE[1], 4 * SIZE[0]))
    found = CODEC.decode(CODEC.targets(*one(x, y, side), size=SIZE)[0].numpy(), lowest=0.3)
    np.testing.assert_allclose(found, [[x, y, side, 1.0]], rtol=1e-4, atol=1e-2)


def test_a_target_by_hand():
    # at heatmap pixel (10, 20) exactly, and of class 2; its Gaussian is a pixel wide
    maps = CODEC.targets(*one(10 * 4 + 1.5, 20 * 4 + 1.5, 48.0), size=SIZE)[0]
    assert maps.shape == (10, *SIZE)
    assert maps[2, 20, 10] == pytest.approx(1)
    assert maps[2, 20, 12] == pytest.approx(math.exp(-2))
    assert maps[2, 21, 11] == pytest.approx(math.exp(-1))
    assert maps[3, 20, 10] == pytest.approx(math.exp(-0.5 / 0.49))
    # class 9 is 543 pixels, its Gaussian 0.05 * 543 / 4 heatmap pixels wide
    assert CODEC.sigmas()[9] == pytest.approx(0.05 * 24 * 2**4.5 / 4)


@pytest.mark.parametrize("shape", [(10, 7, 9), (1, 5, 5), (2, 1, 6), (3, 4, 1)])
def test_the_highest_around_a_voxel(shape):
    """Against the pooling of all three axes at once."""
    maps = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    expected = F.max_pool3d(maps[None], 3, stride=1, padding=1)[0]
    np.testing.assert_array_equal(_highest(maps.numpy()), expected)


def test_who_is_not_there_leaves_nothing():
    people, present = one(100, 100, 60)
    assert not CODEC.targets(people, ~present, size=SIZE).any()
    assert not CODEC.around(people, ~present, size=SIZE).any()


def test_two_people_close_together_are_two():
    people = torch.tensor([[[100.0, 100.0, 80.0], [124.0, 100.0, 80.0], [100.0, 100.0, 300.0]]])
    maps = CODEC.targets(people, torch.ones(1, 3, dtype=torch.bool), size=SIZE)[0]
    found = CODEC.decode(maps.numpy(), lowest=0.5)
    assert len(found) == 3
    kept = without_doubles(found, overlap=0.6)
    assert sorted(kept[:, 0].round().tolist()) == [100, 100, 124]


def test_weak_peaks_are_left_out_and_the_best_come_first():
    people = torch.tensor([[[60.0, 60.0, 50.0], [200.0, 200.0, 100.0]]])
    maps = CODEC.targets(people, torch.ones(1, 2, dtype=torch.bool), size=SIZE)[0]
    maps[:, :30] *= 0.4
    found = CODEC.decode(maps.numpy(), lowest=0.2)
    assert found[:, 2].round().tolist() == [100, 50]
    assert found[:, 3].tolist() == pytest.approx([1, 0.4], abs=1e-3)
    assert len(CODEC.decode(maps.numpy(), lowest=0.5)) == 1
    assert CODEC.decode(np.zeros((10, *SIZE), np.float32), lowest=0.1).shape == (0, 4)


def test_the_loss_by_a_second_formula_and_its_minimum():
    people, labelled = one(150, 100, 200)
    nobody = torch.zeros(1, 1, dtype=torch.bool)
    targets = CODEC.targets(people, labelled, size=SIZE)
    logits = torch.randn(1, 10, *SIZE, generator=torch.Generator().manual_seed(1))
    p, y, weight = logits.sigmoid().double(), targets.double(), CODEC.sigmas().double()[:, None, None] ** -2
    entropy = -(y * p.log() + (1 - y) * (1 - p).log())
    expected = (entropy * (p - y) ** 2 * weight).sum() / max(float((y * weight).sum()), 1)
    loss = CODEC.loss(logits, people, labelled=labelled, ignored=nobody)
    assert float(loss) == pytest.approx(float(expected), rel=1e-4)
    perfect = torch.logit(targets.clamp(1e-6, 1 - 1e-6)).requires_grad_()
    best = CODEC.loss(perfect, people, labelled=labelled, ignored=nobody)
    assert float(best.detach()) < 1e-5
    best.backward()
    assert perfect.grad is not None
    assert perfect.grad.abs().max() < 1e-5


def test_around_who_is_ignored_there_is_no_loss_but_others_there_count():
    people = torch.tensor([[[150.0, 100.0, 120.0], [150.0, 110.0, 100.0]]])
    ignored = torch.tensor([[True, False]])
    logits = torch.zeros(1, 10, *SIZE, requires_grad=True)
    CODEC.loss(logits, people, labelled=~ignored, ignored=ignored).backward()
    grad = logits.grad
    assert grad is not None
    level = round(float(CODEC.to_class(torch.tensor(120.0))))
    assert grad[0, level, 24, 44] == 0  # 26 pixels left of the ignored one's middle, within 0.35 of the side
    assert grad[0, level, 24, 20] > 0  # outside
    assert grad[0, level - 1, 27, 37] < 0  # where the other one is
    assert grad[0, 0, 24, 44] > 0  # far smaller ones are to be told from nobody


@pytest.mark.parametrize("wrong", [{"smallest": 0}, {"ratio": 1}, {"classes": 0}, {"spread": float("nan")}])
def test_a_codec_that_makes_no_sense(wrong):
    with pytest.raises(ValueError, match="sizes must be above 0"):
        FinderCodec(**wrong)


def test_overlaps_by_hand():
    first = np.array([(0, 0, 2), (10, 10, 4.0)])
    second = np.array([(1, 0, 2), (0, 0, 4), (10, 10, 4.0), (100, 0, 1)])
    expected = np.array([(2 / 6, 4 / 16, 0, 0), (0, 0, 1, 0)])
    np.testing.assert_allclose(overlaps(first, second), expected)
    assert overlaps(first[:0], second).shape == (0, 4)


def test_of_doubles_the_best_stays():
    people = np.array([(10, 10, 20, 0.9), (11, 10, 20, 0.8), (40, 10, 20, 0.7), (10, 10, 60, 0.6)])
    np.testing.assert_array_equal(without_doubles(people, overlap=0.6), people[[0, 2, 3]])


class BlobNetwork(nn.Module):
    """Stands in for a trained finder: somebody of side 60 at the centre of all that is bright."""

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.config = HourglassConfig(joints=10, stacks=1, widths=(6, 8, 8), input_size=input_size)

    def forward(self, images: Tensor) -> list[Tensor]:
        bright = (images * 0.25 + 0.45).mean(1).clamp_min(0)
        y, x = (torch.arange(length, dtype=torch.float32) for length in bright.shape[1:])
        total = bright.sum((1, 2))
        people = [(bright.sum(1) * x).sum(1) / total, (bright.sum(2) * y).sum(1) / total, 60 * torch.ones_like(total)]
        size = (images.shape[2] // 4, images.shape[3] // 4)
        maps = CODEC.targets(torch.stack(people, -1)[:, None], torch.ones(len(images), 1, dtype=torch.bool), size=size)
        return [torch.logit(maps.clamp(1e-6, 1 - 1e-6))]


@pytest.mark.parametrize(("width", "height"), [(640, 360), (360, 640), (97, 131), (1001, 757), (128, 128)])
def test_people_are_where_they_are_in_the_frame(width, height):
    frame = np.zeros((height, width, 3), np.uint8)
    top, left, side = height // 3, width // 2, max(width, height) // 10
    frame[top : top + side, left : left + side] = 255
    finder = Finder(BlobNetwork(128), CODEC, torch.device("cpu"), {})  # type: ignore[arg-type]
    (found,) = finder.people(frame)
    pixel = max(width, height) / 128
    assert found.region.x == pytest.approx(left + (side - 1) / 2, abs=0.05 * pixel)
    assert found.region.y == pytest.approx(top + (side - 1) / 2, abs=0.05 * pixel)
    assert found.region.side == pytest.approx(60 * pixel, rel=0.01)
    assert found.score == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("shape", "expected"), [((1080, 1920), (256, 448)), ((50, 20), (448, 192)), ((1, 900), (64, 448))]
)
def test_frames_are_fitted_with_black_beside_them(shape, expected):
    canvas, scale = fitted(np.full((*shape, 3), 200, np.uint8), longer=448, multiple=64)
    assert canvas.shape == (*expected, 3)
    width, height = (round(number) for number in scale * shape[::-1])
    assert max(width, height) == 448
    assert (canvas[:height, :width] == 200).all()
    assert not canvas[height:].any()
    assert not canvas[:, width:].any()


def saved(path: Path, **changes: object) -> Path:
    torch.manual_seed(0)
    model = StackedHourglass(TINY)
    meta = {"codec": asdict(CODEC), "pixels": Pixels().to_meta()}
    config = {**asdict(TINY), **{k: v for k, v in changes.items() if k in asdict(TINY)}}
    meta |= {k: v for k, v in changes.items() if k in meta}  # type: ignore[dict-item]
    save_checkpoint(path, Checkpoint(KIND, str(changes.get("arch", ARCH)), config, meta, model.state_dict()))
    return path


def test_a_weights_file_gives_the_same_finder(tmp_path):
    torch.manual_seed(3)
    model, codec, pixels = StackedHourglass(TINY).eval(), FinderCodec(smallest=20.0), Pixels(0.4, 0.2)
    save_finder(
        tmp_path / "f.safetensors", model, codec=codec, provenance={"steps": 1}, pixels=pixels, dtype=torch.float32
    )
    finder = Finder.load(tmp_path / "f.safetensors", torch.device("cpu"))
    assert (finder.codec, finder.pixels, finder.longer, finder.multiple) == (codec, pixels, 64, 8)
    assert finder.meta["provenance"] == {"steps": 1}
    image = torch.randn(1, 3, 64, 32)
    torch.testing.assert_close(finder.model(image), model(image))
    assert finder.people(np.zeros((30, 40, 3), np.uint8), lowest=1.0) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"arch": "other"}, "architecture 'other'"),
        ({"codec": {"classes": 9}}, "10 maps, where the codec has 9 classes"),
        ({"codec": {"colour": 9}}, "colour"),
        ({"pixels": {"order": "bgr"}}, "'bgr'"),
        ({"block": "x"}, "unknown block"),
    ],
)
def test_a_file_that_describes_no_finder_is_one_clear_line(tmp_path, changes, reason):
    path = saved(tmp_path / "f.safetensors", **changes)
    with pytest.raises(CheckpointError, match="does not describe a finder this posecli knows") as caught:
        Finder.load(path, torch.device("cpu"))
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)


def test_average_precision_by_hand():
    # precision 1, 1/2, 2/3 at recall 1/3, 1/3, 2/3; made falling 1 and 2/3
    found = [(0.8, False), (0.9, True), (0.7, True)]
    assert average_precision(found, 3) == pytest.approx((1 + 2 / 3) / 3)
    assert average_precision([], 3) == 0
    assert average_precision([(0.5, False)], 0) == 0


def test_a_score_by_hand():
    score, nobody = FinderScore(), np.zeros((0, 3))
    people = np.array([(10, 10, 20), (100, 100, 100.0)])
    # the first found twice, the second too weakly, a false alarm, and one who does not count
    found = np.array(
        [(10, 10, 20, 0.9), (11, 10, 20, 0.8), (300, 0, 50, 0.7), (200, 200, 50, 0.6), (100, 100, 90, 0.2)]
    )
    score.add(found, people, np.array([(200, 200, 52.0)]))
    score.add(found[2:3], nobody, nobody)
    score.add(found[:0], nobody, nobody)
    score.add(found[2:3], nobody, np.array([(300, 0, 50.0)]))
    told = score.summary()
    assert told["recall_by_side"] == {"0-48": 100.0, "96-192": 0.0}
    assert told["recall"] == 50
    assert told["precision"] == 25
    assert told["empty_scenes"] == 2
    assert told["alarms_per_empty_scene"] == 0.5
    assert told["ap@0.5"] == pytest.approx(100 * (1 + 2 / 5) / 2)


def test_the_loss_is_of_float32_whatever_the_maps_are():
    people, labelled = one(150, 100, 200)
    maps = torch.randn(1, 10, *SIZE).bfloat16()
    loss = CODEC.loss(maps, people, labelled=labelled, ignored=~labelled)
    assert loss.dtype == torch.float32
    assert F.relu(loss) == loss


@pytest.mark.parametrize("shape", [(720, 1280), (1081, 1921), (999, 400)])
def test_a_large_frame_is_averaged_down(shape):
    """Nearly as by OpenCV's mean over areas, on patches as coarse as a few pixels of the canvas."""
    height, width = shape
    rng = np.random.default_rng(0)
    frame = cv2.resize(rng.integers(0, 256, (40, 60, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    canvas, scale = fitted(frame, longer=256, multiple=32)
    new = (round(scale[0] * width), round(scale[1] * height))
    expected = cv2.resize(frame, new, interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(canvas[: new[1], : new[0]] - expected).mean() < 2
    assert (canvas[new[1] :] == 0).all()
    assert (canvas[:, new[0] :] == 0).all()
