"""Lava 0.10.0, its last release, on Pythons and NumPys later than the ones that it declares.

Call `import_lava` before the first `import lava...`. It puts four things right:

- Python 3.11 refuses a dataclass field whose default is an instance of an unhashable class; Lava has three.
- NumPy 2.1 renames the argument `newshape` of `reshape`, which Lava's `ReshapePort` passes by name; NumPy 2.4
  drops it.
- Lava sets the start method of `multiprocessing` for the whole Python process, which fails if anyone has set
  one before. It is left alone here; Lava's own processes fork, as they must, whatever it is.
- Without Intel's library, Lava stands in for the base of models for embedded processors under a name that it does not
  use, so that its configuration for hardware ends with a NameError where it looks at more than one model.

`import_netx` imports the part of lava-dl 0.6.0 that loads ``.net`` files. On its way lava-dl imports what that part
never uses: object detection, which wants OpenCV and torchvision, and matplotlib. They are empty for as long as that
takes.
"""

import dataclasses
import functools
import importlib
import importlib.util
import multiprocessing
import sys
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing.context import ForkProcess
from types import ModuleType
from typing import Any

import numpy as np


@functools.cache
def import_lava() -> None:
    """Make every later import of Lava an ordinary one. What is replaced outside Lava meanwhile is put back.

    Raises:
        ImportError: Lava, or a library that it needs, is not installed.
    """
    try:
        _import_lava()
    except ModuleNotFoundError as error:
        raise ImportError(
            f"Lava cannot be imported ({error}). In a clone of bispik `make install` installs it; elsewhere: "
            "pip install asteval networkx scipy && "
            "pip install --no-deps --ignore-requires-python lava-nc==0.10.0"
        ) from error


def _import_lava() -> None:
    with _replaced(multiprocessing, Process=ForkProcess, set_start_method=lambda _method: None):
        importlib.import_module("lava.magma.runtime.message_infrastructure.multiprocessing")

    # What `var_model` imports comes first, so that no classes but its own meet the replacement.
    ports = importlib.import_module("lava.magma.core.process.ports.ports")
    importlib.import_module("lava.magma.compiler.subcompilers.address")
    with _replaced(dataclasses, dataclass=functools.partial(dataclasses.dataclass, unsafe_hash=True)):
        importlib.import_module("lava.magma.compiler.var_model")

    run_configs = importlib.import_module("lava.magma.core.run_configs")
    if not hasattr(run_configs, "CLoihiProcessModel"):
        vars(run_configs)["CLoihiProcessModel"] = run_configs.AbstractCProcessModel

    if np.lib.NumpyVersion(np.__version__) >= "2.1.0":
        reshape: Any = np.reshape  # its types differ from release to release
        reshape_port = ports.ReshapePort
        reshape_port.get_transform_func_fwd = lambda port: functools.partial(reshape, shape=port.shape)
        reshape_port.get_transform_func_bwd = lambda port: functools.partial(reshape, shape=port.old_shape)


UNUSED_BY_NETX = (
    "lava.lib.dl.slayer.object_detection",
    "matplotlib",
    "matplotlib.animation",
    "matplotlib.pyplot",
)
"""What lava-dl imports and netx does not use; matplotlib's own modules come first where it is installed."""


@functools.cache
def import_netx() -> ModuleType:
    """Return `lava.lib.dl.netx`; what else lava-dl has may have lost its plots and its object detection.

    Raises:
        ImportError: Lava or lava-dl, or a library that it needs, is not installed.
    """
    import_lava()
    missing = [name for name in UNUSED_BY_NETX if not (name.startswith("matplotlib") and _installed("matplotlib"))]
    empty = {name: sys.modules.get(name) or ModuleType(name) for name in missing}
    for name, module in empty.items():
        parent, _, child = name.rpartition(".")
        if parent in empty:
            setattr(empty[parent], child, module)
    added = {name: module for name, module in empty.items() if name not in sys.modules}
    sys.modules.update(added)
    try:
        return importlib.import_module("lava.lib.dl.netx")
    except ModuleNotFoundError as error:
        raise ImportError(
            f"lava-dl cannot be imported ({error}): pip install --no-deps --ignore-requires-python lava-dl==0.6.0"
        ) from error
    finally:
        for name in added:
            del sys.modules[name]


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


@contextmanager
def _replaced(module: ModuleType, **attributes: Any) -> Generator[None]:
    """Replace attributes of a module for the length of a `with` block."""
    originals = {name: getattr(module, name) for name in attributes}
    vars(module).update(attributes)
    try:
        yield
    finally:
        vars(module).update(originals)
