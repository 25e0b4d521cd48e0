"""From a crop, or a region of a frame, to joints: the trained detector ready for use."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hourglass.codec import Codec, to_crop
from hourglass.model import HourglassConfig, StackedHourglass, bare_network
from pipeline.checkpoint import Checkpoint, load_checkpoint, load_state, save_checkpoint
from pipeline.crop import BOX_MARGIN, Region
from pipeline.errors import CheckpointError, InputError
from pipeline.int8 import Ranges, read_ranges
from pipeline.runtime import InParts, compile_network, runtime_of
from pipeline.skeleton import Skeleton, get_skeleton

KIND = "hourglass"
ARCH = "stacked-hourglass"
ZOOMS = (0.84,)  # of the multi-scale test: a margin of 1.05 around the person beside the usual 1.25
AT_ONCE = 16  # looks at most; more fill the memory and are hardly quicker
PIXEL_MEAN, PIXEL_SCALE = 0.45, 0.25  # of RGB values between 0 and 1


@dataclass(frozen=True)
class Pixels:
    """What a network takes for pixels: RGB values between 0 and 1, less the mean, over the scale."""

    mean: float | tuple[float, ...] = PIXEL_MEAN  # one for all, or red, green and blue
    scale: float = PIXEL_SCALE

    def __post_init__(self) -> None:
        if isinstance(self.mean, list):  # from JSON
            object.__setattr__(self, "mean", tuple(self.mean))
        mean = self.mean if isinstance(self.mean, tuple) else (self.mean,) * 3
        if len(mean) != 3 or not all(math.isfinite(value) for value in (*mean, self.scale)) or self.scale <= 0:
            raise ValueError(f"pixels: mean {self.mean!r}, scale {self.scale!r}")

    @classmethod
    def from_meta(cls, meta: dict[str, Any]) -> "Pixels":
        """As a checkpoint has it; ValueError, KeyError or TypeError if it is not what `to_meta` gives."""
        if meta["order"] != "rgb":
            raise ValueError(f"pixels in the order {meta['order']!r}, not 'rgb'")
        return cls(meta["mean"], meta["scale"])

    def to_meta(self) -> dict[str, Any]:
        """For a checkpoint, plain JSON types."""
        return {"order": "rgb", **asdict(self)}


def to_input(crops: np.ndarray | Tensor, pixels: Pixels = Pixels()) -> Tensor:
    """Crops (N, S, S, 3) uint8 BGR as the network's input (N, 3, S, S) float32 RGB, channels last in memory."""
    rgb = torch.as_tensor(crops).permute(0, 3, 1, 2)[:, [2, 1, 0]].float() / 255
    mean = torch.tensor(pixels.mean, device=rgb.device).reshape(-1, 1, 1)
    return ((rgb - mean) / pixels.scale).contiguous(memory_format=torch.channels_last)


class LookNetwork(nn.Module):
    """A network with what comes before and after it: crops (N, S, S, 3) uint8 BGR to maps (N, J, S/4, S/4) of the last
    stack, as its codec has them.
    """

    def __init__(self, model: nn.Module, codec: Codec, pixels: Pixels = Pixels()) -> None:
        super().__init__()
        self.model, self.codec, self.pixels = model, codec, pixels
        self.train(model.training)

    def forward(self, crops: Tensor) -> Tensor:
        return self.codec.maps(self.model(to_input(crops, self.pixels))[-1])


def _described(checkpoint: Checkpoint) -> tuple[StackedHourglass, Codec, Skeleton, Pixels]:
    """The parts of a detector as a checkpoint describes them, the network still without its weights."""
    if checkpoint.arch != ARCH:
        raise ValueError(f"architecture {checkpoint.arch!r}, not {ARCH!r}")
    config, skeleton = HourglassConfig(**checkpoint.config), get_skeleton(checkpoint.meta["skeleton"])
    if config.joints != len(skeleton):
        raise ValueError(f"{config.joints} joints, where {skeleton.name} has {len(skeleton)}")
    pixels = Pixels.from_meta(checkpoint.meta["pixels"])
    network = bare_network(config, tensors=len(checkpoint.tensors))
    return network, Codec(**checkpoint.meta["codec"]), skeleton, pixels


@dataclass(frozen=True)
class Detector:
    """A trained hourglass with what its weights file says about it."""

    model: StackedHourglass
    codec: Codec
    skeleton: Skeleton
    device: torch.device
    meta: dict[str, Any]
    pixels: Pixels = Pixels()
    runtime: str = "torch"  # of `pipeline.runtime`
    ranges: Ranges = field(default_factory=dict)  # of what int8 rounds; empty if they were not measured

    @classmethod
    def load(cls, path: Path, device: torch.device, *, runtime: str = "torch") -> "Detector":
        """Read a weights file.

        Raises CheckpointError if it is not a sound hourglass checkpoint or lacks what the runtime needs, DeviceError if
        the runtime and the device do not go together.
        """
        checkpoint = load_checkpoint(path, KIND)
        try:
            model, codec, skeleton, pixels = _described(checkpoint)
            ranges = read_ranges(checkpoint.meta)
        except (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError, InputError) as error:
            raise CheckpointError(f"{path}: does not describe an hourglass this posecli knows ({error})") from error
        runtime = runtime_of(path, ranges, runtime, device)
        load_state(model, checkpoint, path)
        model = model.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        return cls(model, codec, skeleton, device, checkpoint.meta, pixels, runtime, ranges)

    @property
    def input_size(self) -> int:
        """Side of the square crop that the network takes, pixels."""
        return self.model.config.input_size

    @cached_property
    def _network(self) -> InParts:
        """The network on its runtime, made ready when it is first needed."""
        network, example = self.whole_network()
        ready = compile_network(network, example, device=self.device, runtime=self.runtime, ranges=self.ranges)
        return InParts(ready, AT_ONCE)

    def whole_network(self) -> tuple[nn.Module, Tensor]:
        """The network with what comes before and after it, and an example of its input."""
        example = torch.zeros(2, self.input_size, self.input_size, 3, dtype=torch.uint8)
        return LookNetwork(self.model, self.codec, self.pixels), example

    @cached_property
    def _mirrored(self) -> np.ndarray:
        """Which joint (J,) of a person is which of the mirror image."""
        return np.array(self.skeleton.flip)

    def cut(self, image: np.ndarray, region: Region, *, zooms: Sequence[float] = ()) -> np.ndarray:
        """What `views` takes of a region of a frame (H, W, 3) uint8 BGR: crops (1 + Z, S, S, 3), first the whole, then
        its middle with the region's side times each of `zooms`.
        """
        return region.cuts(image, self.input_size, zooms=(1.0, *zooms))

    def views(
        self, crops: np.ndarray, *, flip_test: bool = False, zooms: Sequence[float] = (), turn: int | None = None
    ) -> np.ndarray:
        """Maps (V, N, J, S/4, S/4) of regions (N, 1 + Z, S, S, 3), each as `cut` gives it with these zooms, at most 1.

        A view is the whole or a middle and, with `flip_test`, the mirror image of each, all on the grid of the whole.
        The first is the whole as it is; the mean over V is the flip and multi-scale test. A `turn`, 0, 1, 2, ..., takes
        half of these views: the whole as it is in even turns and its mirror image in odd ones, each middle the other
        way round than the one before. In a clip, two frames thus see with all views at half the price.
        """
        numbers = range(crops.shape[1])
        if turn is None:
            ways = [(number, mirrored) for mirrored in (False, True)[: 1 + flip_test] for number in numbers]
        else:
            ways = [(number, (number + turn) % 2 == 1) for number in numbers]
        shown = [crops[:, number, :, ::-1] if mirrored else crops[:, number] for number, mirrored in ways]
        maps = self._network(torch.from_numpy(np.concatenate(shown))).cpu().numpy()
        views = np.empty((len(ways), len(crops), *maps.shape[1:]), maps.dtype)
        for view, (number, mirrored), seen in zip(views, ways, maps.reshape(views.shape), strict=True):
            found = seen[:, self._mirrored, :, ::-1] if mirrored else seen
            if number == 0:
                whole = found
            else:
                afar = _seen_from_afar(found, zooms[number - 1], heights=self.codec.convention == "height")
                # What lies beyond the closer look counts as the whole showed it, or joints there would seem unsure.
                found = np.where(_within(found.shape[-1], zooms[number - 1]), afar, whole)
            view[:] = found
        return views

    def joints(self, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Joints in maps (N, J, S/4, S/4): positions (N, J, 2) in crop pixels and scores (N, J) in 0..1."""
        xy, score = self.codec.decode(maps)
        return to_crop(xy), score

    def regions(
        self,
        image: np.ndarray,
        regions: Sequence[Region],
        *,
        flip_test: bool = False,
        zooms: Sequence[float] = (),
        turn: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Joints in regions of one frame (H, W, 3) uint8 BGR: positions (N, J, 2) in frame pixels, scores (N, J).

        With `zooms`, each region is seen as well with its side times each of these, at most 1, and the maps are
        averaged over all that see a place (multi-scale test). `turn`: see `views`.
        """
        crops = np.stack([self.cut(image, region, zooms=zooms) for region in regions])
        xy, score = self.joints(self.views(crops, flip_test=flip_test, zooms=zooms, turn=turn).mean(0))
        return np.stack([region.to_frame(p, self.input_size) for region, p in zip(regions, xy, strict=True)]), score


def _seen_from_afar(maps: np.ndarray, zoom: float, *, heights: bool = False) -> np.ndarray:
    """Maps (..., S, S) of a region's middle, its side times `zoom` <= 1, on the grid of the whole region.

    What is beyond the middle gets nothing. A pixel of the whole region holds the mass of 1 / zoom^2 of the middle's;
    `heights` have no mass and stay.
    """
    resample = _from_afar(maps.shape[-1], 1.0 if heights else zoom, zoom)
    return resample @ maps @ resample.T


@cache
def _from_afar(size: int, mass: float, zoom: float) -> np.ndarray:
    """The matrix (size, size) float32 that takes a row of pixels of a region's middle to one of the whole region,
    linearly between pixels and to nothing beyond, over a number.
    """
    pixels = np.arange(size) - (size - 1) / 2
    return ((1 - np.abs(pixels[:, None] / zoom - pixels)).clip(0) / mass).astype(np.float32)


@cache
def _within(size: int, zoom: float) -> np.ndarray:
    """Which pixels (size, size) of a region's maps lie in its middle, its side times `zoom`: bool."""
    away = np.abs(np.arange(size) - (size - 1) / 2) <= zoom * size / 2
    return away[:, None] & away


def save_detector(
    path: Path,
    model: StackedHourglass,
    *,
    codec: Codec,
    skeleton: Skeleton,
    provenance: dict[str, Any],
    pixels: Pixels = Pixels(),
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write a detector's weights file with everything needed to use it."""
    meta = {
        "skeleton": skeleton.name,
        "codec": asdict(codec),
        "crop": {"margin": BOX_MARGIN, "outside": "black"},
        "pixels": pixels.to_meta(),
        "provenance": provenance,
    }
    save_checkpoint(path, Checkpoint(KIND, ARCH, asdict(model.config), meta, model.state_dict()), dtype=dtype)
