"""The third-party layout: what its code saves, and what it computes, on SpikingJelly's own neurons."""

from __future__ import annotations

from typing import Any

import torch
from spikingjelly.activation_based.neuron import LIFNode
from torch import Tensor
from torch.nn.functional import layer_norm

V, D, F, H, N, L, T = 19, 12, 20, 3, 2, 7, 4
THRESHOLD, DECAY = 0.7, 0.9

Student = dict[str, Tensor]


def third_party_checkpoint(seed: int = 0) -> dict[str, Any]:
    """What that code saves, optimizer and all, with weights that make it fire."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, std: float) -> Tensor:
        return std * torch.randn(*shape, generator=generator)

    student: Student = {
        "model.token_embedding.weight": normal(V, D, std=0.02),
        "model.position_embeddings.weight": normal(L, D, std=0.02),
        "final_layer_norm.weight": 1 + normal(D, std=0.1),
        "final_layer_norm.bias": normal(D, std=0.1),
        "readout_log_scale": torch.tensor(0.4),
    }
    student["lm_head.weight"] = student["model.token_embedding.weight"]
    for index in range(N):
        layer = f"model.layers.{index}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            student[f"{layer}.attention.{name}.weight"] = normal(D, D, std=1.5 / D**0.5)
        student[f"{layer}.mlp.fc1.weight"], student[f"{layer}.mlp.fc1.bias"] = normal(F, D, std=0.5), normal(F, std=0.1)
        student[f"{layer}.mlp.fc2.weight"], student[f"{layer}.mlp.fc2.bias"] = normal(D, F, std=0.3), normal(D, std=0.1)
        for name in ("attention_norm", "mlp_norm"):
            student[f"{layer}.{name}.weight"] = 1 + normal(D, std=0.1)
            student[f"{layer}.{name}.bias"] = normal(D, std=0.1)
    model = {
        "vocab_size": V,
        "hidden_size": D,
        "intermediate_size": F,
        "num_attention_heads": H,
        "num_hidden_layers": N,
        "max_position_embeddings": L,
        "pad_token_id": 1,
        "bos_token_id": 2,
        "eos_token_id": 2,
        "num_steps": T,
        "spike_threshold": THRESHOLD,
        "membrane_decay": DECAY,
        "input_scale": None,
        "initializer_range": 0.02,
        "readout_scale": True,
    }
    return {
        "student": student,
        "projectors": {"0.weight": torch.ones(2, 2)},
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 5e-4, "params": [0]}]},
        "scheduler": {"last_epoch": 3, "base_lrs": [5e-4]},
        "step": 3,
        "config": {"model": model, "training": {"batch_size": 16}},
    }


class Neurons:
    """SpikingJelly's LIFNode as that code makes it: hard reset to 0, fires at v >= threshold, keeps its spikes."""

    def __init__(self) -> None:
        self.node = LIFNode(tau=1 / (1 - DECAY), decay_input=False, v_threshold=THRESHOLD, v_reset=0.0)
        self.spikes: list[Tensor] = []

    def __call__(self, x: Tensor) -> Tensor:
        spike: Tensor = self.node(x)
        self.spikes.append(spike)
        return spike


def third_party_run(student: Student, ids: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits, and the spikes of every population over time, as the text of the layout's semantics says."""
    w = {name: tensor.double() for name, tensor in student.items()}
    neurons = {
        f"{index}.{name}": Neurons() for index in range(N) for name in ("q", "k", "v", "s", "av", "att", "fc1", "out")
    }
    x = w["model.token_embedding.weight"][ids] + w["model.position_embeddings.weight"][: ids.shape[1]]
    mask = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.float64).tril()
    total = torch.zeros_like(x)
    for t in range(T):
        hidden = x * (1 / 0.02) * (t + 1) / T
        for index in range(N):
            layer = {name[15:]: value for name, value in w.items() if name.startswith(f"model.layers.{index}.")}
            a = layer_norm(hidden, (D,), layer["attention_norm.weight"], layer["attention_norm.bias"])
            q, k, v = (
                neurons[f"{index}.{part}"](a @ layer[f"attention.{part}_proj.weight"].T)
                .reshape(*ids.shape, H, D // H)
                .transpose(1, 2)
                for part in "qkv"
            )
            attention = neurons[f"{index}.s"]((q @ k.transpose(2, 3)) * mask) * mask
            o = neurons[f"{index}.av"]((attention @ v).transpose(1, 2).flatten(2))
            res = hidden + neurons[f"{index}.att"](o @ layer["attention.out_proj.weight"].T)
            m = layer_norm(res, (D,), layer["mlp_norm.weight"], layer["mlp_norm.bias"])
            inner = neurons[f"{index}.fc1"](m @ layer["mlp.fc1.weight"].T + layer["mlp.fc1.bias"])
            hidden = neurons[f"{index}.out"](res + inner @ layer["mlp.fc2.weight"].T + layer["mlp.fc2.bias"])
        total = total + hidden
    final = layer_norm(total / T, (D,), w["final_layer_norm.weight"], w["final_layer_norm.bias"])
    logits = final @ w["lm_head.weight"].T * w["readout_log_scale"].exp()
    return logits, {name: torch.stack(neuron.spikes) for name, neuron in neurons.items()}


OURS = {
    "q": "attention.query_spike",
    "k": "attention.key_spike",
    "v": "attention.value_spike",
    "s": "attention.score_spike",
    "av": "attention.mixed_spike",
    "att": "attention.output_spike",
    "fc1": "ffn.fc1_spike",
    "out": "output_spike",
}
