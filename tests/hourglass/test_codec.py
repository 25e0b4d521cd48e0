"""Drawing a heatmap and decoding it are inverse to each other, without bias; the losses are the ones promised."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hourglass.codec import Codec, inside, to_crop, to_heatmap

SIZE = 32


def decode(codec: Codec, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions and scores in a network's maps."""
    xy, score = codec.decode(maps.numpy())
    return torch.from_numpy(xy), torch.from_numpy(score)


def perfect_output(codec: Codec, xy: torch.Tensor) -> torch.Tensor:
    """What a network would put out that has learned the targets by heart."""
    targets = codec.targets(xy, SIZE)
    if codec.convention == "height":
        return targets
    absent = 1e-4  # the logit of "not in this crop" is 0, so a map of total mass m has logits log(p m / (1 - m))
    return (targets.clamp_min(1e-12) * (1 - absent) / absent).log()


@pytest.mark.parametrize("convention", ["probability", "height"])
@settings(max_examples=60, deadline=None)
@given(x=st.floats(2, SIZE - 3), y=st.floats(2, SIZE - 3), sigma=st.floats(0.8, 2.0))
def test_draw_then_decode_returns_the_point(convention, x, y, sigma):
    codec = Codec(convention, sigma)
    xy = torch.tensor([[[x, y]]])
    found, score = decode(codec, codec.maps(perfect_output(codec, xy)))
    assert (found - xy).abs().max() < 0.05
    assert score.item() > 0.6


@pytest.mark.parametrize("convention", ["probability", "height"])
def test_decoding_has_no_bias(convention):
    codec = Codec(convention)
    xy = torch.rand(400, 1, 2, generator=torch.Generator().manual_seed(0)) * (SIZE - 8) + 4
    found, _ = decode(codec, codec.maps(perfect_output(codec, xy)))
    assert (found - xy).mean((0, 1)).abs().max() < 0.005


def test_probability_targets_sum_to_one_or_to_nothing():
    xy = torch.tensor([[[10.3, 20.7], [0.0, 31.0], [-1.0, 5.0], [5.0, 40.0]]])
    assert torch.allclose(Codec().targets(xy, SIZE).sum((-1, -2)), torch.tensor([[1.0, 1.0, 0.0, 0.0]]), atol=1e-5)


def test_height_target_by_hand():
    target = Codec("height", 1.5).targets(torch.tensor([[[10.0, 20.0]]]), SIZE)[0, 0]
    assert target[20, 10] == 1
    assert target[20, 12].item() == pytest.approx(math.exp(-4 / (2 * 1.5**2)))
    assert target[18, 10] == target[20, 12] == target[22, 10]


def test_flat_logits_cost_the_logarithm_of_the_number_of_outcomes():
    maps = torch.zeros(1, 2, SIZE, SIZE)
    xy = torch.tensor([[[5.0, 5.0], [-9.0, 5.0]]])
    assert Codec().losses(maps, xy).tolist() == [pytest.approx([math.log(SIZE * SIZE + 1)] * 2, rel=1e-5)]


def test_the_loss_of_a_height_map_by_hand():
    maps, xy = torch.zeros(1, 1, SIZE, SIZE), torch.tensor([[[5.0, 9.0]]])
    total = sum(math.exp(-((x - 5) ** 2) - (y - 9) ** 2) for x in range(SIZE) for y in range(SIZE))
    assert Codec("height").losses(maps, xy).item() == pytest.approx(total / SIZE**2, rel=1e-5)


def test_the_loss_of_a_joint_is_its_maps_alone():
    maps = torch.randn(1, 2, SIZE, SIZE, requires_grad=True)
    xy = torch.tensor([[[5.0, 5.0], [9.0, 5.0]]])
    for codec in (Codec(), Codec("height")):
        (grad,) = torch.autograd.grad(codec.losses(maps, xy)[0, 0], maps)
        assert grad[0, 0].abs().sum() > 0
        assert grad[0, 1].abs().sum() == 0


def test_the_optimum_of_the_loss_is_the_target():
    codec, xy = Codec(), torch.tensor([[[12.4, 7.1]]])
    good, bad = perfect_output(codec, xy), perfect_output(codec, xy + 1)
    assert codec.losses(good, xy) < codec.losses(bad, xy)


def test_a_crop_without_the_joint_scores_nothing():
    maps = Codec().maps(torch.full((1, 1, SIZE, SIZE), -20.0))
    _, score = decode(Codec(), maps)
    assert score.item() < 1e-3


def test_border_and_flat_maps_stay_in_the_map():
    for maps in (torch.zeros(1, 1, SIZE, SIZE), torch.eye(SIZE)[None, None].flip(-1)):
        found, _ = decode(Codec("height"), maps)
        assert torch.isfinite(found).all()
        assert (found >= 0).all()
        assert (found <= SIZE - 1).all()


def test_crop_and_heatmap_pixels():
    # Four crop pixels 0..3 make heatmap pixel 0, whose centre is at crop 1.5.
    assert to_crop(torch.tensor([0.0, 1.0])).tolist() == [1.5, 5.5]
    points = torch.rand(10, 2) * 128
    assert torch.allclose(to_crop(to_heatmap(points)), points, atol=1e-4)
    assert inside(torch.tensor([[-0.4, 0.0], [-0.6, 0.0], [31.4, 31.4], [31.6, 0.0]]), SIZE).tolist() == [
        True, False, True, False,
    ]  # fmt: skip


def test_unknown_convention():
    with pytest.raises(ValueError, match="unknown convention 'x'; known: probability, height"):
        Codec("x")


@pytest.mark.parametrize("convention", ["probability", "height"])
@pytest.mark.parametrize("sigma", [0.8, 1.0, 1.5, 2.0])
def test_decoding_is_exact_up_to_the_border(convention, sigma):
    """A Gaussian that the border cuts is not smoothed: what is missing of it would move its peak."""
    codec = Codec(convention, sigma)
    near = torch.linspace(0.55, SIZE / 2, 160)
    for along in (near, SIZE - 1 - near):
        for other in (torch.full_like(along, 15.3), along):
            xy = torch.stack([along, other], -1)[:, None]
            found, _ = decode(codec, codec.maps(perfect_output(codec, xy)))
            assert (found - xy).abs().max() < 0.05
            swapped, _ = decode(codec, codec.maps(perfect_output(codec, xy.flip(-1))))
            assert (swapped - xy.flip(-1)).abs().max() < 0.05


@pytest.mark.parametrize("convention", ["probability", "height"])
def test_small_bumps_do_not_mislead(convention):
    """Of a blob with noise on it, the smoothed peak is nearer to the truth than the highest pixel."""
    codec, generator = Codec(convention), torch.Generator().manual_seed(0)
    xy = torch.rand(300, 1, 2, generator=generator) * (SIZE - 12) + 6
    maps = Codec(convention, 2.0).targets(xy, SIZE)
    maps = maps * (1 + 0.3 * torch.randn(maps.shape, generator=generator)).clamp_min(0)
    found, _ = decode(codec, maps)
    highest = maps.flatten(2).argmax(-1)
    pixel = torch.stack([highest % SIZE, highest // SIZE], -1)
    assert (found - xy).norm(dim=-1).mean() < 0.5 * (pixel - xy).norm(dim=-1).mean()


def test_the_score_is_of_the_map_as_it_is():
    maps = torch.zeros(1, 2, SIZE, SIZE)
    maps[0, 0, 10, 10], maps[0, 0, 10, 11], maps[0, 0, 14, 14] = 0.5, 0.2, 0.25  # the last is not near the peak
    maps[0, 1, 20, 20] = 0.3
    assert decode(Codec(), maps)[1].flatten().tolist() == pytest.approx([0.7, 0.3])
    assert decode(Codec("height"), maps)[1].flatten().tolist() == pytest.approx([0.5, 0.3])


def decoded_by_hand(heat: np.ndarray, sigma: float) -> np.ndarray:
    """Position (2,) in one map (S, S), in double precision, pixel by pixel as the description has it."""
    size = len(heat)
    rows, columns = np.mgrid[:size, :size]
    smooth = np.zeros((size, size))
    for row, column in np.ndindex(size, size):
        away = (rows - row) ** 2 + (columns - column) ** 2
        smooth[row, column] = (heat * np.exp(-away / (2 * sigma**2))).sum() / (2 * np.pi * sigma**2)
    row, column = np.unravel_index(smooth.argmax(), smooth.shape)
    if min(row, column) < 2 * sigma or max(row, column) > size - 1 - 2 * sigma:
        smooth = heat
        row, column = np.unravel_index(heat.argmax(), heat.shape)
    place = np.array([column, row], float)
    if min(row, column) < 1 or max(row, column) > size - 2:
        return place
    log = np.log(np.maximum(smooth[row - 1 : row + 2, column - 1 : column + 2], 1e-10))
    slope = np.array([log[1, 2] - log[1, 0], log[2, 1] - log[0, 1]]) / 2
    across = (log[0, 0] + log[2, 2] - log[0, 2] - log[2, 0]) / 4
    bend_x, bend_y = log[1].sum() - 3 * log[1, 1], log[:, 1].sum() - 3 * log[1, 1]
    bends = np.array([[bend_x, across], [across, bend_y]])
    return place - np.linalg.solve(bends, slope).clip(-1, 1)


@pytest.mark.parametrize("convention", ["probability", "height"])
@pytest.mark.parametrize("sigma", [1.0, 1.5])
def test_decoding_is_as_described(convention, sigma):
    """Bumpy maps, with peaks anywhere, also beyond the border."""
    codec, generator = Codec(convention, sigma), torch.Generator().manual_seed(0)
    xy = torch.rand(4, 14, 2, generator=generator) * (SIZE + 2) - 1.5
    maps = Codec(convention, 1.8).targets(xy, SIZE) + 1e-3 * torch.rand(4, 14, SIZE, SIZE, generator=generator)
    found, _ = decode(codec, maps)
    assert found.dtype == maps.dtype
    expected = [[decoded_by_hand(heat, sigma) for heat in one] for one in maps.double().numpy()]
    np.testing.assert_allclose(found.numpy(), np.array(expected), atol=1e-3)
