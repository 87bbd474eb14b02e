"""Quantisation-aware training: a network whose forward pass is the compiled program's integer arithmetic.

    with integer_forward(model, scales):
        logits, _ = model(token_ids)      # the spikes and logits of the program that the compiler would make now
        loss(logits).backward()           # gradients of the float parameters, straight through every rounding

Weights, thresholds, biases and tables are made from the current parameters in every forward pass, by the formulas of
``bispik.compiler.quantize_neurons``; only ``scales`` are kept until the quantiser is asked again. A BatchNorm acts
with its running statistics, which stay as they are; its gain and bias learn.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bispik.models.bispikclm.config import BiSpikCLMConfig
from bispik.models.bispikclm.integer_arithmetic import (
    IntegerSynapses,
    NeuronModel,
    fuse_kernels,
    integer_neurons,
    integer_weight,
    project,
    rounded,
)
from bispik.models.bispikclm.integer_population import Drive, IntegerPopulation
from bispik.models.bispikclm.integer_scales import IntegerScales, RowUnits
from bispik.models.bispikclm.model import BiSpikCLM, Block, LayerCache, Observed, SpikingNeurons
from bispik.models.errors import BispikError

BFLOAT16_EXACT = 1 << 8
"""Integers up to here, and sums of them that stay below it, are exact in bfloat16."""


@contextmanager
def integer_forward(model: BiSpikCLM, scales: IntegerScales, *, compiled: bool = False) -> Generator[None]:
    """Inside the block, the network computes in integers; see the module's docstring.

    A backward pass with activation checkpointing repeats the forward pass, so it belongs inside the block too. Under
    ``torch.autocast`` the gradients' products are in its type; the forward pass stays exact.

    Args:
        model: the network; some methods of its modules are replaced until the block ends.
        scales: what the quantiser chose for it.
        compiled: fuse the neuron loops with ``torch.compile``.

    Raises:
        BispikError: if the scales were made for another network, or ``compiled`` finds no C++ compiler.
    """
    if compiled:
        fuse_kernels()
    replaced: list[tuple[nn.Module, str, Any]] = []
    try:
        for module, name, method in _IntegerNetwork(model, scales, compiled).methods():
            replaced.append((module, name, module.__dict__.get(name)))
            setattr(module, name, method)
        yield
    finally:
        for module, name, before in reversed(replaced):
            if before is None:
                delattr(module, name)  # the class's method shows again
            else:
                setattr(module, name, before)


@torch.no_grad()
def put_on_lattice(model: BiSpikCLM, scales: IntegerScales) -> None:
    """Replace projections' weights by the integers that the network computes with, in units of the weights.

    The compiler then finds the same integers again, whatever text it calibrates on. Populations of the ``stock``
    program keep their weights: one threshold for all leaves their compiler no choice of a scale by row.
    """
    for name, population in _IntegerNetwork(model, scales, compiled=False).populations.items():
        projection, scale = population.drive.projection, scales.populations[name]
        if projection is None or not isinstance(scale, RowUnits):
            continue
        gain, units, limits = population.weight_gain(), population.units(), scales.limits
        integers = integer_weight(projection.weight, gain, units, limits.weight, limits.binary_weights)
        projection.weight.copy_(integers.double() / (gain * units)[:, None])


class _IntegerNetwork:
    """Integer counterparts of a network's methods."""

    def __init__(self, model: BiSpikCLM, scales: IntegerScales, compiled: bool) -> None:
        self.model, self.scales, self.compiled = model, scales, compiled
        self.config = config = model.config
        drives = population_drives(model)
        if odd := sorted(drives.keys() ^ scales.populations.keys()):
            raise BispikError(
                f"these integer scales belong to another network: only one of the two has a population {odd[0]}"
            )
        self.populations = {
            name: IntegerPopulation(_neurons(model, name), drive, scales.populations[name], scales)
            for name, drive in drives.items()
        }
        self.largest_count = 1 + 2 * config.num_layers
        self.autocast = False

    def methods(self) -> Iterator[tuple[nn.Module, str, Callable[..., Any]]]:
        """Yield what takes the place of which method."""
        model, config = self.model, self.config
        yield model, "forward", self.forward
        yield model, "currents", self.currents
        yield model, "readout", self.readout
        for name, population in self.populations.items():
            yield population.neurons, "forward", partial(self.spikes, name)
            if population.drive.projection is not None:
                largest = _largest_input(config, name, self.largest_count)
                yield population.drive.projection, "forward", partial(self.project, name, largest)
        for block in _blocks(model):
            if not config.ffn_output_spike:
                yield block, "joined", partial(self.joined, block)

    def forward(
        self, token_ids: Tensor, past: list[LayerCache] | None = None, *, observed: Observed | None = None
    ) -> tuple[Tensor, list[LayerCache]]:
        device = token_ids.device.type
        self.autocast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16
        with torch.autocast(device, enabled=False):  # it would round the integers
            return BiSpikCLM.forward(self.model, token_ids, past, observed=observed)

    def currents(self, token_ids: Tensor, first_position: int = 0) -> Tensor:
        """Integer tables times integer step gains, (time steps, batch, tokens, hidden)."""
        config, model = self.config, self.model
        steps, ramp = config.steps_per_token, config.input_current == "ramp"
        unit = config.input_scale * (1 / steps if ramp else 1.0)
        units = self.populations["embedding_spike"].units()
        positions = torch.arange(first_position, first_position + token_ids.shape[1], device=token_ids.device)
        tokens, places = (
            rounded(embedding(ids).double() * unit * units, self.scales.limits.table).float()
            for embedding, ids in ((model.token_embedding, token_ids), (model.position_embedding, positions))
        )
        gains = torch.arange(1, steps + 1, device=tokens.device) if ramp else torch.ones(steps, device=tokens.device)
        return gains.float().view(-1, 1, 1, 1) * (tokens + places)

    def project(self, name: str, largest_input: int, inputs: Tensor) -> Tensor:
        """Integer currents of the projection in front of a population; its bias is the neurons' part."""
        population = self.populations[name]
        assert population.drive.projection is not None
        weight = population.drive.projection.weight
        return project(inputs, weight, population.weight_gain(), population.units(), self._synapses(largest_input))

    def joined(self, block: Block, residual: Tensor, change: Tensor) -> Tensor:
        """Spikes of neurons that take the residual stream beside a projection's currents."""
        spikes: Tensor = block.output_spike(change, counts=residual)
        return spikes

    def spikes(self, name: str, current: Tensor, mask: Tensor | None = None, *, counts: Tensor | None = None) -> Tensor:
        """Spikes of a population for integer currents, and for counts that arrive one-to-one beside them."""
        config, population = self.config, self.populations[name]
        now = population.now()
        if counts is not None:
            current = current + counts.float() * now.one_to_one.float()
        stream = name.endswith("embedding_spike") or name.count(".") == 2  # blocks.0.output_spike
        small = max(config.head_dim, config.max_positions) <= BFLOAT16_EXACT
        neurons = NeuronModel(
            decay=config.decay,
            threshold=config.threshold,
            soft=population.soft,
            spike_dtype=torch.bfloat16 if self.autocast and small and not stream else torch.float32,
            compiled=self.compiled,
        )
        spikes = integer_neurons(current, now.slope, now.bias, now.constants, neurons)
        return spikes if mask is None else spikes * mask

    def readout(self, residual: Tensor) -> Tensor:
        """Logits from integer accumulators, as ``bispik.compiler.program.IntegerReadout`` defines them."""
        model, config, norm = self.model, self.config, self.model.final_norm
        table, steps = model.token_embedding.weight, config.steps_per_token
        counts = residual.sum(0)
        gained = table.double() * norm.weight.double()
        folded = gained - gained.mean(1, keepdim=True)
        ones = torch.ones(len(table), dtype=torch.float64, device=table.device)
        synapses = self._synapses(steps * self.largest_count)
        accumulators = project(counts, folded, ones, ones * self.scales.readout, synapses)
        deviation = ((counts / steps).var(-1, correction=0, keepdim=True) + norm.eps).sqrt()
        logits = accumulators / (self.scales.readout * steps * deviation)
        if config.final_norm_bias:
            logits = logits + functional.linear(norm.bias, table)
        return logits * model.readout_log_scale.exp() if config.readout_scale else logits

    def _synapses(self, largest_input: int) -> IntegerSynapses:
        return IntegerSynapses(
            limit=self.scales.limits.weight,
            binary=self.scales.limits.binary_weights,
            largest_input=largest_input,
            gradient_dtype=torch.bfloat16 if self.autocast else torch.float32,
            compiled=self.compiled,
        )


def population_drives(model: BiSpikCLM) -> dict[str, Drive]:
    """By name of a population, what drives it."""
    config = model.config
    size = config.hidden_size
    drives: dict[str, Drive] = {}
    for name, module in model.named_modules():
        if not isinstance(module, SpikingNeurons):
            continue
        parent, _, own = name.rpartition(".")
        match own:
            case "embedding_spike":
                drives[name] = Drive(size=size, one_to_one=True, table=True)
            case "score_spike":
                drives[name] = Drive(size=config.num_heads, one_to_one=True, scores=True)
            case "input_spike" | "mixed_spike":
                drives[name] = Drive(size=size, one_to_one=True)
            case "output_spike" if not parent.endswith("attention"):
                joins = not config.ffn_output_spike
                fc2 = _linear(model, f"{parent}.ffn.fc2") if joins else None
                drives[name] = Drive(size=size, one_to_one=True, projection=fc2)
            case _:
                projection = _linear(model, name.removesuffix("_spike"))
                drives[name] = Drive(size=projection.out_features, projection=projection)
    return drives


def _largest_input(config: BiSpikCLMConfig, population: str, largest_count: int) -> int:
    """Bound on what reaches the projection in front of a population."""
    if population.endswith(".attention.output_spike"):
        return 1 if config.attention_output_spike else config.max_positions
    reads_spikes = config.pre_spike or population.endswith((".fc2_spike", ".output_spike"))
    return 1 if reads_spikes else largest_count


def _linear(model: BiSpikCLM, name: str) -> nn.Linear:
    module = model.get_submodule(name)
    assert isinstance(module, nn.Linear)
    return module


def _neurons(model: BiSpikCLM, name: str) -> SpikingNeurons:
    module = model.get_submodule(name)
    assert isinstance(module, SpikingNeurons)
    return module


def _blocks(model: BiSpikCLM) -> Iterator[Block]:
    for module in model.modules():
        if isinstance(module, Block):
            yield module
