"""What is fuzzed: files by kind, how each is damaged, and what bispik does with one first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bispik.backends.multiple_choice import load_examples
from bispik.backends.sim import SimSession
from bispik.backends.stream.encode import Encoding, encoded
from bispik.backends.stream.read_input import read_input
from bispik.backends.stream.sim import SimStreamSession
from bispik.backends.trace import count_trace
from bispik.cli.run_flow import read_prompts
from bispik.cli.text import calibration_batch, read_ids
from bispik.compiler.artifact import load_program
from bispik.compiler.deferred import numbers
from bispik.compiler.graph import Population
from bispik.compiler.lift import lift
from bispik.compiler.nir_import import read_nir
from bispik.compiler.plan import plan
from bispik.compiler.shapes import program_shape
from bispik.compiler.stream.artifact import load_stream
from bispik.compiler.stream.nir_read import is_bispik_nir, read_nir_stream
from bispik.compiler.stream.program import IntegerStreamInput
from bispik.compiler.stream.quantize import StreamOptions, quantize_stream
from bispik.compiler.target import load_target
from bispik.energy.profiles import load_profile
from bispik.models.bispikclm.checkpoint import load_checkpoint
from bispik.models.bispikclm.run_config import load_run
from bispik.models.bispikclm.sweep_config import load_sweep
from bispik.models.files import read_text
from tests.fuzz.mutate import (
    Damage,
    damaged_archive,
    damaged_bytes,
    damaged_container,
    damaged_hdf5,
    damaged_json,
    damaged_lines,
    damaged_safetensors,
    damaged_text,
)
from tests.networks import random_program

CAMERA = IntegerStreamInput(name="input", shape=(2, 6, 6), size=72, low=0, high=1, unit=1.0)
EVENTS = 512 << 20
"""Bytes of memory for a list of events, which is short where the numbers that it becomes are many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of file."""

    damage: Mapping[str, Damage]
    """By the names of the files that are damaged, one at a time."""
    opened: str
    """The file that is named to bispik."""
    read: Callable[[Path], object]
    """What is done with it; raises nothing but `BispikError`."""
    share: int
    """Of the cases, relative to other kinds: fewer where one takes long."""
    bound: int = 64 << 20
    """Bytes of memory that reading may take, beside 64 for each of the file's."""
    is_hdf5: bool = False
    """Read by libhdf5, and so only behind `bispik.compiler.hdf5_guard`."""


def _checkpoint(path: Path) -> None:
    lift(load_checkpoint(path), "")


def _nir(path: Path) -> None:
    if not is_bispik_nir(path):
        return
    for population in read_nir(path).of_kind(Population):
        for projection in population.inputs:
            if projection.weight is not None:
                numbers(projection.weight)


def _nir_stream(path: Path) -> None:
    if not is_bispik_nir(path):
        quantize_stream(
            read_nir_stream(path, convention=None, dt=1e-3, reset=None, discretisation=None), StreamOptions()
        )


def _program(path: Path) -> None:
    program = load_program(path).program
    SimSession(program).feed(np.arange(min(2, program.window)) % len(program.injection.token_table))


def _program_stream(path: Path) -> None:
    program = load_stream(path).program
    SimStreamSession(program).feed(np.zeros((3, program.input.size), np.int32))


def _target(path: Path) -> None:
    plan(program_shape(random_program(3, layers=1)), load_target(path), None)


def _tokenizer(path: Path) -> None:
    text = path.with_name("calibration.txt")
    text.write_text("And it came to pass that the king spake unto the people.", encoding="utf-8")
    calibration_batch(read_text(path, "tokeniser"), text, 8, 260)


def _input(path: Path) -> None:
    encoded(CAMERA, read_input(path, CAMERA, 1e-3), Encoding(), str(path))


KINDS: Mapping[str, Kind] = {
    "pt": Kind(damage={"ckpt.pt": damaged_archive}, opened="ckpt.pt", read=_checkpoint, share=3),
    "pt-legacy": Kind(damage={"ckpt.pt": damaged_bytes}, opened="ckpt.pt", read=_checkpoint, share=2),
    "safetensors": Kind(
        damage={"ckpt.safetensors": damaged_safetensors, "ckpt.json": damaged_json},
        opened="ckpt.safetensors",
        read=_checkpoint,
        share=4,
    ),
    "shards": Kind(
        damage={
            "model.safetensors.index.json": damaged_json,
            "model.json": damaged_json,
            "model-00001-of-00002.safetensors": damaged_safetensors,
        },
        opened="model.safetensors.index.json",
        read=_checkpoint,
        share=2,
    ),
    "nir": Kind(damage={"model.nir": damaged_hdf5}, opened="model.nir", read=_nir, share=4, is_hdf5=True),
    "nir-stream": Kind(damage={"net.nir": damaged_hdf5}, opened="net.nir", read=_nir_stream, share=8, is_hdf5=True),
    "program": Kind(damage={"program.bspk": damaged_container}, opened="program.bspk", read=_program, share=6),
    "program-stream": Kind(
        damage={"program.bspk": damaged_container}, opened="program.bspk", read=_program_stream, share=6
    ),
    "trace": Kind(damage={"trace.bspk": damaged_container}, opened="trace.bspk", read=count_trace, share=4),
    "target": Kind(damage={"sheet.toml": damaged_text}, opened="sheet.toml", read=_target, share=6),
    "profile": Kind(damage={"sheet.toml": damaged_text}, opened="sheet.toml", read=load_profile, share=6),
    "training": Kind(damage={"sheet.toml": damaged_text}, opened="sheet.toml", read=load_run, share=8),
    "sweep": Kind(
        damage={"sheet.toml": damaged_text},
        opened="sheet.toml",
        read=lambda path: load_sweep(path, path.parent),
        share=8,
    ),
    "tokenizer": Kind(damage={"tokenizer.json": damaged_json}, opened="tokenizer.json", read=_tokenizer, share=6),
    "text": Kind(
        damage={"text.txt": damaged_text}, opened="text.txt", read=lambda path: read_text(path, "text"), share=4
    ),
    "prompts": Kind(damage={"prompts.jsonl": damaged_lines}, opened="prompts.jsonl", read=read_prompts, share=8),
    "questions": Kind(damage={"questions.jsonl": damaged_lines}, opened="questions.jsonl", read=load_examples, share=6),
    "ids": Kind(damage={"ids.txt": damaged_text}, opened="ids.txt", read=read_ids, share=4),
    "npy": Kind(damage={"input.npy": damaged_bytes}, opened="input.npy", read=_input, share=8),
    "csv": Kind(damage={"input.csv": damaged_text}, opened="input.csv", read=_input, share=8),
    "csv-events": Kind(damage={"input.csv": damaged_text}, opened="input.csv", read=_input, share=8, bound=EVENTS),
    "h5": Kind(damage={"input.h5": damaged_hdf5}, opened="input.h5", read=_input, share=6, is_hdf5=True, bound=EVENTS),
}
