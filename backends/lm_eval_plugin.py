"""Makes ``lm_eval --model bispik`` known to lm-eval up to 0.4.13, which looks for no models outside itself.

Later versions find the class by the entry point ``lm_eval.models`` of pyproject.toml. For those up to 0.4.13 the wheel
brings ``bispik_lm_eval.pth``, which imports this module when Python was started for ``lm_eval``, and for nothing else.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

NAME = "bispik"
TARGET = "bispik.backends.lm_eval_model:BispikLM"
"""Imported when the model is asked for."""


def register() -> None:
    """Add the model class to lm-eval's registry, behind lm-eval's own."""
    if find_spec("lm_eval") is None:
        return
    import_module("lm_eval.models")  # fills the registry, which is only done while it is empty
    from lm_eval.api.registry import model_registry

    if NAME not in model_registry:
        model_registry.register(NAME, target=TARGET)


register()
