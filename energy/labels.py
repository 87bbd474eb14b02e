"""Names of events, constants and places as readers see them."""

from __future__ import annotations

from collections.abc import Mapping

EVENT_LABELS: Mapping[str, str] = {
    "synop_dense": "Spikes into dense weights",
    "synop_one_to_one": "Spikes into one-to-one synapses",
    "synop_sparse": "Spikes into sparse synapses",
    "synop_shared": "Spikes into convolution kernels",
    "synop_score": "Query spikes into stored keys",
    "synop_value": "Score spikes into stored values",
    "synop_readout": "Spikes into the language-model head",
    "graded_dense": "Graded spikes into dense weights",
    "graded_one_to_one": "Graded spikes into one-to-one synapses",
    "graded_sparse": "Graded spikes into sparse synapses",
    "graded_shared": "Graded spikes into convolution kernels",
    "graded_readout": "Graded spikes into the language-model head",
    "update_active": "Updates of neurons with input",
    "update_inactive": "Updates of neurons without input",
    "norm_operation": "Multiplications, divisions and roots of norms in blocks",
    "update_waiting": "Updates while spikes travel on",
    "spike": "Spikes generated",
    "graded_output": "Graded spikes generated",
    "message": "Messages to neurocores",
    "message_local": "Messages that stay at their router",
    "message_interchip": "Messages to another chip",
    "hop_x": "Hops east or west",
    "hop_y": "Hops north or south",
    "chip_crossing": "Links between chips passed",
    "kv_bit_written": "Key and value bits written",
    "kv_bit_read": "Key and value bits read",
    "chip_power": "Static power of the chips",
    "board_power": "Static power of the board",
    "host_power": "Power of the host",
    "embedding_reads": "Embedding entries read",
    "embedding_additions": "Embedding additions",
    "embedding_multiplications": "Embedding multiplications",
    "injected_currents": "Currents injected",
    "residual_reads": "Residual stream read",
    "residual_additions": "Residual stream added up",
    "head_multiply_accumulates": "Head on the host: multiply-accumulates",
    "accumulator_reads": "Head accumulators read",
    "norm_operations": "Final norm",
    "bias_additions": "Head bias additions",
    "sampling_comparisons": "Comparisons to choose a token",
    "input_values": "Input values written",
    "output_spikes": "Output spikes read",
    "output_membranes": "Output membranes read",
}

CONSTANT_LABELS: Mapping[str, str] = {
    "synop_dense": "Synop, dense weights",
    "synop_one_to_one": "Synop, one-to-one",
    "synop_sparse": "Synop, sparse",
    "synop_shared": "Synop, convolution kernel",
    "synop_score": "Synop, stored keys",
    "synop_value": "Synop, stored values",
    "synop_readout": "Synop, language-model head",
    "synop_graded": "Synop of a graded spike",
    "update_active": "Neuron update with input",
    "update_inactive": "Neuron update without input",
    "norm_operation": "Multiplication, division or root of a norm",
    "spike": "Spike generation",
    "kv_bit_written": "Key or value bit written",
    "message": "Message to a neurocore",
    "hop_x": "Hop east or west",
    "hop_y": "Hop north or south",
    "message_local": "Message that stays at its router",
    "chip_crossing": "Link between chips",
    "host_read": "Host: table entry read",
    "host_integer_operation": "Host: integer operation",
    "host_float_operation": "Host: floating-point operation",
    "host_multiply_accumulate": "Host: multiply-accumulate",
    "host_to_chip": "Number from host to chip",
    "chip_to_host": "Number from chip to host",
    "chip_power": "Static power, one chip",
    "board_power": "Static power, one chip's share of the board",
    "host_power": "Power of the host",
    "time_synop": "Time of a synop",
    "time_update": "Time of a neuron update",
    "time_norm_operation": "Time of a norm's operation",
    "time_link": "Time of a message on a link",
    "time_crossing": "Time of a message between chips",
    "time_step": "Shortest time step",
    "mac_fp32": "Multiply-accumulate, FP32",
    "mac_fp16": "Multiply-accumulate, FP16",
    "mac_int8": "Multiply-accumulate, int8",
    "byte_moved": "Byte to or from memory",
}

SCOPE_LABELS: Mapping[str, str] = {
    "dynamic": "Dynamic: synops, neurons, messages",
    "static": "Static: power that flows anyway",
    "host": "Host: embedding, readout, norm",
}

STREAM_EVENT_LABELS: Mapping[str, str] = {**EVENT_LABELS, "update_waiting": "Updates while the last steps travel on"}

STREAM_SCOPE_LABELS: Mapping[str, str] = {**SCOPE_LABELS, "host": "Host: input, output"}

RUN_LABELS: Mapping[str, str] = {
    "sequential": "decode, one sequence",
    "pipelined": "prefill, known text",
}
"""How tokens follow each other, by schedule."""

LIMIT_LABELS: Mapping[str, str] = {
    "neurocores": "busiest neurocore",
    "norms": "largest norm",
    "links": "busiest link on a chip",
    "chip_links": "busiest link between chips",
    "barrier": "barrier",
}
"""What a time step waits for."""

ROLE_LABELS: Mapping[str, str] = {
    "attn/input": "Attention input",
    "attn/query": "Query",
    "attn/key": "Key",
    "attn/value": "Value",
    "attn/attention": "Scores",
    "attn/mixed": "Mixed",
    "attn/output": "Attention output",
    "ffn/input": "FFN input",
    "ffn/fc1": "FFN 1",
    "ffn/fc2": "FFN 2",
    "sum": "Block output",
    "output": "Block output",
}

_LAYERS: Mapping[str, str] = {
    "embed": "Embedding neurons",
    "stream": "Embedding current",
    "head": "Language-model head",
}


def layer_label(layer: str) -> str:
    """Return ``Block 3`` for ``block_03``; other places have names of their own."""
    kind, _, number = layer.partition("_")
    if kind == "block" and number.isdigit():
        return f"Block {int(number)}"
    return _LAYERS.get(layer, layer)


def population_label(name: str) -> str:
    """Return ``Block 3, query`` for ``block_03/attn/query``; what is in no block has the name of its place."""
    layer, _, role = name.partition("/")
    if not role:
        return layer_label(layer)
    label = ROLE_LABELS.get(role, role)
    return f"{layer_label(layer)}, {label if label[:2].isupper() else label[0].lower() + label[1:]}"


def resource_label(resource: str) -> str:
    """Return ``Synapse memory`` for ``synapse_memory``."""
    return resource.replace("_", " ").capitalize()
