"""An ONNX graph in the making: tensors by name, and the few operators that programs are made of.

Only operators of the standard's own set, at version OPSET, without control flow. Numbers are int64 throughout: the
products of 8-bit weights as well, because on x86-64 without VNNI onnxruntime's 8-bit ones may saturate on their way
(github.com/microsoft/onnxruntime/pull/12088).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bispik.backends.onnx.library import import_onnx
from bispik.models.errors import BispikError

OPSET = 18
"""Version of the operator set."""

IR_VERSION = 8
"""Version of the file format: the one that came with OPSET, which every later onnxruntime reads."""

BYTES_MAX = (1 << 31) - 1
"""Protocol buffers, in which ONNX files are written, hold no more."""

Shape = Sequence[int | str]
"""Numbers, or names of sizes that are chosen when the graph runs."""

NEXT = ".next"
"""What an output is called that is the input of the same name of the next run."""


class Graph:
    """Collects inputs, constants, operators and outputs; tensors are known by their names."""

    def __init__(self) -> None:
        self.onnx = import_onnx()
        self.section = ""
        """The node of the program that is being written: names the operators' own results."""
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._names: set[str] = set()

    def input(self, name: str, dtype: npt.DTypeLike, shape: Shape, meaning: str) -> str:
        """Declare an input of the graph."""
        self._inputs.append(self._value(self._new(name), dtype, shape, meaning))
        return name

    def state(self, name: str, start: npt.NDArray[np.int64], meaning: str) -> str:
        """Declare an input that has the value ``start`` where it is left out."""
        self.input(name, start.dtype, start.shape, meaning)
        self._constants[name] = self.onnx.numpy_helper.from_array(start, name)
        return name

    def output(self, name: str, value: str, dtype: npt.DTypeLike, shape: Shape, meaning: str) -> None:
        """Declare that a tensor is given to whoever runs the graph, under a name of its own."""
        self._nodes.append(self.onnx.helper.make_node("Identity", [value], [self._new(name)], name=name))
        self._outputs.append(self._value(name, dtype, shape, meaning))

    def constant(self, name: str, values: npt.ArrayLike, dtype: npt.DTypeLike = np.int64) -> str:
        """Store numbers under a name of their own."""
        array = np.ascontiguousarray(np.asarray(values, dtype)).reshape(np.shape(values))
        self._constants[self._new(name)] = self.onnx.numpy_helper.from_array(array, name)
        return name

    def number(self, value: int) -> str:
        """Return a whole number, which all that use it share."""
        name = f"number {value}"
        return name if name in self._names else self.constant(name, value)

    def numbers(self, values: Sequence[int]) -> str:
        """Return a list of whole numbers, as shapes and axes are given."""
        name = f"numbers {' '.join(map(str, values))}"
        return name if name in self._names else self.constant(name, values)

    def places(self, count: int) -> str:
        """Return the whole numbers from 0 to ``count`` - 1."""
        name = f"{count} places"
        return name if name in self._names else self.constant(name, np.arange(count))

    def run(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Apply an operator with one result."""
        return self._apply(operator, inputs, 1, attributes)[0]

    def split(self, value: str, parts: int) -> list[str]:
        """Cut a tensor along its first axis, whose size is ``parts``, into tensors of size 1 there."""
        return [value] if parts == 1 else self._apply("Split", (value, self.numbers([1] * parts)), parts, {"axis": 0})

    def concat(self, values: Sequence[str], axis: int = 0) -> str:
        """Put tensors one behind the other along an axis."""
        return values[0] if len(values) == 1 else self.run("Concat", *values, axis=axis)

    def total(self, values: Sequence[str]) -> str:
        """Add tensors."""
        result = values[0]
        for value in values[1:]:
            result = self.run("Add", result, value)
        return result

    def row_sums(self, value: str, size: int) -> str:
        """Add up each row of (rows, size): (rows, 1)."""
        name = f"{size} ones"
        ones = name if name in self._names else self.constant(name, np.ones((size, 1)))
        return self.run("MatMul", value, ones)

    def shifted(self, value: str, bits: int) -> str:
        """Multiply by 2^bits."""
        return self.run("Mul", value, self.number(1 << bits)) if bits else value

    def cast(self, value: str, dtype: npt.DTypeLike) -> str:
        """Turn numbers into numbers of another type."""
        return self.run("Cast", value, to=self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def whole(self, condition: str) -> str:
        """Turn true into 1 and false into 0."""
        return self.cast(condition, np.int64)

    def reshaped(self, value: str, shape: Sequence[int]) -> str:
        """Arrange the numbers in another shape."""
        return self.run("Reshape", value, self.numbers(shape))

    def model(self, name: str, meaning: str, properties: dict[str, str]) -> Any:
        """Return the finished ModelProto, checked, with the shapes of all its tensors.

        Raises:
            BispikError: if it is too large to be written.
        """
        helper = self.onnx.helper
        size = sum(len(tensor.raw_data) for tensor in self._constants.values())
        if size > BYTES_MAX - (1 << 20) - 512 * len(self._nodes):
            raise BispikError(f"{name}: {size:,} bytes of weights and tables; an ONNX model holds {BYTES_MAX:,} bytes")
        constants = list(self._constants.values())
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, constants, doc_string=meaning)
        model = helper.make_model(
            graph,
            producer_name="bispik",
            doc_string=meaning,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        helper.set_model_props(model, properties)
        self.onnx.checker.check_model(model)
        return self.onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)

    def _apply(self, operator: str, inputs: Sequence[str], results: int, attributes: dict[str, Any]) -> list[str]:
        place = f"{self.section}:{len(self._nodes)} {operator}"
        names = [self._new(f"{place} {index}" if results > 1 else place) for index in range(results)]
        self._nodes.append(self.onnx.helper.make_node(operator, list(inputs), names, name=place, **attributes))
        return names

    def _value(self, name: str, dtype: npt.DTypeLike, shape: Shape, meaning: str) -> Any:
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.onnx.helper.make_tensor_value_info(name, kind, list(shape), doc_string=meaning)

    def _new(self, name: str) -> str:
        if name in self._names:
            raise ValueError(f"two tensors are called {name}")
        self._names.add(name)
        return name
