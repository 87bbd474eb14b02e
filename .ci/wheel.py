"""`make wheel`: a source package, a wheel built from it, and a run of that wheel where nothing else of this tree is.

Called from the top of the tree by the Python of .venv, with .venv/bin in front on PATH.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from scikit_build_core.build import build_sdist

ROOT = Path.cwd()
DIST = ROOT / "dist"
BUILD = ROOT / "build" / "wheel"
PACKAGES = ("backends", "cli", "compiler", "energy", "models")
CPP = (".cpp", ".hpp")
CHECKPOINT = "examples/kjv_shakespeare/checkpoint.pt"


def main() -> None:
    tracked = tracked_files()
    source = DIST / build_sdist(str(DIST))
    check_source(source, tracked)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", BUILD, source)
    (built,) = BUILD.glob("*.whl")
    wheel = repaired(built)
    check_contents(wheel, tracked)
    try_out(wheel)
    print(f"{source.relative_to(ROOT)}\n{wheel.relative_to(ROOT)}")
    run(
        sys.executable,
        ".ci/supply_chain.py",
        "sbom",
        wheel.relative_to(ROOT),
        wheel.relative_to(ROOT).with_suffix(".cdx.json"),
    )


def run(*command: object, **options: object) -> None:
    subprocess.run([str(part) for part in command], check=True, **options)  # type: ignore[call-overload]


def tracked_files() -> set[str]:
    """Files of the packages and of the build."""
    listed = subprocess.run(
        ["git", "ls-files", *PACKAGES, "CMakeLists.txt", "pyproject.toml", "tests/kernels", "requirements"],
        check=True,
        capture_output=True,
        text=True,
    )
    return set(listed.stdout.split())


def check_source(source: Path, tracked: set[str]) -> None:
    with tarfile.open(source) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    if missing := sorted(tracked - held):
        sys.exit(f"{source.name} lacks {', '.join(missing)}")


def check_contents(wheel: Path, tracked: set[str]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {
            name.removeprefix("bispik/")
            for name in archive.namelist()
            if name.startswith("bispik/") and name[-1] != "/"
        }
    wanted = {name for name in tracked if name.split("/")[0] in PACKAGES and not name.endswith(CPP)}
    extensions = {name for name in held if name.startswith("backends/sim/_kernels.") and name.endswith(".so")}
    if missing := sorted(wanted - held):
        sys.exit(f"{wheel.name} lacks {', '.join(missing)}")
    if surplus := sorted(held - wanted - extensions):
        sys.exit(f"{wheel.name} holds what it should not: {', '.join(surplus)}")
    if len(extensions) != 1:
        sys.exit(f"{wheel.name} holds {len(extensions)} extensions, not one")


def repaired(wheel: Path) -> Path:
    """Give a Linux wheel the tag of the oldest systems that it runs on; elsewhere take it as it is."""
    if sys.platform == "linux":
        done = subprocess.run(["auditwheel", "repair", "--wheel-dir", str(DIST), str(wheel)], check=False)
        if done.returncode == 0:
            (found,) = DIST.glob("*.whl")
            return found
        print(
            "auditwheel could not repair it: the wheel keeps the tag of this machine's Linux, and is for such ones only"
        )
    return Path(shutil.copy(wheel, DIST))


def try_out(wheel: Path) -> None:
    """Install the wheel with the locked dependencies, without torch, and run the example network on it."""
    with tempfile.TemporaryDirectory(prefix="bispik-wheel-") as made:
        folder = Path(made)
        compile_command = [Path(sys.executable).parent / "bispik-compile", CHECKPOINT, "--target", "loihi2"]
        run(*compile_command, "-o", folder / "example", stdout=subprocess.DEVNULL)
        run(sys.executable, "-m", "venv", folder / "venv")
        programs = folder / "venv" / "bin"
        pip = [programs / "python", "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-deps"]
        locked = ["--ignore-requires-python", "--require-hashes", "-r", ROOT / "requirements" / "runtime.txt"]
        run(*pip, "--no-build-isolation", *locked, cwd=folder)
        run(*pip, wheel, cwd=folder)
        run(programs / "bispik-compile", "--doctor", cwd=folder)
        prompt = ["--prompt", "And the LORD", "--max-new-tokens", "8"]
        texts = [
            subprocess.run(
                [
                    str(place / "bispik-run"),
                    str(folder / "example" / "program.bspk"),
                    *prompt,
                    "--backend",
                    name,
                    "--json",
                ],
                cwd=folder,
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            for place, name in ((programs, "sim"), (Path(sys.executable).parent, "reference"))
        ]
        ours, wanted = (json.loads(text) for text in texts)
        print(f"{ours['execution_mode']}: {ours['text']}")
        if ours["text"] != wanted["text"]:
            sys.exit(f"the wheel's simulator says {ours['text']!r}, the reference {wanted['text']!r}")


if __name__ == "__main__":
    main()
