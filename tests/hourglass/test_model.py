"""The network has the published layout, and every configuration the shapes it promises."""

import pytest
import torch

from hourglass.model import PRESETS, STRIDE, HourglassConfig, StackedHourglass


def parameters(config: HourglassConfig) -> int:
    return sum(p.numel() for p in StackedHourglass(config).parameters())


# Counted by hand from figure 4 of the paper: a 256-channel block has 214,528 parameters, a stack 14 of them, ...
@pytest.mark.parametrize(("stacks", "millions"), [(2, 6.73), (8, 25.59)])
def test_published_layout_has_the_published_size(stacks, millions):
    assert parameters(HourglassConfig(joints=16, stacks=stacks)) / 1e6 == pytest.approx(millions, abs=0.01)


def test_bottleneck_block_by_hand():
    block = StackedHourglass(HourglassConfig(stacks=1)).hourglasses[0].skip
    norms = 2 * (256 + 128 + 128)
    convolutions = (256 * 128 + 128) + (9 * 128 * 128 + 128) + (128 * 256 + 256)
    assert sum(p.numel() for p in block.parameters()) == norms + convolutions


@pytest.mark.parametrize(
    "config",
    [
        HourglassConfig(joints=5, stacks=3, widths=(8, 8, 8), stem_width=4, input_size=32),
        HourglassConfig(joints=2, stacks=1, widths=(8, 12, 16, 20), stem_width=4, block="plain", input_size=64),
        PRESETS["s"],
    ],
)
def test_one_map_per_stack_at_a_quarter_of_the_size(config):
    model = StackedHourglass(config).eval()
    maps = model(torch.zeros(2, 3, config.input_size, config.input_size))
    assert [tuple(m.shape) for m in maps] == [
        (2, config.joints, config.input_size // STRIDE, config.input_size // STRIDE)
    ] * config.stacks


def test_every_stack_is_supervised_and_feeds_the_next():
    torch.manual_seed(0)
    model = StackedHourglass(HourglassConfig(joints=2, stacks=2, widths=(8, 8, 8), stem_width=4, input_size=32))
    first, second = model(torch.randn(2, 3, 32, 32))
    second.square().sum().backward()
    assert model.merge_scores[0].weight.grad.abs().sum() > 0  # re-injected heatmaps
    assert model.scores[0].weight.grad.abs().sum() > 0
    assert not torch.equal(first, second)


def test_hourglass_goes_down_to_the_bottom():
    model = StackedHourglass(HourglassConfig(stacks=1))
    sizes = []
    inner = model.hourglasses[0]
    while isinstance(inner, type(model.hourglasses[0])):
        inner.down.register_forward_hook(lambda _m, _i, out: sizes.append(out.shape[-1]))
        inner = inner.inner
    with torch.inference_mode():
        model.eval()(torch.zeros(1, 3, 256, 256))
    assert sizes == [32, 16, 8, 4]


def test_impossible_configurations_are_refused():
    with pytest.raises(ValueError, match="unknown block 'nope'; known: bottleneck, plain"):
        HourglassConfig(block="nope")
    with pytest.raises(ValueError, match="100 cannot be halved 4 times"):
        HourglassConfig(input_size=100)
