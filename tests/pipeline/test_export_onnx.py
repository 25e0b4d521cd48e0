"""Networks as ONNX files: run by ONNX Runtime alone they give what posecli's own stages give, and say what they are."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from hourglass.codec import Codec
from hourglass.model import HourglassConfig, StackedHourglass
from hourglass.predict import Detector, Pixels, save_detector
from lifter.normalise import Statistics, to_virtual
from lifter.predict import Lifter
from lifter.registry import build_lifter
from pipeline import export_onnx
from pipeline.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from pipeline.errors import OutputError
from pipeline.skeleton import H36M16, LSP14
from pipeline.weights import find_weights, names

CPU = torch.device("cpu")


def opened(path: Path) -> onnxruntime.InferenceSession:
    """The file as another program opens it."""
    onnx.checker.check_model(str(path))
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def described(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}


def shapes(nodes: list) -> dict[str, tuple[str, list]]:
    return {node.name: (node.type, node.shape) for node in nodes}


# The detector


@pytest.fixture
def hourglass(tmp_path) -> Path:
    """An untrained one with everything unlike the defaults."""
    torch.manual_seed(0)
    config = HourglassConfig(joints=14, stacks=2, widths=(6, 8, 8), stem_width=4, block="plain", input_size=64)
    pixels = Pixels(mean=(0.5, 0.25, 0.125), scale=0.5)
    path = tmp_path / "tiny.safetensors"
    network = StackedHourglass(config).eval()
    save_detector(path, network, codec=Codec("height", 1.5), skeleton=LSP14, provenance={"steps": 3}, pixels=pixels)
    return path


def test_a_detector(posecli, tmp_path, hourglass):
    out = tmp_path / "tiny.onnx"
    result = posecli("export-onnx", "--hourglass", hourglass, "--out", out)
    assert result.code == 0, result.err
    assert result.err == ""
    assert result.out.startswith("crops (batch, 64, 64, 3); at most ")
    assert result.out.endswith(f" -> {out}\n")
    session = opened(out)
    assert shapes(session.get_inputs()) == {"crops": ("tensor(uint8)", ["batch", 64, 64, 3])}
    assert list(shapes(session.get_outputs())) == ["maps"]
    crops = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)
    (maps,) = session.run(["maps"], {"crops": crops})
    expected = Detector.load(hourglass, CPU).views(crops[:, None])[0]
    assert maps.shape == (5, 14, 16, 16)
    np.testing.assert_allclose(maps, expected, atol=1e-5 * np.abs(expected).max())


def test_a_detector_says_what_it_is(posecli, tmp_path, hourglass):
    assert posecli("export-onnx", "--hourglass", hourglass, "--out", tmp_path / "tiny.onnx").code == 0
    told, checkpoint = described(tmp_path / "tiny.onnx"), load_checkpoint(hourglass, "hourglass")
    assert (told["kind"], told["arch"]) == ("hourglass", "stacked-hourglass")
    assert json.loads(told["config"]) == checkpoint.config
    assert json.loads(told["meta"]) == checkpoint.meta
    assert json.loads(told["joints"]) == list(LSP14.joints)
    assert told["inputs"].startswith("crops: uint8 (batch, side, side, 3)")
    assert "Gaussian of height 1" in told["output"]


@pytest.mark.parametrize("name", names("hourglass"))
def test_shipped_detectors(posecli, tmp_path, name):
    out = tmp_path / "out.onnx"
    assert posecli("export-onnx", "--hourglass", name, "--out", out).code == 0
    assert "the probability of a joint's place" in described(out)["output"]
    find = Detector.load(find_weights("hourglass", name), CPU)
    crops = np.random.default_rng(0).integers(0, 256, (1, find.input_size, find.input_size, 3), np.uint8)
    (maps,) = opened(out).run(None, {"crops": crops})
    np.testing.assert_allclose(maps, find.views(crops[:, None])[0], atol=1e-6)


# Lifters


@pytest.mark.parametrize("name", names("lifter"))
def test_shipped_lifters(posecli, tmp_path, name):
    out = tmp_path / "out.onnx"
    result = posecli("export-onnx", "--lifter", name, "--out", out)
    assert result.code == 0, result.err
    assert result.out.startswith("points (batch, 16, 2), confidence (batch, 16); at most ")
    session, lifter = opened(out), Lifter.load(find_weights("lifter", name), CPU)
    assert list(shapes(session.get_outputs())) == ["poses"]
    random = torch.Generator().manual_seed(1)
    rays = 0.2 * torch.randn(7, 16, 2, generator=random)
    confidence = torch.rand(7, 16, generator=random).round(decimals=1)
    confidence[:, H36M16.root] = 0.9
    # The virtual camera is the caller's part, as the file says.
    points, rotation = to_virtual(rays, confidence > 0)
    (poses,) = session.run(None, {"points": points.numpy(), "confidence": confidence.numpy()})
    expected = lifter.lift_rays(rays, confidence, flip=False)
    np.testing.assert_allclose(torch.from_numpy(poses) @ rotation, expected, atol=0.01)
    told = described(out)
    assert (told["kind"], told["arch"]) == ("lifter", name)
    assert "a virtual camera that faces the pelvis" in told["inputs"]
    assert json.loads(told["input_joints"]) == list(H36M16.joints)
    assert len(json.loads(told["joints"])) == poses.shape[1] == 16
    assert "pelvis" not in json.loads(told["joints"])


def test_a_lifter_of_pixels_without_confidence(posecli, tmp_path):
    torch.manual_seed(0)
    network, config = build_lifter("baseline", width=8)
    centre, spread = torch.full((16, 2), 500.0), torch.full((16, 2), 90.0)
    statistics = Statistics(centre, spread, torch.zeros(16, 3), torch.ones(16, 3)).to_meta()
    camera = {"focal": [1100.0, 1100.0], "centre": [500.0, 500.0]}
    meta = {"input_skeleton": "h36m16", "output_skeleton": "h36m17", "statistics": statistics, "pixels": camera}
    weights, out = tmp_path / "w.safetensors", tmp_path / "w.onnx"
    save_checkpoint(weights, Checkpoint("lifter", "baseline", config, meta, network.state_dict()), dtype=torch.float32)
    result = posecli("export-onnx", "--lifter", weights, "--out", out)
    assert result.code == 0, result.err
    session = opened(out)
    assert shapes(session.get_inputs()) == {"points": ("tensor(float)", ["batch", 16, 2])}
    assert "in the pixels of the camera `pixels` in meta" in described(out)["inputs"]
    assert json.loads(described(out)["meta"])["pixels"] == camera
    points = np.random.default_rng(0).uniform(300, 700, (4, 16, 2)).astype(np.float32)
    with torch.inference_mode():
        expected = network.eval()((torch.from_numpy(points) - 500) / 90)[0]  # statistics by hand
    np.testing.assert_allclose(session.run(None, {"points": points})[0], expected, atol=1e-4)


# What is refused


@pytest.mark.parametrize("words", [(), ("--hourglass", "hourglass-s", "--lifter", "baseline")])
def test_one_network_at_a_time(posecli, tmp_path, words):
    result = posecli("export-onnx", *words, "--out", tmp_path / "out.onnx")
    assert result.code == 2
    assert "give one of --hourglass and --lifter" in result.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "name", "message"),
    [
        (("--hourglass", "hourglass-s"), "out.pb", "out.pb: networks are written as .onnx; choose this ending"),
        (("--lifter", "baseline"), "out", "out: networks are written as .onnx; choose this ending"),
        (("--lifter", "baseline"), "no/out.onnx", "there is no folder"),
        (("--lifter", "resnet"), "out.onnx", "no lifter 'resnet': give one of baseline"),
        (("--hourglass", "baseline"), "out.onnx", "no hourglass 'baseline': give one of hourglass-m"),
        (("--hourglass", find_weights("lifter", "baseline")), "out.onnx", "expected weights of a hourglass, got"),
    ],
)
def test_what_cannot_be_written(posecli, tmp_path, words, name, message):
    result = posecli("export-onnx", *words, "--out", tmp_path / name)
    assert result.code == 1
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("off", [1e-3, float("nan")])
def test_a_file_that_gives_something_else_is_not_written(monkeypatch, tmp_path, off):
    class Off:
        def __init__(self, model: bytes) -> None:
            self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

        def run(self, outputs: list, arrays: dict) -> list:
            (poses,) = self._session.run(outputs, arrays)
            return [poses + off * np.abs(poses).max()]

    monkeypatch.setattr(export_onnx, "open_onnx", Off)
    with pytest.raises(OutputError, match=r"out\.onnx: not written: ONNX Runtime's output differs by .+ please report"):
        export_onnx.export_lifter("baseline", tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())
