"""In which order the nodes of a graph run within a time step, and which edges of its loops therefore reach back.

The rule is that of nirtorch's ``nir_to_torch`` (2.6, nir_interpreter.py: ``_find_input_nodes``,
``_construct_fx_graph``), by which snnTorch and SpikingJelly run what they import, and it agrees with the tools' own
recurrent layers, whose neurons get their spikes of the step before. Nodes are visited again and again in the file's
order, beginning behind the Input. A node runs once all that it gets from outside of its loop has run; what it gets
from its own loop and has not run yet comes from the step before.

One thing differs: here a node waits until something has reached it. nirtorch runs a node that gets several things, all
from its own loop, at its first visit, so that what reaches it from the Input comes a step later than elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush


def execution_order(
    names: Sequence[str], inputs: Mapping[str, Sequence[str]], start: str, waits: Iterable[str]
) -> tuple[str, ...]:
    """Return the names in the order in which they run.

    Args:
        names: all nodes, in the file's order.
        inputs: by node, the nodes that it gets something from; a way leads to each from the Input.
        start: the Input.
        waits: nodes that pass on what they got in earlier steps, so that nobody needs to run behind them.
    """
    late = frozenset(waits)
    sources = {name: [source for source in inputs[name] if source not in late] for name in names}
    loop = loops(names, sources)
    first = names.index(start)
    place = {name: index for index, name in enumerate([*names[first:], *names[:first]])}
    readers: dict[str, list[str]] = {name: [] for name in names}
    outside = dict.fromkeys(names, 0)  # how much that is not of its loop has not run
    for name in names:
        for source in sources[name]:
            readers[source].append(name)
            outside[name] += loop[source] != loop[name]
    reached = {start} | {name for name in names if not late.isdisjoint(inputs[name])}
    queue = [(0, place[name], name) for name in reached if outside[name] == 0]
    heapify(queue)
    order: list[str] = []
    while queue:
        visit, at, name = heappop(queue)
        order.append(name)
        for reader in readers[name]:
            waited = reader not in reached or outside[reader] > 0
            reached.add(reader)
            outside[reader] -= loop[name] != loop[reader]
            if waited and outside[reader] == 0:
                heappush(queue, (visit + (place[reader] < at), place[reader], reader))
    assert len(order) == len(names), "every node is reached from the Input"
    return tuple(order)


def loops(names: Sequence[str], sources: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return, by node, a number that it shares with exactly the nodes on a loop with it (Tarjan, without recursion)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    component: dict[str, int] = {}
    stack: list[str] = []
    for root in names:
        if root in index:
            continue
        work = [(root, iter(sources[root]))]
        while work:
            name, rest = work[-1]
            if name not in index:
                index[name] = lowest[name] = len(index)
                stack.append(name)
            for source in rest:
                if source not in index:
                    work.append((source, iter(sources[source])))
                    break
                if source not in component:
                    lowest[name] = min(lowest[name], index[source])
            else:
                work.pop()
                if work:
                    lowest[work[-1][0]] = min(lowest[work[-1][0]], lowest[name])
                if lowest[name] == index[name]:
                    while True:
                        member = stack.pop()
                        component[member] = index[name]
                        if member == name:
                            break
    return component
