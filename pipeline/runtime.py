"""What a trained network runs on: PyTorch, or ONNX Runtime, which needs less time on a processor.

A network is described once, as a PyTorch module; ONNX Runtime gets it as an ONNX file that is made in memory when the
program starts.

    torch  PyTorch: float32, on a CUDA GPU with products in half precision
    onnx   ONNX Runtime, float32: the same numbers in about half the time
    int8   ONNX Runtime, 8-bit products (`pipeline.int8`): a third of that again, joints off by a fraction of a pixel
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import DeviceError
from pipeline.int8 import Ranges, check_ranges, multiplies_int8, rounded
from pipeline.onnx_session import open_onnx, to_onnx

RUNTIMES = ("auto", "torch", "onnx", "int8")

Network = Callable[[Tensor], Tensor]


def choose_runtime(name: str, device: torch.device, *, int8: bool = False) -> str:
    """'torch', 'onnx' or 'int8': 'auto' is the quickest on the CPU and PyTorch elsewhere.

    `int8`: whether the ranges of the network's values are known. Raises DeviceError if the runtime does not know the
    device.
    """
    if name == "auto":
        on_cpu = "int8" if int8 and multiplies_int8() else "onnx"
        return on_cpu if device.type == "cpu" else "torch"
    if name != "torch" and device.type != "cpu":
        raise DeviceError(f"runtime {name!r} does not run on {str(device)!r}; use --runtime torch or --device cpu")
    return name


def runtime_of(path: Path, ranges: Ranges, name: str, device: torch.device) -> str:
    """`choose_runtime` for the weights file at `path`, which holds these ranges; CheckpointError if it lacks some."""
    runtime = choose_runtime(name, device, int8=bool(ranges))
    check_ranges(runtime, ranges, path)
    return runtime


def compile_network(
    module: nn.Module, example: Tensor, *, device: torch.device, runtime: str = "auto", ranges: Ranges | None = None
) -> Network:
    """A module in evaluation mode, one tensor (N, ...) in and one out, as a function that runs it on a device.

    `example` is an input of at least two rows; inputs may have any number, each otherwise like it. The function takes
    tensors of any device, gives its own, and keeps nothing for gradients. On the CPU it uses as many threads as
    PyTorch was told to when this was called. Raises DeviceError like `choose_runtime`, CheckpointError for ranges that
    are not the module's.
    """
    runtime = choose_runtime(runtime, device, int8=bool(ranges))
    if runtime == "torch":
        return partial(_run_torch, module, device)
    model = as_onnx(module, example)
    if runtime == "int8":
        model = rounded(model, ranges or {}, bits=8 if multiplies_int8() else 7)
    return partial(_run_onnx, open_onnx(model))


def as_onnx(module: nn.Module, example: Tensor) -> bytes:
    """The ONNX file of a module for `compile_network`, whose input is named 'input'."""
    return to_onnx(module, {"input": example}, output="output")


class InParts:
    """A network that takes at most `at_once` rows of its input at a time.

    Where the device's memory does not hold what that needs, it takes half as many from then on: other programs may use
    the device too. Raises DeviceError if there is no room for one row.
    """

    def __init__(self, network: Network, at_once: int) -> None:
        self._network, self.at_once = network, at_once

    def __call__(self, inputs: Tensor) -> Tensor:
        """The network's output (N, ...) for inputs (N, ...), N at least 1."""
        outputs: list[Tensor] = []
        start = 0
        while start < len(inputs):
            some = inputs[start : start + self.at_once]
            output = self._attempt(some)
            if output is None:
                self._take_less(than=len(some))
                continue
            outputs.append(output)
            start += len(output)
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _attempt(self, inputs: Tensor) -> Tensor | None:
        """The output, or None if memory was lacking; what the attempt had taken is free again after the return."""
        try:
            return self._network(inputs)
        except torch.OutOfMemoryError:
            return None

    def _take_less(self, *, than: int) -> None:
        if than == 1:
            raise DeviceError("the device's memory is full; close other programs that use it, or try --device cpu")
        self.at_once = than // 2
        torch.cuda.empty_cache()  # nothing without a GPU


@torch.inference_mode()
def _run_torch(module: nn.Module, device: torch.device, inputs: Tensor) -> Tensor:
    with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
        return module(inputs.to(device, non_blocking=True))


def _run_onnx(session: Any, inputs: Tensor) -> Tensor:
    return torch.from_numpy(session.run(None, {"input": inputs.cpu().contiguous().numpy()})[0])
