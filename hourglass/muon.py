"""Muon (Jordan et al. 2024): momentum, whose matrices are made orthogonal before each step.

The weights of a convolution (out, in, k, k) are taken as a matrix (out, in * k * k). All singular values of its update
are near one, so directions that few samples ask for learn as fast as common ones. Scaled to the usual size of AdamW's
update (Liu et al. 2025, "Muon is Scalable for LLM Training", equation 4) it takes the same rates and decay.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
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
            if group["params"]:
                torch._foreach_mul_(group["params"], 1 - group["lr"] * group["weight_decay"])
                (self._step_matrices if group["muon"] else self._step_others)(group)

    def _step_matrices(self, group: dict[str, Any]) -> None:
        parameters: list[Tensor] = group["params"]
        updates = _all_orthogonal([update.flatten(1) for update in self._nesterov(parameters, group["momentum"])])
        sizes = [ADAMW_SIZE * max(update.shape) ** 0.5 for update in updates]
        torch._foreach_mul_(updates, [-group["lr"] * size for size in sizes])
        torch._foreach_add_(parameters, [u.view(p.shape) for u, p in zip(updates, parameters, strict=True)])

    def _nesterov(self, parameters: list[Tensor], momentum: float) -> Sequence[Tensor]:
        """The gradients looked at from where the momentum leads."""
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        gradients = _gradients(parameters)
        momenta = [self.state[parameter]["momentum"] for parameter in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - momentum)
        return torch._foreach_lerp(gradients, momenta, momentum)

    def _step_others(self, group: dict[str, Any]) -> None:
        first_beta, second_beta = BETAS
        parameters: list[Tensor] = group["params"]
        for parameter in parameters:
            if not self.state[parameter]:
                zeros = {name: torch.zeros_like(parameter) for name in ("first", "second")}
                self.state[parameter].update(step=0, **zeros)
            self.state[parameter]["step"] += 1
        step = self.state[parameters[0]]["step"]
        gradients = _gradients(parameters)
        first, second = ([self.state[parameter][name] for parameter in parameters] for name in ("first", "second"))
        torch._foreach_lerp_(first, gradients, 1 - first_beta)
        torch._foreach_lerp_(second, torch._foreach_mul(gradients, gradients), 1 - second_beta)
        spread = torch._foreach_sqrt(torch._foreach_div(second, 1 - second_beta**step))
        torch._foreach_add_(spread, 1e-8)
        torch._foreach_addcdiv_(parameters, first, spread, -group["lr"] / (1 - first_beta**step))


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


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
