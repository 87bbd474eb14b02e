"""Small valid files of every kind that a stranger may hand to bispik; the fuzz damages copies of them."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import torch

from bispik.backends.registry import DEFAULTS
from bispik.backends.run import Request, run_sequence
from bispik.backends.trace import writing_trace
from bispik.compiler.artifact import save_program
from bispik.compiler.lift import lift
from bispik.compiler.nir_export import write_nir
from bispik.compiler.plan import map_program
from bispik.compiler.stream.artifact import save_stream
from bispik.compiler.stream.mapping import map_stream
from bispik.compiler.stream.quantize import StreamOptions, quantize_stream
from bispik.compiler.target import load_target
from bispik.models.bispikclm.checkpoint import load_checkpoint, save_checkpoint
from bispik.models.bispikclm.data import train_tokenizer
from tests.checkpoints import random_checkpoint, write_shards
from tests.networks import random_program
from tests.stream.nir_files import entry, exit_, lif, nir, read, write

ROOT = Path(__file__).resolve().parents[2]

SWEEP = """
run = "train.toml"
bits = [8, 6]
calibration = "calibration.txt"
held_out = "heldout.txt"
[variants]
"T = 1" = { "model.steps_per_token" = 1 }
"QAT 4 bit" = { "losses.rate_target" = 0.06, bits = [4, 3] }
"""


def write_seeds(folder: Path) -> None:
    """Write all of them, each kind into a folder of its own."""
    for write_some in (_checkpoints, _networks, _programs, _sheets, _texts, _inputs):
        write_some(folder)


def _made(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir(parents=True)
    return made


def _checkpoints(folder: Path) -> None:
    checkpoint = random_checkpoint(0, num_layers=1, norm_batches=1)
    save_checkpoint(checkpoint, _made(folder, "pt") / "ckpt.pt")
    old = _made(folder, "pt-legacy") / "ckpt.pt"
    torch.save(torch.load(folder / "pt" / "ckpt.pt"), old, _use_new_zipfile_serialization=False)
    save_checkpoint(checkpoint, _made(folder, "safetensors") / "ckpt.safetensors")
    write_shards(random_checkpoint(0, norm_batches=1, current_norm="batch"), _made(folder, "shards"))


def _networks(folder: Path) -> None:
    write_nir(lift(load_checkpoint(folder / "pt" / "ckpt.pt"), ""), _made(folder, "nir") / "model.nir")
    nodes = {
        "input": entry(2, 6, 6),
        "c": nir.Conv2d((6, 6), np.ones((3, 2, 3, 3)), 1, 1, 1, 1, np.zeros(3)),
        "flat": nir.Flatten({"input": np.array([3, 6, 6])}, 0, -1),
        "w": nir.Affine(np.ones((4, 108)), np.zeros(4)),
        "n": lif(4),
        "back": nir.Linear(np.ones((4, 4))),
        "output": exit_(4),
    }
    write(_made(folder, "nir-stream"), nodes, "input c flat w n output", "n back n")


def _programs(folder: Path) -> None:
    target = load_target("loihi2")
    mapped = map_program(random_program(3, layers=1), target)
    save_program(mapped, _made(folder, "program") / "program.bspk")
    with writing_trace(_made(folder, "trace") / "trace.bspk", mapped, "sim") as trace:
        request = Request(prompt=(1, 2), max_new_tokens=2)
        trace.close(run_sequence(mapped, request, "sim", DEFAULTS, see_activity=trace.append))
    network = read(folder / "nir-stream" / "net.nir", dt=1e-3)
    program = quantize_stream(network, StreamOptions(neuron_program="bispik"))
    save_stream(map_stream(program, target, None, {}, 0), _made(folder, "program-stream") / "program.bspk")


def _sheets(folder: Path) -> None:
    for kind, sheet in (
        ("target", ROOT / "compiler/targets/loihi2.toml"),
        ("profile", ROOT / "energy/profiles/loihi2.toml"),
        ("training", ROOT / "examples/kjv_shakespeare/train_4bit.toml"),
    ):
        (_made(folder, kind) / "sheet.toml").write_bytes(sheet.read_bytes())
    _made(folder, "sweep").joinpath("sheet.toml").write_text(SWEEP, encoding="utf-8")
    (folder / "sweep" / "train.toml").write_bytes((ROOT / "examples/kjv_shakespeare/train.toml").read_bytes())


def _texts(folder: Path) -> None:
    text = _made(folder, "text") / "text.txt"
    text.write_text("And it came to pass that the king spake unto the people.\n" * 4, encoding="utf-8")
    train_tokenizer(text, 260, _made(folder, "tokenizer") / "tokenizer.json")
    prompts = [json.dumps("In the beginning"), json.dumps({"prompt": "And the LORD said", "id": 3})]
    (_made(folder, "prompts") / "prompts.jsonl").write_text("\n".join(prompts), encoding="utf-8")
    (_made(folder, "ids") / "ids.txt").write_text("1, 2 3\n4", encoding="utf-8")
    question = {"prompt": "And it", "choices": [" came", " king"], "answer": 0}
    (_made(folder, "questions") / "questions.jsonl").write_text(json.dumps(question) + "\n", encoding="utf-8")


def _inputs(folder: Path) -> None:
    random = np.random.default_rng(0)
    np.save(_made(folder, "npy") / "input.npy", random.integers(0, 2, (5, 2, 6, 6)))
    rows = "\n".join(",".join(map(str, row)) for row in random.integers(0, 2, (5, 72)))
    (_made(folder, "csv") / "input.csv").write_text(rows, encoding="utf-8")
    events = "step,channel,value\n" + "\n".join(f"{n},{n},1" for n in range(9))
    (_made(folder, "csv-events") / "input.csv").write_text(events, encoding="utf-8")
    with h5py.File(_made(folder, "h5") / "input.h5", "w") as file:
        for name in "txyp":
            file.create_dataset(f"events/{name}", data=np.arange(6), compression="gzip" if name == "t" else None)
