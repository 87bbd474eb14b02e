"""Programs as ``.onnx`` files, checked and written whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bispik.backends.onnx.host import build_embedding_model, build_readout_model
from bispik.backends.onnx.library import import_onnx
from bispik.backends.onnx.stream import build_stream_model
from bispik.backends.onnx.token import build_token_model
from bispik.compiler.program import QuantizedProgram
from bispik.compiler.stream.program import StreamProgram
from bispik.models.files import folder_written_whole, written_whole

EMBEDDING_FILE, READOUT_FILE = "embedding.onnx", "readout.onnx"


def export_onnx(program: StreamProgram | QuantizedProgram, path: Path) -> None:
    """Write the program: one time step of a stream program, or one token of a language model.

    Raises:
        BispikError: if onnx is not installed, the program is too large for an ONNX model, or the file cannot be
            written.
    """
    model = build_stream_model(program) if isinstance(program, StreamProgram) else build_token_model(program)
    with written_whole(path) as temporary:
        _save(model, temporary)


def export_host_onnx(program: QuantizedProgram, folder: Path) -> None:
    """Write what a host beside a chip computes: ``embedding.onnx`` and ``readout.onnx``, both for any number of tokens.

    Raises:
        BispikError: as `export_onnx`.
    """
    models = {EMBEDDING_FILE: build_embedding_model(program), READOUT_FILE: build_readout_model(program)}
    with folder_written_whole(folder) as temporary:
        for name, model in models.items():
            _save(model, temporary / name)


def _save(model: Any, path: Path) -> None:
    path.write_bytes(model.SerializeToString())
    import_onnx().checker.check_model(str(path), full_check=True)
