"""Networks in whole numbers: the arithmetic by a second formula, ranges that fit, and joints that hardly move."""

import warnings

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import add_infer_metadata
from torch import Tensor, nn

from hourglass.predict import ZOOMS, Detector
from pipeline.crop import Region
from pipeline.errors import CheckpointError
from pipeline.int8 import LARGEST, measure_ranges, multiplies_int8, rounded
from pipeline.onnx_session import open_onnx
from pipeline.runtime import as_onnx, compile_network
from pipeline.video import read_frames
from pipeline.weights import assets_folder, find_weights

CPU = torch.device("cpu")

exact_sums = pytest.mark.skipif(not multiplies_int8(), reason="sums of 8-bit products overflow on this processor")


class Two(nn.Module):
    """Images (N, 2, H, W) through two convolutions, of which the first is followed by a rectifier."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.last = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(image)))


@pytest.fixture
def two() -> Two:
    return Two().eval()


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (16, 2, 8, 8)).astype(np.float32)


def steps(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values rounded to 256 steps of which one is 0, beyond the range to its ends."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / 255
    zero = round(-low / step)
    return (np.clip(np.rint(values / step) + zero, 0, 255) - zero) * step


def convolved(image: np.ndarray, conv: nn.Conv2d, weight: np.ndarray) -> np.ndarray:
    bias = conv.bias.detach().numpy()
    return np.einsum("oi,nihw->nohw", weight, image) + bias[:, None, None]


def test_ranges_are_the_extremes_of_all_examples(two, images):
    ranges = measure_ranges(as_onnx(two, torch.zeros(2, 2, 8, 8)), np.split(images, 4))
    with torch.no_grad():
        before = two.first(torch.from_numpy(images))
    expected = {"input": images, "/first/Conv_output_0": before.numpy(), "/Relu_output_0": before.relu().numpy()}
    assert ranges.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(ranges[name], (values.min(), values.max()), rtol=1e-5)


@exact_sums
def test_the_arithmetic_by_hand(two, images):
    """Input, the first weights and what the rectifier gives are rounded; the last convolution is not."""
    model = as_onnx(two, torch.zeros(2, 2, 8, 8))
    ranges = measure_ranges(model, [images])
    found = open_onnx(rounded(model, ranges)).run(None, {"input": images})[0]
    weight = two.first.weight.detach().numpy()[..., 0, 0]
    largest = np.abs(weight).max(1, keepdims=True)  # of each output channel
    whole = np.rint(weight / (largest / 127)) * (largest / 127)
    middle = steps(convolved(steps(images, *ranges["input"]), two.first, whole).clip(0), *ranges["/Relu_output_0"])
    expected = convolved(middle, two.last, two.last.weight.detach().numpy()[..., 0, 0])
    # A value between two steps may go to either: in a few places the result differs by one step.
    step = np.abs(two.last.weight.detach().numpy()).max() * ranges["/Relu_output_0"][1] / 255
    off = np.abs(found - expected)
    assert np.quantile(off, 0.95) < 1e-4
    assert off.max() < 3.5 * step
    exact = two(torch.from_numpy(images)).detach().numpy()
    assert 1e-4 < np.abs(found - exact).max() < 0.05 * np.abs(exact).max()


@exact_sums
@pytest.mark.parametrize("bits", [8, 7])
def test_a_shipped_detector_is_rounded_as_by_onnx_runtimes_own_tool(bits):
    """In places a value between two steps goes to the other one, but the maps are no further from the exact ones."""
    detector = Detector.load(find_weights("hourglass", "hourglass-s"), CPU, runtime="int8")
    model = as_onnx(*detector.whole_network())
    frames = [frame.image for frame in read_frames(assets_folder() / "demo.mp4") if frame.index % 45 == 0]
    crops = np.concatenate([detector.cut(image, Region(600, 360, 650), zooms=ZOOMS) for image in frames])
    files = (model, rounded(model, detector.ranges, bits=bits), by_the_library(model, detector.ranges, bits=bits))
    exact, ours, theirs = (open_onnx(file).run(None, {"input": crops})[0] for file in files)
    lost, far = np.abs(theirs - exact).mean(), np.abs(ours - theirs).mean()
    assert far < lost
    assert np.abs(ours - exact).mean() < 1.1 * lost


def by_the_library(model: bytes, ranges: dict[str, tuple[float, float]], *, bits: int) -> bytes:
    """`rounded` by the tool that comes with ONNX Runtime, which takes ten times as long."""
    opened = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(model))
    exact = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    add_infer_metadata(opened)
    quantizer = QDQQuantizer(
        opened,
        per_channel=True,
        reduce_range=bits == 7,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, exact),
        nodes_to_quantize=[],
        nodes_to_exclude=[[node for node in opened.graph.node if node.op_type == "Conv"][-1].name],
        op_types_to_quantize=["Conv", "Relu", "Add", "MaxPool", "Resize"],
        extra_options={},
    )
    quantizer.quantize_model()
    return quantizer.model.model.SerializeToString()


class Shown(nn.Module):
    """Pixels (N, H, W, 3) uint8 as an input for `Two`, of its first two channels in reverse order."""

    def __init__(self, two: Two, mean: float | list[float], *, scale: float) -> None:
        super().__init__()
        self.two, self.mean, self.scale = two, mean, scale

    def forward(self, pixels: Tensor) -> Tensor:
        values = pixels.permute(0, 3, 1, 2)[:, [1, 0]].float() / 255
        return self.two((values - torch.tensor(self.mean).reshape(-1, 1, 1)) / self.scale)


@exact_sums
@pytest.mark.parametrize("mean", [0.45, [0.45, 0.45], [0.5, 0.4], 1.5], ids=str)
def test_pixels_are_whole_numbers_already(two, mean):
    """With one mean for all channels nothing is computed before the first convolution; the result is close anyhow."""
    network = Shown(two, mean, scale=0.25).eval()
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 8, 3), np.uint8)
    pixels[0, 0, 0], pixels[0, 0, 1] = 0, 255
    model = as_onnx(network, torch.zeros(2, 8, 8, 3, dtype=torch.uint8))
    file = rounded(model, measure_ranges(model, [pixels]))
    operators = {node.op_type for node in onnx.load_model_from_string(file).graph.node}
    assert ("Div" not in operators) == (mean in (0.45, [0.45, 0.45]))
    found = open_onnx(file).run(None, {"input": pixels})[0]
    exact = network(torch.from_numpy(pixels)).detach().numpy()
    assert 1e-4 < np.abs(found - exact).max() < 0.05 * np.abs(exact).max()


def test_channels_next_to_nothing_beside_their_bias(two, images):
    """The bias of a channel that training let go to nothing would not fit into steps as small as its weights ask."""
    with torch.no_grad():
        two.first.weight[0] *= 1e-12
        two.first.bias[0] = 3.0
        two.first.weight[1] = two.first.bias[1] = 0.0
    model = as_onnx(two, torch.zeros(2, 2, 8, 8))
    found = open_onnx(rounded(model, measure_ranges(model, [images]))).run(None, {"input": images})[0]
    exact = two(torch.from_numpy(images)).detach().numpy()
    assert np.abs(found - exact).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize("ends", [(0.0, 0.0), (-LARGEST, LARGEST), (1e-45, 1e-44), (5.0, 6.0), (-6.0, -5.0)], ids=str)
def test_ranges_of_any_size_give_a_graph_that_runs(two, images, ends):
    model = as_onnx(two, torch.zeros(2, 2, 8, 8))
    with warnings.catch_warnings(action="error"):
        file = rounded(model, dict.fromkeys(measure_ranges(model, [images]), ends))
    assert open_onnx(file).run(None, {"input": images})[0].shape == images.shape


@exact_sums
def test_weights_of_seven_bits_are_coarser(two, images):
    model = as_onnx(two, torch.zeros(2, 2, 8, 8))
    ranges = measure_ranges(model, [images])
    exact = two(torch.from_numpy(images)).detach().numpy()
    fine, coarse = (
        np.abs(open_onnx(rounded(model, ranges, bits=bits)).run(None, {"input": images})[0] - exact).mean()
        for bits in (8, 7)
    )
    assert fine < coarse < 4 * fine


def test_values_beyond_the_ranges_go_to_their_ends(two, images):
    model = as_onnx(two, torch.zeros(2, 2, 8, 8))
    run = open_onnx(rounded(model, measure_ranges(model, [images])))
    least = np.full((1, 2, 8, 8), images.min(), np.float32)
    same = [run.run(None, {"input": image})[0] for image in (least, 3 * least)]
    np.testing.assert_array_equal(*same)


def test_ranges_of_another_network(two, images):
    model = as_onnx(two, torch.zeros(2, 2, 8, 8))
    ranges = {**measure_ranges(model, [images]), "more": (0.0, 1.0)}
    with pytest.raises(CheckpointError, match="ranges for int8 are those of another network; measure them with"):
        compile_network(two, torch.zeros(2, 2, 8, 8), device=CPU, runtime="int8", ranges=ranges)


@pytest.mark.parametrize("name", ["hourglass-s", "hourglass-m"])
def test_joints_of_the_shipped_detectors_hardly_move(name):
    path = find_weights("hourglass", name)
    exact, quick = (Detector.load(path, CPU, runtime=runtime) for runtime in ("onnx", "int8"))
    rng = np.random.default_rng(0)
    frames = [frame.image for frame in read_frames(assets_folder() / "demo.mp4") if frame.index % 45 == 0]
    off, scores = [], []
    for image in frames * 3:
        height, width = image.shape[:2]
        middle = rng.uniform(0.4, 0.6, 2) * (width, height)
        region = Region(*middle, rng.uniform(0.6, 1.2) * height)
        (xy, score), (same, _) = (one.regions(image, [region], flip_test=True, zooms=ZOOMS) for one in (exact, quick))
        off.append(np.linalg.norm(xy - same, axis=-1) / region.side * exact.input_size)
        scores.append(score)
    sure = np.stack(scores) > 0.3
    assert sure.sum() > 40
    assert 0 < np.median(np.stack(off)[sure]) < 0.5  # pixels of the crop
