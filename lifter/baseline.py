"""The lifter of Martinez et al. (ICCV 2017, "A simple yet effective baseline for 3d human pose estimation", section 3).

Input FC, two residual blocks of two FC each, output FC: six fully connected layers, 1024 wide. Batch normalisation,
ReLU and dropout, in this order, follow every FC but the output one. The parts are shared with the deeper nets.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LifterConfig:
    """Shape of a lifter; every lifter maps (N, in_joints, in_channels) to poses (N, out_joints, 3)."""

    in_joints: int = 16
    in_channels: int = 2  # values per joint: x, y
    out_joints: int = 16
    width: int = 1024  # units of every hidden layer
    dropout: float = 0.5  # share of units dropped during training


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A fully connected layer in Kaiming's initialisation (He et al. 2015), biases zero."""
    layer = nn.Linear(inputs, outputs)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return layer


def dense(inputs: int, outputs: int, *, dropout: float, relu: bool = True) -> nn.Sequential:
    """FC, batch normalisation, ReLU (unless `relu` is False), dropout."""
    activation = [nn.ReLU()] if relu else []
    return nn.Sequential(linear(inputs, outputs), nn.BatchNorm1d(outputs), *activation, nn.Dropout(dropout))


class ResidualBlock(nn.Module):
    """Two dense layers with a shortcut around both: (N, width) -> (N, width)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.first = dense(width, width, dropout=dropout)
        self.second = dense(width, width, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


def residual_blocks(count: int, config: LifterConfig) -> nn.Sequential:
    """`count` residual blocks in a row."""
    return nn.Sequential(*(ResidualBlock(config.width, config.dropout) for _ in range(count)))


class Baseline(nn.Module):
    """Martinez et al. 2017: (N, in_joints, in_channels) -> a tuple of one pose tensor (N, out_joints, 3).

    All lifters return a tuple of predictions, the final one first; input and output are z-scored
    (`lifter.normalise`), without a unit.
    """

    def __init__(self, config: LifterConfig) -> None:
        super().__init__()
        self.input = dense(config.in_joints * config.in_channels, config.width, dropout=config.dropout)
        self.blocks = residual_blocks(2, config)
        self.output = linear(config.width, config.out_joints * 3)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        pose = self.output(self.blocks(self.input(x.flatten(1))))
        return (pose.unflatten(1, (-1, 3)),)


@torch.no_grad()
def clip_weight_norm(module: nn.Module, limit: float) -> None:
    """Scale every FC's weight matrix down to a Frobenius norm of at most `limit`, as Martinez et al. do."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.mul_((limit / layer.weight.norm()).clamp(max=1.0))
