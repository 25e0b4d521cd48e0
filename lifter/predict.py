"""Lifting a 2D track to 3D with trained weights."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lifter.normalise import INPUT, INPUT_FLIP, OUTPUT, OUTPUT_FLIP, OUTPUT_JOINTS, Statistics, to_virtual
from lifter.registry import restore_lifter
from pipeline.camera import Intrinsics
from pipeline.checkpoint import load_checkpoint
from pipeline.errors import CheckpointError
from pipeline.poses import Track2D, Track3D
from pipeline.skeleton import convert

BATCH = 1024  # frames lifted at once


class Lifter:
    """A trained lifter: 2D tracks of any skeleton that converts to H36M16 -> 3D tracks of H36M17."""

    def __init__(self, network: nn.Module, statistics: Statistics, *, device: torch.device) -> None:
        self.device = device
        self.network = network.to(device).eval()
        self.statistics = statistics.to(device)

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
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        return cls(restore_lifter(checkpoint, path), statistics, device=device)

    def lift(self, track: Track2D, intrinsics: Intrinsics, *, flip: bool = True) -> Track3D:
        """3D poses of a track, frame by frame: mm, relative to the pelvis, camera axes (x right, y down, z forward).

        `flip` averages every pose with the mirrored lift of its mirror image. An empty track gives an empty one.
        Raises InputError if the track's skeleton lacks a joint of H36M16 that no rule derives.
        """
        xy = convert(track.xy, track.skeleton, INPUT)
        rays = torch.from_numpy(intrinsics.rays(xy).astype(np.float32))
        parts = [self._lift_rays(part.to(self.device), flip=flip).cpu() for part in rays.split(BATCH)]
        xyz = np.zeros((len(track), len(OUTPUT), 3), np.float32)
        if len(track):
            xyz[:, list(OUTPUT_JOINTS)] = torch.cat(parts).numpy()
        return Track3D(OUTPUT, track.frame, track.time_s, xyz)

    @torch.no_grad()
    def _lift_rays(self, rays: Tensor, *, flip: bool) -> Tensor:
        """Poses (N, 16, 3) in camera axes, mm, of rays (N, 16, 2)."""
        points, rotation = to_virtual(rays)
        poses = self._lift_points(points)
        if flip:
            mirrored = self._lift_points(points[:, list(INPUT_FLIP)] * points.new_tensor([-1.0, 1.0]))
            poses = (poses + mirrored[:, list(OUTPUT_FLIP)] * poses.new_tensor([-1.0, 1.0, 1.0])) / 2
        return poses @ rotation  # row vectors: the inverse of the turn into the virtual camera

    def _lift_points(self, points: Tensor) -> Tensor:
        return self.statistics.decode_pose(self.network(self.statistics.encode_input(points))[0])
