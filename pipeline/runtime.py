"""What a trained network runs on: PyTorch, or ONNX Runtime, which needs about half the time on a processor.

A network is described once, as a PyTorch module; ONNX Runtime gets it as an ONNX file that is made in memory when the
program starts. Both compute in float32.
"""

import io
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import DeviceError

RUNTIMES = ("auto", "torch", "onnx")
OPSET = 17  # version of ONNX's operators: of 2022, so that older programs read the files too

ERRORS = 3  # of ONNX Runtime's levels of messages: no warnings

Network = Callable[[Tensor], Tensor]


def choose_runtime(name: str, device: torch.device) -> str:
    """'torch' or 'onnx': 'auto' is ONNX Runtime on the CPU and PyTorch elsewhere.

    Raises DeviceError if the runtime does not know the device.
    """
    if name == "auto":
        return "onnx" if device.type == "cpu" else "torch"
    if name == "onnx" and device.type != "cpu":
        raise DeviceError(f"runtime 'onnx' does not run on {str(device)!r}; use --runtime torch or --device cpu")
    return name


def compile_network(module: nn.Module, example: Tensor, *, device: torch.device, runtime: str = "auto") -> Network:
    """A module in evaluation mode, one tensor (N, ...) in and one out, as a function that runs it on a device.

    `example` is an input of at least two rows; inputs may have any number, each otherwise like it. The function takes
    tensors of any device, gives its own, and keeps nothing for gradients. On the CPU it uses as many threads as
    PyTorch was told to when this was called. Raises DeviceError like `choose_runtime`.
    """
    if choose_runtime(runtime, device) == "torch":
        return partial(_run_torch, module, device)
    session = open_onnx(to_onnx(module, {"input": example}, output="output"))
    return partial(_run_onnx, session)


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
    return module(inputs.to(device))


def _run_onnx(session: Any, inputs: Tensor) -> Tensor:
    return torch.from_numpy(session.run(None, {"input": inputs.cpu().contiguous().numpy()})[0])


def to_onnx(module: nn.Module, examples: Mapping[str, Tensor], *, output: str) -> bytes:
    """An ONNX file of a module on the CPU that gives one tensor; its inputs and their names are those of `examples`.

    The first axis of every input, of length 2 or more in the examples, and of the output is the batch, of any length.
    """
    if any(part.training for part in module.modules()):
        raise ValueError("a network is handed over in evaluation mode, in all its parts")
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # This is the older exporter, which traces modules, and says that it is. Its successor needs another package
        # and many times as long, more than a short clip takes.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(examples.values()),
            file,  # type: ignore[arg-type]  # this one takes streams
            dynamo=False,
            opset_version=OPSET,
            input_names=list(examples),
            output_names=[output],
            dynamic_axes={name: {0: "batch"} for name in (*examples, output)},
        )
    return file.getvalue()


def open_onnx(model: bytes) -> Any:
    """A session of ONNX Runtime for an ONNX file, on the CPU, with as many threads as PyTorch."""
    onnxruntime = _onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that wait in a loop would keep the decoder and the encoder from the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _onnxruntime() -> ModuleType:
    """The library, which is loaded when it is first needed, without its remarks on graphics cards.

    From 1.32 on it tells its makers about its use, on Linux too, unless this variable is there when it is loaded.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    with _unheard():
        import onnxruntime  # noqa: PLC0415
    onnxruntime.disable_telemetry_events()  # the way of earlier versions, on Windows
    onnxruntime.set_default_logger_severity(ERRORS)
    return onnxruntime


@contextmanager
def _unheard() -> Iterator[None]:
    """Drop what libraries write to the terminal past Python's back; errors are raised as ever."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:  # noqa: PTH123
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
