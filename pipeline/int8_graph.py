"""ONNX graphs in whole numbers: every value that an operator takes or gives is rounded, to whole numbers and back.
Between two such pairs ONNX Runtime computes an operator in whole numbers.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

MOVERS = ("MaxPool", "Resize")  # operators that give values of those that they take
TINY = float(np.finfo(np.float32).tiny)
OPERATORS = ("Conv", "Relu", "Add", *MOVERS)  # in whole numbers


def round_graph(graph: "onnx.GraphProto", ranges: Mapping[str, tuple[float, float]], *, largest: int) -> None:
    """Change a graph so that all operators of `OPERATORS` but the last convolution compute in whole numbers.

    `ranges` has the least and the greatest value of each of its `rounded_values`; `largest` is the greatest whole
    number of a weight.
    """
    _Rounding(graph, ranges, largest=largest).apply()


def rounded_values(graph: "onnx.GraphProto") -> list[str]:
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


def _last_convolution(graph: "onnx.GraphProto") -> "onnx.NodeProto":
    """It stays as it is: its output are logits, whose small differences say where between two pixels a joint is."""
    return [node for node in graph.node if node.op_type == "Conv"][-1]


@dataclass(frozen=True)
class _Steps:
    """What whole numbers stand for: `size` times their distance from `zero`."""

    size: np.float32
    zero: np.uint8

    @classmethod
    def of(cls, low: float, high: float) -> "_Steps":
        """256 steps from the least to the greatest value, of which one is 0."""
        low, high = min(low, 0.0), max(high, 0.0)
        size = np.float32((high - low) / 255) or np.float32(1.0)  # where all values are 0
        return cls(size, np.uint8(np.rint(-low / size)))


@dataclass(frozen=True)
class _Pixels:
    """How a graph makes a value of pixels of 8 bits, where it does so by one scale and shift for all: they are that
    value in whole numbers already.

    steps     what a pixel stands for
    moves     nodes that change where pixels are, first to last
    computed  outputs of the nodes that compute, for which there is no need then
    """

    steps: _Steps
    moves: "list[onnx.NodeProto]"
    computed: set[str]

    @classmethod
    def of(cls, graph: "onnx.GraphProto", name: str) -> "_Pixels | None":
        """None if the value of this name is made in another way."""
        import onnx  # noqa: PLC0415

        makers = {node.output[0]: node for node in graph.node}
        takers = Counter(name for node in graph.node for name in node.input)
        pixels, computed = graph.input[0], set()
        moves: list[onnx.NodeProto] = []
        scale, shift = 1.0, 0.0
        while name != pixels.name:
            node = makers.get(name)
            if node is None or takers[name] != 1:
                return None
            if node.op_type in ("Div", "Sub"):
                number = _one_number(makers.get(node.input[1]))
                if number is None:
                    return None
                scale, shift = (scale / number, shift) if node.op_type == "Div" else (scale, shift - scale * number)
            elif node.op_type not in ("Cast", "Transpose", "Gather"):
                return None
            if node.op_type in ("Transpose", "Gather"):
                moves.insert(0, node)
            else:
                computed.add(name)
            name = node.input[0]
        zero = -shift / scale
        if pixels.type.tensor_type.elem_type != onnx.TensorProto.UINT8 or scale <= 0 or not 0 <= zero <= 255:
            return None
        return cls(_Steps(np.float32(scale), np.uint8(np.rint(zero))), moves, computed)


def _one_number(node: "onnx.NodeProto | None") -> float | None:
    """The number that a constant consists of, not 0; None if it is none or consists of several."""
    import onnx  # noqa: PLC0415

    if node is None or node.op_type != "Constant":
        return None
    values = np.unique(onnx.numpy_helper.to_array(node.attribute[0].t))
    return float(values[0]) if len(values) == 1 and values[0] != 0 else None


class _Rounding:
    """Rounds the values of a graph, as `round_graph` says."""

    def __init__(self, graph: "onnx.GraphProto", ranges: Mapping[str, tuple[float, float]], *, largest: int) -> None:
        self._graph, self._largest = graph, largest
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:  # weights that are equal are there once, and have other names by this operator
            if node.op_type == "Identity" and node.input[0] in self._weights:
                self._weights[node.output[0]] = self._weights[node.input[0]]
        self._nodes: list[onnx.NodeProto] = []
        last = _last_convolution(graph).name
        self._whole = [node for node in graph.node if node.op_type in OPERATORS and node.name != last]
        self._drop_rectifiers()
        self._steps: dict[str, _Steps] = {}
        for node in self._whole:
            for name in (*node.input, *node.output):
                if name in ranges:
                    self._steps[name] = self._steps.get(name) or _Steps.of(*ranges[name])
            if node.op_type in MOVERS:
                self._steps[node.output[0]] = self._steps[node.input[0]]
        self._pixels = _Pixels.of(graph, self._whole[0].input[0])
        if self._pixels is not None:
            self._steps[self._whole[0].input[0]] = self._pixels.steps

    def apply(self) -> None:
        """Change the graph."""
        whole = {node.name for node in self._whole}
        nodes = list(self._graph.node)
        if self._pixels is not None:
            nodes = self._take(self._pixels, nodes)
        for given in self._graph.input:
            self._round(given.name)
        for node in nodes:
            if node.op_type == "Conv" and node.name in whole:
                self._round_weights(node)
            for place, name in enumerate(node.input):
                node.input[place] = _again(name) if name in self._steps else name
            self._nodes.append(node)
            for name in node.output:
                self._round(name)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input}
        unused = [tensor for tensor in self._graph.initializer if tensor.name not in used]
        for tensor in unused:
            self._graph.initializer.remove(tensor)

    def _drop_rectifiers(self) -> None:
        """Leave out the rectifiers that alone take a sum's or a convolution's output: rounding cuts that off at 0."""
        takers = Counter(name for node in self._graph.node for name in node.input)
        makers = {node.output[0]: node for node in self._whole if node.op_type in ("Conv", "Add")}
        for node in list(self._whole):
            maker = makers.get(node.input[0])
            if node.op_type == "Relu" and maker is not None and takers[node.input[0]] == 1:
                maker.output[0] = node.output[0]
                self._whole.remove(node)
                self._graph.node.remove(node)

    def _take(self, pixels: "_Pixels", nodes: "list[onnx.NodeProto]") -> "list[onnx.NodeProto]":
        """Let the first convolution have the pixels as they are. The nodes that are still to be looked at."""
        pixel = self._graph.input[0].name
        for node in pixels.moves:
            node.input[0], pixel = pixel, node.output[0]
        constants = [node for node in nodes if node.op_type == "Constant"]
        self._nodes += [*constants, *pixels.moves]
        self._add("DequantizeLinear", [pixel, *self._size(self._whole[0].input[0])], _again(self._whole[0].input[0]))
        done = {node.output[0] for node in self._nodes} | pixels.computed
        return [node for node in nodes if node.output[0] not in done]

    def _size(self, name: str) -> list[str]:
        """The constants for a value's steps."""
        steps = self._steps[name]
        return [self._constant(f"{name}_step", steps.size), self._constant(f"{name}_zero", steps.zero)]

    def _round(self, name: str) -> None:
        """Round a value, if it is one that is rounded."""
        if name not in self._steps:
            return
        size = self._size(name)
        self._add("QuantizeLinear", [name, *size], f"{name}_whole")
        self._add("DequantizeLinear", [f"{name}_whole", *size], _again(name))

    def _round_weights(self, node: "onnx.NodeProto") -> None:
        """Round a convolution's weights, by output channel, and its bias, in the steps of its sums."""
        from onnx.numpy_helper import to_array  # noqa: PLC0415

        weight, bias = (to_array(self._weights[name]).astype(np.float64) for name in node.input[1:])
        step = np.float64(self._steps[node.input[0]].size)
        # Sums of 32 bits hold the bias, also where a channel's weights are next to nothing beside it.
        size = np.maximum(np.abs(weight).max(axis=(1, 2, 3)) / self._largest, np.abs(bias) / (step * 2**30))
        size = np.maximum(size, TINY / min(step, 1.0))
        whole = np.rint(weight / size[:, None, None, None])
        node.input[1] = self._constants(f"{node.name}_weight", whole.astype(np.int8), size)
        node.input[2] = self._constants(
            f"{node.name}_bias", np.rint(bias / (size * step)).astype(np.int32), size * step
        )

    def _constants(self, name: str, whole: np.ndarray, size: np.ndarray) -> str:
        """A constant in whole numbers, along whose first axis the steps' size differs; its name when turned back."""
        given = [self._constant(f"{name}_whole", whole), self._constant(f"{name}_step", size.astype(np.float32))]
        zero = self._constant(f"{name}_zero", np.zeros(len(size), whole.dtype))
        return self._add("DequantizeLinear", [*given, zero], _again(name), axis=0)

    def _constant(self, name: str, value: np.ndarray | np.generic) -> str:
        from onnx.numpy_helper import from_array  # noqa: PLC0415

        self._graph.initializer.append(from_array(np.asarray(value), name))
        return name

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx.helper import make_node  # noqa: PLC0415

        self._nodes.append(make_node(operator, inputs, [output], name=output, **attributes))
        return output


def _again(name: str) -> str:
    """The name of a value after it was rounded."""
    return f"{name}_rounded"
