"""Networks in whole numbers: 8-bit products, which recent processors compute several times as fast as float32.

Every value between two layers is rounded to one of 256 steps between the least and the greatest that it took on
examples. These ranges are measured once, after training, and kept in the weights file; weights are rounded by output
channel. The arithmetic is that of Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", section 2.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.errors import CheckpointError
from pipeline.int8_graph import round_graph, rounded_values
from pipeline.onnx_session import open_onnx

Ranges = Mapping[str, tuple[float, float]]  # tensor of a network's ONNX graph -> its least and greatest value
KEY = "int8"  # where a weights file's `meta` keeps the ranges
LARGEST = float(np.finfo(np.float32).max)  # value that a network can have

UNITS = ("avx512_vnni", "avx_vnni")  # of a processor: sums of four 8-bit products that cannot overflow


def multiplies_int8() -> bool:
    """Whether this processor has units that make 8-bit products worth their loss. Only x86 ones are known here."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(unit, False) for unit in UNITS)


def read_ranges(meta: Mapping[str, Any]) -> Ranges:
    """The ranges that the `meta` of a weights file holds, empty if it has none; ValueError if they are no ranges."""
    found = meta.get(KEY, {})
    try:
        ranges = {str(name): (float(low), float(high)) for name, (low, high) in dict(found).items()}
    except (TypeError, ValueError) as error:
        raise ValueError(f"{KEY}: {error}") from error
    if not all(-LARGEST <= low <= high <= LARGEST for low, high in ranges.values()):
        raise ValueError(f"{KEY}: a range that is none")
    return ranges


def check_ranges(runtime: str, ranges: Ranges, path: Path) -> None:
    """Raise CheckpointError if the runtime needs ranges, which the weights file at `path` lacks."""
    if runtime == "int8" and not ranges:
        raise CheckpointError(f"{path}: lacks what int8 needs; add it with `posecli quantise`, or use --runtime onnx")


def measure_ranges(model: bytes, examples: Iterable[np.ndarray]) -> Ranges:
    """Least and greatest value, over examples (N, ...) of its input, of all that an ONNX file of one input rounds."""
    import onnx  # noqa: PLC0415 (it takes half a second)

    watched = onnx.load_model_from_string(model)
    names = rounded_values(watched.graph)
    watched.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    session, given = open_onnx(watched.SerializeToString()), watched.graph.input[0].name
    extremes: list[np.ndarray] = []
    for some in examples:
        values = session.run(names, {given: some})
        extremes.append(np.array([(value.min(), value.max()) for value in values]))
    low, high = np.min(extremes, axis=0)[:, 0], np.max(extremes, axis=0)[:, 1]
    return dict(zip(names, zip(low.tolist(), high.tolist(), strict=True), strict=True))


def rounded(model: bytes, ranges: Ranges, *, bits: int = 8) -> bytes:
    """An ONNX file in which all but the last convolution computes in whole numbers, weights of so many bits (7 or 8).

    With 7, sums of two products fit into 16 bits, as processors without units of their own for them add them up.
    Raises CheckpointError for ranges that are not those of its values.
    """
    import onnx  # noqa: PLC0415 (it takes half a second)

    opened = onnx.load_model_from_string(model)
    if set(rounded_values(opened.graph)) != set(ranges):
        reason = "the ranges for int8 are those of another network"
        raise CheckpointError(f"{reason}; measure them with `posecli quantise`, or use --runtime onnx")
    round_graph(opened.graph, ranges, largest=127 if bits == 8 else 64)
    content: bytes = opened.SerializeToString()
    return content
