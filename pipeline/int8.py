"""Networks in whole numbers: 8-bit products, which recent processors compute several times as fast as float32.

Every value between two layers is rounded to one of 256 steps between the least and the greatest that it took on
examples. These ranges are measured once, after training, and kept in the weights file; weights are rounded by output
channel. The arithmetic is that of Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", section 2.
"""

from collections.abc import Iterable

import numpy as np
import onnx

from pipeline.onnx_session import load_onnxruntime, open_onnx
from pipeline.runtime import Ranges

OPERATORS = ("Conv", "Relu", "Add", "MaxPool", "Resize")  # in whole numbers


def measure_ranges(model: bytes, examples: Iterable[np.ndarray]) -> Ranges:
    """Least and greatest value, over examples (N, ...) of its input, of all that an ONNX file of one input rounds."""
    watched = onnx.load_model_from_string(model)
    names = _rounded_values(watched.graph)
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
    Raises ValueError for ranges that are not those of its values.
    """
    load_onnxruntime()
    from onnxruntime.quantization import CalibrationMethod, QuantType  # noqa: PLC0415 (quietly: loaded just before)
    from onnxruntime.quantization.calibrate import TensorsData  # noqa: PLC0415
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer  # noqa: PLC0415
    from onnxruntime.quantization.quant_utils import add_infer_metadata  # noqa: PLC0415

    opened = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(model))
    add_infer_metadata(opened)  # or the library would infer shapes once more, by way of a file
    if set(_rounded_values(opened.graph)) != set(ranges):
        raise ValueError("the ranges are those of another network")
    exact = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    quantizer = QDQQuantizer(
        opened,
        per_channel=True,
        reduce_range=bits == 7,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, exact),
        nodes_to_quantize=[],
        nodes_to_exclude=[_last_convolution(opened.graph).name],
        op_types_to_quantize=list(OPERATORS),
        extra_options={},
    )
    quantizer.quantize_model()
    content: bytes = quantizer.model.model.SerializeToString()
    return content


def _last_convolution(graph: onnx.GraphProto) -> onnx.NodeProto:
    """It stays as it is: its output are logits, whose small differences say where between two pixels a joint is."""
    return [node for node in graph.node if node.op_type == "Conv"][-1]


def _rounded_values(graph: onnx.GraphProto) -> list[str]:
    """The tensors that the operators in whole numbers take and give, constants left out, each once."""
    constant = {tensor.name for tensor in graph.initializer}
    constant |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    last = _last_convolution(graph)
    names = [
        name
        for node in graph.node
        if node.op_type in OPERATORS and node.name != last.name
        for name in (*(node.input if node.op_type == "Add" else node.input[:1]), *node.output)
    ]
    return [name for name in dict.fromkeys(names) if name not in constant]
