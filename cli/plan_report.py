"""What ``bispik-compile --dry-run`` prints: the plan that was asked for, and the survey of widths and windows."""

from __future__ import annotations

import argparse
from collections import Counter
from math import ceil
from typing import Any

from rich.console import Console
from rich.table import Table

from bispik.cli.common import console, limits, print_json, target_of
from bispik.cli.plan_flow import Planned, PlanRequest, plan_network
from bispik.compiler.plan import Plan
from bispik.compiler.survey import PARTS, Case, Part, part_uses
from bispik.compiler.target import System

SHORT = {
    "neurons": "neur",
    "memory": "mem",
    "synapse_memory": "syn",
    "state_memory": "state",
    "axons_in": "in",
    "axons_out": "out",
}
"""Resources in cells of a table; `LEGEND` says what they are."""

LEGEND = """\
neur: neurons; mem: memory; syn: synapse memory; state: state memory; in, out: axons. At least: what the whole takes of
the resource that limits it, over what one neurocore has. The same is said of each part; parts share neurocores, so
theirs do not add up. K/V state: score neurons, keys and values; an attention's other neurons and its axons are body."""

TITLES: dict[Part, str] = {"embedding": "Embedding", "body": "Body", "kv_state": "K/V state", "head": "LM head"}


def plan_only(options: argparse.Namespace) -> int:
    """``--dry-run``: say what the network would take on the target."""
    planned = plan_network(
        PlanRequest(
            network=options.config or options.source,
            target=target_of(options),
            system=options.system,
            bits=options.bits,
            neurons=options.neurons or "bispik",
            window=options.window,
            head_on_chip=options.head == "chip",
        )
    )
    if options.json:
        print_json(_values(planned))
    else:
        _print(console(), planned)
    return 0


def _values(planned: Planned) -> dict[str, Any]:
    asked = planned.asked
    return {
        "network": planned.title,
        "bits": planned.asked_bits,
        "window": asked.network.window,
        **plan_values(asked),
        "parts": _part_values(asked),
        "embedding_rows_on_host": planned.embedding_rows,
        "plans": [_case_values(case) for case in planned.cases],
    }


def _case_values(case: Case) -> dict[str, Any]:
    values = {"bits": case.bits, "window": case.window}
    if case.plan is None:
        return {**values, "refused": case.refused}
    return {**values, **_totals(case.plan), "parts": _part_values(case.plan)}


def plan_values(made: Plan) -> dict[str, Any]:
    """Return one plan of any network as plain values."""
    return {
        **_totals(made),
        "norms_on_embedded_processors": _norms(made),
        "cut_rows": _cut_rows(made),
        "nodes": made.use_by_node(),
    }


def _totals(made: Plan) -> dict[str, Any]:
    return {
        "target": made.target.name,
        "system": _name(made.system),
        "chips": made.chips,
        "neurocores": made.neurocores,
        "neurocores_lower_bound": made.neurocores_lower_bound,
        "of_largest_system": made.of_largest_system,
        "limited_by": made.limited_by.resource,
        "limits": limits(made.resources),
    }


def _part_values(made: Plan) -> dict[str, Any]:
    return {
        part: {
            "neurocores": found.neurocores,
            "limited_by": found.limited_by,
            "chips": made.target.chips(ceil(found.neurocores)),
            "system": _name(made.target.smallest_system(ceil(found.neurocores))),
            "use": dict(found.use),
        }
        for part, found in part_uses(made).items()
    }


def _name(system: System | None) -> str | None:
    return None if system is None else system.name


def print_plan(terminal: Console, made: Plan, where: str = "") -> None:
    """Print one plan of any network; ``where`` says at which settings."""
    terminal.print(f"{made.neurocores:,} neurocores of {made.target.name}{where}, on {_chips(made)}: {_room(made)}")
    table = Table("Resource")
    for name in ("All neurocores", "Limit of one", "Neurocores at least"):
        table.add_column(name, justify="right")
    for use in made.resources:
        name = use.resource.replace("_", " ").capitalize()
        table.add_row(name, f"{use.total:,}", f"{use.limit:,} {use.unit}", f"{use.neurocores_at_least:,}")
    terminal.print(table)
    if norms := len(_norms(made)):
        terminal.print(
            f"{norms} norms inside blocks: a neurocore holds their numbers; square root and division are for an "
            "embedded processor of the chip"
        )
    for node, parts in _cut_rows(made).items():
        terminal.print(
            f"{node}: a row reads more than fits into one neurocore: cut into {parts} parts, whose sums are messages "
            "of their own and take a step more"
        )


def _print(terminal: Console, planned: Planned) -> None:
    asked = planned.asked
    terminal.print(planned.title)
    print_plan(terminal, asked, f" at {planned.asked_bits} bits and {asked.network.window:,} tokens")
    windows = dict.fromkeys(case.window for case in planned.cases)
    for window in windows:
        terminal.print(_window_table(window, [case for case in planned.cases if case.window == window]))
    terminal.print(LEGEND.replace("\n", " "))
    terminal.print(
        f"The embedding table ({planned.embedding_rows:,} rows) stays on the host, in no neurocore: what is counted "
        "is what the host writes its currents to."
    )
    if not any(node.kind == "readout" for node in asked.network.nodes):
        terminal.print("The language-model head runs on the host, in no neurocore.")
    for reason in dict.fromkeys(case.refused for case in planned.cases if case.refused):
        terminal.print(f"-: {reason}", markup=False)


def _window_table(window: int, cases: list[Case]) -> Table:
    table = Table(title=f"{window:,} tokens: neurocores, and the resource that limits them", title_justify="left")
    found = [part_uses(case.plan) if case.plan else {} for case in cases]
    shown: list[Part] = [part for part in PARTS if any(part in uses for uses in found)]
    for name in ("Bits", *(TITLES[part] for part in shown), "Whole", "At least", "Chips"):
        table.add_column(name, justify="right")
    table.add_column("Board")
    for case, uses in zip(cases, found, strict=True):
        if case.plan is None:
            table.add_row(str(case.bits), *("-" for _ in shown), "-", "-", "-", "-")
            continue
        made = case.plan
        cells = [_worth(uses[part].neurocores, uses[part].limited_by) for part in shown]
        whole = f"{made.neurocores:,} {_short(made.limited_by.resource)}"
        table.add_row(str(case.bits), *cells, whole, f"{made.neurocores_lower_bound:,}", f"{made.chips:,}", _room(made))
    return table


def _worth(neurocores: float, limited_by: str) -> str:
    number = (
        f"{neurocores:,.0f}" if neurocores >= 100 else f"{neurocores:.1f}" if neurocores >= 1 else f"{neurocores:.2f}"
    )
    return f"{number} {_short(limited_by)}"


def _short(resource: str) -> str:
    return SHORT[resource]


def _chips(made: Plan) -> str:
    return f"{made.chips:,} chip{'' if made.chips == 1 else 's'}"


def _room(made: Plan) -> str:
    if made.system:
        return made.system.name
    largest = list(made.target.systems)[-1]
    return f"none: {made.of_largest_system:.3g} times {largest}"


def _cut_rows(made: Plan) -> dict[str, int]:
    """Return the number of parts of each node whose rows are cut."""
    return dict(Counter(part.node for part in made.network.parts))


def _norms(made: Plan) -> list[str]:
    return [node.name for node in made.network.nodes if node.kind == "norm"]
