"""docs/tutorial.md, run as it stands: the script, then every command, in one folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"
SAME = re.compile(r"([\d.]+)% of \d+ (?:digits|sequences)")


def test_the_tutorial_runs_as_it_stands(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "train.py").write_text(script, encoding="utf-8")
    commands = re.findall(r"```console\n\$ (.*?)\n(.*?)```", page, re.DOTALL)
    assert [shlex.split(command)[0] for command, _ in commands] == [
        "python", "bispik-compile", "bispik-compile", "bispik-run",
    ]  # fmt: skip
    accuracies = []
    for command, shown in commands:
        program, *arguments = shlex.split(command)
        refused = "the file does not say" in shown
        ran = subprocess.run(
            [str(Path(sys.executable).parent / program), *arguments],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == (2 if refused else 0), ran.stderr
        if refused:
            assert "the file does not say" in ran.stderr
        # Another processor may train to other last digits: what the page shows is the same but for these.
        accuracies += [float(found) for found in SAME.findall(ran.stdout)]
    floats, integers = accuracies
    assert floats > 85
    assert abs(floats - integers) < 2
    assert (tmp_path / "out" / "program.bspk").is_file()
