"""From image points to the network's input, and from its output back to camera axes.

A lifter sees people in one of two spaces:

    camera   Pixels become rays on z = 1 by the intrinsics, so image size and focal length drop out. The rays are
             turned into a virtual camera that faces the pelvis, so it does not matter where in the frame the person
             stands, and divided by their mean distance from the pelvis, so neither does how far away. The output is
             the pose in the virtual camera's axes; the inverse turn brings it to those of the real camera.
    pixels   Pixels as they are, and poses in the axes of the camera: Martinez et al. (2017). Right for the cameras
             that it was trained with; others are first imagined as one of these (`PixelSpace`).

In both, input and output are z-scored per coordinate by the statistics of the training set (ibid., section 3.2).
Training and lifting share this code. Poses are in mm relative to the pelvis.
"""

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.skeleton import H36M16, H36M17

INPUT = H36M16
OUTPUT = H36M17  # its pelvis is the origin and not predicted
INPUT_FLIP = H36M16.flip
OUTPUT_JOINTS = tuple(index for index in range(len(H36M17)) if index != H36M17.root)
OUTPUT_FLIP = tuple(OUTPUT_JOINTS.index(H36M17.flip[index]) for index in OUTPUT_JOINTS)
SPACES = ("camera", "pixels")
MIN_SCALE = 1e-6  # of the spread of rays about the pelvis: below it all joints coincide, and nothing can be lifted


def to_virtual(rays: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Rays (N, 16, 2) of H36M16 on z = 1 as the virtual camera that faces the pelvis sees them.

    Returns the points (N, 16, 2), pelvis at (0, 0), mean distance from it 1; and the rotations (N, 3, 3) with
    virtual = rotation @ camera, those of `pipeline.camera.facing_rotation`.

    Of a person of whom only some joints are `known` (N, 16) bool, these alone count, the camera faces their mean
    where the pelvis is not one of them, and the points of the others are (0, 0).
    """
    weight = torch.ones_like(rays[..., :1]) if known is None else known[..., None].to(rays.dtype)
    count = weight.sum(1).clamp(min=1)
    rays = torch.where(weight > 0, rays, 0.0)
    centre = torch.where(weight[:, INPUT.root] > 0, rays[:, INPUT.root], rays.sum(1) / count)
    rotation = facing_rotation(centre)
    turned = torch.cat([rays, torch.ones_like(rays[..., :1])], -1) @ rotation.mT
    points = turned[..., :2] / turned[..., 2:] * weight
    scale = (points.norm(dim=-1).sum(1) / count[:, 0]).clamp(min=MIN_SCALE)
    return points / scale[:, None, None], rotation


def facing_rotation(ray: Tensor) -> Tensor:
    """`pipeline.camera.facing_rotation` for tensors on any device: (N, 2) -> (N, 3, 3); a test holds the two equal."""
    x, y = ray.unbind(-1)
    pan = torch.hypot(x, torch.ones_like(x))
    tilt = torch.hypot(y, pan)
    cos_pan, sin_pan, cos_tilt, sin_tilt = 1 / pan, x / pan, pan / tilt, y / tilt
    rows = [
        [cos_pan, torch.zeros_like(x), -sin_pan],
        [-sin_tilt * sin_pan, cos_tilt, -sin_tilt * cos_pan],
        [cos_tilt * sin_pan, sin_tilt, cos_tilt * cos_pan],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of the network's input (16, 2) and of its output (16, 3), mm, in training."""

    in_mean: Tensor
    in_std: Tensor
    out_mean: Tensor
    out_std: Tensor

    @classmethod
    def of(cls, points: Tensor, poses: Tensor) -> "Statistics":
        """Statistics of training samples, all joints known: points (N, 16, 2) of the space, poses (N, 16, 3) mm."""
        return cls(points.mean(0), _spread(points), poses.mean(0), _spread(poses))

    def encode_input(self, points: Tensor, confidence: Tensor | None = None) -> Tensor:
        """Points (N, 16, 2) of the space, z-scored.

        With a confidence (N, 16), 0 for joints that are not known, it is a third channel, and the points of these
        joints are 0: (N, 16, 3).
        """
        encoded = (points - self.in_mean) / self.in_std
        if confidence is None:
            return encoded
        return torch.cat([torch.where(confidence[..., None] > 0, encoded, 0.0), confidence[..., None]], -1)

    def encode_pose(self, poses: Tensor) -> Tensor:
        """Poses (N, 16, 3) in mm, z-scored."""
        return (poses - self.out_mean) / self.out_std

    def decode_pose(self, poses: Tensor) -> Tensor:
        """Z-scored poses (N, 16, 3) in mm: the inverse of `encode_pose`."""
        return poses * self.out_std + self.out_mean

    def to(self, device: torch.device) -> "Statistics":
        """The same on a device."""
        return Statistics(*(getattr(self, field.name).to(device) for field in fields(self)))

    def to_meta(self) -> dict[str, Any]:
        """As nested lists for a checkpoint."""
        return {field.name: getattr(self, field.name).tolist() for field in fields(self)}

    @classmethod
    def from_meta(cls, meta: Any) -> "Statistics":
        """From a checkpoint; CheckpointError if a part is missing or has another shape."""
        shapes = {"in_mean": (len(INPUT), 2), "in_std": (len(INPUT), 2)}
        shapes |= {"out_mean": (len(OUTPUT_JOINTS), 3), "out_std": (len(OUTPUT_JOINTS), 3)}
        try:
            parts = {name: torch.tensor(meta[name], dtype=torch.float32) for name in shapes}
        except (KeyError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
            raise CheckpointError(f"normalisation statistics are missing or damaged ({error})") from error
        for name, shape in shapes.items():
            if parts[name].shape != shape:
                raise CheckpointError(f"statistics {name}: expected shape {shape}, got {tuple(parts[name].shape)}")
        return cls(**parts)


def _spread(values: Tensor) -> Tensor:
    """Standard deviation over the first axis; 1 where a coordinate never varies (the pelvis is always at 0, 0)."""
    std = values.std(0)
    return torch.where(std > 1e-5, std, torch.ones_like(std))


@dataclass(frozen=True)
class PixelSpace:
    """The camera whose pixels a lifter of space 'pixels' was trained on: the mean of several, as a rule."""

    focal: tuple[float, float]
    centre: tuple[float, float]

    def points(self, rays: Tensor) -> Tensor:
        """Rays (N, 16, 2) on z = 1 as this camera would see them, px."""
        return rays * rays.new_tensor(self.focal) + rays.new_tensor(self.centre)

    @classmethod
    def from_meta(cls, meta: Any) -> "PixelSpace":
        """From a checkpoint; CheckpointError if a part is missing or damaged."""
        try:
            (fx, fy), (cx, cy) = meta["focal"], meta["centre"]
            return cls((float(fx), float(fy)), (float(cx), float(cy)))
        except (KeyError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
            raise CheckpointError(f"the camera of its pixels is missing or damaged ({error})") from error
