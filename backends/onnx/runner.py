"""A model in onnxruntime, run again and again on the state that it left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from bispik.backends.onnx.graph import NEXT, OPSET
from bispik.backends.onnx.library import import_onnxruntime

ERRORS_ONLY = 3
"""Of onnxruntime's log: it warns of every input that has a value of its own."""


class Runner:
    """Feeds each output ``NAME.next`` to the input ``NAME`` of the next run; ``state`` holds what that will be."""

    def __init__(self, model: Any, state: Mapping[str, npt.NDArray[Any]], threads: int) -> None:
        runtime = import_onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = ERRORS_ONLY
        self.session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self.options = runtime.RunOptions()
        self.options.only_execute_path_to_fetches = True
        self.mode = f"onnx: integer graph of opset {OPSET}, onnxruntime {runtime.__version__}"
        self.state = dict(state)
        self.kept = [output.name for output in self.session.get_outputs() if output.name.endswith(NEXT)]

    def run(self, inputs: Mapping[str, npt.NDArray[Any]], wanted: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Run once; return the outputs that are wanted and the new state, by name."""
        names = [*wanted, *(name for name in self.kept if name not in wanted)]
        outputs = dict(zip(names, self.session.run(names, {**self.state, **inputs}, self.options), strict=True))
        self.state = {name.removesuffix(NEXT): outputs[name] for name in self.kept}
        return outputs
