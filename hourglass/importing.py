"""Stacked hourglasses of public code bases, turned into ours without executing anything in their files.

    pytorch-pose    Yang's (bearpaw/pytorch-pose): hg1, hg2, hg8 and the like, any number of blocks
    princeton       the authors' own port (princeton-vl/pytorch_stacked_hourglass)

Both are trained on MPII at 256 px with heights of Gaussians as targets, sigma 1 heatmap pixel. Both draw a joint at
crop pixel x into heatmap pixel floor(x / 4), whose centre is our (x + 0.5) / 4 - 0.5: nothing needs to be shifted.
They differ in the names of their tensors, in the widths of the stem, and in what they take for pixels.
"""

import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hourglass.codec import Codec
from hourglass.model import HourglassConfig, StackedHourglass
from hourglass.predict import Pixels, save_detector
from pipeline.atomic import check_writable
from pipeline.errors import CheckpointError, OutputError
from pipeline.pickles import check_torch_file
from pipeline.skeleton import MPII16
from pipeline.weights import file_sha256

Shapes = Mapping[str, tuple[int, ...]]  # of the tensors of a file, by their names there

WRAPPERS = ("module.", "model.")  # put before every name by DataParallel and by a training harness
COUNTER = "num_batches_tracked"  # of a batch norm; files from before PyTorch 0.4.1 have none


@dataclass(frozen=True)
class Layout:
    """How a public code base names its tensors, and what its networks take for pixels."""

    pixels: Pixels
    mark: str  # a tensor that every file of this layout has, and none of another: the first stack's scores
    config: Callable[[Shapes], HourglassConfig]  # reads the network's shape; KeyError for a tensor that is not there
    names: Callable[[HourglassConfig], dict[str, str]]  # our module -> theirs
    unused: str = r"(?!)"  # pattern of tensors that are stored and not used


@dataclass(frozen=True)
class Imported:
    """What came of an import."""

    output: Path
    stacks: int
    joints: int
    parameters: int

    def __str__(self) -> str:
        stacks = "1 stack" if self.stacks == 1 else f"{self.stacks} stacks"
        return f"{stacks}, {self.joints} joints, {self.parameters:,} parameters -> {self.output}"


def import_weights(source: Path, out: Path, *, layout: str) -> Imported:
    """Write the checkpoint `source` of a public code base, one of LAYOUTS, as our weights file `out`.

    The tensors are kept in float32, since halving them would change what was published. Raises CheckpointError if
    `source` cannot be used, OutputError if `out` cannot be written.
    """
    check_writable(out)
    if out.exists() and source.exists() and out.samefile(source):
        raise OutputError(f"{out}: is the file that is read; choose another name for the result")
    content = _read(source)
    state = _state_dict(content, source)
    model = _network(state, source, layout=layout)
    epoch = content.get("epoch")
    provenance = {
        "imported_from": layout,
        "file": source.name,
        "sha256": file_sha256(source),
        "epoch": epoch if isinstance(epoch, int) else None,
    }
    pixels, codec = LAYOUTS[layout].pixels, Codec("height", sigma=1.0)
    save_detector(out, model, codec=codec, skeleton=MPII16, provenance=provenance, pixels=pixels, dtype=torch.float32)
    return Imported(out, model.config.stacks, model.config.joints, sum(p.numel() for p in model.parameters()))


# Reading the file


class _LeftOut:
    """Stands in for NumPy's scalars (a best accuracy, say) and their types: takes whatever it is given, keeps nothing.

    So a file that mentions them can be read, and still no function of NumPy runs on what is in it.
    """

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


# By the names that NumPy 1 and 2 write.
LEFT_OUT: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_LeftOut, f"numpy{name}") for name in (".dtype", ".core.multiarray.scalar", "._core.multiarray.scalar")
]


def _read(path: Path) -> dict[str, Any]:
    """What a file of PyTorch holds, tensors and plain values only, on the CPU."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such weights file")
    try:
        check_torch_file(path)
        with torch.serialization.safe_globals(LEFT_OUT):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        remedy = 'where it was made, save its tensors alone: torch.save(checkpoint["state_dict"], FILE)'
        raise CheckpointError(f"{path}: contains objects that posecli does not execute; {remedy}") from error
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path}: damaged ({reason}); fetch it again") from error
    return content if isinstance(content, dict) else {}


def _state_dict(content: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, or of a bare state dict, by their names without the names of wrappers."""
    state = content.get("state_dict", content)
    if not isinstance(state, dict) or not state or not all(isinstance(k, str) and _plain(t) for k, t in state.items()):
        raise CheckpointError(f"{path}: holds no state dict; expected a checkpoint with one, or the state dict itself")
    # A tensor can claim to be large by showing one value many times.
    if sum(tensor.nbytes for tensor in state.values()) > path.stat().st_size:
        raise CheckpointError(f"{path}: its tensors claim to be larger than the file; fetch it elsewhere")
    while wrapper := next((w for w in WRAPPERS if all(name.startswith(w) for name in state)), None):
        state = {name.removeprefix(wrapper): tensor for name, tensor in state.items()}
    return state


def _plain(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and (value.is_floating_point() or value.dtype == torch.int64)
    )


# From their names to ours


def _network(state: dict[str, Tensor], path: Path, *, layout: str) -> StackedHourglass:
    """Our network with the tensors of a file; CheckpointError that names both sides where they do not fit."""
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    config = _config(shapes, path, layout=layout)
    with torch.device("meta"):  # no memory is taken before all shapes are known to fit
        model = StackedHourglass(config)
    modules = LAYOUTS[layout].names(config)
    theirs = {ours: _renamed(ours, modules) for ours in model.state_dict()}
    for key in theirs.values():
        if key.endswith(COUNTER):
            state.setdefault(key, torch.zeros((), dtype=torch.int64))
    expected = {theirs[ours]: tuple(tensor.shape) for ours, tensor in model.state_dict().items()}
    unused = re.compile(LAYOUTS[layout].unused)
    given = {key: tuple(t.shape) for key, t in state.items() if key in expected or not unused.search(key)}
    if expected != given:
        key = next(k for k in sorted({*expected, *given}) if expected.get(k) != given.get(k))
        raise CheckpointError(
            f"{path}: {layout} expects {key} of shape {expected.get(key, 'none')}, "
            f"the file has {given.get(key, 'none')}"
        )
    tensors = {ours: state[key].contiguous() for ours, key in theirs.items()}
    model.load_state_dict({k: t.float() if t.is_floating_point() else t for k, t in tensors.items()}, assign=True)
    return model


def _renamed(ours: str, modules: dict[str, str]) -> str:
    module, _, tensor = ours.rpartition(".")
    return f"{modules[module]}.{tensor}"


def _config(shapes: Shapes, path: Path, *, layout: str) -> HourglassConfig:
    """The shape of the network, as the tensors' shapes tell it."""
    try:
        config = LAYOUTS[layout].config(shapes)
        blocks = config.stacks * config.blocks * (3 * len(config.widths) - 1)
        if blocks > len(shapes):
            raise ValueError(f"{blocks} residual blocks in {len(shapes)} tensors")
    except KeyError as error:
        other = next((f"; it looks like --from {name}" for name, its in LAYOUTS.items() if its.mark in shapes), "")
        hint = "" if LAYOUTS[layout].mark in shapes else other
        raise CheckpointError(f"{path}: {layout} expects {error.args[0]}, the file has none{hint}") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: not a network that posecli can build ({error})") from error
    if config.joints != len(MPII16):
        reason = f"only the order of MPII's {len(MPII16)} is known"
        raise CheckpointError(f"{path}: finds {config.joints} joints, but {reason}; give a network trained on MPII")
    return config


def _channels(shapes: Shapes, name: str, *, axis: int = 0) -> int:
    """Channels out of a convolution (axis 0) or into it (axis 1); KeyError if the file has none of that name."""
    if len(shapes[name]) != 4:
        raise ValueError(f"{name} of shape {shapes[name]} is no convolution's")
    return shapes[name][axis]


def _count(shapes: Shapes, pattern: str) -> int:
    """How many different numbers stand in names that begin with `pattern`, whose one group is the number."""
    return len({match[1] for match in (re.match(pattern, name) for name in shapes) if match})


def _block(ours: str, theirs: str, *, convolution: str = "", skip: str) -> dict[str, str]:
    """The modules of a residual block; `convolution` follows the names of convolutions there."""
    parts = {f"bn{n}": f"bn{n}" for n in (1, 2, 3)} | {f"conv{n}": f"conv{n}{convolution}" for n in (1, 2, 3)}
    return {f"{ours}.{part}": f"{theirs}.{name}" for part, name in {**parts, "skip": skip}.items()}


def _pytorch_pose_config(shapes: Shapes) -> HourglassConfig:
    joints, width = (_channels(shapes, "score.0.weight", axis=axis) for axis in (0, 1))
    depth = max(_count(shapes, r"hg\.0\.hg\.(\d+)\."), 1)  # with none at all, the check of names says what is missing
    return HourglassConfig(
        joints=joints,
        stacks=_count(shapes, r"score\.(\d+)\."),
        widths=(width,) * (depth + 1),
        stem_width=_channels(shapes, "conv1.weight"),
        blocks=max(_count(shapes, r"res\.0\.(\d+)\."), 1),
        stem_blocks=(_channels(shapes, "layer1.0.conv3.weight"), _channels(shapes, "layer2.0.conv3.weight")),
    )


def _pytorch_pose_names(config: HourglassConfig) -> dict[str, str]:
    """Levels of an hourglass are counted from its bottom; places are skip, down, up, and at the bottom inner."""
    names = {"stem.conv": "conv1", "stem.bn": "bn1"}
    rows: dict[str, str] = {}  # places with one or more residual blocks
    depth = len(config.widths) - 1
    for n in range(config.stacks):
        for level in range(depth):
            ours = f"hourglasses.{n}" + ".inner" * (depth - 1 - level)
            rows |= {f"{ours}.{place}": f"hg.{n}.hg.{level}.{i}" for i, place in enumerate(("skip", "down", "up"))}
        rows |= {f"hourglasses.{n}" + ".inner" * depth: f"hg.{n}.hg.0.3", f"features.{n}.0": f"res.{n}"}
        names |= {f"features.{n}.1": f"fc.{n}.0", f"features.{n}.2": f"fc.{n}.1", f"scores.{n}": f"score.{n}"}
        names |= {f"merge_features.{n}": f"fc_.{n}", f"merge_scores.{n}": f"score_.{n}"}
    blocks = {"stem.rest.0": "layer1.0", "stem.rest.2": "layer2.0", "stem.rest.3": "layer3.0"}
    for ours, theirs in rows.items():
        for i in range(config.blocks):
            blocks[f"{ours}.{i}" if config.blocks > 1 else ours] = f"{theirs}.{i}"
    for ours, theirs in blocks.items():
        names |= _block(ours, theirs, skip="downsample.0")
    return names


def _princeton_config(shapes: Shapes) -> HourglassConfig:
    joints, width = (_channels(shapes, "outs.0.conv.weight", axis=axis) for axis in (0, 1))
    widths, below = [width, _channels(shapes, "hgs.0.0.low1.conv3.conv.weight")], "hgs.0.0.low2"
    while f"{below}.low1.conv3.conv.weight" in shapes:
        widths.append(_channels(shapes, f"{below}.low1.conv3.conv.weight"))
        below += ".low2"
    return HourglassConfig(
        joints=joints,
        stacks=_count(shapes, r"outs\.(\d+)\."),
        widths=tuple(widths),
        stem_width=_channels(shapes, "pre.0.conv.weight"),
        stem_blocks=(_channels(shapes, "pre.1.conv3.conv.weight"), _channels(shapes, "pre.3.conv3.conv.weight")),
    )


def _princeton_names(config: HourglassConfig) -> dict[str, str]:
    """Hourglasses are nested as ours are."""
    names = {"stem.conv": "pre.0.conv", "stem.bn": "pre.0.bn"}
    blocks = {"stem.rest.0": "pre.1", "stem.rest.2": "pre.3", "stem.rest.3": "pre.4"}
    depth = len(config.widths) - 1
    for n in range(config.stacks):
        for level in range(depth):
            ours, theirs = f"hourglasses.{n}" + ".inner" * level, f"hgs.{n}.0" + ".low2" * level
            blocks |= {f"{ours}.{a}": f"{theirs}.{b}" for a, b in (("skip", "up1"), ("down", "low1"), ("up", "low3"))}
        blocks[f"hourglasses.{n}" + ".inner" * depth] = f"hgs.{n}.0" + ".low2" * depth
        blocks[f"features.{n}.0"] = f"features.{n}.0"
        names |= {f"features.{n}.1": f"features.{n}.1.conv", f"features.{n}.2": f"features.{n}.1.bn"}
        names |= {f"scores.{n}": f"outs.{n}.conv", f"merge_scores.{n}": f"merge_preds.{n}.conv.conv"}
        names[f"merge_features.{n}"] = f"merge_features.{n}.conv.conv"
    for ours, theirs in blocks.items():
        names |= _block(ours, theirs, convolution=".conv", skip="skip_layer.conv")
    return names


LAYOUTS: dict[str, Layout] = {
    "pytorch-pose": Layout(
        pixels=Pixels(mean=(0.4404, 0.4440, 0.4327), scale=1.0),  # MPII's mean; its spread is not divided by
        mark="score.0.weight",
        config=_pytorch_pose_config,
        names=_pytorch_pose_names,
    ),
    "princeton": Layout(
        pixels=Pixels(mean=0.0, scale=1.0),
        mark="outs.0.conv.weight",
        config=_princeton_config,
        names=_princeton_names,
        unused=r"\.skip_layer\.",  # every block has one, but uses it only where the width changes
    ),
}
