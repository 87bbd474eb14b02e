"""A checkpoint of an OPT shape with random weights that fires as a trained one does, written block by block."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.shapes import Shape
from bispik.models.bispikclm.checkpoint import FORMAT, VERSION
from bispik.models.bispikclm.config import BiSpikCLMConfig
from bispik.models.bispikclm.initial_rates import set_initial_rates
from bispik.models.bispikclm.model import BiSpikCLM, Block

RATE, SCORE_RATE = 0.2, 0.05
"""Spikes per neuron and time step, of populations and of attention scores: what trained networks are near."""

TOKENS = 96
"""Random tokens on which rates and norms are set."""

INDEX = "model.safetensors.index.json"


def configuration(shape: Shape, window: int, steps: int = 4) -> BiSpikCLMConfig:
    """The published form of a student, as in ``examples/opt``."""
    return BiSpikCLMConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.ffn,
        num_heads=shape.heads,
        num_layers=shape.layers,
        max_positions=window,
        steps_per_token=steps,
        threshold=0.7,
        decay=0.9,
        input_scale=50.0,
        current_norm="batch",
    )


@torch.no_grad()
def write_checkpoint(shape: Shape, positions: int, folder: Path, seed: int = 0) -> Path:
    """Write a checkpoint in shards, one a block, with an index beside them; no more than a block is in memory.

    Args:
        shape: sizes of the network.
        positions: tokens that it is trained for.
        folder: is made.
        seed: of the weights.

    Returns:
        The index, which `load_checkpoint` takes.
    """
    torch.manual_seed(seed)
    config = configuration(shape, positions)
    folder.mkdir(parents=True, exist_ok=True)
    places: dict[str, str] = {}

    def write(name: str, tensors: dict[str, Tensor]) -> None:
        stored = {key: t.to(torch.float16 if t.dim() > 1 else torch.float32).contiguous() for key, t in tensors.items()}
        save_file(stored, folder / name)
        places.update(dict.fromkeys(stored, name))

    ids = torch.randint(0, shape.vocabulary, (1, min(TOKENS, positions)))
    model = BiSpikCLM(dataclasses.replace(config, num_layers=1))
    stream = _settled(model.embedding_spike, model.currents(ids), config)
    write("ends.safetensors", {k: t for k, t in model.state_dict().items() if not k.startswith("blocks.")})
    for index in range(shape.layers):
        block = Block(config)
        for module in block.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
        stream = _settled(block, stream, config)
        write(f"block_{index:02d}.safetensors", {f"blocks.{index}.{k}": t for k, t in block.state_dict().items()})
    (folder / INDEX).write_text(json.dumps({"weight_map": places}, indent=1))
    header = {"format": FORMAT, "version": VERSION, "config": config.to_dict()}
    (folder / "model.json").write_text(json.dumps(header, indent=1))
    return folder / INDEX


class _Part(nn.Module):
    """Part of a network that is run on what its part before gave."""

    def __init__(self, part: nn.Module, given: Tensor, config: BiSpikCLMConfig) -> None:
        super().__init__()
        self.part, self.given, self.config = part, given, config

    def forward(self, _ids: Tensor) -> Tensor:
        result = self.part(self.given)
        output: Tensor = result[0] if isinstance(result, tuple) else result
        return output


def _settled(part: nn.Module, given: Tensor, config: BiSpikCLMConfig) -> Tensor:
    """Set norms and rates of a part on what it is given, and return its output."""
    running = _Part(part, given, config)
    ids = torch.zeros(0)
    set_initial_rates(cast(BiSpikCLM, running), ids, RATE, SCORE_RATE)
    output: Tensor = running.eval()(ids)
    return output
