"""Lifting 2D points to 3D with trained weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lifter.augment import Batch
from lifter.normalise import INPUT, INPUT_FLIP, OUTPUT, OUTPUT_FLIP, OUTPUT_JOINTS, PixelSpace, Statistics, to_virtual
from lifter.registry import restore_lifter
from lifter.samples import rays_of
from lifter.views import ViewSet
from pipeline.camera import Intrinsics
from pipeline.checkpoint import load_checkpoint
from pipeline.errors import CheckpointError
from pipeline.poses import Track2D, Track3D
from pipeline.skeleton import convert, convert_scores

AT_ONCE = 512  # frames; more take memory and are no quicker


@dataclass(frozen=True)
class Lifter:
    """A trained lifter: 2D points of any skeleton that converts to H36M16 -> 3D poses of H36M17.

    Poses (N, 16, 3) are in mm relative to the pelvis, which they leave out; axes are x right, y down, z forward.
    """

    network: nn.Module
    statistics: Statistics
    device: torch.device
    pixels: PixelSpace | None = None  # the camera that a lifter of space 'pixels' knows; None: space 'camera'
    scored: bool = False  # whether it takes a confidence beside every point
    provenance: dict[str, Any] | None = None  # of the weights

    @classmethod
    def load(cls, path: Path, device: torch.device) -> "Lifter":
        """The lifter of a weights file; CheckpointError if it cannot be used."""
        checkpoint = load_checkpoint(path, "lifter")
        skeletons = {"input_skeleton": INPUT.name, "output_skeleton": OUTPUT.name}
        for key, expected in skeletons.items():
            if checkpoint.meta.get(key) != expected:
                raise CheckpointError(f"{path}: {key}: expected {expected}, got {checkpoint.meta.get(key)}")
        try:
            statistics = Statistics.from_meta(checkpoint.meta.get("statistics"))
            pixels = PixelSpace.from_meta(checkpoint.meta["pixels"]) if checkpoint.meta.get("pixels") else None
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        return cls(
            restore_lifter(checkpoint, path).to(device).eval(),
            statistics.to(device),
            device,
            pixels,
            scored=checkpoint.config.get("in_channels") == 3,
            provenance=checkpoint.meta.get("provenance"),
        )

    def lift(self, track: Track2D, intrinsics: Intrinsics, *, flip: bool = True) -> Track3D:
        """3D poses of a track, frame by frame: mm, relative to the pelvis, camera axes.

        The scores are the lifter's confidences; joints that are not finite are not known. `flip` averages every pose
        with the mirrored lift of its mirror image. An empty track gives an empty one. Raises InputError if the track's
        skeleton lacks a joint of H36M16 that no rule derives.
        """
        xy = convert(track.xy, track.skeleton, INPUT)
        score = convert_scores(track.score, track.skeleton, INPUT)
        known = np.isfinite(xy).all(-1)
        rays = torch.from_numpy(np.where(known[..., None], intrinsics.rays(xy), 0.0).astype(np.float32))
        confidence = torch.from_numpy(np.where(known, np.clip(score, 1e-3, 1.0), 0.0).astype(np.float32))
        xyz = np.zeros((len(track), len(OUTPUT), 3), np.float32)
        xyz[:, list(OUTPUT_JOINTS)] = self.lift_rays(rays, confidence, flip=flip).numpy()
        return Track3D(OUTPUT, track.frame, track.time_s, xyz)

    @torch.no_grad()
    def lift_rays(self, rays: Tensor, confidence: Tensor, *, flip: bool) -> Tensor:
        """Poses (N, 16, 3) on the CPU, camera axes, of rays (N, 16, 2) on z = 1 and confidences (N, 16), 0: unknown."""
        parts = [torch.zeros(0, len(OUTPUT_JOINTS), 3)]
        for some, sure in zip(rays.split(AT_ONCE), confidence.split(AT_ONCE), strict=True):
            on_device = some.to(self.device), sure.to(self.device)
            parts.append((self._in_pixels if self.pixels else self._in_camera)(*on_device, flip=flip).cpu())
        return torch.cat(parts)

    def lift_views(self, views: ViewSet, *, flip: bool = False) -> np.ndarray:
        """Poses (N, 16, 3) float32 of the rows of a set, in the axes of each row's camera.

        A lifter of space 'pixels' takes the pixels as they are, as in the protocol of Martinez et al. (2017).
        """
        points = torch.from_numpy(views.points)
        if self.pixels is not None:
            parts = [self._from_pixels(some.to(self.device), flip=flip).cpu() for some in points.split(AT_ONCE)]
            return torch.cat(parts).numpy()
        return self.lift_rays(rays_of(views), torch.ones(points.shape[:2]), flip=flip).numpy()

    @torch.no_grad()
    def lift_batch(self, batch: Batch) -> Tensor:
        """Poses (N, 16, 3) of a batch of `lifter.augment`, in its virtual camera; space 'camera' only."""
        return self._lift(batch.points, batch.confidence)

    def _in_camera(self, rays: Tensor, confidence: Tensor, *, flip: bool) -> Tensor:
        points, rotation = to_virtual(rays, confidence > 0)
        poses = self._lift(points, confidence)
        if flip:
            mirrored = points[:, list(INPUT_FLIP)] * points.new_tensor([-1.0, 1.0])
            poses = (poses + _unmirrored(self._lift(mirrored, confidence[:, list(INPUT_FLIP)]))) / 2
        return poses @ rotation  # row vectors: the inverse of the turn into the virtual camera

    def _in_pixels(self, rays: Tensor, confidence: Tensor, *, flip: bool) -> Tensor:
        assert self.pixels is not None
        return self._from_pixels(self.pixels.points(rays), flip=flip)

    @torch.no_grad()
    def _from_pixels(self, points: Tensor, *, flip: bool) -> Tensor:
        assert self.pixels is not None
        poses = self._lift(points, None)
        if flip:
            across = points.new_tensor([2 * self.pixels.centre[0], 0.0])
            mirrored = across + points[:, list(INPUT_FLIP)] * points.new_tensor([-1.0, 1.0])
            poses = (poses + _unmirrored(self._lift(mirrored, None))) / 2
        return poses

    def _lift(self, points: Tensor, confidence: Tensor | None) -> Tensor:
        """Poses of points (N, 16, 2) of the lifter's space, in its axes."""
        encoded = self.statistics.encode_input(points, confidence if self.scored else None)
        return self.statistics.decode_pose(self.network(encoded)[0])


class LiftNetwork(nn.Module):
    """A lifter's network with what comes before and after it: points (N, 16, 2) of the lifter's space, and confidences
    (N, 16), 0 for an unknown joint, if it takes them, to poses (N, 16, 3), mm, in the axes of that space.
    """

    def __init__(self, lifter: Lifter) -> None:
        super().__init__()
        self.network, self.lifter = lifter.network, lifter
        self.train(self.network.training)

    def forward(self, points: Tensor, confidence: Tensor | None = None) -> Tensor:
        return self.lifter._lift(points, confidence)


def _unmirrored(poses: Tensor) -> Tensor:
    """Poses (N, 16, 3) of people in a mirror as those of the people themselves."""
    return poses[:, list(OUTPUT_FLIP)] * poses.new_tensor([-1.0, 1.0, 1.0])
