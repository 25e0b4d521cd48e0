"""From a crop, or a region of a frame, to joints: the trained detector ready for use."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hourglass.codec import Codec, to_crop
from hourglass.model import HourglassConfig, StackedHourglass
from pipeline.checkpoint import Checkpoint, load_checkpoint, load_state, save_checkpoint
from pipeline.crop import BOX_MARGIN, Region
from pipeline.errors import CheckpointError, InputError
from pipeline.skeleton import Skeleton, get_skeleton

KIND = "hourglass"
ARCH = "stacked-hourglass"
ZOOMS = (0.84,)  # of the multi-scale test: a margin of 1.05 around the person beside the usual 1.25
PIXEL_MEAN, PIXEL_SCALE = 0.45, 0.25  # of RGB values between 0 and 1


def to_input(crops: np.ndarray | Tensor) -> Tensor:
    """Crops (N, S, S, 3) uint8 BGR as the network's input (N, 3, S, S) float32 RGB, channels last in memory."""
    pixels = torch.as_tensor(crops).permute(0, 3, 1, 2).flip(1).float()
    return ((pixels / 255 - PIXEL_MEAN) / PIXEL_SCALE).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def predict_maps(model: StackedHourglass, codec: Codec, images: Tensor, flip: tuple[int, ...] | None) -> Tensor:
    """Maps (N, J, S/4, S/4) of the last stack for images (N, 3, S, S).

    With `flip`, a skeleton's flip order, the maps are the mean over the image and its mirror image (flip test).
    """
    maps = codec.maps(model(images)[-1])
    if flip is None:
        return maps
    mirrored = codec.maps(model(images.flip(-1).contiguous(memory_format=torch.channels_last))[-1])
    return (maps + mirrored.flip(-1)[:, list(flip)]) / 2


def _described(checkpoint: Checkpoint) -> tuple[StackedHourglass, Codec, Skeleton]:
    """The parts of a detector as a checkpoint describes them, the network still without its weights."""
    if checkpoint.arch != ARCH:
        raise ValueError(f"architecture {checkpoint.arch!r}, not {ARCH!r}")
    config, skeleton = HourglassConfig(**checkpoint.config), get_skeleton(checkpoint.meta["skeleton"])
    if config.joints != len(skeleton):
        raise ValueError(f"{config.joints} joints, where {skeleton.name} has {len(skeleton)}")
    return StackedHourglass(config), Codec(**checkpoint.meta["codec"]), skeleton


@dataclass(frozen=True)
class Detector:
    """A trained hourglass with what its weights file says about it."""

    model: StackedHourglass
    codec: Codec
    skeleton: Skeleton
    device: torch.device
    meta: dict[str, Any]

    @classmethod
    def load(cls, path: Path, device: torch.device) -> "Detector":
        """Read a weights file; CheckpointError if it is not a sound hourglass checkpoint."""
        checkpoint = load_checkpoint(path, KIND)
        try:
            model, codec, skeleton = _described(checkpoint)
        except (TypeError, ValueError, KeyError, InputError) as error:
            raise CheckpointError(f"{path}: does not describe an hourglass this posecli knows ({error})") from error
        load_state(model, checkpoint, path)
        model = model.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        return cls(model, codec, skeleton, device, checkpoint.meta)

    @property
    def input_size(self) -> int:
        """Side of the square crop that the network takes, pixels."""
        return self.model.config.input_size

    def maps(self, crops: np.ndarray, *, flip_test: bool) -> Tensor:
        """Maps (N, J, S/4, S/4) of crops (N, S, S, 3) uint8 BGR, as the codec's `decode` takes them."""
        images = to_input(crops).to(self.device)
        return predict_maps(self.model, self.codec, images, self.skeleton.flip if flip_test else None)

    def crops(self, crops: np.ndarray, *, flip_test: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Joints of crops (N, S, S, 3) uint8 BGR: positions (N, J, 2) in crop pixels and scores (N, J) in 0..1."""
        return self._decoded(self.maps(crops, flip_test=flip_test))

    def regions(
        self, image: np.ndarray, regions: Sequence[Region], *, flip_test: bool = False, zooms: Sequence[float] = ()
    ) -> tuple[np.ndarray, np.ndarray]:
        """Joints in regions of one frame (H, W, 3) uint8 BGR: positions (N, J, 2) in frame pixels, scores (N, J).

        With `zooms`, each region is seen as well with its side times each of these, at most 1, and the maps are
        averaged over all that see a place (multi-scale test).
        """
        size = self.input_size
        maps = self.maps(np.stack([region.cut(image, size) for region in regions]), flip_test=flip_test)
        looks = [maps]
        for zoom in zooms:
            closer = np.stack([Region(r.x, r.y, zoom * r.side).cut(image, size) for r in regions])
            seen = _seen_from_afar(self.maps(closer, flip_test=flip_test), zoom)
            # What lies beyond the closer look counts as the first look saw it, or joints there would seem unsure.
            looks.append(torch.where(_within(maps, zoom), seen, maps))
        xy, score = self._decoded(torch.stack(looks).mean(0))
        return np.stack([region.to_frame(p, size) for region, p in zip(regions, xy, strict=True)]), score

    def _decoded(self, maps: Tensor) -> tuple[np.ndarray, np.ndarray]:
        xy, score = self.codec.decode(maps)
        return to_crop(xy).cpu().numpy(), score.cpu().numpy()


def _seen_from_afar(maps: Tensor, zoom: float) -> Tensor:
    """Maps (N, J, S, S) of a region's middle, its side times `zoom` <= 1, on the grid of the whole region.

    What is beyond the middle gets nothing. A pixel of the whole region holds the mass of 1 / zoom^2 of the middle's.
    """
    matrix = torch.tensor([[1 / zoom, 0, 0], [0, 1 / zoom, 0]], device=maps.device).expand(len(maps), 2, 3)
    grid = functional.affine_grid(matrix, list(maps.shape), align_corners=False)
    return functional.grid_sample(maps, grid, align_corners=False) / zoom**2


def _within(maps: Tensor, zoom: float) -> Tensor:
    """Which pixels (S, S) of a region's maps (N, J, S, S) lie in its middle, its side times `zoom`: bool."""
    size = maps.shape[-1]
    away = (torch.arange(size, device=maps.device) - (size - 1) / 2).abs() <= zoom * size / 2
    return away[:, None] & away


def save_detector(
    path: Path, model: StackedHourglass, *, codec: Codec, skeleton: Skeleton, provenance: dict[str, Any]
) -> None:
    """Write a detector's weights file with everything needed to use it."""
    meta = {
        "skeleton": skeleton.name,
        "codec": asdict(codec),
        "crop": {"margin": BOX_MARGIN, "outside": "black"},
        "pixels": {"order": "rgb", "mean": PIXEL_MEAN, "scale": PIXEL_SCALE},
        "provenance": provenance,
    }
    save_checkpoint(path, Checkpoint(KIND, ARCH, asdict(model.config), meta, model.state_dict()))
