"""The way of ``bispik-sweep``: train each variant, compile it at each width, account for its energy."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bispik.cli.account import account_of
from bispik.cli.compile_flow import CompileRequest, Stages, compile_network
from bispik.cli.execute import run_program
from bispik.cli.quantiser import quantiser
from bispik.compiler.target import Target
from bispik.energy.profiles import Profile
from bispik.energy.ranges import Range
from bispik.models.bispikclm.card import last_line
from bispik.models.bispikclm.run_log import json_lines, read_log
from bispik.models.bispikclm.sweep_config import Sweep, Variant
from bispik.models.bispikclm.training import train_student
from bispik.models.errors import BispikError


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One variant at one width."""

    variant: str
    steps_per_token: int
    rate_target: float | None
    trained_tokens: int
    bits: int
    validation_bpb: float
    """Bits per byte of the float network on the whole validation text."""
    mean_rate: float
    """Its mean firing rate there."""
    held_out_bpb_float: float
    """Bits per byte on the held-out text that the integers are held against."""
    held_out_bpb_integer: float
    spikes_per_token: float
    synops_per_token: float
    dynamic_joules: Range
    """Per token: synops, neurons, messages."""
    all_joules: Range
    """Per token: with static and host."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def run_sweep(sweep: Sweep, target: Target, profile: Profile, show: Callable[[str], None]) -> Iterator[Outcome]:
    """Train what is not trained yet, and yield the outcomes one by one.

    Raises:
        BispikError: if a training or a compilation fails; what was trained before stays.
    """
    for number, variant in enumerate(sweep.variants, start=1):
        place = f"{number} of {len(sweep.variants)}, {variant.name}"
        if not _is_trained(variant):
            _train(variant, place, show)
        for bits in variant.bits:
            show(f"{place}: compiling at {bits} bits")
            yield _compiled(sweep, variant, bits, target, profile)


def _is_trained(variant: Variant) -> bool:
    """Whether the variant's log ends with an evaluation of the checkpoint that is there."""
    run = variant.run
    return run.checkpoint.is_file() and run.log.is_file() and read_log(run.log)[-1].get("stage") == "stored student"


def _train(variant: Variant, place: str, show: Callable[[str], None]) -> None:
    write = json_lines(variant.run.log)
    steps = variant.run.student.steps

    def report(metrics: dict[str, Any]) -> None:
        write(metrics)
        if "loss" in metrics:
            show(f"{place}: step {metrics['step']:,} of {steps:,}, loss {metrics['loss']:.3f}")

    train_student(variant.run, report, scales=quantiser(variant.run))


def _compiled(sweep: Sweep, variant: Variant, bits: int, target: Target, profile: Profile) -> Outcome:
    run = variant.run
    with tempfile.TemporaryDirectory() as folder:
        request = CompileRequest(
            source=run.checkpoint,
            target=target,
            system=None,
            output=Path(folder),
            bits=bits,
            neurons="bispik",
            window=None,
            head_on_chip=True,
            calibration=sweep.calibration,
            held_out=sweep.held_out,
            tokenizer=run.data.tokenizer,
            dump_after=None,
            emit=(),
            seed=0,
        )
        mapped = compile_network(request, Stages(lambda _title: None)).mapped
    verification = mapped.program.verification
    if verification is None:
        raise BispikError(f"{variant.name}: the program was not verified")
    energy = account_of(mapped, run_program(mapped, "sim", verification.sample), profile).energy
    log = read_log(run.log)
    stored = last_line(log, "stored student", "bits_per_byte", run.log)
    return Outcome(
        variant=variant.name,
        steps_per_token=run.model.steps_per_token,
        rate_target=run.losses.rate_target if run.losses.rate else None,
        trained_tokens=int(last_line(log, "student", "tokens", run.log)["tokens"]),
        bits=bits,
        validation_bpb=float(stored["bits_per_byte"]),
        mean_rate=float(stored["mean_rate"]),
        held_out_bpb_float=verification.bpb_float,
        held_out_bpb_integer=verification.bpb_integer,
        spikes_per_token=energy.spikes / energy.tokens,
        synops_per_token=energy.synops / energy.tokens,
        dynamic_joules=energy.scope("dynamic") / energy.tokens,
        all_joules=energy.total / energy.tokens,
    )
