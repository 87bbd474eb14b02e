"""Compiles that are killed, ended or out of room: nothing half-written is left; ``--resume`` makes the same bytes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from bispik.cli.compile import main
from bispik.cli.kept_stages import kept_stages
from bispik.models.errors import BispikError
from tests.rough.commands import Driver, contents, visible

Capture = pytest.CaptureFixture[str]

ARTIFACTS = ["board.svg", "model.nir", "program.bspk", "report.html", "report.json"]
STAGES = ["map", "nir", "quantize", "verify"]


def some(operations: int) -> Sequence[int]:
    """A few places among so many operations; the last ones are where files get their names."""
    return [3, operations // 2, operations - 4]


@pytest.fixture(scope="module")
def older(checkpoint: Path, driver: Driver, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of another compile."""
    folder = tmp_path_factory.mktemp("older")
    assert driver.run(checkpoint, "--bits", "4", "-o", folder / "out", folder=folder).code == 0
    return folder / "out"


@pytest.fixture(scope="module")
def whole(checkpoint: Path, driver: Driver, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of an uninterrupted compile."""
    folder = tmp_path_factory.mktemp("whole")
    assert driver.run(checkpoint, "-o", folder / "out", folder=folder).code == 0
    assert sorted(contents(folder / "out")) == ARTIFACTS
    return folder / "out"


def killed_anywhere(
    driver: Driver, checkpoint: Path, folder: Path, older: Path, whole: Path, places: Sequence[int] | None
) -> None:
    """Kill a compile into a folder that holds an older one; places None are all."""
    before, after = contents(older), contents(whole)
    out = folder / "out"
    shutil.copytree(older, out)
    operations = driver.run(checkpoint, "-o", out, folder=folder).operations
    for at in places if places is not None else range(1, operations + 1):
        shutil.rmtree(out)
        shutil.copytree(older, out)
        assert driver.run(checkpoint, "-o", out, folder=folder, at=at).code == -signal.SIGKILL
        found = visible(out)
        assert sorted(found) == ARTIFACTS
        assert all(digest in (before[name], after[name]) for name, digest in found.items())
    assert driver.run(checkpoint, "-o", out, folder=folder).code == 0
    assert contents(out) == after  # and what the killed ones left is gone


def test_killed_at_some_places(driver: Driver, checkpoint: Path, tmp_path: Path, older: Path, whole: Path) -> None:
    killed_anywhere(driver, checkpoint, tmp_path, older, whole, [1, 5, 20])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_every_operation_on_the_disk(
    driver: Driver, checkpoint: Path, tmp_path: Path, older: Path, whole: Path
) -> None:
    killed_anywhere(driver, checkpoint, tmp_path, older, whole, None)


def test_killed_while_a_new_folder_is_made(driver: Driver, checkpoint: Path, tmp_path: Path, whole: Path) -> None:
    out = tmp_path / "out"
    operations = driver.run(checkpoint, "-o", out, folder=tmp_path).operations
    for at in some(operations):
        shutil.rmtree(out, ignore_errors=True)
        assert driver.run(checkpoint, "-o", out, folder=tmp_path, at=at).code == -signal.SIGKILL
        assert contents(out) in ({}, contents(whole))  # all files or none
    assert driver.run(checkpoint, "-o", out, folder=tmp_path).code == 0
    assert contents(tmp_path) == {f"out/{name}": digest for name, digest in contents(whole).items()}


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_asked_to_end(driver: Driver, checkpoint: Path, tmp_path: Path, older: Path, name: str) -> None:
    out = tmp_path / "out"
    shutil.copytree(older, out)
    operations = driver.run(checkpoint, "-o", tmp_path / "other", folder=tmp_path).operations
    shutil.rmtree(tmp_path / "other")
    for at in (1, operations // 2):
        ending = driver.run(checkpoint, "-o", out, folder=tmp_path, signal=name, at=at)
        assert ending.code == 128 + signal.Signals[name]
        assert ending.said.count("\n") == 1
        assert "nothing half-written is left" in ending.said
        assert contents(tmp_path) == {f"out/{name}": digest for name, digest in contents(older).items()}


def resumed_anywhere(driver: Driver, checkpoint: Path, folder: Path, whole: Path, step: int) -> set[tuple[str, ...]]:
    """Kill a compile at every so many operations, resume it, and return which stages had then been kept."""
    out = folder / "out"
    command: list[str | Path] = [checkpoint, "-o", out, "--resume"]
    operations = driver.run(*command, folder=folder).operations
    assert contents(out) == contents(whole)
    kept: set[tuple[str, ...]] = set()
    for at in range(step, operations, step):  # each time from nothing
        shutil.rmtree(out, ignore_errors=True)
        assert driver.run(*command, folder=folder, at=at).code == -signal.SIGKILL
        stages = tuple(sorted(path.stem for path in out.glob(".resume-*/[!.]*.bspk")))
        if stages in kept:
            continue
        kept.add(stages)
        assert driver.run(*command, folder=folder).code == 0
        assert contents(out) == contents(whole)
    return kept


def test_a_compile_resumes_behind_some_stages(driver: Driver, checkpoint: Path, tmp_path: Path, whole: Path) -> None:
    assert len(resumed_anywhere(driver, checkpoint, tmp_path, whole, 20)) > 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_compile_resumes_behind_each_stage(driver: Driver, checkpoint: Path, tmp_path: Path, whole: Path) -> None:
    kept = resumed_anywhere(driver, checkpoint, tmp_path, whole, 3)
    assert {len(stages) for stages in kept} == set(range(len(STAGES) + 1))


def test_a_resumed_compile_does_no_stage_twice(
    checkpoint: Path, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def ended(*_arguments: object) -> None:
        raise KeyboardInterrupt

    def twice(*_arguments: object, **_options: object) -> None:
        raise AssertionError("done before")

    command = [str(checkpoint), "-o", str(tmp_path / "out"), "--resume", "--json"]
    with monkeypatch.context() as patch:
        patch.setattr("bispik.cli.compile_flow.save_program", ended)
        assert main(command) == 130
    said = capsys.readouterr().err
    assert f"{len(STAGES)} finished stages ({', '.join(STAGES)}) are kept in {tmp_path}" in said
    for stage in ("quantize", "map_program", "verify", "write_nir", "load_graph"):
        monkeypatch.setattr(f"bispik.cli.compile_flow.{stage}", twice)
    assert main(command) == 0
    assert contents(tmp_path / "out") == contents(whole)


def test_other_inputs_resume_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def ended(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bispik.cli.compile_flow.save_program", ended)
        for bits in ("8", "4"):
            assert main([str(checkpoint), "-o", str(tmp_path / "out"), "--resume", "--bits", bits]) == 130
    assert len(list((tmp_path / "out").glob(".resume-*"))) == 1  # the earlier one made room
    assert main([str(checkpoint), "-o", str(tmp_path / "out"), "--resume", "--bits", "2"]) == 0
    assert sorted(contents(tmp_path / "out")) == ARTIFACTS
    assert main([str(checkpoint), "-o", str(tmp_path / "plain"), "--bits", "2"]) == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")
    capsys.readouterr()


def test_a_damaged_stage_is_refused(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def ended(*_arguments: object) -> None:
        raise KeyboardInterrupt

    command = [str(checkpoint), "-o", str(tmp_path / "out"), "--resume"]
    with monkeypatch.context() as patch:
        patch.setattr("bispik.cli.compile_flow.save_program", ended)
        assert main(command) == 130
    (kept,) = (tmp_path / "out").glob(".resume-*/quantize.bspk")
    content = bytearray(kept.read_bytes())
    content[-100] ^= 1
    kept.write_bytes(content)
    capsys.readouterr()
    assert main(command) == 2
    assert f"checksum does not match: it was altered or damaged; make it again; or remove {kept.parent}" in (
        capsys.readouterr().err
    )


def test_a_network_in_nir_resumes(driver: Driver, network: Path, tmp_path: Path) -> None:
    command: list[str | Path] = [network, "--dt", "1e-3", "-o"]
    assert driver.run(*command, tmp_path / "whole", folder=tmp_path).code == 0
    out = tmp_path / "out"
    operations = driver.run(*command, out, "--resume", folder=out).operations
    assert contents(out) == contents(tmp_path / "whole")
    for at in some(operations):
        shutil.rmtree(out)
        assert driver.run(*command, out, "--resume", folder=out, at=at).code == -signal.SIGKILL
        assert driver.run(*command, out, "--resume", folder=out).code == 0
        assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_full_disk_leaves_the_older_output(
    driver: Driver, checkpoint: Path, older: Path, whole: Path, tmp_path: Path, resume: list[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(older, out)
    largest = max((whole / name).stat().st_size for name in ARTIFACTS)
    for size in (20_000, largest - 1) if resume else (0, 80_000, largest - 1):
        ending = driver.run(checkpoint, "-o", out, *resume, folder=tmp_path, file_size=size)
        assert ending.code == 2
        assert "cannot be written" in ending.said
        assert "Traceback" not in ending.said
        assert visible(out) == contents(older)
        assert not list(out.glob(".partial-*"))
    assert driver.run(checkpoint, "-o", out, *resume, folder=tmp_path).code == 0
    assert contents(out) == contents(whole)


def test_a_full_disk_for_a_network_in_nir(driver: Driver, network: Path, tmp_path: Path) -> None:
    for size in (0, 6_000):
        command: list[str | Path] = [network, "--dt", "1e-3", "-o", tmp_path / "out", "--emit", "netx"]
        ending = driver.run(*command, folder=tmp_path, file_size=size)
        assert ending.code == 2
        (said,) = ending.said.splitlines()
        assert "cannot be written" in said
        assert contents(tmp_path) == {}


def test_a_folder_that_cannot_be_written(checkpoint: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    # Root may write everywhere but where the system itself says no.
    out = Path("/proc/bispik") if os.geteuid() == 0 else tmp_path / "out"
    for resume in ([], ["--resume"]):
        assert main([str(checkpoint), "-o", str(out), *resume]) == 2
        (said,) = capsys.readouterr().err.splitlines()
        assert "cannot be written" in said
    assert contents(tmp_path) == {}


def test_two_compiles_do_not_share_what_they_keep(tmp_path: Path) -> None:
    with kept_stages(tmp_path, lambda: "a" * 64) as kept:
        with (
            pytest.raises(BispikError, match="another process is at this compile"),
            kept_stages(tmp_path, lambda: "a" * 64),
        ):
            pass
        with kept_stages(tmp_path, lambda: "b" * 64):  # another compile is none of its business
            assert kept.folder is not None
            assert kept.folder.exists()


def test_files_of_an_earlier_compile_go_if_they_are_no_longer_true(
    network: Path, tmp_path: Path, capsys: Capture
) -> None:
    command = [str(network), "--dt", "1e-3", "-o", str(tmp_path)]
    (tmp_path / "notes.txt").write_text("mine")
    assert main([*command, "--emit", "netx"]) == 0
    assert (tmp_path / "network.net").exists()
    assert main(command) == 0
    assert sorted(contents(tmp_path)) == ["board.svg", "notes.txt", "program.bspk", "report.html", "report.json"]
    capsys.readouterr()


def shared_memory(process: str) -> set[str]:
    """Names of the shared memory that a process has mapped."""
    lines = Path(f"/proc/{process}/maps").read_text(encoding="utf-8").splitlines()
    return {line.split()[5] for line in lines if "/dev/shm/" in line and not line.endswith("(deleted)")}


def catches(process: int, number: signal.Signals) -> bool:
    """Tell whether a process has a handler for a signal: before it has, it is still being started."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    (mask,) = (int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
    return bool(mask >> (number - 1) & 1)


@pytest.mark.slow
def test_ending_a_run_on_lava_leaves_no_process_and_no_shared_memory(whole: Path, tmp_path: Path) -> None:
    code = "import sys; from bispik.cli.run import main; sys.exit(main(sys.argv[1:]))"
    command = [str(whole / "program.bspk"), "--backend", "lava", "--prompts", str(tmp_path / "prompts")]
    (tmp_path / "prompts").write_text('"And it came"\n' * 500, encoding="utf-8")
    run = subprocess.Popen(
        [sys.executable, "-c", code, *command], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    children: list[str] = []
    shared: set[str] = set()
    while not (children and shared and catches(run.pid, signal.SIGTERM)) and run.poll() is None:
        time.sleep(0.01)
        with suppress(OSError):  # a process or thread that ended meanwhile
            lists = Path(f"/proc/{run.pid}/task").glob("*/children")
            children = [child for found in lists for child in found.read_text(encoding="ascii").split()]
            shared |= {name for process in (str(run.pid), *children) for name in shared_memory(process)}
    run.send_signal(signal.SIGTERM)
    _, said = run.communicate(timeout=120)
    assert run.returncode == 128 + signal.SIGTERM
    assert "ended by SIGTERM; nothing half-written is left" in said
    deadline = time.monotonic() + 20.0
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert not any(Path(name).exists() for name in shared)
