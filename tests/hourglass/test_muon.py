"""Muon's steps are orthogonal and of the promised size, its Adam is torch's, and processes share it unnoticed."""

import numpy as np
import pytest
import torch
from torch import nn

from hourglass.model import HourglassConfig, StackedHourglass
from hourglass.muon import ADAMW_SIZE, BETAS, Muon, muon_for, orthogonal


@pytest.mark.parametrize("shape", [(2, 8, 40), (1, 40, 8), (3, 16, 16)])
def test_singular_values_come_near_one(shape):
    generator = torch.Generator().manual_seed(0)
    result = orthogonal(torch.randn(shape, generator=generator))
    values = torch.linalg.svdvals(result)
    assert result.shape == shape
    assert values.max() < 1.3
    assert values[:, : min(shape[1:]) // 2].min() > 0.6


def test_the_directions_stay():
    """The exact answer is U V^T of the singular value decomposition U S V^T."""
    matrix = torch.randn(1, 12, 60, generator=torch.Generator().manual_seed(1))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    cosine = torch.cosine_similarity(orthogonal(matrix).flatten(), (left @ right).flatten(), 0)
    assert cosine > 0.98


def test_scale_does_not_matter():
    matrix = torch.randn(1, 6, 9, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(orthogonal(matrix), orthogonal(1000 * matrix), atol=0.02, rtol=0.02)


def test_the_first_step_by_hand():
    """One matrix of rank one: its orthogonal version is the matrix over its norm, times what the quintic makes of 1."""
    weight = nn.Parameter(torch.zeros(2, 3, 1, 1))
    weight.grad = torch.outer(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 2.0, 2.0]))[..., None, None]
    optimiser = Muon([weight], [], rate=0.1, weight_decay=0.0)
    optimiser.step()
    value = 1.0
    for _ in range(5):
        value = 3.4445 * value - 4.7750 * value**3 + 2.0315 * value**5
    direction = weight.grad[..., 0, 0] / 15
    expected = -0.1 * ADAMW_SIZE * np.sqrt(3) * value * direction
    torch.testing.assert_close(weight.detach()[..., 0, 0], expected, rtol=0.02, atol=1e-4)


def test_what_is_no_matrix_is_left_to_adam():
    ours, theirs = nn.Parameter(torch.tensor([1.0, -2.0])), nn.Parameter(torch.tensor([1.0, -2.0]))
    mine = Muon([], [ours], rate=0.01, weight_decay=0.1)
    reference = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1, betas=BETAS)
    for step in range(5):
        gradient = torch.tensor([0.3 * step, -1.0 + step])
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        mine.step()
        reference.step()
    torch.testing.assert_close(ours, theirs)


def test_weights_decay_without_a_gradient():
    weight = nn.Parameter(torch.ones(2, 2, 1, 1))
    weight.grad = torch.zeros_like(weight)
    Muon([weight], [], rate=0.5, weight_decay=0.1).step()
    torch.testing.assert_close(weight.detach(), torch.full((2, 2, 1, 1), 0.95))


def test_the_first_convolution_and_the_scores_are_no_matrices():
    model = StackedHourglass(HourglassConfig(joints=3, stacks=2, widths=(8, 8), stem_width=4, input_size=32))
    optimiser = muon_for(model, rate=1e-3, weight_decay=0)
    matrices, others = (group["params"] for group in optimiser.param_groups)
    assert {parameter.ndim for parameter in matrices} == {4}
    convolutions = [p for p in others if p.ndim == 4]
    assert sorted(tuple(p.shape) for p in convolutions) == [(3, 8, 1, 1), (3, 8, 1, 1), (4, 3, 7, 7)]
    assert len(matrices) + len(others) == len(list(model.parameters()))


def test_its_state_survives_being_written_down():
    def trained(optimiser: Muon, weight: nn.Parameter, steps: range) -> None:
        for step in steps:
            weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(step))
            optimiser.step()

    whole, halves = (nn.Parameter(torch.ones(4, 4, 3, 3)) for _ in range(2))
    trained(Muon([whole], [], rate=0.1, weight_decay=0.1), whole, range(6))
    first = Muon([halves], [], rate=0.1, weight_decay=0.1)
    trained(first, halves, range(3))
    second = Muon([halves], [], rate=0.1, weight_decay=0.1)
    second.load_state_dict(first.state_dict())
    trained(second, halves, range(3, 6))
    assert torch.equal(whole, halves)
