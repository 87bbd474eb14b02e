"""Two processes take the steps that one would take; checkpointed activations change nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bispik.models.bispikclm.checkpoint import load_checkpoint
from bispik.models.bispikclm.config import BiSpikCLMConfig
from bispik.models.bispikclm.model import BiSpikCLM
from bispik.models.bispikclm.processes import Processes, joined_processes
from bispik.models.bispikclm.run_config import Losses, load_run
from bispik.models.bispikclm.run_log import LogLine, read_log
from bispik.models.bispikclm.spad import Distillation, TeacherSignals
from bispik.models.bispikclm.training import train_student, train_teacher
from bispik.models.errors import BispikError
from tests.models.runs import TOML, write_run

CONFIG = BiSpikCLMConfig(
    vocab_size=11,
    hidden_size=8,
    intermediate_size=12,
    num_heads=2,
    num_layers=2,
    max_positions=6,
    steps_per_token=2,
    current_norm="batch",
)
STEPS = 6
CHANGES = (
    ("steps = 30", f"steps = {STEPS}\nsave_every = 3\naccumulate = 2\ncheckpoint_activations = true"),
    ("evaluate_every = 20", "evaluate_every = 4"),
    ("warmup = 5", "warmup = 2"),
    ("temperature = 2", "temperature = 2\nrate_target = 0.05"),
    ("seed = 1", 'seed = 1\nprecision = "float32"'),
)
SHORT = reduce(lambda toml, change: toml.replace(*change), CHANGES, TOML[: TOML.index("[card]")])
TERMS = ("loss", "embedding", "attention", "features", "soft_targets", "hard_targets", "rate", "mean_rate")


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=240, env=environment)


def distillation(processes: Processes) -> Distillation:
    """Every term of the loss, in float64, with currents strong enough for spikes."""
    torch.manual_seed(3)
    module = Distillation(BiSpikCLM(CONFIG), Losses(rate_target=0.01), 8, processes).double()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("_spike.bias"):
                parameter.fill_(0.4)
    return module


def token_ids() -> Tensor:
    return torch.randint(0, 11, (8, 7), generator=torch.Generator().manual_seed(1))


def signals(ids: Tensor) -> TeacherSignals:
    """Signals that follow from the ids alone, sequence by sequence."""
    table = torch.randn(11, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    wide = table[ids[:, :-1]]
    maps = wide[:, None, :, :6].expand(-1, 2, -1, -1).sigmoid().tril()
    return TeacherSignals(logits=wide, hidden=(wide[..., :8],) * 3, attentions=(maps,) * 2)


def steps(log: Path, stage: str) -> list[LogLine]:
    return [line for line in read_log(log) if line["stage"] == stage and "loss" in line]


KILLED = """
import os, signal, sys
from pathlib import Path
from bispik.models.bispikclm.processes import joined_processes
from bispik.models.bispikclm.run_config import load_run
from bispik.models.bispikclm.run_log import json_lines
from bispik.models.bispikclm.training import train_student, train_teacher

run = load_run(Path(sys.argv[1]))
write = json_lines(run.log)

def report(metrics):
    write(metrics)
    if metrics["stage"] == "student" and metrics.get("step") == 5:
        os.kill(os.getpid(), signal.SIGKILL)

with joined_processes() as processes:
    train_teacher(run, report, processes=processes)
    train_student(run, report, processes=processes)
"""


def test_two_processes_killed_and_resumed_have_the_losses_of_one(tmp_path: Path) -> None:
    alone = load_run(write_run(tmp_path / "one", SHORT))
    together = write_run(tmp_path / "two", SHORT)
    lines: list[dict[str, Any]] = []
    train_teacher(alone, lines.append)
    train_student(alone, lines.append)

    (tmp_path / "killed.py").write_text(KILLED)
    killed = torchrun(str(tmp_path / "killed.py"), str(together))
    assert killed.returncode != 0
    assert len(steps(together.parent / "log.jsonl", "student")) == 5, killed.stderr
    assert (together.parent / "student.student.state").exists()
    load_checkpoint(together.parent / "student.pt")  # of the evaluation behind step 4: complete

    finished = torchrun("-m", "bispik.cli.train", str(together), "--stage", "student")
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.count("stored student") == 1
    log = together.parent / "log.jsonl"
    assert [line["step"] for line in read_log(log) if line.get("event") == "resumed"] == [3]
    for stage, terms in (("teacher", ("loss",)), ("student", TERMS)):
        expected = [line for line in lines if line["stage"] == stage and "loss" in line]
        found = steps(log, stage)
        assert [line["step"] for line in found] == list(range(1, STEPS + 1))
        for name in (*terms, "gradient_norm"):
            ours, theirs = [line[name] for line in found], [line[name] for line in expected]
            # Rounding alone tells them apart, until it first carries a membrane across the threshold: one spike more.
            assert ours[0] == pytest.approx(theirs[0], rel=1e-5), name
            assert ours == pytest.approx(theirs, rel=1e-3 if name == "loss" else 1e-2), name
    assert any(line["rate"] > 0 for line in steps(log, "student"))
    left = {path.name for path in together.parent.iterdir()}
    assert left == {path.name for path in alone.checkpoint.parent.iterdir()} | {"log.jsonl"}
    assert load_checkpoint(together.parent / "student.pt").config == alone.model


GRADIENTS = """
import sys
import torch
from bispik.models.bispikclm.processes import joined_processes, without_averaging
from tests.models.test_processes import distillation, signals, token_ids

def save_gradients(processes):
    module = distillation(processes)
    replicated = processes.replicated(module)
    for number, part in enumerate(token_ids().chunk(2)):
        with without_averaging(replicated) if number == 0 else torch.enable_grad():
            ids = processes.own_slice(part)
            terms = replicated(ids, signals(ids))
            (terms["loss"] / 2).backward()
    gradients = {name: parameter.grad for name, parameter in module.named_parameters()}
    torch.save({**gradients, **dict(module.named_buffers())}, f"{sys.argv[1]}{processes.rank}.pt")

with joined_processes() as processes:
    save_gradients(processes)
"""


def test_gradients_and_running_statistics_are_those_of_one_process(tmp_path: Path) -> None:
    """In float64 with every term of the loss, where nothing but the last digits may differ."""
    alone = distillation(Processes())
    for part in token_ids().chunk(2):
        (alone(part, signals(part))["loss"] / 2).backward()
    expected = {name: parameter.grad for name, parameter in alone.named_parameters()} | dict(alone.named_buffers())
    (tmp_path / "gradients.py").write_text(GRADIENTS)
    done = torchrun(str(tmp_path / "gradients.py"), str(tmp_path / "rank"))
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        found = torch.load(tmp_path / f"rank{rank}.pt")
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert value is not None, name
            torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-13, msg=name)


def test_an_error_of_all_is_told_once(tmp_path: Path) -> None:
    path = write_run(tmp_path, SHORT.replace("batch = 8", "batch = 6"))
    before = set(tmp_path.iterdir())
    failed = torchrun("-m", "bispik.cli.train", str(path))
    assert failed.returncode != 0
    assert "exitcode  : 2" in failed.stderr
    message = "bispik-train: teacher: a part of the batch has 3 sequences, which 2 processes cannot share equally"
    assert failed.stderr.count(message) == 1
    assert {file.name for file in set(tmp_path.iterdir()) - before} <= {"tokenizer.json", ".cache"}


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined_processes() as processes:
        assert processes.first
        assert processes.size == 1
    values = torch.rand(3, requires_grad=True)
    assert torch.equal(Processes().gathered(values)[0], values)
    assert Processes().mean({"loss": 0.1}) == {"loss": 0.1}
    batch = torch.arange(8)
    assert [Processes(rank=rank, size=2).own_slice(batch).tolist() for rank in (0, 1)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    Processes(size=2).check_divides(8, "it")
    with pytest.raises(BispikError, match="it has 7 sequences, which 2 processes cannot share equally"):
        Processes(size=2).check_divides(7, "it")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_checkpointed_activations_change_nothing(precision: str) -> None:
    ids = token_ids()
    wanted = signals(ids)
    outcomes = []
    for checkpointed in (False, True):
        module = distillation(Processes()).float()
        module.student.checkpoint_activations = checkpointed
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            terms = module(ids, wanted)
        terms["loss"].backward()
        gradients = {name: parameter.grad for name, parameter in module.named_parameters()}
        outcomes.append({**terms, **gradients, **dict(module.named_buffers())})
    assert outcomes[0].keys() == outcomes[1].keys()
    assert outcomes[0]["rate"] > 0
    for name, value in outcomes[0].items():
        assert value is not None, name
        assert torch.equal(value, outcomes[1][name]), name
    assert not torch.equal(outcomes[1]["student.embedding_spike.running_mean"], torch.zeros(8))
