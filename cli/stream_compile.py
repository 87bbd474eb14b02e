"""``bispik-compile`` for a network in NIR of another tool: integers, neurocores, verification, account of energy."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape

from bispik.backends.stream.activity import StreamActivity
from bispik.backends.stream.counts import StreamCounts
from bispik.backends.stream.encode import Steps
from bispik.backends.stream.run import StreamRun, counted_stream, run_stream
from bispik.backends.stream.verify import verify_stream
from bispik.cli.common import console, print_board, print_json, progress, target_of
from bispik.cli.compile_flow import Stages
from bispik.cli.emit import EMITTED, NETWORK
from bispik.cli.emit_sanafe import emit_stream
from bispik.cli.kept_stages import KeptStages, compile_digest, kept_stages
from bispik.cli.plan_report import plan_values, print_plan
from bispik.cli.stream_options import ENCODING, read_sequences, refuse_options
from bispik.cli.stream_tables import program_json, verification_table
from bispik.compiler.plan import require_room
from bispik.compiler.stream.artifact import save_stream
from bispik.compiler.stream.doubts import doubts
from bispik.compiler.stream.mapping import MappedStream, map_stream, plan_stream
from bispik.compiler.stream.network import StreamNetwork
from bispik.compiler.stream.nir_read import read_nir_stream
from bispik.compiler.stream.program import StreamProgram, StreamVerification
from bispik.compiler.stream.quantize import StreamOptions, quantize_stream
from bispik.energy.profiles import default_profile, load_profile
from bispik.energy.report import render_board
from bispik.energy.stream_html import StreamReportInput, render_stream_html
from bispik.energy.stream_report import StreamEnergyReport, stream_account, stream_json, stream_tables
from bispik.models.errors import BispikError
from bispik.models.files import folder_written_whole

RANDOM_STEPS = 200
"""Time steps of the random input that stands in where the user gives none."""

RANDOM_RATE = 0.1
"""Share of its channels that are not 0 in a step."""

SAMPLES_MAX = 16
"""Samples of a batch that the network is verified on."""

FOR_TEXT = {
    "window": None,
    "held_out": None,
    "tokenizer": None,
    "prompt": None,
    "head": "chip",
    "budget": None,
    "rounding": "spikes",
    "dump_after": None,
    "temperature": 0.0,
    "top_k": 0,
}
"""Options that only language models have, with their defaults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The integers against the network in real numbers."""

    verification: StreamVerification
    sent: Mapping[str, int]
    """By population: outputs that were not 0."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompiledStream:
    """What came out."""

    mapped: MappedStream
    doubts: tuple[str, ...]
    counts: StreamCounts
    """Of the sequences that the network was verified on."""
    energy: StreamEnergyReport
    run: StreamRun | None
    """Of the first of them, on the backend that the user asked for."""
    seconds: dict[str, float]
    """Wall time by stage."""


def compile_stream(options: argparse.Namespace) -> int:
    """Compile, verify, account, write the artifacts and print the tables."""
    refuse_options(options, FOR_TEXT, f"is for language models; {options.source} is a network in NIR")
    if options.calib is None:
        refuse_options(options, ENCODING, "says how the input of --calib FILE becomes spikes, and there is none")
    if options.input_bits is not None and not 1 <= options.input_bits <= 15:
        raise BispikError(f"--input-bits {options.input_bits}: give 1 to 15")
    if options.dry_run:
        return _dry_run(options)
    terminal = console()
    digest = (lambda: _digest(options)) if options.resume else None
    with (
        kept_stages(options.out, digest) as kept,
        folder_written_whole(options.out, others=EMITTED) as folder,
        progress(terminal) as show,
    ):
        compiled = _compile(options, Stages(show), folder, kept)
        values = _values(compiled)
        (folder / "report.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        report = _report(options, compiled)
        (folder / "report.html").write_text(render_stream_html(report), encoding="utf-8")
        (folder / "board.svg").write_text(render_board(report.board()), encoding="utf-8")
    artifacts = ["program.bspk", "report.html", "board.svg", "report.json", *(NETWORK[kind] for kind in options.emit)]
    if options.json:
        paths = [str(options.out / name) for name in artifacts]
        print_json({**values, "artifacts": paths, "seconds": compiled.seconds})
    else:
        _print(compiled, terminal)
        if options.board:
            print_board(terminal, report.board())
        for name in artifacts:
            terminal.print(f"wrote {options.out / name}")
    return 0


def _dry_run(options: argparse.Namespace) -> int:
    made = plan_stream(_quantized(options, _network(options)), target_of(options), options.system)
    if options.json:
        print_json(plan_values(made))
    else:
        print_plan(console(), made)
    return 0


def _digest(options: argparse.Namespace) -> str:
    """Return a digest of all that a compile's result follows from."""
    named = (
        *("system", "bits", "neurons", "convention", "dt", "reset", "discretisation", "input_bits", "seed"),
        *("encode", "steps", "delta_threshold", "batch"),
    )
    chosen = {name: getattr(options, name) for name in named}
    files = [options.source, *([options.calib] if options.calib else [])]
    others = {"target": target_of(options), "range": tuple(options.input_range or ())}
    return compile_digest(files, {**chosen, **others, "files": tuple(path.name for path in files)})


def _compile(options: argparse.Namespace, stages: Stages, folder: Path, kept: KeptStages) -> CompiledStream:
    target = target_of(options)
    profile = load_profile(options.profile or default_profile(target.name))
    with stages("read", "reading the network"):
        network = _network(options)
    with stages("quantize", "quantising"):
        program = kept.result("quantize", StreamProgram, lambda: _quantized(options, network))
        require_room(plan_stream(program, target, options.system))
        _emit(options, program, folder)
    with stages("verify", "comparing integers with floats"):
        sequences, description = _sequences(options, program)
        verified = kept.result("verify", Verified, lambda: _verified(network, program, sequences, description))
        program = replace(program, verification=verified.verification)
    with stages("map", "mapping to neurocores"):
        steps = sum(len(values) for values in sequences)
        rates = {p.name: verified.sent[p.name] / (steps * p.size) for p in program.populations}
        mapped = kept.result(
            "map", MappedStream, lambda: map_stream(program, target, options.system, rates, options.seed)
        )
    with stages("account", "accounting for energy"):
        outputs, counts = _counted(mapped, sequences)
        energy = stream_account(mapped, counts, profile)
        if "sanafe" in options.emit:
            emit_stream(mapped, sequences[0], profile, folder)
    run = None
    if options.run:
        with stages("run", f"running on {options.run}"):
            run = run_stream(program, sequences[0], options.run)
        if (run.output != outputs[0]).any():
            raise AssertionError(f"{options.run} and sim differ on the same program: a bug of bispik")
    with stages("write", "writing the program"):
        save_stream(mapped, folder / "program.bspk")
    return CompiledStream(
        mapped=mapped,
        doubts=doubts(network, program),
        counts=counts,
        energy=energy,
        run=run,
        seconds=stages.seconds,
    )


def _verified(network: StreamNetwork, program: StreamProgram, sequences: Sequence[Steps], description: str) -> Verified:
    sent = dict.fromkeys((population.name for population in program.populations), 0)

    def see(activity: StreamActivity) -> None:
        for name, outputs in activity.sent.items():
            sent[name] += int(np.count_nonzero(outputs))

    return Verified(verification=verify_stream(network, program, sequences, description, see), sent=sent)


def _network(options: argparse.Namespace) -> StreamNetwork:
    return read_nir_stream(
        options.source,
        convention=options.convention,
        dt=options.dt,
        reset=options.reset,
        discretisation=options.discretisation,
    )


def _quantized(options: argparse.Namespace, network: StreamNetwork) -> StreamProgram:
    low, high = options.input_range or (0.0, 1.0)
    if not low <= 0 <= high or low == high:
        raise BispikError(f"--input-range {low:g} {high:g}: give the least and the largest input; 0 lies between them")
    largest = (1 << options.input_bits) - 1 if options.input_bits else 0
    chosen = StreamOptions(
        bits=options.bits,
        neuron_program=options.neurons or "stock",
        low=low,
        high=high,
        unit=largest / max(-low, high) if largest else 1.0,
    )
    return quantize_stream(network, chosen)


def _sequences(options: argparse.Namespace, program: StreamProgram) -> tuple[list[Steps], str]:
    """Return inputs to verify on, and what they are: the user's, or random ones."""
    if options.calib is not None:
        sequences = read_sequences(options.calib, program, options, at_most=SAMPLES_MAX)
        samples = f"{len(sequences)} samples of " if len(sequences) > 1 else ""
        return sequences, f"{samples}{options.calib.name}"
    entry, rng = program.input, np.random.default_rng(options.seed)
    shape = (RANDOM_STEPS, entry.size)
    values = rng.integers(entry.low, entry.high, shape, endpoint=True)
    sent = np.where(rng.random(shape) < RANDOM_RATE, np.where(values == 0, entry.high, values), 0)
    return [sent.astype(np.int32)], f"random input, {RANDOM_RATE:.0%} of its channels a step (give yours: --calib FILE)"


def _counted(mapped: MappedStream, sequences: Sequence[Steps]) -> tuple[list[Steps], StreamCounts]:
    """Run the sequences on ``sim``; return the outputs and the events."""
    done = [counted_stream(mapped, values, "sim") for values in sequences]
    return [entry.run.output for entry in done], sum((entry.counts for entry in done[1:]), start=done[0].counts)


def _emit(options: argparse.Namespace, program: StreamProgram, folder: Path) -> None:
    try:
        for kind in options.emit:
            if kind == "netx":
                from bispik.compiler.stream.netx import write_netx

                write_netx(program, folder / NETWORK[kind])
            elif kind == "onnx":
                from bispik.backends.onnx.export import export_onnx

                export_onnx(program, folder / NETWORK[kind])
    except BispikError as error:
        raise BispikError(f"--emit: {str(error).replace(str(folder), str(options.out))}") from error


def _report(options: argparse.Namespace, compiled: CompiledStream) -> StreamReportInput:
    return StreamReportInput(
        title=options.source.name,
        mapped=compiled.mapped,
        counts=compiled.counts,
        energy=compiled.energy,
        execution_mode=compiled.run.execution_mode if compiled.run else "sim",
    )


def _values(compiled: CompiledStream) -> dict[str, Any]:
    """What ``report.json`` holds."""
    values = {
        **program_json(compiled.mapped),
        "doubts": list(compiled.doubts),
        **stream_json(compiled.mapped, compiled.counts, compiled.energy),
    }
    if compiled.run:
        values["run"] = {"backend": compiled.run.backend, "execution_mode": compiled.run.execution_mode}
    return values


def _print(compiled: CompiledStream, terminal: Console) -> None:
    """The tables, on stderr."""
    program = compiled.mapped.program
    resources, *others = stream_tables(compiled.mapped, compiled.counts, compiled.energy)
    terminal.print(escape(f"read as: {program.origin}"))
    terminal.print(resources)
    terminal.print(verification_table(program))
    for doubt in compiled.doubts:
        terminal.print(escape(f"Mind: {doubt}"), style="yellow")
    for table in others:
        terminal.print(table)
    if compiled.run:
        terminal.print(f"the same output from {compiled.run.execution_mode}")
