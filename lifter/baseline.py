"""The lifter of Martinez et al. (ICCV 2017, "A simple yet effective baseline for 3d human pose estimation", section 3).

Input FC, two residual blocks of two FC each, output FC: six fully connected layers, 1024 wide. Batch normalisation,
ReLU and dropout, in this order, follow every FC but the output one. The parts are shared with the deeper nets.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class LifterConfig:
    """Shape of a lifter; every lifter maps (N, in_joints, in_channels) to poses (N, out_joints, 3)."""

    in_joints: int = 16
    in_channels: int = 2  # values per joint: x, y, and as a third how sure it is
    out_joints: int = 16
    width: int = 1024  # units of every hidden layer
    dropout: float = 0.5  # share of units dropped during training
    max_norm: float = 0.0  # every weight matrix acts with at most this Frobenius norm (Martinez: 1); 0: as it is


class BoundedLinear(nn.Linear):
    """A fully connected layer that acts with its weight matrix scaled down to a Frobenius norm of at most `limit`.

    This is what Martinez et al. call max-norm: the forward pass clips, the weights themselves stay free to grow.
    """

    def __init__(self, inputs: int, outputs: int, *, limit: float) -> None:
        super().__init__(inputs, outputs)
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        # the product is scaled instead of the matrix, which is many times larger than a batch
        return F.linear(x, self.weight) * (self.limit / self.weight.norm()).clamp(max=1.0) + self.bias


def linear(inputs: int, outputs: int, *, max_norm: float = 0.0) -> nn.Linear:
    """A fully connected layer in Kaiming's initialisation (He et al. 2015), biases zero."""
    layer = BoundedLinear(inputs, outputs, limit=max_norm) if max_norm else nn.Linear(inputs, outputs)
    if not layer.weight.is_meta:  # there, to draw nothing, torch would load its compiler: two seconds
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    return layer


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) whose mask costs a twelfth of torch's on a CPU.

    There torch draws a random number of 64 bits for every unit; 16 of them decide as well, and the share is met to
    within 1 / 131072. On other devices it is torch's own.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.share == 0 or x.device.type != "cpu":
            return F.dropout(x, self.share, self.training)
        return x * kept(x, self.share)


def kept(x: Tensor, share: float) -> Tensor:
    """A mask like x (on a CPU): 0 for that share of the units, 1 / (1 - share) for the others."""
    words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    even = words.view(torch.int16)[: x.numel()].view(x.shape)  # each number from -32768 to 32767 is as likely
    mask = torch.empty_like(x, memory_format=torch.contiguous_format)
    return torch.ge(even, round(share * 2**16) - 2**15, out=mask).mul_(1 / (1 - share))


def dense(inputs: int, config: LifterConfig, *, relu: bool = True) -> nn.Sequential:
    """FC to the config's width, batch normalisation, ReLU (unless `relu` is False), dropout."""
    layer = linear(inputs, config.width, max_norm=config.max_norm)
    activation = [nn.ReLU()] if relu else []
    return nn.Sequential(layer, nn.BatchNorm1d(config.width), *activation, Dropout(config.dropout))


class ResidualBlock(nn.Module):
    """Two dense layers with a shortcut around both: (N, width) -> (N, width)."""

    def __init__(self, config: LifterConfig) -> None:
        super().__init__()
        self.first = dense(config.width, config)
        self.second = dense(config.width, config)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


def residual_blocks(count: int, config: LifterConfig) -> nn.Sequential:
    """`count` residual blocks in a row."""
    return nn.Sequential(*(ResidualBlock(config) for _ in range(count)))


class Baseline(nn.Module):
    """Martinez et al. 2017: (N, in_joints, in_channels) -> a tuple of one pose tensor (N, out_joints, 3).

    All lifters return a tuple of predictions, the final one first; input and output are z-scored
    (`lifter.normalise`), without a unit.
    """

    def __init__(self, config: LifterConfig) -> None:
        super().__init__()
        self.input = dense(config.in_joints * config.in_channels, config)
        self.blocks = residual_blocks(2, config)
        self.output = linear(config.width, config.out_joints * 3, max_norm=config.max_norm)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        pose = self.output(self.blocks(self.input(x.flatten(1))))
        return (pose.unflatten(1, (-1, 3)),)
