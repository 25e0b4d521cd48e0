"""What the machine can compute on."""

import os

import torch

from pipeline.errors import DeviceError

PRECISIONS = ("auto", "float32", "bfloat16")


def open_device(name: str) -> torch.device:
    """The device of that name ('auto', 'cpu', 'cuda', 'cuda:1', ...), tried for real.

    'auto' is a GPU when there is one. Raises DeviceError if this machine does not have the device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceError(f"device {name!r} cannot be used: {reason}; try --device cpu") from error
    return device


def trains_in_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether products are computed in bfloat16 (weights stay float32): 'auto': where there are units for it."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def share_processor() -> None:
    """Let networks on the CPU have half of the processor's cores, at least two, or the one that there is.

    The networks are small: their threads wait for each other at every layer, and one that has to wait for a core,
    because the video is decoded there or another program is busy, holds up all. Decoding and encoding take the rest.
    """
    cores = os.cpu_count() or 1
    torch.set_num_threads(max(min(cores, 2), cores // 2))
