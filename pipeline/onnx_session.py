"""ONNX files made of PyTorch modules, and ONNX Runtime, which computes them: quietly, and telling nobody."""

import io
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

OPSET = 17  # version of ONNX's operators: of 2022, so that older programs read the files too

ERRORS = 3  # of ONNX Runtime's levels of messages: no warnings


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
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads wait for each other in a loop while the network is computed, as its layers take less time than to wake
    # them, but not between two calls: that would keep the decoder and the encoder from the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def load_onnxruntime() -> ModuleType:
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
