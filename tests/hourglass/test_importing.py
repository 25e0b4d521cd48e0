"""Networks of public code bases come over exactly, and nothing in their files is executed.

The reference networks here are written anew, with the names that the public checkpoints use.
"""

import argparse
import pickle
import zipfile
from collections import OrderedDict
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hourglass.codec import Codec
from hourglass.finder import Finder
from hourglass.importing import LAYOUTS, import_weights
from hourglass.model import HourglassConfig, StackedHourglass
from hourglass.predict import KIND, Detector, Pixels, _seen_from_afar, save_detector, to_input
from pipeline.checkpoint import load_checkpoint, save_checkpoint
from pipeline.crop import Region
from pipeline.errors import CheckpointError, OutputError
from pipeline.image import write_image
from pipeline.sighting import Found
from pipeline.skeleton import MPII16
from pipeline.weights import file_sha256

CPU = torch.device("cpu")


# The network of pytorch-pose


class PoseBlock(nn.Module):
    def __init__(self, inputs: int, planes: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, planes, 1)
        self.bn2, self.conv2 = nn.BatchNorm2d(planes), nn.Conv2d(planes, planes, 3, padding=1)
        self.bn3, self.conv3 = nn.BatchNorm2d(planes), nn.Conv2d(planes, 2 * planes, 1)
        self.downsample = None if inputs == 2 * planes else nn.Sequential(nn.Conv2d(inputs, 2 * planes, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for norm, conv in ((self.bn1, self.conv1), (self.bn2, self.conv2), (self.bn3, self.conv3)):
            y = conv(norm(y).relu())
        return y + (x if self.downsample is None else self.downsample(x))


class PoseHourglass(nn.Module):
    """hg[0] is the smallest level; each has skip, down and up, and the smallest the bottom as well."""

    def __init__(self, width: int, blocks: int, depth: int) -> None:
        super().__init__()

        def row() -> nn.Sequential:
            return nn.Sequential(*(PoseBlock(width, width // 2) for _ in range(blocks)))

        places = [4] + [3] * (depth - 1)
        self.hg = nn.ModuleList(nn.ModuleList(row() for _ in range(count)) for count in places)

    def forward(self, x: Tensor) -> Tensor:
        before = []
        for level in reversed(self.hg):
            before.append(level[0](x))
            x = level[1](F.max_pool2d(x, 2))
        x = self.hg[0][3](x)
        for level in self.hg:
            x = before.pop() + F.interpolate(level[2](x), scale_factor=2, mode="nearest")
        return x


class PoseNetwork(nn.Module):
    def __init__(self, *, stacks: int, blocks: int = 1, joints: int = 16, stem: int = 4, width: int = 12) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, stem, 7, stride=2, padding=3), nn.BatchNorm2d(stem)
        # Here every stem block doubles, until the last, which has the width of the hourglass.
        self.layer1 = nn.Sequential(PoseBlock(stem, stem))
        self.layer2 = nn.Sequential(PoseBlock(2 * stem, 2 * stem))
        self.layer3 = nn.Sequential(PoseBlock(4 * stem, width // 2))
        every, between = range(stacks), range(stacks - 1)
        self.hg = nn.ModuleList(PoseHourglass(width, blocks, 4) for _ in every)
        self.res = nn.ModuleList(nn.Sequential(*(PoseBlock(width, width // 2) for _ in range(blocks))) for _ in every)
        self.fc = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU()) for _ in every
        )
        self.score = nn.ModuleList(nn.Conv2d(width, joints, 1) for _ in every)
        self.fc_ = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in between)
        self.score_ = nn.ModuleList(nn.Conv2d(joints, width, 1) for _ in between)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.layer1(self.bn1(self.conv1(image)).relu())
        x = self.layer3(self.layer2(F.max_pool2d(x, 2)))
        maps: list[Tensor] = []
        for n, hourglass in enumerate(self.hg):
            y = self.fc[n](self.res[n](hourglass(x)))
            maps.append(self.score[n](y))
            if n < len(self.fc_):
                x = x + self.fc_[n](y) + self.score_[n](maps[-1])
        return maps


# The network of princeton


class Conv(nn.Module):
    def __init__(self, inputs: int, outputs: int, size: int = 1, *, stride: int = 1, bn: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2)
        self.bn = nn.BatchNorm2d(outputs) if bn else None

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) if self.bn is None else self.bn(self.conv(x)).relu()


class Residual(nn.Module):
    """Has a skip layer in any case, and uses it only where the width changes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), Conv(inputs, half)
        self.bn2, self.conv2 = nn.BatchNorm2d(half), Conv(half, half, 3)
        self.bn3, self.conv3 = nn.BatchNorm2d(half), Conv(half, outputs)
        self.skip_layer, self.needed = Conv(inputs, outputs), inputs != outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.bn1(x).relu())
        y = self.conv2(self.bn2(y).relu())
        return self.conv3(self.bn3(y).relu()) + (self.skip_layer(x) if self.needed else x)


class Nested(nn.Module):
    def __init__(self, depth: int, width: int, increase: int) -> None:
        super().__init__()
        below = width + increase
        self.up1, self.low1, self.low3 = Residual(width, width), Residual(width, below), Residual(below, width)
        self.low2 = Nested(depth - 1, below, increase) if depth > 1 else Residual(below, below)

    def forward(self, x: Tensor) -> Tensor:
        y = self.low3(self.low2(self.low1(F.max_pool2d(x, 2))))
        return self.up1(x) + F.interpolate(y, size=x.shape[2:], mode="nearest")


class Merge(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = Conv(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class PrincetonNetwork(nn.Module):
    def __init__(
        self, *, stacks: int, joints: int = 16, stem: tuple[int, int] = (4, 8), width: int = 12, increase: int = 0
    ) -> None:
        super().__init__()
        first, later = stem
        self.pre = nn.Sequential(
            Conv(3, first, 7, stride=2, bn=True),
            Residual(first, later),
            nn.MaxPool2d(2),
            Residual(later, later),
            Residual(later, width),
        )
        every, between = range(stacks), range(stacks - 1)
        self.hgs = nn.ModuleList(nn.Sequential(Nested(4, width, increase)) for _ in every)
        self.features = nn.ModuleList(nn.Sequential(Residual(width, width), Conv(width, width, bn=True)) for _ in every)
        self.outs = nn.ModuleList(Conv(width, joints) for _ in every)
        self.merge_features = nn.ModuleList(Merge(width, width) for _ in between)
        self.merge_preds = nn.ModuleList(Merge(joints, width) for _ in between)

    def forward(self, image: Tensor) -> list[Tensor]:
        x, maps = self.pre(image), []
        for n, hourglass in enumerate(self.hgs):
            y = self.features[n](hourglass(x))
            maps.append(self.outs[n](y))
            if n < len(self.merge_preds):
                x = x + self.merge_preds[n](maps[-1]) + self.merge_features[n](y)
        return maps


# Their checkpoints


def trained(network: nn.Module, *, seed: int = 0) -> nn.Module:
    """With random weights, small enough that eight stacks do not blow up, and batch norms that have seen something."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                gain = 1.0 if module.in_channels == 3 else 0.25
                module.weight.normal_(0, gain * module.weight[0].numel() ** -0.5, generator=rng)
                module.bias.normal_(0, 0.1, generator=rng)
            elif isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=rng)
                module.bias.normal_(0, 0.2, generator=rng)
                module.running_mean.normal_(0, 0.3, generator=rng)
                module.running_var.uniform_(0.5, 2.0, generator=rng)
                module.num_batches_tracked.fill_(1234)
    return network.eval()


class Harness(nn.Module):
    """As princeton's training wraps its network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.model = nn.DataParallel(network)


def optimiser_state(network: nn.Module, *averages: str) -> dict[str, Any]:
    """In the form of PyTorch's optimisers."""
    weights = list(network.parameters())
    state = {n: {"step": 9, **{name: torch.ones_like(w) for name in averages}} for n, w in enumerate(weights)}
    return {"state": state, "param_groups": [{"lr": 2.5e-4, "params": list(range(len(weights)))}]}


def pose_content(network: nn.Module, **changes: object) -> dict[str, Any]:
    """What pytorch-pose saves, the state of the optimiser and a NumPy scalar included."""
    wrapped = nn.DataParallel(network)
    content = {"epoch": 93, "arch": "hg", "state_dict": wrapped.state_dict(), "best_acc": np.float64(0.8712)}
    return {**content, "optimizer": optimiser_state(network, "square_avg"), **changes}


def princeton_content(network: nn.Module, **changes: object) -> dict[str, Any]:
    """What princeton saves."""
    optimiser = optimiser_state(network, "exp_avg", "exp_avg_sq")
    return {"state_dict": Harness(network).state_dict(), "optimizer": optimiser, "epoch": 40, **changes}


def written(path: Path, content: object, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def pose_file(folder: Path, network: nn.Module) -> Path:
    return written(folder / "checkpoint.pth.tar", pose_content(network))


def princeton_file(folder: Path, network: nn.Module) -> Path:
    return written(folder / "checkpoint.pt", princeton_content(network))


class Case(NamedTuple):
    layout: str
    file: Path
    network: nn.Module
    mean: tuple[float, float, float]


@cache
def pose(stacks: int = 1) -> nn.Module:
    """A small network of pytorch-pose; one for all tests, which leave it as it is."""
    return trained(PoseNetwork(stacks=stacks))


@cache
def princeton(stacks: int = 1) -> nn.Module:
    """A small network of princeton, likewise."""
    return trained(PrincetonNetwork(stacks=stacks))


@pytest.fixture(params=["pytorch-pose", "princeton"])
def case(request, tmp_path) -> Case:
    """A file of each layout, two stacks, with its network and the mean of the pixels that it was trained with."""
    if request.param == "princeton":
        return Case("princeton", princeton_file(tmp_path, princeton(2)), princeton(2), (0, 0, 0))
    return Case("pytorch-pose", pose_file(tmp_path, pose(2)), pose(2), (0.4404, 0.4440, 0.4327))


def imported(source: Path, layout: str) -> Detector:
    """The detector that comes of a file, by way of our weights file."""
    out = source.with_name("ours.safetensors")
    import_weights(source, out, layout=layout)
    return Detector.load(out, CPU)


def assert_same_maps(ours: nn.Module, theirs: nn.Module, *, size: int = 64) -> None:
    """Every stack gives the same, where values are of about 1 in size and differ from stack to stack."""
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        expected, found = theirs(images), ours(images)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape == (2, 16, size // 4, size // 4)
        assert 0.05 < b.std() < 10
        assert (a - b).abs().max() < 2e-6
    if len(expected) > 1:
        assert (expected[0] - expected[1]).abs().max() > 0.05


# Parity


@pytest.mark.parametrize(
    ("stacks", "blocks", "stem", "width"),
    [(1, 1, 4, 16), (8, 1, 4, 12), (2, 2, 3, 12)],
)
def test_networks_of_pytorch_pose_give_the_same(tmp_path, stacks, blocks, stem, width):
    network = trained(PoseNetwork(stacks=stacks, blocks=blocks, stem=stem, width=width))
    model = imported(pose_file(tmp_path, network), "pytorch-pose").model
    assert (model.config.stacks, model.config.blocks, model.config.widths) == (stacks, blocks, (width,) * 5)
    assert_same_maps(model, network)


@pytest.mark.parametrize(("stacks", "stem", "width", "increase"), [(8, (4, 8), 16, 0), (2, (4, 6), 12, 4)])
def test_networks_of_princeton_give_the_same(tmp_path, stacks, stem, width, increase):
    network = trained(PrincetonNetwork(stacks=stacks, stem=stem, width=width, increase=increase))
    model = imported(princeton_file(tmp_path, network), "princeton").model
    assert model.config.widths == tuple(width + i * increase for i in range(5))
    assert_same_maps(model, network)


def test_the_published_sizes(tmp_path):
    network = PoseNetwork(stacks=2, stem=64, width=256)
    file, out = written(tmp_path / "a.pth", network.state_dict()), tmp_path / "a.safetensors"
    outcome = import_weights(file, out, layout="pytorch-pose")
    assert outcome.parameters == sum(p.numel() for p in network.parameters())
    assert outcome.parameters / 1e6 == pytest.approx(6.73, abs=0.01)
    assert HourglassConfig(**load_checkpoint(out, KIND).config) == HourglassConfig(stem_blocks=(128, 256))


def test_skip_layers_that_princeton_does_not_use_are_left_out(tmp_path):
    network = princeton(2)
    outcome = import_weights(princeton_file(tmp_path, network), tmp_path / "a.safetensors", layout="princeton")
    blocks = [module for module in network.modules() if isinstance(module, Residual)]
    unused = sum(p.numel() for block in blocks if not block.needed for p in block.skip_layer.parameters())
    assert 0 < unused == sum(p.numel() for p in network.parameters()) - outcome.parameters


def test_a_crop_gives_the_maps_that_its_own_program_makes_of_it(case):
    """From the same uint8 crop, each in its own scale of pixels; black borders are where folding would be wrong."""
    find = imported(case.file, case.layout)
    crops = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), np.uint8)
    crops[:, :40] = 0
    rgb = torch.from_numpy(crops[..., ::-1].copy()).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        expected = case.network(rgb - torch.tensor(case.mean).view(3, 1, 1))[-1]
    assert expected.std() > 0.05
    assert np.abs(find.views(crops[:, None])[0] - expected.numpy()).max() < 2e-6
    # and a network that sees our own scale of pixels gives something else
    other = Detector(find.model, find.codec, find.skeleton, CPU, {})
    assert np.abs(other.views(crops[:, None])[0] - expected.numpy()).max() > 5e-3


def test_the_weights_file_says_what_is_in_it(case):
    find = imported(case.file, case.layout)
    assert find.codec == Codec("height", 1.0)
    assert find.skeleton is MPII16
    assert find.input_size == 256
    assert find.pixels == LAYOUTS[case.layout].pixels
    assert find.meta["provenance"] == {
        "imported_from": case.layout,
        "file": case.file.name,
        "sha256": file_sha256(case.file),
        "epoch": 93 if case.layout == "pytorch-pose" else 40,
    }
    theirs, ours = case.network.state_dict(), load_checkpoint(case.file.with_name("ours.safetensors"), KIND).tensors
    name = "conv1.weight" if case.layout == "pytorch-pose" else "pre.0.conv.weight"
    assert torch.equal(ours["stem.conv.weight"], theirs[name])  # to the last bit: stored in full precision


def test_an_imported_network_can_be_trained_further(case):
    find = imported(case.file, case.layout)
    find.model.train()
    stacks = find.model(torch.randn(2, 3, 128, 128))  # at the bottom 2 x 2: a batch norm over two values passes nothing
    torch.stack([(maps - 1).square().mean() for maps in stacks]).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in find.model.parameters() if p.dim() == 4)


# Forms of files


@pytest.mark.parametrize("form", ["bare", "wrapped", "legacy", "without counters", "float16", "module.model."])
def test_other_forms_of_the_same_file(case, tmp_path, form):
    network, options = case.network, dict[str, Any]()
    state = network.state_dict()
    content: Any = state
    if form == "wrapped":
        content = {"state_dict": state}
    elif form == "legacy":  # as before PyTorch 1.6
        content, options = {"state_dict": state, "epoch": 3}, {"_use_new_zipfile_serialization": False}
    elif form == "without counters":  # as before PyTorch 0.4.1
        content = OrderedDict((k, v) for k, v in state.items() if not k.endswith("num_batches_tracked"))
    elif form == "float16":
        content = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
        network = deepcopy(network)
        network.load_state_dict(content)
    elif form == "module.model.":
        content = {f"module.model.{k}": v for k, v in state.items()}
    find = imported(written(tmp_path / "other.pth", content, **options), case.layout)
    assert find.meta["provenance"]["epoch"] == (3 if form == "legacy" else None)
    assert_same_maps(find.model, network)


@pytest.mark.parametrize("value", [np.float32(0.5), np.int64(3), np.bool_(True)], ids=repr)
def test_numpy_scalars_beside_the_tensors_do_no_harm(tmp_path, value):
    file = written(tmp_path / "a.pth.tar", pose_content(pose(), best_acc=value))
    assert_same_maps(imported(file, "pytorch-pose").model, pose())


def test_numpy_scalars_as_numpy_1_wrote_them(tmp_path):
    file = written(tmp_path / "a.pth.tar", pose_content(pose()), _use_new_zipfile_serialization=False)
    new, old = b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"
    raw = file.read_bytes()
    assert raw.count(new) == 1
    file.write_bytes(raw.replace(new, old))
    assert_same_maps(imported(file, "pytorch-pose").model, pose())


# Nothing is executed


class Harmful:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({str(self.marker)!r}, 'w').close()",)


@pytest.mark.parametrize("serial", [True, False])
def test_a_harmful_file_is_refused_and_nothing_runs(tmp_path, serial):
    marker, out = tmp_path / "ran", tmp_path / "ours.safetensors"
    harmful = Harmful(marker)
    pickle.loads(pickle.dumps(harmful))
    assert marker.exists()  # so it would, if it were unpickled
    marker.unlink()
    content = pose_content(pose(), best_acc=harmful)
    file = written(tmp_path / "bad.pth.tar", content, _use_new_zipfile_serialization=serial)
    with pytest.raises(CheckpointError, match=REFUSED):
        import_weights(file, out, layout="pytorch-pose")
    assert not marker.exists()
    assert not out.exists()


REFUSED = (
    r"\.pth\.tar: contains objects that posecli does not execute; "
    r'where it was made, save its tensors alone: torch\.save\(checkpoint\["state_dict"\], FILE\)$'
)


@pytest.mark.parametrize("value", [argparse.Namespace(stacks=2), Path("a"), np.zeros(2)], ids=["args", "path", "array"])
def test_foreign_objects_are_refused(tmp_path, value):
    file = written(tmp_path / "a.pth.tar", pose_content(pose(), options=value))
    with pytest.raises(CheckpointError, match=REFUSED):
        import_weights(file, tmp_path / "ours.safetensors", layout="pytorch-pose")


def test_what_was_allowed_for_one_file_is_not_for_the_next(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    imported(pose_file(tmp_path, pose()), "pytorch-pose")
    assert set(torch.serialization.get_safe_globals()) == before


# Files that cannot be used


def refusal(file: Path, layout: str = "pytorch-pose") -> str:
    """The one line that a file is refused with; nothing is left behind."""
    out = file.with_name("ours.safetensors")
    before = set(file.parent.iterdir())
    with pytest.raises(CheckpointError) as caught:
        import_weights(file, out, layout=layout)
    assert set(file.parent.iterdir()) == before
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert "\n" not in message
    return message.removeprefix(f"{file}: ")


def test_files_that_are_not_there(tmp_path):
    assert refusal(tmp_path / "a.pth") == "no such weights file"
    assert refusal(tmp_path) == "no such weights file"


@pytest.mark.parametrize("content", [b"", b"PK", b"import torch\n", b"\x89HDF\r\n"], ids=["empty", "PK", "text", "h5"])
def test_files_of_another_kind(tmp_path, content):
    file = tmp_path / "a.pth"
    file.write_bytes(content)
    assert refusal(file) == "not a checkpoint of PyTorch; give the .pth, .pt or .pth.tar file itself"


@pytest.mark.parametrize(("share", "serial"), [(0.001, True), (0.5, True), (0.999, True), (0.5, False), (0.999, False)])
def test_files_that_are_cut_short(tmp_path, serial, share):
    file = written(tmp_path / "a.pth", pose_content(pose()), _use_new_zipfile_serialization=serial)
    raw = file.read_bytes()
    file.write_bytes(raw[: int(share * len(raw))])
    message = refusal(file)
    assert message.startswith("damaged (")
    assert message.endswith("); fetch it again")


def test_files_that_grow_when_unpacked(tmp_path):
    file = tmp_path / "a.pth"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10_000_000)
    assert refusal(file) == "unpacks to more than it holds, as no checkpoint does; fetch it elsewhere"


def test_tensors_that_claim_to_be_larger_than_the_file(tmp_path):
    state = pose().state_dict()
    state["score.0.weight"] = torch.zeros(1).expand(10**12).as_strided((16, 10**9, 1, 1), (0, 0, 0, 0))
    file = written(tmp_path / "a.pth", state)
    assert refusal(file) == "its tensors claim to be larger than the file; fetch it elsewhere"


@pytest.mark.parametrize(
    "content",
    [[1, 2], {}, {"state_dict": {}}, {"epoch": 3}, {"state_dict": [1]}, {"state_dict": {1: torch.zeros(1)}},
     {"state_dict": {"a": np.float64(1)}}, {"a": torch.zeros(1, dtype=torch.complex64)},
     {"a": torch.zeros(2, 2).to_sparse()}, {"a": torch.zeros(1, device="meta")}],
    ids=str,
)  # fmt: skip
def test_files_without_a_state_dict(tmp_path, content):
    expected = "holds no state dict; expected a checkpoint with one, or the state dict itself"
    assert refusal(written(tmp_path / "a.pth", content)) == expected


def test_the_other_layout_is_pointed_out(case):
    other = {"pytorch-pose": "princeton", "princeton": "pytorch-pose"}[case.layout]
    missing = LAYOUTS[other].mark
    expected = f"{other} expects {missing}, the file has none; it looks like --from {case.layout}"
    assert refusal(case.file, other) == expected


def test_a_file_of_neither_layout(tmp_path):
    file = written(tmp_path / "a.pth", {"fc.weight": torch.zeros(3, 3)})
    assert refusal(file) == "pytorch-pose expects score.0.weight, the file has none"
    assert refusal(file, "princeton") == "princeton expects outs.0.conv.weight, the file has none"


POSE_CHANGES: list[tuple[str, Tensor | None, str]] = [
    ("hg.1.hg.3.0.0.conv2.weight", None, "of shape (6, 6, 3, 3), the file has none"),
    ("hg.0.hg.0.3.0.bn1.running_var", None, "of shape (12,), the file has none"),
    ("fc_.0.bias", None, "of shape (12,), the file has none"),
    ("layer1.0.downsample.0.weight", torch.zeros(8, 4, 3, 3), "of shape (8, 4, 1, 1), the file has (8, 4, 3, 3)"),
    ("score_.0.weight", torch.zeros(12, 17, 1, 1), "of shape (12, 16, 1, 1), the file has (12, 17, 1, 1)"),
    ("hg.0.hg.0.0.0.downsample.0.weight", torch.zeros(12, 12, 1, 1), "of shape none, the file has (12, 12, 1, 1)"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "tensor", "expected"), POSE_CHANGES, ids=[change[0] for change in POSE_CHANGES])
def test_tensors_that_do_not_fit(tmp_path, key, tensor, expected):
    state = pose(2).state_dict()
    state.pop(key, None)
    if tensor is not None:
        state[key] = tensor
    assert refusal(written(tmp_path / "a.pth", state)) == f"pytorch-pose expects {key} {expected}"


def test_tensors_of_princeton_that_do_not_fit(tmp_path):
    state = princeton(2).state_dict()
    # The skip layer of a block that changes the width is used, and so must be there.
    without = {k: v for k, v in state.items() if k != "pre.4.skip_layer.conv.weight"}
    expected = "princeton expects pre.4.skip_layer.conv.weight of shape (12, 8, 1, 1), the file has none"
    assert refusal(written(tmp_path / "a.pth", without), "princeton") == expected
    grey = {**state, "pre.0.conv.weight": torch.zeros(4, 1, 7, 7)}
    expected = "princeton expects pre.0.conv.weight of shape (4, 3, 7, 7), the file has (4, 1, 7, 7)"
    assert refusal(written(tmp_path / "a.pth", grey), "princeton") == expected


def test_a_network_without_a_stem(tmp_path):
    state = {k: v for k, v in pose().state_dict().items() if not k.startswith("layer2")}
    expected = "pytorch-pose expects layer2.0.conv3.weight, the file has none"
    assert refusal(written(tmp_path / "a.pth", state)) == expected


def test_a_network_without_hourglasses(tmp_path):
    state = {k: v for k, v in pose().state_dict().items() if not k.startswith("hg")}
    expected = "pytorch-pose expects hg.0.hg.0.0.0.bn1.bias of shape (12,), the file has none"
    assert refusal(written(tmp_path / "a.pth", state)) == expected


@pytest.mark.parametrize("joints", [14, 17])
def test_other_joints_than_those_of_mpii(case, tmp_path, joints):
    kind = PrincetonNetwork if case.layout == "princeton" else PoseNetwork
    file = written(tmp_path / "a.pth", kind(stacks=1, joints=joints).state_dict())
    expected = f"finds {joints} joints, but only the order of MPII's 16 is known; give a network trained on MPII"
    assert refusal(file, case.layout) == expected


def test_networks_that_cannot_be_built(tmp_path):
    state = pose().state_dict()
    flat = {**state, "score.0.weight": torch.zeros(16, 12)}
    expected = "not a network that posecli can build (score.0.weight of shape (16, 12) is no convolution's)"
    assert refusal(written(tmp_path / "a.pth", flat)) == expected
    empty = {**state, "conv1.weight": torch.zeros(0, 3, 7, 7)}
    assert "every size must be at least 1" in refusal(written(tmp_path / "a.pth", empty))
    # so many stacks are claimed that building them would take for ever
    many = {**state, **{f"score.{n}.weight": torch.zeros(1) for n in range(1, 250)}}
    assert "(3500 residual blocks in " in refusal(written(tmp_path / "a.pth", many))


def test_an_output_that_cannot_be_written(case, tmp_path):
    with pytest.raises(OutputError, match="there is no folder"):
        import_weights(case.file, tmp_path / "nowhere" / "a.safetensors", layout=case.layout)
    before = case.file.read_bytes()
    with pytest.raises(OutputError, match="is the file that is read; choose another name for the result"):
        import_weights(case.file, case.file, layout=case.layout)
    assert case.file.read_bytes() == before


# On the command line


def test_the_command(posecli, case, tmp_path):
    out = tmp_path / "hg2.safetensors"
    count = sum(p.numel() for p in imported(case.file, case.layout).model.parameters())
    code, printed, error = posecli("import-weights", case.file, "--from", case.layout, "--out", out)
    assert (code, error) == (0, "")
    assert printed == f"2 stacks, 16 joints, {count:,} parameters -> {out}\n"
    assert_same_maps(Detector.load(out, CPU).model, case.network)


def test_the_command_refuses_in_one_line(posecli, tmp_path):
    file = tmp_path / "a.pth"
    file.write_text("hello")
    out = tmp_path / "a.safetensors"
    code, printed, error = posecli("import-weights", file, "--from", "princeton", "--out", out)
    assert (code, printed) == (1, "")
    assert error == f"posecli: {file}: not a checkpoint of PyTorch; give the .pth, .pt or .pth.tar file itself\n"
    code, _, error = posecli("import-weights", file, "--from", "keras", "--out", out)
    assert code == 2
    assert "'keras': give one of pytorch-pose, princeton" in " ".join(error.split())
    assert posecli("import-weights", "--help")[0] == 0


def test_the_whole_program_runs_with_an_imported_network(posecli, tmp_path, monkeypatch):
    """From a photo by way of MPII's joints to 3D. The scores are raised, so that someone is seen in it."""
    monkeypatch.setattr(Finder, "people", lambda *_, **__: [Found(Region(47.5, 47.5, 96), 1.0)])
    network = trained(PoseNetwork(stacks=1, stem=2, width=4))
    with torch.no_grad():
        network.score[0].bias += 1.0  # type: ignore[index, union-attr, operator]
    weights, photo, out = tmp_path / "hg1.safetensors", tmp_path / "photo.png", tmp_path / "out.png"
    write_image(photo, np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8))
    assert posecli("import-weights", pose_file(tmp_path, network), "--from", "pytorch-pose", "--out", weights)[0] == 0
    code, printed, error = posecli("image", photo, "--out", out, "--hourglass", weights, "--device", "cpu")
    assert code == 0, error
    assert "1 frames, 1 with a person" in printed
    assert out.is_file()


# What the import needs of the rest of the detector


def test_pixels_by_hand():
    crops = np.zeros((1, 1, 1, 3), np.uint8)
    crops[0, 0, 0] = (255, 51, 0)  # blue, green, red as OpenCV has them
    found = to_input(crops, Pixels(mean=(0.5, 0.25, 0.125), scale=0.5))[0, :, 0, 0]
    assert found.tolist() == pytest.approx([(0 - 0.5) / 0.5, (0.2 - 0.25) / 0.5, (1 - 0.125) / 0.5])
    assert torch.equal(to_input(crops), to_input(crops, Pixels(mean=(0.45, 0.45, 0.45), scale=0.25)))


@pytest.mark.parametrize(
    "pixels",
    [{"order": "bgr"}, {"mean": [0.1, 0.2]}, {"mean": "grey"}, {"mean": None}, {"scale": 0}, {"scale": float("inf")},
     {"scale": None}],
    ids=str,
)  # fmt: skip
def test_pixels_that_no_network_takes(tmp_path, pixels):
    tiny = HourglassConfig(joints=16, stacks=1, widths=(4, 4), stem_width=2, block="plain", input_size=16)
    path = tmp_path / "tiny.safetensors"
    save_detector(path, StackedHourglass(tiny), codec=Codec(), skeleton=MPII16, provenance={})
    assert Detector.load(path, CPU).pixels == Pixels()
    sound = load_checkpoint(path, KIND)
    sound.meta["pixels"] |= pixels
    save_checkpoint(path, sound)
    with pytest.raises(CheckpointError, match="does not describe an hourglass this posecli knows"):
        Detector.load(path, CPU)


def test_heights_stay_when_a_closer_look_is_put_back():
    maps = Codec("height", sigma=3.0).targets(torch.tensor([[[15.5, 15.5]]]), 32).numpy()
    afar = _seen_from_afar(maps, 0.84, heights=True)
    assert afar.max().item() == pytest.approx(maps.max().item(), abs=0.02)
    assert _seen_from_afar(maps, 0.84).max().item() == pytest.approx(maps.max().item() / 0.84**2, abs=0.03)


def test_a_detector_of_heights_keeps_its_scores_at_two_scales(case):
    find = imported(case.file, case.layout)
    with torch.no_grad():  # every map is 0.5 everywhere
        for conv in find.model.scores:
            conv.weight.zero_()
            conv.bias.fill_(0.5)
    _, score = find.regions(np.zeros((64, 64, 3), np.uint8), [Region(31.5, 31.5, 64)], zooms=(0.84,))
    np.testing.assert_allclose(score, 0.5, atol=1e-6)


def test_blocks_in_a_row_and_widths_of_the_stem():
    tiny = HourglassConfig(joints=2, stacks=1, widths=(8, 8), stem_width=4, input_size=16)
    model = StackedHourglass(replace(tiny, blocks=3, stem_blocks=(6, 10)))
    assert [block.conv3.out_channels for block in (model.stem.rest[0], model.stem.rest[2])] == [6, 10]
    assert len(model.hourglasses[0].inner) == len(model.features[0][0]) == 3
    assert model(torch.zeros(2, 3, 16, 16))[0].shape == (2, 2, 4, 4)
    for wrong in ({"stem_blocks": (6,)}, {"block": "plain"}):
        with pytest.raises(ValueError, match="stem_blocks are two widths of a bottleneck stem"):
            HourglassConfig(**{"stem_blocks": (6, 10), **wrong})
    with pytest.raises(ValueError, match="every size must be at least 1"):
        HourglassConfig(blocks=0)
