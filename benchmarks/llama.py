"""llama.cpp, where somebody has installed it: a dense model of an OPT's shape with 8-bit weights (Q8_0).

llama.cpp runs no OPT. GPT-2 has the same matrices in the same places, and so the same bytes per token.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.measure import Turn
from benchmarks.shapes import Shape

PACKAGES = ("llama_cpp", "gguf")
MISSING = "not measured: `pip install llama-cpp-python gguf` builds llama.cpp, and `make` does not"
CONTEXT_MAX = 2048
BLOCK = 32
SPREAD = 0.02
"""Standard deviation of the weights: their values do not matter for the time."""


def why_not(shape: Shape) -> str:
    """Why nothing can be measured, or an empty text."""
    if not all(find_spec(name) is not None for name in PACKAGES):
        return MISSING
    return "" if shape.hidden % BLOCK == 0 else f"not measured: Q8_0 takes {BLOCK} weights at a time"


@contextmanager
def dense_q8(shape: Shape, context: int, rng: np.random.Generator) -> Generator[Turn]:
    """Give a turn that runs one token behind so many stored ones, on one thread."""
    llama: Any = import_module("llama_cpp")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        _write(shape, path, rng)
        quiet = llama.llama_log_callback(lambda *_: None)
        llama.llama_log_set(quiet, None)
        llama.llama_backend_init()
        model = llama.llama_model_load_from_file(str(path).encode(), llama.llama_model_default_params())
        parameters = llama.llama_context_default_params()
        parameters.n_ctx, parameters.n_threads, parameters.n_threads_batch = CONTEXT_MAX, 1, 1
        running = llama.llama_init_from_model(model, parameters)
        try:
            tokens = (llama.llama_token * context)(*([1] * context))
            _expect(llama.llama_decode(running, llama.llama_batch_get_one(tokens, context)))
            yield _turn(llama, running, context)
        finally:
            llama.llama_free(running)
            llama.llama_model_free(model)


def _turn(llama: Any, running: Any, context: int) -> Turn:
    token, memory = (llama.llama_token * 1)(1), llama.llama_get_memory(running)

    def run() -> float:
        started = time.perf_counter()
        _expect(llama.llama_decode(running, llama.llama_batch_get_one(token, 1)))
        llama.llama_get_logits(running)  # waits until they are there
        seconds = time.perf_counter() - started
        llama.llama_memory_seq_rm(memory, 0, context, -1)
        return seconds

    return run


def _expect(status: int) -> None:
    if status != 0:
        raise RuntimeError(f"llama_decode returned {status}")


def _write(shape: Shape, path: Path, rng: np.random.Generator) -> None:
    gguf: Any = import_module("gguf")
    q8 = gguf.GGMLQuantizationType.Q8_0
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_context_length(CONTEXT_MAX)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_block_count(shape.layers)
    writer.add_head_count(shape.heads)
    writer.add_layer_norm_eps(1e-5)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_tokenizer_model("no_vocab")

    def normal(rows: int, columns: int) -> npt.NDArray[np.float32]:
        return SPREAD * rng.standard_normal((rows, columns), np.float32)

    def matrix(name: str, rows: int, columns: int) -> None:
        writer.add_tensor(f"{name}.weight", gguf.quants.quantize(normal(rows, columns), q8), raw_dtype=q8)

    def vectors(name: str, size: int, *, norm: bool = False) -> None:
        writer.add_tensor(f"{name}.bias", np.zeros(size, np.float32))
        if norm:
            writer.add_tensor(f"{name}.weight", np.ones(size, np.float32))

    matrix("token_embd", shape.vocabulary, shape.hidden)
    matrix("output", shape.vocabulary, shape.hidden)
    writer.add_tensor("position_embd.weight", normal(CONTEXT_MAX, shape.hidden))
    vectors("output_norm", shape.hidden, norm=True)
    sizes = {
        "attn_qkv": (3 * shape.hidden, shape.hidden),
        "attn_output": (shape.hidden, shape.hidden),
        "ffn_up": (shape.ffn, shape.hidden),
        "ffn_down": (shape.hidden, shape.ffn),
    }
    for block in range(shape.layers):
        for name in ("attn_norm", "ffn_norm"):
            vectors(f"blk.{block}.{name}", shape.hidden, norm=True)
        for name, (rows, columns) in sizes.items():
            matrix(f"blk.{block}.{name}", rows, columns)
            vectors(f"blk.{block}.{name}", rows)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
