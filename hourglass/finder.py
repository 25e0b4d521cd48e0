"""Finding people in a whole frame: what the finder learns, how its maps are read, and the finder ready for use.

A person is the square region that `pipeline.crop.region_of` gives around the joints. The network is an hourglass of
one stack whose map number k shows the centres of people whose region's side is near s_k; the s_k form a geometric
series. A person is thus one peak in the space of place and scale. Coordinates are pixels of the finder's input, an
integer being a pixel centre, unless said otherwise.
"""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hourglass.codec import to_crop, to_heatmap
from hourglass.model import STRIDE, HourglassConfig, StackedHourglass, bare_network
from hourglass.predict import Pixels, to_input
from pipeline.checkpoint import Checkpoint, load_checkpoint, load_state, save_checkpoint
from pipeline.crop import BOX_MARGIN, Region, halved, halvings, overlaps
from pipeline.errors import CheckpointError
from pipeline.int8 import Ranges, read_ranges
from pipeline.runtime import InParts, compile_network, runtime_of
from pipeline.sighting import Found

KIND = "finder"
ARCH = "stacked-hourglass"
AT_ONCE = 16  # canvases at most
MOST_PEAKS = 200  # of one frame, before those of the same person are thinned out
IGNORED_REACH = (0.35, 3.0)  # around someone who is neither to be found nor not: part of the side, classes


@dataclass(frozen=True)
class FinderCodec:
    """People as Gaussians in place and scale. The defaults serve inputs of up to 500 pixels."""

    smallest: float = 24.0  # side of the regions of class 0, pixels
    ratio: float = math.sqrt(2)  # from the side of one class to the next
    classes: int = 10
    spread: float = 0.05  # standard deviation of the Gaussian in place over the side, but at least a heatmap pixel
    class_spread: float = 0.7  # and in scale, classes

    def __post_init__(self) -> None:
        sizes = (self.smallest, self.ratio - 1, self.spread, self.class_spread)
        if not all(math.isfinite(size) and size > 0 for size in sizes) or self.classes < 1:
            raise ValueError(f"sizes must be above 0, the ratio above 1: {self}")

    @property
    def least(self) -> float:
        """Side of the smallest regions that are to be found, pixels: half a class below class 0."""
        return self.smallest * self.ratio**-0.5

    def sigmas(self) -> Tensor:
        """Standard deviation in place of each class (K,), heatmap pixels."""
        sides = self.smallest * self.ratio ** torch.arange(self.classes)
        return (self.spread * sides / STRIDE).clamp_min(1.0)

    def to_class(self, side: Tensor) -> Tensor:
        """Position of a region's side, pixels, among the classes; between two of them it is not a whole number."""
        return (side / self.smallest).log() / math.log(self.ratio)

    def targets(self, people: Tensor, present: Tensor, *, size: tuple[int, int]) -> Tensor:
        """Maps (N, K, H, W), `size` being (H, W), with a peak of height 1 for everyone of people (N, P, 3): x, y, side,
        where present (N, P) bool; where Gaussians overlap, the higher one.
        """
        sigmas = self.sigmas().to(people.device)
        levels, rows, columns = (_axis(count, people) for count in (self.classes, *size))
        maps = people.new_zeros(len(people), self.classes, *size)
        for person, here in zip(people.unbind(1), present.unbind(1), strict=True):
            x, y = (to_heatmap(person[:, :2])[:, axis, None, None] for axis in (0, 1))
            scale = ((levels - self.to_class(person[:, 2:])) / self.class_spread) ** 2
            across, down = ((columns - x) / sigmas[:, None]) ** 2, ((rows - y) / sigmas[:, None]) ** 2
            height = torch.exp(-scale / 2) * here[:, None]
            gauss = torch.exp(-down / 2)[..., None] * torch.exp(-across / 2)[..., None, :]
            maps = torch.maximum(maps, (height[..., None, None] * gauss).nan_to_num())
        return maps

    def around(self, people: Tensor, present: Tensor, *, size: tuple[int, int]) -> Tensor:
        """Which voxels (N, K, H, W) lie in the middle of someone of people (N, P, 3), where present (N, P), in scale
        near theirs: bool.
        """
        part, reach = IGNORED_REACH
        levels, rows, columns = (_axis(count, people) for count in (self.classes, *size))
        mask = torch.zeros(len(people), self.classes, *size, dtype=torch.bool, device=people.device)
        for person, here in zip(people.unbind(1), present.unbind(1), strict=True):
            xy, side = to_heatmap(person[:, :2]), person[:, 2:]
            across, down = ((columns - xy[:, :1]).abs(), (rows - xy[:, 1:]).abs())
            near = (levels - self.to_class(side)).abs() < reach
            within = (down < part * side / STRIDE)[:, :, None] & (across < part * side / STRIDE)[:, None]
            mask |= (near & here[:, None])[..., None, None] & within[:, None]
        return mask

    def loss(self, maps: Tensor, people: Tensor, *, labelled: Tensor, ignored: Tensor) -> Tensor:
        """Mean loss per person of logits (N, K, H, W), people (N, P, 3); labelled (N, P) and ignored (N, P) bool.

        Cross-entropy with the Gaussian, times the squared distance from it: the focal loss for targets between 0 and 1
        (Li et al. 2020, "Generalized Focal Loss", equation 4, beta 2), so that the network learns the whole shape of a
        peak, from which places and sides are read between the pixels and classes. A class weighs as little as its
        Gaussian is wide, so that people of all sizes count the same. Around those who are ignored there is no loss.
        """
        logits, size = maps.float(), (maps.shape[-2], maps.shape[-1])
        targets = self.targets(people, labelled, size=size)
        weight = self.sigmas().to(maps.device)[:, None, None] ** -2
        free = self.around(people, ignored, size=size) & (targets < 0.05)
        losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        losses = losses * (logits.sigmoid() - targets) ** 2 * weight
        return losses.masked_fill(free, 0).sum() / (targets * weight).sum().clamp_min(1)

    def decode(self, maps: np.ndarray, *, lowest: float) -> np.ndarray:
        """People (M, 4): x, y, side, score in 0..1, best first, at the peaks of one frame's maps (K, H, W), which are
        probabilities, from `lowest` on.

        A peak is moved by a parabola through the logarithm along each axis, exact for a Gaussian, and its score is the
        height there.
        """
        level, row, column = np.nonzero((maps == _highest(maps)) & (maps >= lowest * 0.5))
        best = np.argsort(-maps[level, row, column], kind="stable")[:MOST_PEAKS]
        level, row, column = level[best], row[best], column[best]
        logs, sigmas = np.log(maps.clip(1e-10)), self.sigmas().numpy()
        x_step, x_gain = _parabola(logs, (level, row, column), axis=2, sigma=sigmas[level])
        y_step, y_gain = _parabola(logs, (level, row, column), axis=1, sigma=sigmas[level])
        # In each class the height at this very place, since wide classes fall off less on the way to the pixel.
        here = logs[:, row, column] + (x_step**2 + y_step**2) / (2 * sigmas[:, None] ** 2)
        number = np.arange(len(level))
        classes = (level, number, np.zeros_like(number))
        class_step, class_gain = _parabola(here[..., None], classes, axis=0, sigma=np.float32(self.class_spread))
        score = np.exp(logs[level, row, column] + x_gain + y_gain + class_gain).clip(max=1)
        side = self.smallest * self.ratio ** (level + class_step)
        xy = to_crop(np.stack([column + x_step, row + y_step], -1))
        people = np.concatenate([xy, side[:, None], score[:, None]], -1)
        return people[np.argsort(-score, kind="stable")][: int((score >= lowest).sum())]


def _highest(maps: np.ndarray) -> np.ndarray:
    """The highest value among each voxel and its 26 neighbours (K, H, W), one axis after the other, which takes a small
    part of the time of all at once.
    """
    for axis in range(3):
        wide = np.swapaxes(maps, 0, axis)
        highest = wide.copy()
        np.maximum(highest[1:], wide[:-1], out=highest[1:])
        np.maximum(highest[:-1], wide[1:], out=highest[:-1])
        maps = np.swapaxes(highest, 0, axis)
    return maps


def _axis(count: int, like: Tensor) -> Tensor:
    return torch.arange(count, device=like.device, dtype=like.dtype)


def _parabola(
    logs: np.ndarray, peak: tuple[np.ndarray, np.ndarray, np.ndarray], *, axis: int, sigma: np.ndarray | np.float32
) -> tuple[np.ndarray, np.ndarray]:
    """Step along an axis of `logs` (K, H, W) from each peak to the top of the parabola through it and its neighbours,
    at most half a place, and how much higher the top is. At the border the missing neighbour is that of a Gaussian with
    this standard deviation.
    """
    middle = logs[peak]

    def beside(step: int) -> tuple[np.ndarray, np.ndarray]:
        place = peak[axis] + step
        index = (*peak[:axis], place.clip(0, logs.shape[axis] - 1), *peak[axis + 1 :])
        return logs[index], (place < 0) | (place >= logs.shape[axis])

    (low, no_low), (high, no_high) = beside(-1), beside(1)
    low, high = (
        np.where(no_low, 2 * middle - high - sigma**-2, low),
        np.where(no_high, 2 * middle - low - sigma**-2, high),
    )
    bend = (2 * middle - low - high).clip(1e-6)
    step = ((high - low) / (2 * bend)).clip(-0.5, 0.5)
    return step, bend * step**2 / 2


def without_doubles(people: np.ndarray, *, overlap: float) -> np.ndarray:
    """People (M, 4), best first, without those whose square overlaps (intersection over union) a better one's more."""
    kept: list[int] = []
    for row in range(len(people)):
        if not kept or overlaps(people[row : row + 1, :3], people[kept, :3]).max() <= overlap:
            kept.append(row)
    return people[kept]


def fitted(image: np.ndarray, *, longer: int, multiple: int) -> tuple[np.ndarray, np.ndarray]:
    """The frame (H, W, 3) resized so that its longer side is `longer` pixels, with black below and to the right up to a
    multiple of so many; and by how much it was scaled across and down (2,).
    """
    height, width = image.shape[:2]
    factor = longer / max(height, width)
    new = max(round(width * factor), 1), max(round(height * factor), 1)
    if factor < 0.5:  # to twice the size by quick steps and then by half: means over pixels in a third of the time
        double = (2 * new[0], 2 * new[1])
        image = cv2.resize(halved(image, halvings(2 * factor)), double, interpolation=cv2.INTER_LINEAR)
    small = cv2.resize(image, new, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    bottom, right = (-new[1] % multiple, -new[0] % multiple)
    canvas = cv2.copyMakeBorder(small, 0, bottom, 0, right, cv2.BORDER_CONSTANT)
    return canvas, np.array([new[0] / width, new[1] / height])


class _FrameNetwork(nn.Module):
    """A network with what comes before and after it: canvases (N, H, W, 3) uint8 BGR to probabilities."""

    def __init__(self, model: nn.Module, pixels: Pixels) -> None:
        super().__init__()
        self.model, self.pixels = model, pixels

    def forward(self, canvases: Tensor) -> Tensor:
        return self.model(to_input(canvases, self.pixels))[-1].float().sigmoid()


@dataclass(frozen=True)
class Finder:
    """A trained finder with what its weights file says about it."""

    model: StackedHourglass
    codec: FinderCodec
    device: torch.device
    meta: dict[str, Any]
    pixels: Pixels = field(default_factory=Pixels)
    runtime: str = "torch"  # of `pipeline.runtime`
    ranges: Ranges = field(default_factory=dict)  # of what int8 rounds; empty if they were not measured
    networks: dict[tuple[int, ...], InParts] = field(default_factory=dict, repr=False)  # made ready, by canvas shape

    @classmethod
    def load(cls, path: Path, device: torch.device, *, runtime: str = "torch") -> "Finder":
        """Read a weights file.

        Raises CheckpointError if it is not a sound finder checkpoint or lacks what the runtime needs, DeviceError if
        the runtime and the device do not go together.
        """
        checkpoint = load_checkpoint(path, KIND)
        try:
            model, codec, pixels = _described(checkpoint)
            ranges = read_ranges(checkpoint.meta)
        except (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError) as error:
            raise CheckpointError(f"{path}: does not describe a finder this posecli knows ({error})") from error
        runtime = runtime_of(path, ranges, runtime, device)
        load_state(model, checkpoint, path)
        model = model.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        return cls(model, codec, device, checkpoint.meta, pixels, runtime, ranges)

    @property
    def longer(self) -> int:
        """Longer side of a frame as the network sees it, pixels."""
        return self.model.config.input_size

    @property
    def multiple(self) -> int:
        """What both sides of the network's input are a multiple of, pixels."""
        return STRIDE * 2 ** (len(self.model.config.widths) - 1)

    def people(self, image: np.ndarray, *, lowest: float = 0.3, overlap: float = 0.6) -> list[Found]:
        """Everyone in a frame (H, W, 3) uint8 BGR with a score from `lowest` on, the surest first. Of two whose squares
        overlap (intersection over union) by more than `overlap`, the surer.
        """
        canvas, scale = fitted(image, longer=self.longer, multiple=self.multiple)
        people = self.decoded(canvas[None], lowest=lowest, overlap=overlap)[0]
        centre = (people[:, :2] + 0.5) / scale - 0.5
        side = people[:, 2] / scale.mean()
        rows = zip(centre.tolist(), side.tolist(), people[:, 3].tolist(), strict=True)
        return [Found(Region(x, y, length), score) for (x, y), length, score in rows]

    def whole_network(self, shape: tuple[int, ...]) -> tuple[nn.Module, Tensor]:
        """The network with what comes before and after it; an example of its input, canvases of `shape` (H, W, 3)."""
        return _FrameNetwork(self.model, self.pixels).eval(), torch.zeros(2, *shape, dtype=torch.uint8)

    def _maps(self, canvases: np.ndarray) -> Tensor:
        """Probabilities (N, K, H/4, W/4) for canvases (N, H, W, 3) uint8 BGR; all frames of a clip have one shape."""
        shape = canvases.shape[1:]
        if shape not in self.networks:
            network, example = self.whole_network(shape)
            ready = compile_network(network, example, device=self.device, runtime=self.runtime, ranges=self.ranges)
            self.networks[shape] = InParts(ready, AT_ONCE)
        return self.networks[shape](torch.from_numpy(canvases))

    def decoded(self, canvases: np.ndarray, *, lowest: float, overlap: float = 0.6) -> list[np.ndarray]:
        """People (M, 4), x, y, side in input pixels and score, of each canvas (N, H, W, 3) uint8 BGR, whose sides are
        multiples of `multiple`.
        """
        maps = self._maps(canvases).cpu().numpy()
        found = [self.codec.decode(one, lowest=lowest).astype(np.float64) for one in maps]
        return [without_doubles(people, overlap=overlap) for people in found]


def _described(checkpoint: Checkpoint) -> tuple[StackedHourglass, FinderCodec, Pixels]:
    """The parts of a finder as a checkpoint describes them, the network still without its weights."""
    if checkpoint.arch != ARCH:
        raise ValueError(f"architecture {checkpoint.arch!r}, not {ARCH!r}")
    config, codec = HourglassConfig(**checkpoint.config), FinderCodec(**checkpoint.meta["codec"])
    if config.joints != codec.classes:
        raise ValueError(f"{config.joints} maps, where the codec has {codec.classes} classes")
    pixels = Pixels.from_meta(checkpoint.meta["pixels"])
    return bare_network(config, tensors=len(checkpoint.tensors)), codec, pixels


def save_finder(
    path: Path,
    model: StackedHourglass,
    *,
    codec: FinderCodec,
    provenance: dict[str, Any],
    pixels: Pixels,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write a finder's weights file with everything needed to use it."""
    meta = {
        "codec": asdict(codec),
        "region": {"margin": BOX_MARGIN, "around": "the joints within the frame"},
        "pixels": pixels.to_meta(),
        "provenance": provenance,
    }
    save_checkpoint(path, Checkpoint(KIND, ARCH, asdict(model.config), meta, model.state_dict()), dtype=dtype)
