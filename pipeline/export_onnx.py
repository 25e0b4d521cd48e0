"""Trained networks as ONNX files for other programs: pixels in, joints' maps out; 2D points in, 3D poses out.

What a program must know to use a file is in it: its `metadata_props` are texts, of which `config`, `meta` and `joints`
are JSON, as they stand in the weights file. A file is written only if ONNX Runtime gets from it what PyTorch gets.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from hourglass.predict import KIND, Detector, LookNetwork
from lifter.normalise import INPUT, OUTPUT, OUTPUT_JOINTS
from lifter.predict import Lifter, LiftNetwork
from pipeline.atomic import check_writable, write_whole
from pipeline.checkpoint import Checkpoint, load_checkpoint
from pipeline.errors import OutputError
from pipeline.onnx_session import open_onnx, to_onnx
from pipeline.weights import find_weights

ENDING = ".onnx"
ROWS = 3  # of the inputs that a file is checked with; it was made with others
TOLERANCE = 1e-4  # largest difference from PyTorch over the largest value

CROPS = (
    "crops: uint8 (batch, side, side, 3), pixels from 0 to 255 in the order blue, green, red; a person's square, "
    "`crop` in meta tells how much larger than the person, and black beyond the picture. "
)
MAPS = {
    "probability": "maps: float32 (batch, joints, side/4, side/4), the probability of a joint's place, which sums to 1 "
    "less the probability that the joint is not in the crop. ",
    "height": "maps: float32 (batch, joints, side/4, side/4), a Gaussian of height 1 around a joint's place. ",
}
PLACES = "Pixel p of a map is at 4 (p + 0.5) - 0.5 in the crop."
SPACES = {
    "camera": "as a virtual camera that faces the pelvis sees them, x right, y down: the pelvis at 0, the mean "
    "distance from it 1. ",
    "pixels": "in the pixels of the camera `pixels` in meta. ",
}
POINTS = "points: float32 (batch, 16, 2), the joints `input_joints`, "
CONFIDENCE = "confidence: float32 (batch, 16), 0 to 1, 0 for a joint that is not known. "
POSES = "poses: float32 (batch, 16, 3), mm from the pelvis, in that camera's axes: x right, y down, z away from it."


@dataclass(frozen=True)
class Exported:
    """What was written, and how far ONNX Runtime's output is from PyTorch's, of which the largest value is `scale`."""

    path: Path
    inputs: Mapping[str, tuple[int, ...]]  # name -> shape of one row
    difference: float
    scale: float

    def __str__(self) -> str:
        shapes = ", ".join(f"{name} (batch, {', '.join(map(str, shape))})" for name, shape in self.inputs.items())
        return f"{shapes}; at most {self.difference:.1e} from PyTorch's {self.scale:.3g} -> {self.path}"


def export_hourglass(name: str, path: Path) -> Exported:
    """Write a detector, by name or weights file, as crops -> maps.

    Raises InputError or CheckpointError if it cannot be had, OutputError if the file cannot be written or is wrong.
    """
    _check(path)
    file = find_weights("hourglass", name)
    detector = Detector.load(file, torch.device("cpu"))
    size, random = detector.input_size, torch.Generator().manual_seed(0)
    crops = torch.randint(256, (ROWS, size // 8, size // 8, 3), generator=random, dtype=torch.uint8)
    crops = crops.repeat_interleave(8, 1).repeat_interleave(8, 2)
    network = LookNetwork(detector.model, detector.codec, detector.pixels)
    notes = {"inputs": CROPS, "output": MAPS[detector.codec.convention] + PLACES, "joints": detector.skeleton.joints}
    return _export(network, {"crops": crops}, "maps", load_checkpoint(file, KIND), notes=notes, path=path)


def export_lifter(name: str, path: Path) -> Exported:
    """Write a lifter, by name or weights file, as points and, if it takes them, confidences -> poses.

    Raises like `export_hourglass`.
    """
    _check(path)
    file = find_weights("lifter", name)
    lifter = Lifter.load(file, torch.device("cpu"))
    random, statistics = torch.Generator().manual_seed(0), lifter.statistics
    points = statistics.in_mean + statistics.in_std * torch.randn(ROWS, len(INPUT), 2, generator=random)
    examples, inputs = {"points": points}, POINTS + SPACES["pixels" if lifter.pixels else "camera"]
    if lifter.scored:
        examples["confidence"] = torch.rand(ROWS, len(INPUT), generator=random).round(decimals=1)  # some are 0
        inputs += CONFIDENCE
    joints = [OUTPUT.joints[joint] for joint in OUTPUT_JOINTS]
    notes = {"inputs": inputs, "output": POSES, "input_joints": INPUT.joints, "joints": joints}
    return _export(LiftNetwork(lifter), examples, "poses", load_checkpoint(file, "lifter"), notes=notes, path=path)


def _check(path: Path) -> None:
    """OutputError, before anything is done, unless such a file can be written."""
    if path.suffix.lower() != ENDING:
        raise OutputError(f"{path}: networks are written as {ENDING}; choose this ending")
    check_writable(path)


def _export(
    network: nn.Module,
    examples: dict[str, Tensor],
    output: str,
    checkpoint: Checkpoint,
    *,
    notes: Mapping[str, object],
    path: Path,
) -> Exported:
    # Made with other values and another number of rows than it is checked with, so that neither can be baked in.
    model = onnx.load_model_from_string(
        to_onnx(network, {name: torch.zeros_like(example[:2]) for name, example in examples.items()}, output=output)
    )
    model.producer_name = "posecli"
    described = {"config": checkpoint.config, "meta": checkpoint.meta, **notes}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in described.items()}
    onnx.helper.set_model_props(model, {"kind": checkpoint.kind, "arch": checkpoint.arch, **texts})
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    with torch.inference_mode():
        expected = network(*examples.values())
    arrays = {name: example.numpy() for name, example in examples.items()}
    found = torch.from_numpy(open_onnx(content).run([output], arrays)[0])
    difference, scale = float((found - expected).abs().max()), float(expected.abs().max())
    if not difference <= TOLERANCE * scale:
        told = f"ONNX Runtime's output differs by {difference:.1e} from PyTorch's, of which the largest is {scale:.3g}"
        raise OutputError(f"{path}: not written: {told}; please report this")
    write_whole(path, content)
    return Exported(path, {name: tuple(example.shape[1:]) for name, example in examples.items()}, difference, scale)
