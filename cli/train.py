"""``bispik-train``: train a teacher on text, distil a spiking student from it, describe it in a card."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from bispik.cli.common import Parser, console, run

if TYPE_CHECKING:
    from bispik.models.bispikclm.processes import Processes
    from bispik.models.bispikclm.run_config import TrainingRun

_FIRST_SPEAKS = 10
"""Seconds within which ``torchrun`` ends all processes behind the failure of one."""

LOSS_TERMS = ("embedding", "attention", "features", "soft_targets", "hard_targets", "rate")


def parser() -> argparse.ArgumentParser:
    """Return the command line's definition."""
    result = Parser(
        prog="bispik-train",
        description="Train an OPT teacher on text, then distil a BiSpikCLM student from it.",
    )
    result.add_argument("run", type=Path, metavar="RUN.toml", help="the training run: files, network, stages")
    result.add_argument(
        "--stage",
        choices=("teacher", "student", "card", "all"),
        default="all",
        help="what to do: train one of the two, or evaluate the checkpoint and write its model card "
        "(default: all; a teacher that is there already is kept)",
    )
    result.add_argument("--teacher", metavar="NAME", help="distil this OPT instead: a folder, or a name on the hub")
    result.add_argument("--rate", type=float, help="firing rate that the network's mean is not to exceed, e.g. 0.10")
    result.add_argument(
        "--qat",
        type=int,
        nargs="?",
        const=8,
        metavar="BITS",
        help="train the last part in the compiled program's integers, with weights of so many bits (default: 8)",
    )
    result.add_argument("--fresh", action="store_true", help="begin afresh where an earlier run was interrupted")
    result.add_argument("--threads", type=_positive, help="CPU threads (default: PyTorch's choice)")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    return run("bispik-train", options, lambda: _train_patiently(options))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def _changes(options: argparse.Namespace) -> dict[str, Any]:
    """What options replace in the run's file, by dotted name."""
    changes = {
        "teacher": options.teacher and {"source": options.teacher},
        "losses.rate_target": options.rate,
        "qat.bits": options.qat,
    }
    return {name: value for name, value in changes.items() if value is not None}


def _train_patiently(options: argparse.Namespace) -> int:
    """Train; of several processes that fail at the same, the first one says it: the others are ended meanwhile."""
    try:
        return _train(options)
    except Exception:
        if int(os.environ.get("RANK", "0")) > 0:
            time.sleep(_FIRST_SPEAKS)
        raise


def _train(options: argparse.Namespace) -> int:
    import torch

    from bispik.models.bispikclm.processes import joined_processes
    from bispik.models.bispikclm.run_config import load_run

    if options.threads:
        torch.set_num_threads(options.threads)
    training = load_run(options.run, _changes(options))
    with joined_processes() as processes:
        return _train_stages(options, training, processes)


def _train_stages(options: argparse.Namespace, training: TrainingRun, processes: Processes) -> int:
    from bispik.cli.quantiser import quantiser
    from bispik.models.bispikclm.card import write_card
    from bispik.models.bispikclm.run_log import json_lines
    from bispik.models.bispikclm.training import train_student, train_teacher

    log, progress = json_lines(training.log), _Progress(console())

    def tell(what: str) -> None:
        if processes.first:
            progress.terminal.print(what)

    def report(metrics: dict[str, Any]) -> None:
        log(metrics)
        progress(metrics)

    made_here = training.teacher.training is not None and not (Path(training.teacher.source) / "config.json").exists()
    if options.stage == "teacher" or (options.stage == "all" and made_here):
        train_teacher(training, report, fresh=options.fresh, processes=processes)
        tell(f"teacher: {training.teacher.source}")
    if options.stage in ("student", "all"):
        train_student(training, report, scales=quantiser(training), fresh=options.fresh, processes=processes)
        tell(f"checkpoint: {training.checkpoint}")
    if processes.first and (options.stage == "card" or (options.stage == "all" and training.card)):
        tell(f"model card: {write_card(training)}")
    processes.wait()
    return 0


class _Progress:
    """A line for every evaluation, and on a terminal one every few seconds in between."""

    def __init__(self, terminal: Console) -> None:
        self.terminal = terminal
        self.last = 0.0

    def __call__(self, metrics: dict[str, Any]) -> None:
        told = "bits_per_byte" in metrics or metrics.get("event") == "resumed"
        if not told and ("loss" not in metrics or not self.terminal.is_terminal or time.monotonic() - self.last < 5):
            return
        self.last = time.monotonic()
        parts: list[str] = []
        if "event" in metrics:
            parts.append("goes on from here")
        if "loss" in metrics:
            parts.append(f"loss {metrics['loss']:.3f}")
            parts += [f"{name.replace('_', ' ')} {metrics[name]:.3f}" for name in LOSS_TERMS if name in metrics]
            parts.append(f"{metrics['tokens_per_second']:,.0f} tokens/s")
        if "bits_per_byte" in metrics:
            parts.append(f"{metrics['bits_per_byte']:.3f} bits per byte")
        if "mean_rate" in metrics:
            parts.append(f"firing rate {metrics['mean_rate']:.1%}")
        step = f" step {metrics['step']:,}" if "step" in metrics else ""
        self.terminal.print(f"{metrics['stage']}{step}: {', '.join(parts)}")


if __name__ == "__main__":  # torchrun -m bispik.cli.train
    sys.exit(main())
