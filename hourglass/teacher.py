"""A trained detector whose heatmaps another network learns beside the labels (distillation, Hinton et al. 2015).

The teacher may see more pixels: crops are drawn at its size, and the student is shown means over squares of them. A
teacher's map says where a joint may be at all, and of wrong labels, which it has not learnt by heart, it knows better.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from hourglass.codec import Codec
from hourglass.model import HourglassConfig
from hourglass.predict import Detector, LookNetwork, Pixels, to_input
from pipeline.errors import CheckpointError, InputError
from pipeline.skeleton import Skeleton


@dataclass(frozen=True)
class Teacher:
    """A detector that teaches another, which sees `ratio` times fewer pixels each way."""

    detector: Detector
    ratio: int
    share: float  # of the loss; the rest is the labels'

    @classmethod
    def load(cls, path: Path, *, share: float, student: HourglassConfig, device: torch.device) -> "Teacher":
        """Read a teacher's weights; InputError if its crops are no whole multiple of the student's."""
        detector = Detector.load(path, device)
        ratio, rest = divmod(detector.input_size, student.input_size)
        if rest or ratio < 1:
            sizes = f"{detector.input_size} px, not a multiple of the student's {student.input_size}"
            raise InputError(f"{path}: sees {sizes}; give another --teacher or --preset")
        return cls(detector, ratio, share)

    def check(self, path: Path, *, skeleton: Skeleton, codec: Codec) -> None:
        """CheckpointError unless its maps are what the student is to give."""
        found, wanted = (self.detector.skeleton.name, self.detector.codec), (skeleton.name, codec)
        if found != wanted or codec.convention != "probability":
            raise CheckpointError(f"{path}: a teacher of {found} cannot teach {wanted}; both must give probabilities")

    def targets(self, crops: Tensor) -> Tensor:
        """Maps (N, J, S/4, S/4) on the student's grid for crops (N, rS, rS, 3) uint8 BGR, mirror images averaged in."""
        network = LookNetwork(self.detector.model, self.detector.codec, self.detector.pixels)
        with torch.no_grad():
            maps, mirrored = network(crops), network(crops.flip(2))
            both = (maps + mirrored.flip(-1)[:, list(self.detector.skeleton.flip)]) / 2
            return F.avg_pool2d(both, self.ratio) * self.ratio**2  # a student's pixel holds the mass of all within it

    def shown(self, crops: Tensor, pixels: Pixels) -> Tensor:
        """The student's input (N, 3, S, S) for the same crops."""
        return F.avg_pool2d(to_input(crops, pixels), self.ratio)

    def placed(self, xy: Tensor) -> Tensor:
        """Heatmap pixels (..., 2) of the teacher's grid on the student's."""
        return (xy + 0.5) / self.ratio - 0.5
