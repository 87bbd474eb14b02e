"""Whether the tensors of a checkpoint are those of its network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from bispik.models.bispikclm.config import BiSpikCLMConfig
from bispik.models.bispikclm.model import BiSpikCLM
from bispik.models.errors import BispikError

LARGEST_LOG = 80.0
"""Bound on learned logarithms: exp of it, and of its negative, is a normal float32."""

_MATRICES_PER_LAYER = 6
"""Query, key, value, output, and two of the feed-forward part."""

_AT_ONCE = 1 << 22
"""Values that are looked at together."""

_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def checked_tensors(
    config: BiSpikCLMConfig, tensors: Mapping[Any, Any], where: str, release: Callable[[], None] = lambda: None
) -> dict[str, Tensor]:
    """Return the tensors in the network's order, after comparing them with what the network needs.

    Costs no more memory than the tensors themselves, whatever sizes the configuration names.

    Args:
        config: what the file says about the network.
        tensors: what the file holds, by the names of ``BiSpikCLM.state_dict``.
        where: names the file in errors.
        release: gives back the memory of what was looked at; called behind each tensor.

    Raises:
        BispikError: for a missing, superfluous, mis-shaped or unusable tensor, or NaN or infinity in one.
    """
    if config.num_layers * _MATRICES_PER_LAYER > len(tensors):  # before as many layers are built
        raise BispikError(f"{where}: {config.num_layers} layers in the configuration, but only {len(tensors)} tensors")
    with torch.device("meta"):
        expected = BiSpikCLM(config).state_dict()
    if missing := [name for name in expected if name not in tensors]:
        raise BispikError(f"{where}: {len(missing)} tensors are missing, the first is {missing[0]}")
    if unknown := [str(name) for name in tensors if name not in expected]:
        raise BispikError(f"{where}: {len(unknown)} tensors are unknown, the first is {unknown[0]}")
    checked: dict[str, Tensor] = {}
    for name, wanted in expected.items():
        checked[name] = _checked(name, tensors[name], wanted.shape, where)
        release()
    return checked


def _checked(name: str, tensor: Any, shape: torch.Size, where: str) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise BispikError(f"{where}: {name} is a {type(tensor).__name__}, not a tensor")
    if tensor.shape != shape:
        raise BispikError(f"{where}: {name} has shape {list(tensor.shape)}, expected {list(shape)}")
    if tensor.dtype not in _TYPES:
        raise BispikError(f"{where}: {name} has type {tensor.dtype}, expected floating point of 16, 32 or 64 bits")
    if not is_dense(tensor):
        raise BispikError(f"{where}: {name} is not stored in full (sparse, expanded or without data)")
    values = tensor.detach().contiguous()
    parts = torch.split(values.view(-1), _AT_ONCE)
    if bad := values.numel() - sum(int(torch.isfinite(part.float()).sum()) for part in parts):
        raise BispikError(f"{where}: {name} has {bad} values of {values.numel()} that are NaN or infinite in float32")
    if name.endswith(".running_var") and bool((values < 0).any()):
        raise BispikError(f"{where}: {name} has negative values, but is a variance")
    if name.endswith(("log_gain", "log_scale")) and bool((values.abs() > LARGEST_LOG).any()):
        raise BispikError(f"{where}: {name} has values beyond {LARGEST_LOG:g}, whose exponential is no float32")
    return values


def is_dense(tensor: Tensor) -> bool:
    """Whether every element has bytes of its own: an expanded tensor of a few bytes may claim any shape."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        return False
    return tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.element_size()
