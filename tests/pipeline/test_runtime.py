"""One network, two runtimes: the same numbers, any batch, nothing printed, nobody called."""

import subprocess
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from hourglass.predict import ZOOMS, Detector
from pipeline import runtime as module
from pipeline.crop import Region
from pipeline.errors import CheckpointError, DeviceError
from pipeline.int8 import check_ranges, read_ranges
from pipeline.onnx_session import OPSET, open_onnx, to_onnx
from pipeline.runtime import InParts, choose_runtime, compile_network
from pipeline.video import read_frames
from pipeline.weights import assets_folder, find_weights

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


class Affine(nn.Module):
    """Rows (N, 3) uint8 to 2 x + (1, 10, 100)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, rows: Tensor) -> Tensor:
        return rows.float() * self.weight + torch.tensor([1.0, 10.0, 100.0])


class Dot(nn.Module):
    """Rows (N, 3) and (N, 3) to their scalar products (N,)."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return (left * right).sum(-1)


@pytest.mark.parametrize(
    ("name", "device", "units", "chosen"),
    [
        ("auto", "cpu", "avx_vnni", "int8"),
        ("auto", "cpu", "avx512_vnni", "int8"),
        ("auto", "cpu", "avx2", "onnx"),
        ("auto", "cuda", "avx_vnni", "torch"),
        ("torch", "cpu", "avx_vnni", "torch"),
        ("torch", "cuda:1", "avx_vnni", "torch"),
        ("onnx", "cpu", "avx_vnni", "onnx"),
        ("int8", "cpu", "avx2", "int8"),
    ],
)
def test_the_runtime_follows_device_and_processor(monkeypatch, name, device, units, chosen):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {units: True, "sse2": True})
    assert choose_runtime(name, torch.device(device), int8=True) == chosen


def test_without_ranges_nothing_is_rounded_by_itself(monkeypatch):
    monkeypatch.setattr(module, "multiplies_int8", lambda: True)
    assert choose_runtime("auto", CPU) == "onnx"


@pytest.mark.parametrize("name", ["onnx", "int8"])
def test_onnx_runtime_is_for_the_cpu(name):
    with pytest.raises(DeviceError, match=f"runtime '{name}' does not run on 'cuda:1'; use --runtime torch or --devi"):
        compile_network(Affine(), torch.zeros(2, 3), device=torch.device("cuda:1"), runtime=name)


def test_ranges_as_a_weights_file_has_them():
    assert read_ranges({}) == {}
    assert read_ranges({"int8": {"a": [-1, 2.5]}}) == {"a": (-1.0, 2.5)}


@pytest.mark.parametrize(
    "found",
    [
        *([1, 2], "text", {"a": 1}, {"a": [1]}, {"a": [1, 2, 3]}, {"a": [2, 1]}, {"a": [0, float("nan")]}),
        *({"a": ["x", 1]}, {"a": [-1e300, 1]}),
    ],
)
def test_what_are_no_ranges(found):
    with pytest.raises(ValueError, match="int8"):
        read_ranges({"int8": found})


def test_a_runtime_that_needs_ranges():
    check_ranges("onnx", {}, Path("w.safetensors"))
    check_ranges("int8", {"a": (0.0, 1.0)}, Path("w.safetensors"))
    with pytest.raises(CheckpointError, match=r"w.safetensors: lacks what int8 needs; add it with `posecli quantise`"):
        check_ranges("int8", {}, Path("w.safetensors"))


@pytest.mark.parametrize("runtime", ["auto", "torch", "onnx"])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_network_by_hand(runtime, count):
    run = compile_network(Affine().eval(), torch.zeros(2, 3, dtype=torch.uint8), device=CPU, runtime=runtime)
    rows = torch.arange(3 * count, dtype=torch.uint8).reshape(count, 3)
    found = run(rows)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert found.tolist() == [[2 * (3 * i) + 1, 2 * (3 * i + 1) + 10, 2 * (3 * i + 2) + 100] for i in range(count)]


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_inputs_need_not_lie_in_a_row(runtime):
    run = compile_network(Affine().eval(), torch.zeros(2, 3, dtype=torch.uint8), device=CPU, runtime=runtime)
    rows = torch.arange(6, dtype=torch.uint8).reshape(3, 2).T
    assert run(rows).tolist() == [[1, 14, 108], [3, 16, 110]]


def test_a_file_of_several_named_inputs():
    model = to_onnx(Dot().eval(), {"left": torch.ones(2, 3), "right": torch.ones(2, 3)}, output="product")
    onnx.checker.check_model(onnx.load_model_from_string(model))
    assert [entry.version for entry in onnx.load_model_from_string(model).opset_import] == [OPSET]
    session = open_onnx(model)
    assert [node.name for node in session.get_inputs()] == ["left", "right"]
    assert [(node.name, node.shape) for node in session.get_outputs()] == [("product", ["batch"])]
    left, right = np.float32([[1, 2, 3], [0, 1, 0], [2, 2, 2]]), np.float32([[1, 1, 1], [5, 6, 7], [1, 2, 3]])
    np.testing.assert_array_equal(session.run(None, {"left": left, "right": right})[0], [6, 6, 12])


def test_a_network_in_training_is_not_handed_over():
    """The exporter would leave it in training mode, too."""
    network = nn.Sequential(nn.Linear(3, 3), nn.Dropout())
    with pytest.raises(ValueError, match="in evaluation mode, in all its parts"):
        to_onnx(network, {"x": torch.zeros(2, 3)}, output="y")
    network.eval()
    network[1].train()
    with pytest.raises(ValueError, match="in evaluation mode, in all its parts"):
        to_onnx(network, {"x": torch.zeros(2, 3)}, output="y")
    to_onnx(network.eval(), {"x": torch.zeros(2, 3)}, output="y")
    assert not any(part.training for part in network.modules())


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_those_of_torch(monkeypatch, threads):
    given = []

    class Session(onnxruntime.InferenceSession):
        def __init__(self, model, options, **rest):
            given.append(options)
            super().__init__(model, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        compile_network(Affine().eval(), torch.zeros(2, 3), device=CPU, runtime="onnx")
    finally:
        torch.set_num_threads(before)
    (options,) = given
    assert options.intra_op_num_threads == threads


def test_between_two_calls_no_thread_waits_in_a_loop():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        find = Detector.load(find_weights("hourglass", "hourglass-s"), CPU, runtime="onnx")
        find.views(np.zeros((2, 1, find.input_size, find.input_size, 3), np.uint8))
    finally:
        torch.set_num_threads(before)
    spent = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - spent < 0.1


# The shipped detector


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    """What the shipped detector sees of 24 places around the demo clip's middle: (24, 2, S, S, 3)."""
    detector = Detector.load(find_weights("hourglass", "hourglass-s"), CPU)
    rng = np.random.default_rng(0)
    frames = [frame.image for frame in read_frames(assets_folder() / "demo.mp4") if frame.index % 30 == 0]
    height, width = frames[0].shape[:2]
    seen = []
    for image in frames * 4:
        x, y = rng.uniform(0.3, 0.7) * width, rng.uniform(0.4, 0.6) * height
        seen.append(detector.cut(image, Region(x, y, rng.uniform(0.5, 1.2) * height), zooms=ZOOMS))
    return np.stack(seen)


@pytest.mark.parametrize("averaged", [False, True])
def test_both_exact_runtimes_find_the_same_joints(crops, averaged):
    """To a thousandth of a pixel of the crop, all joints, whatever their score."""
    one, other = (
        Detector.load(find_weights("hourglass", "hourglass-s"), CPU, runtime=runtime) for runtime in ("torch", "onnx")
    )
    some = crops if averaged else crops[:, :1]
    views = [find.views(some, flip_test=averaged, zooms=ZOOMS if averaged else ()) for find in (one, other)]
    assert views[0].shape == views[1].shape == (4 if averaged else 1, 24, 14, 32, 32)
    (xy, score), (same_xy, same_score) = (one.joints(maps.mean(0)) for maps in views)
    np.testing.assert_allclose(same_xy, xy, atol=1e-3)
    np.testing.assert_allclose(same_score, score, atol=1e-4)
    assert score.max() > 0.8
    assert not np.array_equal(views[0], views[1])  # two programs, not one twice
    assert not any(part.training for part in other.model.modules())


def run_alone(code: str, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("runtime", ["onnx", "int8"])
def test_nothing_is_printed_and_nobody_called(runtime):
    """In a process of its own, in which any use of the network or of another program is an error."""
    code = """if True:
        import sys, warnings, torch
        from hourglass.predict import Detector
        from pipeline.weights import find_weights

        def guard(event, args):
            if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.fork", "os.mkdir"):
                raise SystemExit(f"{event}: {args}")

        assert "onnxruntime" not in sys.modules and "onnx" not in sys.modules
        warnings.simplefilter("always")
        sys.addaudithook(guard)
        find = Detector.load(find_weights("hourglass", "hourglass-s"), torch.device("cpu"), runtime=sys.argv[1])
        assert "onnxruntime" not in sys.modules
        import numpy
        assert find.views(numpy.zeros((1, 1, 128, 128, 3), numpy.uint8)).shape == (1, 1, 14, 32, 32)
        assert "onnxruntime" in sys.modules
    """
    run = run_alone(code, runtime)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_the_runtime_keeps_no_record_of_its_use(tmp_path):
    """ONNX Runtime's telemetry begins with a note in the folder for temporary files, even while it is loaded."""
    code = """if True:
        import os, sys
        os.environ["TMPDIR"] = sys.argv[1]
        os.environ.pop("ORT_DISABLE_TELEMETRY", None)
        from pipeline.onnx_session import load_onnxruntime
        assert load_onnxruntime().get_available_providers()
        assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    """
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_what_a_library_says_while_it_is_loaded_is_not_heard():
    code = """if True:
        import os, sys
        from pipeline.onnx_session import _unheard
        with _unheard():
            os.write(2, b"no graphics card")
        os.write(2, b"after")
        try:
            with _unheard():
                raise OSError("missing")
        except OSError as error:
            print(error, file=sys.stderr)
    """
    assert run_alone(code).stderr == "aftermissing\n"


# Memory


class Small:
    """A network on a device that holds `room` rows; the numbers of rows that it was asked for."""

    def __init__(self, room: int) -> None:
        self.room, self.asked = room, []

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        self.asked.append(len(rows))
        if len(rows) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return 2 * rows


@pytest.mark.parametrize(
    ("rows", "room", "asked"),
    [
        (5, 99, [5]),
        (16, 99, [16]),
        (35, 99, [16, 16, 3]),
        (35, 10, [16, 8, 8, 8, 8, 3]),
        (20, 3, [16, 8, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]),
        (3, 1, [3, 1, 1, 1]),  # half of what was tried
    ],
)
def test_where_memory_is_full_half_as_many_rows_go_at_a_time(rows, room, asked):
    small = Small(room)
    network = InParts(small, 16)
    inputs = torch.arange(2.0 * rows).reshape(rows, 2)
    assert torch.equal(network(inputs), 2 * inputs)
    assert small.asked == asked
    small.asked.clear()
    network(inputs)
    assert max(small.asked) <= room  # remembered


def test_where_not_even_one_row_fits():
    network = InParts(Small(0), 16)
    with pytest.raises(DeviceError) as caught:
        network(torch.zeros(4, 2))
    assert str(caught.value) == "the device's memory is full; close other programs that use it, or try --device cpu"


def test_other_errors_are_errors():
    def fails(_rows: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shapes")

    with pytest.raises(RuntimeError, match="shapes"):
        InParts(fails, 16)(torch.zeros(4, 2))


def test_what_a_failed_attempt_took_is_given_back_before_the_next():
    held: list[weakref.ref[torch.Tensor]] = []

    def network(rows: torch.Tensor) -> torch.Tensor:
        assert all(reference() is None for reference in held)
        large = torch.zeros(len(rows), 10)
        held.append(weakref.ref(large))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return rows

    assert len(InParts(network, 8)(torch.zeros(8, 1))) == 8
    assert len(held) == 6
