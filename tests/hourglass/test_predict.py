"""From pixels to joints: the network's input, the way back to the frame, the flip test, and the weights file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hourglass.codec import Codec
from hourglass.model import STRIDE, HourglassConfig, StackedHourglass
from hourglass.predict import (
    ARCH,
    KIND,
    PIXEL_MEAN,
    PIXEL_SCALE,
    Detector,
    LookNetwork,
    _seen_from_afar,
    save_detector,
    to_input,
)
from pipeline import runtime
from pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from pipeline.crop import Region
from pipeline.errors import CheckpointError
from pipeline.skeleton import LSP14
from tests.pictures import blob

TINY = HourglassConfig(joints=14, stacks=2, widths=(6, 8, 8), stem_width=4, block="plain", input_size=64)


def random_network(config: HourglassConfig = TINY, *, seed: int = 0) -> StackedHourglass:
    torch.manual_seed(seed)
    return StackedHourglass(config).eval()


def detector(convention: str = "probability") -> Detector:
    return Detector(random_network(), Codec(convention), LSP14, torch.device("cpu"), {})


def pictures(count: int, *, size: int = 64, seed: int = 0) -> np.ndarray:
    """Crops (count, size, size, 3) of coarse random patches."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, size // 8, size // 8, 3), np.uint8)
    return coarse.repeat(8, 1).repeat(8, 2)


class BrightnessNetwork(nn.Module):
    """Stands in for a trained network: every joint's map is the brightness of the crop, a heatmap pixel's mean."""

    def __init__(self, joints: int = 14, input_size: int = 128) -> None:
        super().__init__()
        self.config = HourglassConfig(joints=joints, input_size=input_size)

    def forward(self, image: Tensor) -> list[Tensor]:
        bright = (image * PIXEL_SCALE + PIXEL_MEAN).mean(1, keepdim=True)
        return [F.avg_pool2d(bright, STRIDE).expand(-1, self.config.joints, -1, -1)]


def joints_in(find: Detector, crops: np.ndarray, *, flip_test: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Joints (N, J, 2) in crop pixels and scores (N, J) of crops (N, S, S, 3), each looked at as it is."""
    return find.joints(find.views(crops[:, None], flip_test=flip_test).mean(0))


def test_input_by_hand():
    crops = np.zeros((1, 2, 3, 3), np.uint8)
    crops[0, 0, 1] = (255, 51, 0)  # blue, green, red as OpenCV has them
    images = to_input(crops)
    assert images.shape == (1, 3, 2, 3)
    assert images.dtype == torch.float32
    assert images[0, :, 0, 1].tolist() == pytest.approx([(0 - 0.45) / 0.25, (0.2 - 0.45) / 0.25, (1 - 0.45) / 0.25])
    assert torch.allclose(images[0, :, 1, 1], torch.tensor(-0.45 / 0.25))
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_input_of_a_tensor_and_of_an_array_are_the_same():
    crops = pictures(2)
    assert torch.equal(to_input(crops), to_input(torch.from_numpy(crops)))


@pytest.mark.parametrize("convention", ["probability", "height"])
def test_maps_are_those_of_the_last_stack(convention):
    network, codec, crops = random_network(), Codec(convention), pictures(2)
    with torch.no_grad():
        first, last = network(to_input(crops))
        maps = LookNetwork(network, codec)(torch.from_numpy(crops))
    assert torch.equal(maps, codec.maps(last))
    np.testing.assert_array_equal(detector(convention).views(crops[:, None])[0], maps)
    assert not torch.equal(codec.maps(first), codec.maps(last))


def test_looks_are_the_same_where_memory_holds_few_at_a_time(monkeypatch):
    find, crops = detector(), pictures(10)
    expected = find.views(crops[:, None], flip_test=True)
    whole, asked = runtime._run_torch, []

    def small(module: nn.Module, device: torch.device, inputs: Tensor) -> Tensor:
        asked.append(len(inputs))
        if len(inputs) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(module, device, inputs)

    monkeypatch.setattr(runtime, "_run_torch", small)
    find = detector()
    np.testing.assert_allclose(find.views(crops[:, None], flip_test=True), expected, rtol=1.3e-6, atol=1e-5)
    assert asked == [16, 8, 4, 4, 4, 4, 4]
    np.testing.assert_allclose(find.views(crops[:, None], flip_test=True), expected, rtol=1.3e-6, atol=1e-5)
    assert asked[7:] == [4] * 5  # what does not fit is not tried with every frame


def test_flip_test_is_the_mean_over_the_picture_and_its_mirror_image():
    find, crops = detector(), pictures(2)
    maps = find.views(crops[:, None], flip_test=True).mean(0)
    # Computed one joint at a time, from pixels mirrored in the picture itself.
    straight = find.views(crops[:, None])[0]
    mirrored = find.views(crops[:, None, :, ::-1])[0]
    for joint, other in enumerate(LSP14.flip):
        expected = (straight[:, joint] + mirrored[:, other, ..., ::-1]) / 2
        np.testing.assert_allclose(maps[:, joint], expected, rtol=1e-5)


def test_with_the_flip_test_a_mirrored_crop_gives_the_mirrored_pose():
    find, crops = detector(), pictures(4)
    xy, score = joints_in(find, crops, flip_test=True)
    mirrored_xy, mirrored_score = joints_in(find, crops[:, :, ::-1].copy(), flip_test=True)
    flip = list(LSP14.flip)
    # The maps of a random network are flat: the rounding of sums, whose order depends on a crop's place, moves peaks.
    np.testing.assert_allclose(mirrored_xy[..., 0], 63 - xy[:, flip, 0], atol=2e-2)
    np.testing.assert_allclose(mirrored_xy[..., 1], xy[:, flip, 1], atol=2e-2)
    np.testing.assert_allclose(mirrored_score, score[:, flip], rtol=1e-4)
    # Without it, a random network knows nothing of symmetry.
    plain, _ = joints_in(find, crops)
    assert np.abs(plain - xy).max() > 1


def test_crops_of_a_batch_do_not_depend_on_each_other():
    find, crops = detector(), pictures(3)
    together, score = joints_in(find, crops)
    assert together.shape == (3, 14, 2)
    assert score.shape == (3, 14)
    for row in range(3):
        alone, _ = joints_in(find, crops[row : row + 1])
        np.testing.assert_allclose(alone[0], together[row], atol=1e-2)


@pytest.mark.parametrize("flip_test", [False, True])
@pytest.mark.parametrize("side", [64.0, 150.0, 301.0])
def test_a_spot_in_the_frame_is_found_where_it_is(side, flip_test):
    find = Detector(BrightnessNetwork(), Codec("height"), LSP14, torch.device("cpu"), {})  # type: ignore[arg-type]
    rng = np.random.default_rng(int(side))
    for _ in range(5):
        region = Region(*rng.uniform(180, 220, 2), side)
        place = np.array([region.x, region.y]) + rng.uniform(-0.25, 0.25, 2) * side
        frame = blob(420, 400, x=place[0], y=place[1], sigma=1.5 * STRIDE * side / 128)
        xy, score = find.regions(frame, [region], flip_test=flip_test)
        assert np.abs(xy[0] - place).max() < 0.05 * STRIDE * side / 128  # 0.05 heatmap pixels
        assert (score > 0.8).all()


def test_regions_with_the_same_content_give_the_same_joints():
    find, patch = detector(), pictures(1)[0]
    frame = np.zeros((200, 300, 3), np.uint8)
    frame[10:74, 20:84] = patch
    frame[110:174, 200:264] = patch
    regions = [Region(51.5, 41.5, 64), Region(231.5, 141.5, 64)]
    xy, score = find.regions(frame, regions)
    assert xy.shape == (2, 14, 2)
    np.testing.assert_allclose(xy[1] - xy[0], np.full((14, 2), (180, 100)), atol=1e-3)
    np.testing.assert_allclose(score[1], score[0], rtol=1e-5)
    alone, _ = joints_in(find, patch[None])
    np.testing.assert_allclose(xy[0], alone[0] + (20, 10), atol=1e-3)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    provenance = {"data": [{"kind": "lsp", "photos": 3}], "steps": 12}
    save_detector(path, random_network(), codec=Codec("height", 1.5), skeleton=LSP14, provenance=provenance)
    return path


def test_a_saved_detector_comes_back(saved):
    loaded = Detector.load(saved, torch.device("cpu"))
    assert loaded.model.config == TINY
    assert loaded.codec == Codec("height", 1.5)
    assert loaded.skeleton is LSP14
    assert loaded.input_size == 64
    assert not loaded.model.training
    assert loaded.meta["provenance"]["steps"] == 12
    assert loaded.meta["crop"] == {"margin": 1.25, "outside": "black"}
    assert loaded.meta["pixels"] == {"order": "rgb", "mean": 0.45, "scale": 0.25}
    images = to_input(pictures(2))
    with torch.no_grad():
        before, after = random_network()(images)[-1], loaded.model(images)[-1]
    assert (before - after).abs().max() < 1e-2 * before.abs().max()  # weights are kept in half precision
    assert not torch.equal(before, after)


def test_loading_twice_gives_the_same_to_the_last_bit(saved):
    first, second = (joints_in(Detector.load(saved, torch.device("cpu")), pictures(2)) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {"rings": 3}},
        {"config": {"block": "spiral"}},
        {"config": {"joints": 0}},
        {"config": {"stacks": 0}},
        {"config": {"stacks": "two"}},
        {"config": {"widths": []}},
        {"config": {"widths": [8]}},
        {"config": {"widths": [8, -8, 8]}},
        {"config": {"widths": 8}},
        {"config": {"input_size": 0}},
        {"config": {"input_size": 50}},
        {"meta": {"codec": {"convention": "offset"}}},
        {"meta": {"codec": {"colour": 1}}},
        {"meta": {"codec": None}},
        {"meta": {"skeleton": "octopus8"}},
        {"meta": {"skeleton": None}},
        {"meta": {"skeleton": "mpii16"}},  # 16 joints, the network has 14
        {"arch": "transformer"},
    ],
    ids=str,
)
def test_a_description_of_something_else(saved, changes):
    sound = load_checkpoint(saved, KIND)
    merged: dict[str, Any] = {
        field: value if isinstance(value, str) else {**getattr(sound, field), **value}
        for field, value in changes.items()
    }
    save_checkpoint(saved, replace(sound, **merged))
    with pytest.raises(
        CheckpointError, match=r"tiny\.safetensors: does not describe an hourglass this posecli knows \(.+\)"
    ):
        Detector.load(saved, torch.device("cpu"))


@pytest.mark.parametrize("field", ["codec", "skeleton"])
def test_a_description_that_lacks_something(saved, field):
    sound = load_checkpoint(saved, KIND)
    save_checkpoint(saved, replace(sound, meta={k: v for k, v in sound.meta.items() if k != field}))
    with pytest.raises(CheckpointError, match=f"does not describe an hourglass this posecli knows .*'{field}'"):
        Detector.load(saved, torch.device("cpu"))


def test_weights_of_another_shape(saved):
    sound = load_checkpoint(saved, KIND)
    save_checkpoint(saved, replace(sound, config={**sound.config, "widths": [6, 8, 10]}))
    with pytest.raises(CheckpointError, match=r"stacked-hourglass expects .+ of shape \(.+\), the file has"):
        Detector.load(saved, torch.device("cpu"))


def test_weights_of_a_lifter(tmp_path):
    path = tmp_path / "lifter.safetensors"
    save_checkpoint(path, Checkpoint("lifter", ARCH, {}, {}, {"a": torch.zeros(1)}))
    with pytest.raises(CheckpointError, match="expected weights of a hourglass, got those of a lifter"):
        Detector.load(path, torch.device("cpu"))


@pytest.mark.parametrize("zoom", [1.0, 0.84, 0.5])
def test_a_closer_look_is_put_back_where_it_belongs(zoom):
    """A Gaussian drawn on the closer crop's grid is where it should be on the whole region's, with the same mass."""
    size, codec = 32, Codec()
    place = torch.tensor([[[18.3, 12.6]]])  # on the closer grid
    maps = codec.targets(place, size)
    afar = torch.from_numpy(_seen_from_afar(maps.numpy(), zoom))
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    middle = (size - 1) / 2
    expected = (place[0, 0] - middle) * zoom + middle
    assert afar.sum().item() == pytest.approx(1, abs=0.1)  # a narrow Gaussian, sampled coarsely
    assert ((afar * columns).sum() / afar.sum()).item() == pytest.approx(expected[0].item(), abs=0.3)
    assert ((afar * rows).sum() / afar.sum()).item() == pytest.approx(expected[1].item(), abs=0.3)


@pytest.mark.parametrize("zoom", [1.0, 0.84, 0.5])
def test_a_closer_look_is_put_back_as_by_sampling_its_grid(zoom):
    maps = torch.rand(3, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    matrix = torch.tensor([[1 / zoom, 0, 0], [0, 1 / zoom, 0]]).expand(3, 2, 3)
    expected = F.grid_sample(maps, F.affine_grid(matrix, [3, 2, 32, 32], align_corners=False), align_corners=False)
    np.testing.assert_allclose(_seen_from_afar(maps.numpy(), zoom, heights=True), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(_seen_from_afar(maps.numpy(), zoom), expected / zoom**2, rtol=0, atol=1e-4)
