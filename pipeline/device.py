"""What the machine can compute on."""

import torch

from pipeline.errors import DeviceError


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
