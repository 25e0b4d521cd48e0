"""The stacked hourglass network (Newell, Yang, Deng 2016, "Stacked Hourglass Networks for Human Pose Estimation").

A stem takes the image to a quarter of its size; each stack goes down `depth` halvings and up again with a skip
branch at every size (figure 3), predicts heatmaps (intermediate supervision), and feeds features and heatmaps into
the next stack (figure 4). Two kinds of residual block serve:

    bottleneck   the published one (figure 4, left): pre-activation 1x1, 3x3, 1x1; one width everywhere
    plain        post-activation 3x3, 3x3; the width grows as the map shrinks. Far quicker on a CPU.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDE = 4  # input pixels per heatmap pixel, in every configuration


# Beyond these a config is damaged, or made to keep the program busy.
MOST_BLOCKS, MOST_LEVELS, LARGEST_SIZE = 256, 10, 4096
BLOCK_TENSORS = 4  # that a residual block has at least


@dataclass(frozen=True)
class HourglassConfig:
    """Shape of a stacked hourglass. The defaults with 8 stacks are the published layout."""

    joints: int = 16
    stacks: int = 2
    widths: tuple[int, ...] = (256, 256, 256, 256, 256)  # channels at heatmap size and after each halving
    stem_width: int = 64  # channels at half the input size
    block: str = "bottleneck"  # or "plain"
    input_size: int = 256  # side of the square input, pixels
    blocks: int = 1  # residual blocks in a row at every place of an hourglass and before every head
    stem_blocks: tuple[int, ...] = ()  # channels after a bottleneck stem's first two blocks; (): double, then widths[0]

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))  # JSON gives a list
        object.__setattr__(self, "stem_blocks", tuple(self.stem_blocks))
        if self.block not in BLOCKS:
            raise ValueError(f"unknown block {self.block!r}; known: {', '.join(BLOCKS)}")
        if self.stem_blocks and (len(self.stem_blocks) != 2 or self.block != "bottleneck"):
            raise ValueError(f"stem_blocks are two widths of a bottleneck stem: {self}")
        sizes = (self.joints, self.stacks, self.stem_width, self.input_size, self.blocks)
        if len(self.widths) < 2 or min(*sizes, *self.widths, *self.stem_blocks) < 1:
            raise ValueError(f"every size must be at least 1, and at least two widths given: {self}")
        if self.stacks * self.blocks > MOST_BLOCKS or len(self.widths) > MOST_LEVELS or max(sizes) > LARGEST_SIZE:
            raise ValueError(f"sizes that no network has: {self}")
        if self.input_size % (STRIDE * 2 ** (len(self.widths) - 1)):
            raise ValueError(f"input size {self.input_size} cannot be halved {len(self.widths) - 1} times after /4")

    def with_joints(self, joints: int) -> "HourglassConfig":
        """The same network for another number of joints."""
        return replace(self, joints=joints)

    def with_stacks(self, stacks: int) -> "HourglassConfig":
        """The same network with another number of hourglasses."""
        return replace(self, stacks=stacks)


class Bottleneck(nn.Module):
    """Pre-activation residual block: BN-ReLU-1x1 (half width), BN-ReLU-3x3, BN-ReLU-1x1, plus the input."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        middle = outputs // 2
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, middle, 1)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, outputs, 1)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.bn1(x)))
        y = self.conv2(F.relu(self.bn2(y)))
        y = self.conv3(F.relu(self.bn3(y)))
        return y + self.skip(x)


class Plain(nn.Module):
    """Post-activation residual block of two 3x3 convolutions; batch norm folds into them for inference."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.skip(x))


BLOCKS: dict[str, type[nn.Module]] = {"bottleneck": Bottleneck, "plain": Plain}


class Stem(nn.Module):
    """Image (N, 3, S, S) to features (N, widths[0], S/4, S/4)."""

    def __init__(self, config: HourglassConfig) -> None:
        super().__init__()
        block, first, last = BLOCKS[config.block], config.stem_width, config.widths[0]
        if config.block == "bottleneck":
            one, two = config.stem_blocks or (min(2 * first, last), last)
            self.conv = nn.Conv2d(3, first, 7, stride=2, padding=3)
            self.rest = nn.Sequential(block(first, one), nn.MaxPool2d(2), block(one, two), block(two, last))
        else:
            # A residual block at half size would cost more than a whole hourglass: stride instead.
            self.conv = nn.Conv2d(3, first, 3, stride=2, padding=1, bias=False)
            down = [nn.Conv2d(first, last, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(last), nn.ReLU()]
            self.rest = nn.Sequential(*down, block(last, last))
        self.bn = nn.BatchNorm2d(first)

    def forward(self, image: Tensor) -> Tensor:
        return self.rest(F.relu(self.bn(self.conv(image))))


class Hourglass(nn.Module):
    """One hourglass: features (N, widths[0], H, W) to the same shape, by way of every smaller size."""

    def __init__(self, widths: tuple[int, ...], block: type[nn.Module], *, count: int) -> None:
        super().__init__()
        here, below = widths[0], widths[1]
        bottom = len(widths) == 2
        self.skip = _row(block, here, here, count=count)
        self.down = _row(block, here, below, count=count)
        self.inner = _row(block, below, below, count=count) if bottom else Hourglass(widths[1:], block, count=count)
        self.up = _row(block, below, here, count=count)

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(F.max_pool2d(x, 2))
        y = self.up(self.inner(y))
        return self.skip(x) + F.interpolate(y, scale_factor=2.0, mode="nearest")


class StackedHourglass(nn.Module):
    """Image (N, 3, S, S), RGB, values centred on zero, to one heatmap tensor (N, J, S/4, S/4) per stack, first to last.

    The maps are logits or plain heights; the codec that the network was trained with says which.
    """

    def __init__(self, config: HourglassConfig) -> None:
        super().__init__()
        self.config = config
        block, width, count = BLOCKS[config.block], config.widths[0], config.blocks
        self.stem = Stem(config)
        self.hourglasses = nn.ModuleList(Hourglass(config.widths, block, count=count) for _ in range(config.stacks))
        self.features = nn.ModuleList(_feature_head(width, block, count=count) for _ in range(config.stacks))
        self.scores = nn.ModuleList(nn.Conv2d(width, config.joints, 1) for _ in range(config.stacks))
        self.merge_features = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(config.stacks - 1))
        self.merge_scores = nn.ModuleList(nn.Conv2d(config.joints, width, 1) for _ in range(config.stacks - 1))

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.stem(image)
        heatmaps = []
        for stack, hourglass in enumerate(self.hourglasses):
            features = self.features[stack](hourglass(x))
            heatmaps.append(self.scores[stack](features))
            if stack + 1 < self.config.stacks:
                x = x + self.merge_features[stack](features) + self.merge_scores[stack](heatmaps[-1])
        return heatmaps


def _row(block: type[nn.Module], inputs: int, outputs: int, *, count: int) -> nn.Module:
    """`count` blocks one after the other, of which the first changes the width; a single one is not wrapped."""
    first = block(inputs, outputs)
    return nn.Sequential(first, *(block(outputs, outputs) for _ in range(count - 1))) if count > 1 else first


def _feature_head(width: int, block: type[nn.Module], *, count: int) -> nn.Sequential:
    blocks = _row(block, width, width, count=count)
    return nn.Sequential(blocks, nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU())


# Shapes by name. 's' is meant for machines without a GPU: it trains some ten times faster than a bottleneck network of
# 128 channels. 'm' sees twice the pixels each way and costs 13 times as much: for accuracy, or a GPU. 'published' is
# the paper's (8 stacks; 2 by default here).
PRESETS: dict[str, HourglassConfig] = {
    "s": HourglassConfig(stacks=1, widths=(32, 64, 128, 192, 192), stem_width=32, block="plain", input_size=128),
    "m": HourglassConfig(stacks=1, widths=(64, 128, 192, 256, 256), stem_width=64, block="plain", input_size=256),
    "published": HourglassConfig(),
}


def bare_network(config: HourglassConfig, *, tensors: int) -> StackedHourglass:
    """A network on the device 'meta', without weights, for those of a file that has so many tensors.

    It takes no memory, but a config of many parts takes long to build: ValueError, before that, if it has more of them
    than the file can fill.
    """
    rows = config.stacks * (3 * (len(config.widths) - 1) + 1)
    if rows * config.blocks * BLOCK_TENSORS > tensors:
        raise ValueError(f"{config.stacks} stacks of {config.blocks} blocks, where the file has {tensors} tensors")
    with torch.device("meta"):
        return StackedHourglass(config)
