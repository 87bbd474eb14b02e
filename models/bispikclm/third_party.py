"""The checkpoint layout of the public third-party training code for BiSpikCLM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bispik.models.bispikclm.config import BiSpikCLMConfig
from bispik.models.bispikclm.tensors import is_dense
from bispik.models.errors import BispikError

_NAMES = {
    "model.token_embedding.weight": "token_embedding.weight",
    "model.position_embeddings.weight": "position_embedding.weight",
    "final_layer_norm.weight": "final_norm.weight",
    "final_layer_norm.bias": "final_norm.bias",
    "readout_log_scale": "readout_log_scale",
}
_LAYER_NAMES = {
    "attention.q_proj.weight": "attention.query.weight",
    "attention.k_proj.weight": "attention.key.weight",
    "attention.v_proj.weight": "attention.value.weight",
    "attention.out_proj.weight": "attention.output.weight",
    "mlp.fc1.weight": "ffn.fc1.weight",
    "mlp.fc1.bias": "ffn.fc1.bias",
    "mlp.fc2.weight": "ffn.fc2.weight",
    "mlp.fc2.bias": "ffn.fc2.bias",
    "attention_norm.weight": "attention.norm.weight",
    "attention_norm.bias": "attention.norm.bias",
    "mlp_norm.weight": "ffn.norm.weight",
    "mlp_norm.bias": "ffn.norm.bias",
}


def is_third_party(stored: Mapping[str, Any]) -> bool:
    """Whether a loaded dictionary has the third-party layout (``student`` and ``config``)."""
    return isinstance(stored.get("student"), Mapping) and isinstance(stored.get("config"), Mapping)


def from_third_party(stored: Mapping[str, Any], where: str) -> tuple[BiSpikCLMConfig, dict[str, Tensor]]:
    """Translate to our configuration and tensor names.

    Raises:
        BispikError: for a missing configuration value, an untied head, or a tensor that has no place.
    """
    return third_party_config(stored, where), _renamed(stored["student"], where)


def third_party_config(stored: Mapping[str, Any], where: str) -> BiSpikCLMConfig:
    """Translate to our configuration.

    That code has a LayerNorm in front of both parts of a block, a ramped real current into the first block,
    neurons between A*V and the output projection and on the block's sum, and a hard reset.

    Raises:
        BispikError: for a missing or unusable configuration value.
    """
    values = stored["config"].get("model", stored["config"])
    if not isinstance(values, Mapping):
        raise BispikError(f"{where}: 'config.model' is a {type(values).__name__}, not a dictionary")
    try:
        input_scale = values.get("input_scale")
        if input_scale is None:
            input_scale = 1.0 / values["initializer_range"]
        return BiSpikCLMConfig.from_dict(
            {
                "vocab_size": values["vocab_size"],
                "hidden_size": values["hidden_size"],
                "intermediate_size": values["intermediate_size"],
                "num_heads": values["num_attention_heads"],
                "num_layers": values["num_hidden_layers"],
                "max_positions": values["max_position_embeddings"],
                "steps_per_token": values["num_steps"],
                "threshold": values["spike_threshold"],
                "decay": values["membrane_decay"],
                "input_scale": input_scale,
                "reset": "zero",
                "embedding_spike": False,
                "input_current": "ramp",
                "block_norm": "pre",
                "pre_spike": False,
                "attention_output_spike": True,
                "ffn_output_spike": False,
                "block_output_spike": True,
                "readout_scale": "readout_log_scale" in stored["student"],
            }
        )
    except KeyError as error:
        raise BispikError(f"{where}: config.model has no {error.args[0]!r}") from error
    except (TypeError, ZeroDivisionError, OverflowError) as error:
        raise BispikError(f"{where}: config.model has an unusable value: {error}") from error
    except BispikError as error:
        raise BispikError(f"{where}: {error}") from error


def _renamed(student: Mapping[Any, Any], where: str) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, tensor in student.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise BispikError(f"{where}: student.{name} is a {type(tensor).__name__}, expected a named tensor")
        if name == "lm_head.weight":
            tied = student.get("model.token_embedding.weight")
            if not isinstance(tied, Tensor) or not _same(tied, tensor):
                raise BispikError(
                    f"{where}: lm_head.weight differs from the token embedding; only tied heads are known"
                )
            continue
        parts = name.split(".", 3)
        if name in _NAMES:
            tensors[_NAMES[name]] = tensor
        elif parts[:2] == ["model", "layers"] and len(parts) == 4 and parts[3] in _LAYER_NAMES:
            tensors[f"blocks.{parts[2]}.{_LAYER_NAMES[parts[3]]}"] = tensor
        else:
            raise BispikError(f"{where}: student.{name} has no place in a BiSpikCLM network")
    scale = tensors.get("readout_log_scale")
    if scale is not None and scale.numel() == 1:
        tensors["readout_log_scale"] = scale.reshape(())
    return tensors


def _same(tied: Tensor, head: Tensor) -> bool:
    if not (is_dense(tied) and is_dense(head)):  # comparing could take as long as the claimed shapes are large
        return False
    return tied.shape == head.shape and tied.dtype == head.dtype and torch.equal(tied, head)
