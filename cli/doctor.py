"""``--doctor``: what is installed, what is not, and what that costs."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from rich.markup import escape
from rich.table import Table

from bispik.models.errors import BispikError


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One part of the installation."""

    part: str
    found: str
    """Version, or empty if it is missing."""
    note: str
    """What works because of it, or what its absence costs."""


def examine() -> tuple[Finding, ...]:
    """Look at the installation, importing nothing heavy but Lava."""
    return (
        Finding(part="Python", found=platform.python_version(), note=f"{platform.system()} {platform.machine()}"),
        _package("numpy", "reference backend, everything that is compiled"),
        _checked("C++ kernels", _kernels, "the sim backend; BISPIK_KERNELS=NAME takes others"),
        _package("torch", "reading .pt checkpoints, training", "checkpoints cannot be read: pip install torch"),
        _package("nir", "checking exported networks", "networks cannot be read back: pip install nir"),
        _package("tokenizers", "prompts as text", "only --tokens works: pip install tokenizers"),
        _checked("lava-nc", _import_lava, "the lava backend"),
        _checked(
            "lava-loihi (Intel)", _import_lava_loihi, "running on Loihi 2 hardware", "from Intel's research community"
        ),
        _checked("onnx", _import_onnx, "the onnx backend, .onnx files"),
        _package("transformers", "bispik-train: OPT teachers", "no training: pip install 'bispik[train]'"),
        _package("distributed", "--dask", "--jobs does without; pip install 'bispik[cluster]'"),
        _package("lm-eval", "lm_eval --model bispik", "bispik-eval does without; pip install 'bispik[eval]'"),
    )


def table(findings: tuple[Finding, ...]) -> Table:
    """Return the findings for a terminal."""
    result = Table("part", "found", "what that means", title="bispik installation", title_justify="left")
    for finding in findings:
        note = escape(finding.note)  # `bispik[train]` is no markup
        result.add_row(finding.part, finding.found or "missing", note, style=None if finding.found else "yellow")
    return result


def _package(name: str, use: str, cost: str = "") -> Finding:
    try:
        return Finding(part=name, found=version(name), note=use)
    except PackageNotFoundError:
        return Finding(part=name, found="", note=cost or f"no {use}")


def _checked(part: str, load: Callable[[], str], use: str, remedy: str = "") -> Finding:
    try:
        return Finding(part=part, found=load(), note=use)
    except (ImportError, BispikError) as error:
        return Finding(part=part, found="", note=f"no {use}: {remedy or error}")


def _kernels() -> str:
    from bispik.backends.sim.kernel_path import available_paths, chosen_path, unavailable_paths

    chosen = chosen_path()
    others = [name for name in available_paths() if name != chosen]
    remarks = [
        f"{what}: {', '.join(names)}"
        for what, names in (("also here", others), ("not on this processor", unavailable_paths()))
        if names
    ]
    return f"{chosen} ({'; '.join(remarks)})" if remarks else chosen


def _import_lava() -> str:
    from bispik.backends.lava.compat import import_lava

    import_lava()
    return version("lava-nc")


def _import_onnx() -> str:
    from bispik.backends.onnx.library import import_onnx, import_onnxruntime

    return f"{import_onnx().__version__}, onnxruntime {import_onnxruntime().__version__}"


def _import_lava_loihi() -> str:
    from bispik.backends.lava.compat import import_lava

    import_lava()
    from bispik.backends.lava.vendor import loihi2_is_installed

    if not loihi2_is_installed():
        raise ImportError("not installed")
    return "installed"
