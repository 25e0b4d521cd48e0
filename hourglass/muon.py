"""Muon (Jordan et al. 2024): momentum, whose matrices are made orthogonal before each step.

The weights of a convolution (out, in, k, k) are taken as a matrix (out, in * k * k). All singular values of its update
are near one, so directions that few samples ask for learn as fast as common ones. Scaled to the usual size of AdamW's
update (Liu et al. 2025, "Muon is Scalable for LLM Training", equation 4) it takes the same rates and decay.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of Jordan's quintic: quick to come near 1 rather than exact
ITERATIONS = 5
ADAMW_SIZE = 0.2  # usual root mean square of AdamW's update at rate 1
BETAS = (0.9, 0.99)  # of Adam, for what is no matrix


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices (N, R, C) with their singular values brought near 1 (0.7 to 1.2), by Newton and Schulz's iteration.

    In bfloat16: what it loses is less than what the iteration leaves.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = (x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)).bfloat16()
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Muon for the convolutions between the first and the last, Adam with decoupled decay for everything else.

    Under torch.distributed every process must have the same gradients; they share the work of `orthogonal`.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        *,
        rate: float,
        weight_decay: float,
        momentum: float = 0.95,
    ) -> None:
        groups = [{"params": list(matrices), "muon": True}, {"params": list(others), "muon": False}]
        super().__init__(groups, {"lr": rate, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update from the gradients. A `closure` is not supported."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
            if group["params"]:
                (self._step_matrices if group["muon"] else self._step_others)(group)

    def _step_matrices(self, group: dict[str, Any]) -> None:
        parameters: list[nn.Parameter] = group["params"]
        updates = [self._nesterov(parameter, group["momentum"]) for parameter in parameters]
        for parameter, update in zip(parameters, _all_orthogonal(updates), strict=True):
            size = ADAMW_SIZE * max(update.shape) ** 0.5
            parameter.add_(update.view(parameter.shape), alpha=-group["lr"] * size)

    def _nesterov(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """The gradient looked at from where the momentum leads, as a matrix."""
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(state["momentum"], momentum).flatten(1)

    def _step_others(self, group: dict[str, Any]) -> None:
        first_beta, second_beta = BETAS
        for parameter in group["params"]:
            state = self.state[parameter]
            if not state:
                state.update(step=0, first=torch.zeros_like(parameter), second=torch.zeros_like(parameter))
            state["step"] += 1
            state["first"].lerp_(parameter.grad, 1 - first_beta)
            state["second"].lerp_(parameter.grad.square(), 1 - second_beta)
            spread = (state["second"] / (1 - second_beta ** state["step"])).sqrt().add_(1e-8)
            rate = group["lr"] / (1 - first_beta ** state["step"])
            parameter.addcdiv_(state["first"], spread, value=-rate)


def _all_orthogonal(matrices: list[Tensor]) -> list[Tensor]:
    """`orthogonal` of each; those of one shape together, and each process takes its share."""
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    in_order = sorted(range(len(matrices)), key=lambda index: matrices[index].shape)
    mine: dict[torch.Size, list[int]] = defaultdict(list)
    for index in in_order[rank::world]:
        mine[matrices[index].shape].append(index)
    results = torch.zeros(sum(matrix.numel() for matrix in matrices), device=matrices[0].device)
    parts = results.split([matrix.numel() for matrix in matrices])
    for indices in mine.values():
        for index, result in zip(indices, orthogonal(torch.stack([matrices[i] for i in indices])), strict=True):
            parts[index].copy_(result.flatten())
    if world > 1:
        dist.all_reduce(results)
    return [part.view(matrix.shape) for part, matrix in zip(parts, matrices, strict=True)]


def muon_for(model: nn.Module, *, rate: float, weight_decay: float) -> Muon:
    """The optimiser for a network of convolutions: its first and its score convolutions are left to Adam."""
    names = [name for name, parameter in model.named_parameters() if parameter.ndim == 4]
    matrices = {name for name in names if name != "stem.conv.weight" and not name.startswith("scores.")}
    chosen = [parameter for name, parameter in model.named_parameters() if name in matrices]
    others = [parameter for name, parameter in model.named_parameters() if name not in matrices]
    return Muon(chosen, others, rate=rate, weight_decay=weight_decay)
