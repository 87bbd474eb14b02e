"""Small BiSpikCLM checkpoints with random weights that fire."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bispik.models.bispikclm.checkpoint import Checkpoint, save_checkpoint
from bispik.models.bispikclm.config import BiSpikCLMConfig
from bispik.models.bispikclm.model import BiSpikCLM, SpikingNeurons


def random_checkpoint(seed: int = 0, *, norm_batches: int = 20, **switches: Any) -> Checkpoint:
    """A two-layer network whose currents are large enough, and whose norms have seen data."""
    values: dict[str, Any] = {
        "vocab_size": 23,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_heads": 2,
        "num_layers": 2,
        "max_positions": 12,
        "steps_per_token": 3,
    }
    config = BiSpikCLMConfig(**{**values, **switches})
    torch.manual_seed(seed)
    model = BiSpikCLM(config)
    with torch.no_grad():
        model.token_embedding.weight.mul_(40)
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight.mul_(2)
            if isinstance(module, nn.LayerNorm):
                module.weight.uniform_(0.5, 1.5)
                shift(module.bias, 0.2)
            if isinstance(module, SpikingNeurons) and (module.channels or module.heads):
                module.log_gain.uniform_(-0.4, 0.4)
                module.bias.uniform_(-0.2, 0.6)
        model.train()
        for _ in range(norm_batches):  # running statistics that differ from channel to channel
            model(torch.randint(0, config.vocab_size, (4, config.max_positions)))
        for module in model.modules():
            if isinstance(module, nn.Linear):
                shift(module.bias, 0.1)
        if config.readout_scale:
            model.readout_log_scale.fill_(0.3)
    return Checkpoint.of(model)


def shift(bias: nn.Parameter | None, width: float) -> None:
    if bias is not None:
        bias.uniform_(-width, width)


@contextmanager
def recorded_spikes(model: nn.Module) -> Generator[dict[str, list[Tensor]]]:
    """Inside the block, keep the output of every spiking population, one tensor a call."""
    spikes: dict[str, list[Tensor]] = {}

    def hook(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            spikes.setdefault(name, []).append(output.detach())

        return keep

    handles = [
        module.register_forward_hook(hook(name))
        for name, module in model.named_modules()
        if isinstance(module, SpikingNeurons)
    ]
    try:
        yield spikes
    finally:
        for handle in handles:
            handle.remove()


def write_shards(checkpoint: Checkpoint, folder: Path) -> Path:
    """Two shards and an index, as Hugging Face writes them, with our configuration beside them."""
    save_checkpoint(checkpoint, folder / "model.safetensors", torch.float16)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    places = {name: f"model-0000{1 + (name > names[20])}-of-00002.safetensors" for name in names}
    for shard in set(places.values()):
        save_file({name: tensors[name] for name in names if places[name] == shard}, folder / shard)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index
