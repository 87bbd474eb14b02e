"""``bispik-run`` for a stream program: run it on a file of input."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from bispik.backends.registry import RunOptions
from bispik.backends.stream.activity import StreamActivity
from bispik.backends.stream.counts import StreamCounter, StreamCounts
from bispik.backends.stream.encode import Steps
from bispik.backends.stream.run import StreamRun, run_stream
from bispik.backends.stream.trace import writing_stream_trace
from bispik.cli.common import console, print_json, progress
from bispik.cli.stream_options import read_sequences, refuse_options
from bispik.compiler.stream.artifact import load_stream
from bispik.compiler.stream.mapping import MappedStream
from bispik.compiler.stream.program import StreamProgram
from bispik.models.errors import BispikError
from bispik.models.files import require_file, written_whole

FOR_TEXT = {
    "prompt": None,
    "prompts": None,
    "tokens": None,
    "max_new_tokens": None,
    "temperature": 0.0,
    "top_k": 0,
    "jobs": 1,
    "dask": "",
}
"""Options that only language models have, with their defaults."""

SHOWN = 10
"""Neurons of an output that the table lists: those with the largest numbers."""


def run_stream_program(options: argparse.Namespace) -> int:
    """Run every sequence of the input; print what came out, and write it where the user says."""
    refuse_options(options, FOR_TEXT, f"is for language models; {options.program} is a network from NIR")
    if options.input is None:
        raise BispikError("no input given; say what to run on with --input FILE")
    mapped = load_stream(options.program)
    sequences = read_sequences(options.input, mapped.program, options)
    labels = _labels(options.labels, len(sequences)) if options.labels else None
    if options.trace and len(sequences) > 1:
        raise BispikError(f"--trace records one sequence; {options.input} holds {len(sequences)}")
    if options.probe and not options.trace:
        raise BispikError("--probe records membranes in a trace; give --trace FILE")
    runs, counts = _run(options, mapped, sequences)
    sums = np.stack([_summed(mapped.program, run) for run in runs])
    accuracy = None if labels is None else _accuracy(sums, labels, str(options.labels))
    if options.out:
        every = [_every_step(mapped.program, run) for run in runs]
        _write(options.out, np.stack(every) if options.batch else every[0])
    if options.json:
        print_json(_values(mapped.program, runs, counts, sums, accuracy))
    else:
        _print(mapped.program, runs, counts, sums, accuracy)
    return 0


def _run(
    options: argparse.Namespace, mapped: MappedStream, sequences: list[Steps]
) -> tuple[list[StreamRun], StreamCounts]:
    counter = StreamCounter(mapped)
    counts: list[StreamCounts] = []
    runs: list[StreamRun] = []
    with ExitStack() as stack, progress(console()) as show:
        append = None
        if options.trace:
            append = stack.enter_context(writing_stream_trace(options.trace, mapped.program, options.backend))

        def see(activity: StreamActivity) -> None:
            counts.append(counter.count(activity))
            if append:
                append(activity)

        for number, values in enumerate(sequences, start=1):
            of = f"sequence {number} of {len(sequences)}, {len(values):,} time steps"
            show(of)

            def see_steps(steps: int, of: str = of) -> None:
                show(f"{of}: {steps:,} done")

            run = run_stream(
                mapped.program,
                values,
                options.backend,
                RunOptions(threads=options.threads),
                probes=options.probe,
                see_activity=see,
                see_steps=see_steps,
            )
            runs.append(run)
    return runs, sum(counts[1:], start=counts[0])


def _every_step(program: StreamProgram, run: StreamRun) -> npt.NDArray[np.float64] | npt.NDArray[np.int32]:
    """Return the output of every step, (S, size): spikes, or membranes in the float network's units."""
    if program.population(program.output).neurons.output == "spikes":
        return run.output
    membranes: npt.NDArray[np.float64] = run.output / program.membrane_scale[program.output]
    return membranes


def _summed(program: StreamProgram, run: StreamRun) -> npt.NDArray[np.float64]:
    """Return one number a neuron, (size,): its spikes, or the mean of its membrane over the steps."""
    every = _every_step(program, run).astype(np.float64)
    spiking = program.population(program.output).neurons.output == "spikes"
    summed: npt.NDArray[np.float64] = every.sum(axis=0) if spiking else every.mean(axis=0)
    return summed


def _accuracy(sums: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], where: str) -> float:
    """Return the share of sequences in which the right neuron is ahead of all others; a tie is not."""
    neurons = sums.shape[1]
    if labels.min() < 0 or labels.max() >= neurons:
        found = f"{labels.min()} to {labels.max()}"
        raise BispikError(f"{where}: labels {found}; the output has neurons 0 to {neurons - 1}")
    largest = sums.max(axis=1, keepdims=True)
    alone = (sums == largest).sum(axis=1) == 1
    return float((alone & (sums.argmax(axis=1) == labels)).mean())


def _labels(path: Path, sequences: int) -> npt.NDArray[np.int64]:
    """Read the right neuron of each sequence."""
    require_file(path)
    try:
        labels: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BispikError(f"{path}: not a NumPy array: {error}") from error
    if labels.shape != (sequences,) or labels.dtype.kind not in "iu":
        raise BispikError(
            f"{path}: holds {labels.dtype} of shape {labels.shape}; expected a whole number for each of {sequences} "
            f"sequence{'s' if sequences > 1 else ' (are samples along its first axis? --batch)'}"
        )
    return labels.astype(np.int64)


def _write(path: Path, values: npt.NDArray[Any]) -> None:
    if path.suffix not in (".npy", ".csv") or (path.suffix == ".csv" and values.ndim > 2):
        raise BispikError(f"{path}: outputs are written to .npy, or of one sequence to .csv")
    with written_whole(path) as temporary:
        if path.suffix == ".npy":
            np.save(temporary, values)
        else:
            np.savetxt(temporary, values, fmt="%.9g", delimiter=",")


def _values(
    program: StreamProgram,
    runs: list[StreamRun],
    counts: StreamCounts,
    sums: npt.NDArray[np.float64],
    accuracy: float | None,
) -> dict[str, Any]:
    return {
        "backend": runs[0].backend,
        "execution_mode": runs[0].execution_mode,
        "output": program.output,
        "kind": "spike counts" if program.population(program.output).neurons.output == "spikes" else "mean membranes",
        "outputs": sums.tolist(),
        "accuracy": accuracy,
        "counts": counts.to_dict(),
        "saturations": {name: sum(run.saturations[name] for run in runs) for name in runs[0].saturations},
        "seconds": sum(run.seconds for run in runs),
    }


def _print(
    program: StreamProgram,
    runs: list[StreamRun],
    counts: StreamCounts,
    sums: npt.NDArray[np.float64],
    accuracy: float | None,
) -> None:
    terminal = console()
    spiking = program.population(program.output).neurons.output == "spikes"
    if len(runs) == 1:
        table = Table("Neuron", "Spikes" if spiking else "Mean membrane", title=program.output, title_justify="left")
        order = np.argsort(-sums[0], kind="stable")
        for neuron in order[:SHOWN].tolist():
            table.add_row(str(neuron), f"{sums[0, neuron]:,.0f}" if spiking else f"{sums[0, neuron]:.4f}")
        terminal.print(table)
        if len(order) > SHOWN:
            terminal.print(f"and {len(order) - SHOWN:,} neurons with less; --out FILE writes all", style="dim")
    if accuracy is not None:
        print(f"{accuracy:.2%} of {len(runs)} sequences end with the right neuron ahead")
    if clipped := sum(sum(run.saturations.values()) for run in runs):
        terminal.print(f"{clipped:,} membranes were clipped at 24 bits")
    seconds = sum(run.seconds for run in runs)
    terminal.print(
        f"{runs[0].execution_mode}; {counts.steps:,} time steps, {counts.total('spike'):,} spikes, "
        f"{counts.synops:,} synops, {seconds:.1f} s",
        style="dim",
    )
