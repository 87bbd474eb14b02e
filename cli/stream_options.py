"""What the command lines for networks in NIR share: options, files of input, and how they become spikes."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bispik.backends.stream.encode import Encoding, Steps, encoded
from bispik.backends.stream.read_input import HDF5, read_input
from bispik.compiler.hdf5_guard import require_readable
from bispik.compiler.stream.program import StreamProgram
from bispik.models.errors import BispikError
from bispik.models.files import is_folder, require_file

CHECKPOINTS = (".pt", ".safetensors")

ENCODING: Mapping[str, Any] = {"encode": "none", "steps": None, "delta_threshold": None, "batch": False}
"""Options of `add_encoding`, with their defaults."""

INPUT: Mapping[str, Any] = {"input": None, "out": None, "labels": None, **ENCODING}
"""Options that only networks from NIR have when they run, with their defaults."""

NETWORK: Mapping[str, Any] = {
    "convention": None,
    "dt": None,
    "reset": None,
    "discretisation": None,
    "input_range": None,
    "input_bits": None,
    **ENCODING,
}
"""Options that only networks in NIR have when they are compiled, with their defaults."""


def add_network(parser: argparse.ArgumentParser) -> None:
    """Add the options that give a network in NIR its meaning."""
    group = parser.add_argument_group("networks in NIR, of other tools")
    group.add_argument(
        "--convention",
        metavar="TOOL",
        help="the tool that wrote the file, which says what NIR does not: norse, snntorch, spikingjelly, sinabs, lava, "
        "nengo",
    )
    group.add_argument("--dt", type=float, metavar="SECONDS", help="time step, where the tool or the file has none")
    group.add_argument("--reset", choices=("hard", "soft", "none"), help="where the tool's export loses it")
    group.add_argument(
        "--discretisation", choices=("euler", "exponential"), help="of time constants (default: the tool's own)"
    )
    group.add_argument(
        "--input-range", nargs=2, type=float, metavar=("LOW", "HIGH"), help="of the input's numbers (default: 0 1)"
    )
    group.add_argument(
        "--input-bits",
        type=int,
        metavar="N",
        help="send real numbers as graded spikes of so many bits and a sign (default: whole numbers as they are)",
    )


def add_encoding(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how a file of input becomes what the host sends."""
    group = parser.add_argument_group("input of networks in NIR")
    group.add_argument(
        "--encode",
        choices=("none", "current", "rate", "delta"),
        default="none",
        help="how real numbers become spikes: held as a current, drawn as a rate, or where they change (default: none)",
    )
    group.add_argument("--steps", type=int, metavar="N", help="time steps for which values that have no time are held")
    group.add_argument(
        "--delta-threshold", type=float, metavar="X", help="change that makes an event of --encode delta"
    )
    group.add_argument("--batch", action="store_true", help="the input's first axis are samples; each starts anew")


def add_input(parser: argparse.ArgumentParser) -> None:
    """Add the options of a run on a file of input."""
    group = parser.add_argument_group("networks from NIR")
    group.add_argument("--input", type=Path, metavar="FILE", help="what to run on: .npy, .csv or events in .h5")
    group.add_argument("--out", type=Path, metavar="FILE", help="write the output of every step: .npy or .csv")
    group.add_argument(
        "--labels", type=Path, metavar="FILE", help="the right neuron of each sequence, .npy: print how often it leads"
    )
    add_encoding(parser)


def is_network(source: Path) -> bool:
    """Tell whether a file is a network in NIR that another tool wrote; language models in NIR are ours.

    Raises:
        BispikError: if there is no such file.
    """
    if is_folder(source):  # of a checkpoint's shards
        return False
    require_file(source)
    if source.suffix in CHECKPOINTS:
        return False
    import h5py

    if source.suffix != ".nir" and not h5py.is_hdf5(source):
        return False
    from bispik.compiler.stream.nir_read import is_bispik_nir

    require_readable(source)

    return not is_bispik_nir(source)


def refuse_network_options(options: argparse.Namespace) -> None:
    """Refuse what has no meaning for a language model.

    Raises:
        BispikError: naming the option.
    """
    refuse_options(
        options,
        NETWORK,
        f"is for networks in NIR of other tools; {options.config or options.source} is a language model",
    )


def refuse_options(options: argparse.Namespace, defaults: Mapping[str, Any], why: str) -> None:
    """Refuse options that were given although they have no meaning.

    Raises:
        BispikError: naming the first.
    """
    for name, default in defaults.items():
        if getattr(options, name) != default:
            raise BispikError(f"--{name.replace('_', '-')} {why}")


def encoding_of(options: argparse.Namespace) -> Encoding:
    """Return what the user chose."""
    return Encoding(encoder=options.encode, steps=options.steps, threshold=options.delta_threshold, seed=options.seed)


def read_sequences(
    path: Path, program: StreamProgram, options: argparse.Namespace, at_most: int | None = None
) -> list[Steps]:
    """Return the host's input of each sample of a file, or of the first ones, (S, input size).

    Raises:
        BispikError: if the file cannot be read, or holds something else than the program takes.
    """
    if path.suffix.lower() in HDF5:
        require_file(path)
        require_readable(path)
    values, encoding = read_input(path, program.input, program.dt), encoding_of(options)
    if not options.batch:
        return [encoded(program.input, values, encoding, str(path))]
    if values.ndim < 2 or len(values) == 0:
        raise BispikError(f"{path}: has shape {values.shape}; --batch takes samples along the first of several axes")
    return [
        encoded(program.input, sample, replace(encoding, sample=number), f"{path}, sample {number}")
        for number, sample in enumerate(values[:at_most])
    ]
