"""The way of ``bispik-compile``: checkpoint, graph, NIR, integers, neurocores, verification."""

from __future__ import annotations

import ctypes
import logging
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bispik.backends.verify import verify
from bispik.cli import text
from bispik.cli.emit import check_language_model, emit_nir, emit_onnx
from bispik.cli.kept_stages import NOTHING_KEPT, KeptStages, compile_digest, source_files
from bispik.cli.precision import LOSS_WORK, Budget, Search, loss_tokens, options_within, ranked_losses
from bispik.compiler.artifact import save_program
from bispik.compiler.describe import describe_graph, describe_mapping, describe_program
from bispik.compiler.float_network import Progress
from bispik.compiler.graph import Injection, SpikingGraph
from bispik.compiler.mapping import MappedProgram
from bispik.compiler.nir_export import write_nir
from bispik.compiler.nir_import import read_nir
from bispik.compiler.plan import Plan, map_program, plan, require_room
from bispik.compiler.program import NeuronProgram, QuantizedProgram, Verification
from bispik.compiler.quantize import quantize
from bispik.compiler.quantize_options import QuantizeOptions, Rounding, check_options
from bispik.compiler.shapes import graph_shape
from bispik.compiler.store import ArrayStore
from bispik.compiler.target import Target
from bispik.models.bispikclm.data import TokenText
from bispik.models.errors import BispikError
from bispik.models.files import read_text, same_file, written_whole

M_MMAP_THRESHOLD, LARGE_ARRAY = -3, 8 << 20
"""glibc's name of a limit, and bytes from which on an array has pages of its own."""

LOG = logging.getLogger(__name__)

STAGES = ("lift", "nir", "quantize", "map")
"""Stages whose result ``--dump-after`` can write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileRequest:
    """What the user asks for."""

    source: Path
    target: Target
    system: str | None
    output: Path
    bits: int
    neurons: NeuronProgram
    window: int | None
    head_on_chip: bool
    calibration: Path | None
    held_out: Path | None
    tokenizer: Path | None
    dump_after: str | None
    emit: tuple[str, ...]
    """What to write for other tools, keys of `bispik.cli.emit.LANGUAGE_MODEL`."""
    seed: int
    rounding: Rounding = "spikes"
    budget: Budget | None = None
    resume: bool = False
    """Whether finished stages are kept until all are done; see `bispik.cli.kept_stages`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compiled:
    """What came out."""

    graph: SpikingGraph
    mapped: MappedProgram
    nir_nodes: int
    seconds: dict[str, float]
    """Wall time by stage."""
    peak_bytes: dict[str, int]
    """Largest resident memory of the process up to the end of each stage."""


def peak_resident_bytes() -> int:
    """Return the largest resident memory that this process ever had; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _return_freed_arrays() -> None:
    """Have the C library give freed arrays back to the system at once.

    glibc comes to keep arrays of up to 32 MB on its heap, where what is freed between others stays resident: 1.5 GB
    while the matrices of 1.3 G weights are written. Above a fixed limit, arrays have pages of their own.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, LARGE_ARRAY)


class Stages:
    """Times the stages, notes the process's largest resident memory so far, and shows what is running."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self.show = show
        self.seconds: dict[str, float] = {}
        self.peak_bytes: dict[str, int] = {}

    @contextmanager
    def __call__(self, name: str, title: str) -> Generator[None]:
        """Time a block as the stage ``name``; ``title`` says what it does."""
        self.show(title)
        LOG.info("%s", title, extra={"facts": {"stage": name}})
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started
        self.peak_bytes[name] = peak_resident_bytes()
        facts = {"stage": name, "seconds": self.seconds[name], "peak_bytes": self.peak_bytes[name]}
        LOG.info("%s took %.2f s", name, self.seconds[name], extra={"facts": facts})

    def progress(self, title: str) -> Progress:
        """Return what shows how far a part of a stage is."""
        return lambda done, of: self.show(f"{title}: {done} of {of} nodes")


def load_graph(request: CompileRequest) -> SpikingGraph:
    """Read a checkpoint, or a NIR file that an earlier compile wrote, as a spiking graph."""
    if request.source.suffix == ".nir":
        graph = read_nir(request.source)
        tokenizer = read_text(request.tokenizer, "tokeniser") if request.tokenizer else graph.tokenizer
        return replace(graph, tokenizer=tokenizer)
    from bispik.compiler.lift import lift
    from bispik.models.bispikclm.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(request.source)
    found = text.beside(request.source, request.tokenizer, "tokenizer.json")
    return lift(checkpoint, read_text(found, "tokeniser") if found else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenNir:
    """That ``model.nir`` is whole."""

    nodes: int


def request_digest(request: CompileRequest) -> str:
    """Return a digest of all that a compile's result follows from."""
    beside = (
        text.beside(request.source, request.calibration, "calibration.txt"),
        text.beside(request.source, request.held_out, "heldout.txt"),
        text.beside(request.source, request.tokenizer, "tokenizer.json"),
    )
    options = {
        "target": request.target,
        "system": request.system,
        "bits": request.bits,
        "neurons": request.neurons,
        "window": request.window,
        "head_on_chip": request.head_on_chip,
        "seed": request.seed,
        "rounding": request.rounding,
        "budget": "" if request.budget is None else str(request.budget),
        "files": tuple("" if path is None else path.name for path in beside),
    }
    files = [*source_files(request.source), *(path for path in beside if path is not None)]
    return compile_digest(files, options)


def compile_network(
    request: CompileRequest, stages: Stages, prompt: str | None = None, kept: KeptStages = NOTHING_KEPT
) -> Compiled:
    """Compile, verify, and write ``model.nir`` and ``program.bspk`` into the output folder.

    Args:
        request: what the user asks for.
        stages: times the stages.
        prompt: what will be run on the program; one that cannot run is refused before any work.
        kept: what an earlier run that was interrupted has made.

    Raises:
        BispikError: for wrong input; nothing half-written is left behind.
    """
    _return_freed_arrays()
    with stages("lift", "reading the network"):
        nir = kept.file("model.nir", request.output)
        graph = read_nir(nir) if kept.has("nir") else load_graph(request)
        options = _options(request, graph)
    _dump(request, "lift", lambda: describe_graph(graph))
    check_language_model(graph, options.window, request.emit)
    if request.budget is None:
        require_room(_plan(request, graph, options, request.system))
    if prompt is not None:
        text.check_prompt(text.encode(graph.tokenizer, prompt, "the prompt"), options.window)
    calibration, held_out = _texts(request, graph, options.window)
    judged = None if request.budget is None else _choosing_text(request, graph, options.window)
    with stages("nir", "writing and reading NIR"):
        written = kept.result("nir", WrittenNir, lambda: WrittenNir(nodes=write_nir(graph, nir)))
        exported = read_nir(nir)
        if nir.parent != request.output:
            same_file(nir, request.output / "model.nir")
        emit_nir(exported, options.window, request.emit, request.output)
    _dump(request, "nir", lambda: describe_graph(exported))

    def quantized(chosen: QuantizeOptions) -> QuantizedProgram:
        with ArrayStore(request.output) as store:
            return quantize(exported, calibration, chosen, keep=store.keep, progress=stages.progress("quantising"))

    if request.budget is not None and judged is not None:
        budget = request.budget
        with stages("budget", "searching for bits within the budget"):
            search = Search(
                graph=exported,
                options=options,
                chosen_on=judged,
                size=lambda bits: _size(request, exported, options, bits),
                quantized=quantized,
                show=stages.show,
            )
            chosen = kept.result("budget", QuantizeOptions, lambda: options_within(budget, search))
    else:
        chosen = options
    with stages("quantize", "quantising"):
        program = kept.result("quantize", QuantizedProgram, lambda: quantized(chosen))
    _dump(request, "quantize", lambda: describe_program(program))
    with stages("map", "mapping to neurocores"):
        mapped = kept.result(
            "map",
            MappedProgram,
            lambda: map_program(program, request.target, request.system, program.rates, request.seed),
        )
    _dump(request, "map", lambda: describe_mapping(mapped))
    with stages("verify", "comparing integers with floats on held-out text"):
        verification = kept.result(
            "verify", Verification, lambda: _verified(request, exported, program, held_out, options.window, stages)
        )
        mapped = replace(mapped, program=replace(program, verification=verification))
    with stages("write", "writing the program"):
        save_program(mapped, request.output / "program.bspk")
        emit_onnx(mapped.program, request.emit, request.output)
    return Compiled(
        graph=exported,
        mapped=mapped,
        nir_nodes=written.nodes,
        seconds=stages.seconds,
        peak_bytes=stages.peak_bytes,
    )


def _verified(
    request: CompileRequest,
    graph: SpikingGraph,
    program: QuantizedProgram,
    held_out: TokenText,
    window: int,
    stages: Stages,
) -> Verification:
    """Hold the integers against the floats on held-out text, all of them and each population alone."""
    ids, watch = held_out.ids.astype(np.int64), stages.progress("comparing integers with floats")
    verification = verify(graph, program, ids, held_out.num_bytes, watch)
    stages.show("measuring the loss of each population")
    alone = loss_tokens(graph, held_out, window, LOSS_WORK if request.budget is None else float("inf"))
    losses = ranked_losses(graph, program, alone, held_out.num_bytes / verification.tokens)
    return replace(verification, losses=losses)


def _options(request: CompileRequest, graph: SpikingGraph) -> QuantizeOptions:
    options = QuantizeOptions(
        bits=request.bits,
        neuron_program=request.neurons,
        window=request.window if request.window is not None else graph.max_positions,
        head_on_chip=request.head_on_chip,
        seed=request.seed,
        rounding=request.rounding,
    )
    check_options(graph, options)
    return options


def _plan(request: CompileRequest, graph: SpikingGraph, options: QuantizeOptions, system: str | None) -> Plan:
    """Cut the network to neurocores from its shapes alone, so that what does not fit is refused before any work."""
    shape = graph_shape(
        graph,
        bits=options.bits,
        window=options.window,
        neuron_program=options.neuron_program,
        head_on_chip=options.head_on_chip,
        node_bits=options.node_bits,
    )
    return plan(shape, request.target, system)


def _size(
    request: CompileRequest, graph: SpikingGraph, options: QuantizeOptions, bits: Mapping[str, int]
) -> tuple[int, int]:
    """Return chips and neurocores with these bits by node, on whatever board."""
    made = _plan(request, graph, replace(options, node_bits=bits), None)
    return made.chips, made.neurocores


def _texts(request: CompileRequest, graph: SpikingGraph, window: int) -> tuple[npt.NDArray[np.int64], TokenText]:
    """Tokenise the calibration text and the held-out text; see ``--calib`` and ``--held-out``."""
    calibration = text.beside(request.source, request.calibration, "calibration.txt")
    held_out = text.beside(request.source, request.held_out, "heldout.txt")
    if calibration is None:
        raise BispikError(
            f"{request.source}: no calibration.txt stands beside it; give ordinary text with --calib FILE"
        )
    if held_out is None:
        raise BispikError(
            f"{request.source}: no heldout.txt stands beside it; give text that the network was not trained on "
            "with --held-out FILE"
        )
    vocabulary = len(graph.of_kind(Injection)[0].token_table)
    return (
        text.calibration_batch(graph.tokenizer, calibration, window, vocabulary),
        text.verification_text(graph.tokenizer, held_out, vocabulary, text.verification_tokens(graph)),
    )


def _choosing_text(request: CompileRequest, graph: SpikingGraph, window: int) -> TokenText:
    calibration = text.beside(request.source, request.calibration, "calibration.txt")
    assert calibration is not None  # `_texts` has read it
    return text.choosing_text(graph.tokenizer, calibration, window, text.verification_tokens(graph))


def _dump(request: CompileRequest, stage: str, description: Callable[[], str]) -> None:
    if request.dump_after == stage:
        with written_whole(request.output / f"{stage}.txt") as temporary:
            temporary.write_text(description(), encoding="utf-8")
