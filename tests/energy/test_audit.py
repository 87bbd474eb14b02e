"""The audit names everything that is not a spike-driven addition, and its verdict follows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bispik.backends.counts import GRADED, EventCounts
from bispik.compiler.program import IntegerJoin, IntegerNorm, QuantizedProgram
from bispik.energy.account import account
from bispik.energy.audit import Audit, audit
from bispik.energy.audit_kinds import SIGNED_SPIKES
from bispik.energy.profiles import load_profile
from tests.energy.runs import counted
from tests.networks import random_program

HOST = ["Embedding look-up", "Injected currents", "Readout", "Final norm", "Choice of the next token"]


def audited(program: QuantizedProgram) -> Audit:
    mapped, counts = counted(program)
    return audit(program, account(mapped, counts, load_profile("loihi2")))


def operations(found: Audit, where: str) -> list[str]:
    return [entry.operation for entry in found.entries if entry.where == where]


def test_papers_form() -> None:
    found = audited(random_program(1))
    assert operations(found, "chip") == [
        "Attention counts through weights",
        "Residual counts into neurons",
        "Language-model head over counts",
        "Residual joins",
        "Neuron updates",
        "Keys and values stored",
    ]
    assert operations(found, "host") == HOST
    assert found.verdict == (
        "Fully binary: no, because numbers larger than a spike cross synapses (attention counts through weights, "
        "residual counts into neurons, language-model head over counts, residual joins). On the chip: integers only. "
        "In floating point, on the host: final norm and choice of the next token."
    )


def test_without_a_spike_in_front_residual_counts_meet_weights() -> None:
    assert "Residual counts through weights" in operations(audited(random_program(1, pre_spike=False)), "chip")


def test_a_spike_behind_the_attention_takes_counts_from_the_weights() -> None:
    found = operations(audited(random_program(1, mixed_spike=True)), "chip")
    assert "Attention counts into neurons" in found
    assert "Attention counts through weights" not in found


def test_a_head_behind_spikes_is_binary() -> None:
    assert "Language-model head over counts" not in operations(audited(random_program(1, block_output=True)), "chip")


def test_a_network_without_blocks_is_fully_binary() -> None:
    found = audited(random_program(1, layers=0))
    assert found.fully_binary
    assert found.verdict.startswith("Fully binary: yes")


def test_head_on_the_host() -> None:
    found = audited(random_program(1, readout_on_chip=False))
    assert "Language-model head" in operations(found, "host")
    assert not found.fully_binary


def test_head_bias_is_listed_if_there_is_one() -> None:
    program = random_program(1)
    assert "Head bias" not in operations(audited(program), "host")
    readout = replace(program.readout, bias=np.ones(program.readout.size, np.float32))
    biased = replace(program, nodes=(*program.nodes[:-1], readout))
    assert "Head bias" in operations(audited(biased), "host")


@pytest.mark.parametrize("pre_spike", [True, False])
@pytest.mark.parametrize("mixed_spike", [True, False])
@pytest.mark.parametrize("block_output", [True, False])
def test_every_graded_synop_is_in_one_entry(pre_spike: bool, mixed_spike: bool, block_output: bool) -> None:
    program = random_program(2, pre_spike=pre_spike, mixed_spike=mixed_spike, block_output=block_output)
    mapped, counts = counted(program)
    found = audit(program, account(mapped, counts, load_profile("loihi2")))
    joins = [entry for entry in found.entries if entry.operation == "Residual joins"]
    binary_into_joins = sum(
        count - graded
        for node, count, graded in zip(
            counts.node,
            counts.events["synop_one_to_one"].tolist(),
            counts.events["graded_one_to_one"].tolist(),
            strict=True,
        )
        if node.endswith("/sum") and not (block_output and "ffn" not in node and "attn" not in node)
    )
    listed = sum(e.count_per_token for e in found.entries if e.carries_counts) * counts.tokens
    assert joins
    assert listed == pytest.approx(counts.total(*GRADED.values()) + binary_into_joins)


@pytest.mark.parametrize("pre_spike", [True, False])
@pytest.mark.parametrize("stream", [True, False])
def test_norms_and_real_streams_are_listed(pre_spike: bool, stream: bool) -> None:
    program = random_program(2, norm=True, stream=stream, pre_spike=pre_spike, block_output=True)
    mapped, counts = counted(program)
    found = audit(program, account(mapped, counts, load_profile("loihi2")))
    entries = {entry.operation: entry for entry in found.entries}
    assert entries["Norms inside blocks"].nodes == len(program.of_kind(IntegerNorm)) == 4
    assert entries["Norms inside blocks"].energy_per_token.default > 0
    assert ("Norms into neurons" in entries) is pre_spike
    assert ("Norms through weights" in entries) is not pre_spike
    assert entries["Injected currents"].carries_counts is stream
    assert ("Spikes into the real stream" in entries) is stream
    assert ("Real stream into neurons" in entries) is stream  # the first block's sum
    # The second block takes spikes whatever the first one takes.
    assert entries["Residual joins"].nodes == len(program.of_kind(IntegerJoin)) - (2 if stream else 0)
    assert entries["Residual counts into neurons"].nodes == (1 if stream else 2)
    assert "embedded processor" in entries["Norms inside blocks"].reason
    assert "because numbers other than a binary spike" in found.verdict
    assert "norms inside blocks" in found.verdict
    assert not found.fully_binary
    graded = [e for e in found.entries if e.where == "chip" and e.carries_counts]
    operations = counts.total("norm_operation") + binary_synops(counts) + counts.total(*GRADED.values())
    assert sum(e.count_per_token for e in graded) * counts.tokens == pytest.approx(operations)


@pytest.mark.parametrize("readout_on_chip", [True, False])
def test_a_stream_that_stays_real_is_called_a_count_nowhere(readout_on_chip: bool) -> None:
    program = random_program(2, stream=True, mixed_spike=True, readout_on_chip=readout_on_chip)
    found = audited(program)
    entries = {entry.operation: entry for entry in found.entries}
    assert ("Language-model head over the real stream" in entries) is readout_on_chip
    assert entries["Spikes into the real stream"].nodes == 4
    assert not [name for name in entries if name.startswith("Residual")]
    named = [name for name, entry in entries.items() if "count" in f"{name} {entry.reason}".lower()]
    assert named == ["Attention counts into neurons"]


def binary_synops(counts: EventCounts) -> int:
    """Spikes that arrive one-to-one at the attention's joins and at norms."""
    arrived = counts.events["synop_one_to_one"] - counts.events["graded_one_to_one"]
    wanted = [node.endswith(("attn/sum", "/norm")) for node in counts.node]
    return int(arrived[np.array(wanted)].sum())


def test_spikes_with_a_sign_are_not_binary() -> None:
    program = random_program(1, layers=0, spikes="ternary")
    mapped, counts = counted(program)
    found = audit(program, account(mapped, counts, load_profile("loihi2")))
    (entry,) = [entry for entry in found.entries if entry.operation == SIGNED_SPIKES]
    assert entry.count_per_token * counts.tokens == counts.total("synop_readout") > 0
    assert "one bit" in entry.reason
    assert not found.fully_binary
    assert found.verdict.startswith(
        "Fully binary: no, because numbers other than a binary spike cross synapses (signed spikes through synapses)"
    )


def test_every_synop_of_a_ternary_network_is_in_one_entry() -> None:
    program = random_program(2, spikes="ternary")
    mapped, counts = counted(program)
    found = audit(program, account(mapped, counts, load_profile("loihi2")))
    assert operations(found, "chip")[0] == SIGNED_SPIKES
    listed = sum(entry.count_per_token for entry in found.entries if entry.carries_counts)
    assert listed * counts.tokens == pytest.approx(counts.synops)
