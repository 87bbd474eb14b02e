"""The way of ``bispik-compile --dry-run``: from a configuration, or from what a file says of itself, to plans.

Nothing here imports PyTorch or reads a weight, but for a checkpoint's or a NIR file's own reader: a plan is a question
of seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bispik.compiler.config_shape import config_shape
from bispik.compiler.graph import Injection
from bispik.compiler.plan import Plan, plan
from bispik.compiler.program import NeuronProgram
from bispik.compiler.quantize_options import QuantizeOptions, check_choices, check_options
from bispik.compiler.shapes import NetworkShape, graph_shape
from bispik.compiler.survey import BITS, WINDOWS, Case, survey
from bispik.compiler.target import Target
from bispik.models.bispikclm.config import BiSpikCLMConfig
from bispik.models.bispikclm.named_shapes import load_shape


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What the user asks for."""

    network: Path | str
    """A checkpoint or a NIR file; or a configuration: the name of a packaged shape, or of a ``.toml`` file."""
    target: Target
    system: str | None
    bits: int
    neurons: NeuronProgram
    window: int | None
    head_on_chip: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Planned:
    """What the network takes."""

    title: str
    """Where it comes from."""
    embedding_rows: int
    """Of the token table and the position table, which stay on the host."""
    asked: Plan
    """At the width and the window that were asked for."""
    asked_bits: int
    cases: tuple[Case, ...]
    """At every width of `BITS`; the windows are the one that was asked for, and of `WINDOWS` those with positions."""


@dataclass(frozen=True, slots=True)
class _Network:
    title: str
    embedding_rows: int
    max_positions: int
    shape: Callable[[int, int], NetworkShape]
    check: Callable[[QuantizeOptions], None]


def plan_network(request: PlanRequest) -> Planned:
    """Return what the network would take on the target; nothing is quantised and nothing written.

    Raises:
        BispikError: for wrong input, or if the named system is too small for what was asked for.
    """
    network = _network(request)
    window = network.max_positions if request.window is None else request.window
    network.check(
        QuantizeOptions(
            bits=request.bits, neuron_program=request.neurons, window=window, head_on_chip=request.head_on_chip
        )
    )
    windows = sorted({window, *(size for size in WINDOWS if size <= network.max_positions)})
    asked = plan(network.shape(request.bits, window), request.target, request.system)
    return Planned(
        title=network.title,
        embedding_rows=network.embedding_rows,
        asked=asked,
        asked_bits=request.bits,
        cases=survey(network.shape, request.target, BITS, windows),
    )


def _network(request: PlanRequest) -> _Network:
    if isinstance(request.network, str):
        return _of_config(load_shape(request.network), request.network, request)
    if request.network.suffix == ".nir":
        return _of_nir(request.network, request)
    from bispik.models.bispikclm.checkpoint import load_config  # imports PyTorch

    return _of_config(load_config(request.network), str(request.network), request)


def _of_config(config: BiSpikCLMConfig, where: str, request: PlanRequest) -> _Network:
    def shape(bits: int, window: int) -> NetworkShape:
        return config_shape(
            config, bits=bits, window=window, neuron_program=request.neurons, head_on_chip=request.head_on_chip
        )

    def check(options: QuantizeOptions) -> None:
        nodes = config_shape(config, bits=8, window=1).nodes
        populations = [node.name for node in nodes if node.kind == "population"]
        check_choices(
            options,
            max_positions=config.max_positions,
            ternary=populations if config.spikes == "ternary" else [],
            soft=populations if config.reset == "subtract" else [],
        )

    title = (
        f"{where}: {config.num_layers} layers, {config.hidden_size:,} channels, {config.num_heads} heads, "
        f"{config.steps_per_token} steps per token"
    )
    return _Network(title, config.vocab_size + config.max_positions, config.max_positions, shape, check)


def _of_nir(path: Path, request: PlanRequest) -> _Network:
    from bispik.compiler.nir_import import read_nir

    graph = read_nir(path)

    def shape(bits: int, window: int) -> NetworkShape:
        return graph_shape(
            graph, bits=bits, window=window, neuron_program=request.neurons, head_on_chip=request.head_on_chip
        )

    (injection,) = graph.of_kind(Injection)
    rows = len(injection.token_table) + len(injection.position_table)
    title = f"{path}: {len(graph.nodes)} nodes, {graph.steps_per_token} steps per token"
    return _Network(title, rows, graph.max_positions, shape, lambda options: check_options(graph, options))
