"""The process that walks through HDF5 files of strangers: what ends it, or would never end, does not end ours."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from bispik.cli.compile import main
from bispik.compiler import hdf5_guard
from bispik.compiler.hdf5_guard import require_readable
from bispik.models.errors import BispikError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "a.nir", "w") as file:
        file.create_dataset("node/type", data="NIRGraph", dtype=h5py.string_dtype())
        file.create_dataset("node/weight", data=np.arange(3.0))
        file["node/again"] = file["node"]  # a circle
    return tmp_path / "a.nir"


def test_a_file_in_order_passes(path: Path) -> None:
    require_readable(path)


def test_what_is_no_hdf5_is_left_to_its_reader(tmp_path: Path) -> None:
    (tmp_path / "a.nir").write_bytes(b"not HDF5")
    require_readable(tmp_path / "a.nir")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("while True: pass", "came to no end in"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ends in SIGSEGV"),
        ("raise SystemExit(3)", r"asks for more than 67,\d\d\d,\d\d\d bytes of memory"),
    ],
)
def test_what_libhdf5_does_not_survive_is_refused(
    code: str, message: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5_guard, "START", code)
    with pytest.raises(BispikError, match=rf"a\.nir: damaged HDF5: .*{message}"):
        require_readable(path, seconds=1)


def test_the_walk_has_a_limit_on_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = f"bytearray({hdf5_guard.MEMORY} * 2 + 64 * len(open(sys.argv[1], 'rb').read()))"
    start = hdf5_guard.START.replace("guard.walk(", f"guard._walk = lambda file, budget: {many}; guard.walk(")
    monkeypatch.setattr(hdf5_guard, "START", start)
    with pytest.raises(BispikError, match="of memory"):
        require_readable(path)


def test_modules_beside_the_file_are_not_imported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path.parent / "h5py.py").write_text("open('here', 'w')\n")
    monkeypatch.chdir(path.parent)
    require_readable(path)
    assert not (path.parent / "here").exists()


def test_every_damaged_byte_of_a_small_file_gets_one_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Some of these places hang libhdf5 1.14, or end the process that it runs in."""
    whole = path.read_bytes()
    for place in [index for index, byte in enumerate(whole) if byte not in (0, 255)][::29]:
        path.write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
        assert main([str(path), "--dt", "1e-3", "-o", str(path.parent / "out")]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
        assert not (path.parent / "out").exists()
