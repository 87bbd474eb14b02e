"""The shape of a BiSpikCLM network and every switch on which published variants differ."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bispik.models.errors import BispikError
from bispik.models.records import record

Reset = Literal["subtract", "zero"]

Spikes = Literal["binary", "ternary"]

LARGEST_SIZE = 1 << 24
"""Upper bound on every size, far above any network, so that products of sizes stay within 64 bits."""

AMPLITUDES = (1e-3, 1e3)
"""Range of a ternary spike's size, far wider than any that trains, so that its square divides and multiplies safely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BiSpikCLMConfig:
    """Shape and switches of one network.

    The defaults are the form that the paper describes; where its text leaves a detail open, the
    detail is a switch here. Sizes are counts; ``threshold`` has the unit of the input current.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_layers: int
    max_positions: int

    steps_per_token: int = 4
    threshold: float = 0.7
    decay: float = 0.9
    reset: Reset = "subtract"
    spikes: Spikes = "binary"
    """``ternary`` neurons also spike below the negative threshold (TriSpikCLM): every spike is -a, 0 or a."""
    spike_amplitude: float = 1.0
    """a, the size of a ternary spike, 0.001 to 1000; a binary spike is 1."""

    embedding_spike: bool = True
    """Spiking neurons on the embedding current; without, the real current enters the first block."""
    input_current: Literal["constant", "ramp"] = "constant"
    """``ramp`` injects x * (t + 1) / T at time step t."""
    input_scale: float = 1.0
    """Factor on the embedding before it is injected."""
    block_norm: Literal["none", "pre"] = "none"
    """``pre`` puts a LayerNorm in front of the attention and of the feed-forward part."""
    pre_spike: bool = True
    """Spiking neurons in front of the attention and of the feed-forward part."""
    attention_output_spike: bool = False
    """Spiking neurons between A*V and the output projection."""
    ffn_output_spike: bool = True
    """Spiking neurons after the second feed-forward projection."""
    block_output_spike: bool = False
    """Spiking neurons on the block's residual sum."""
    current_norm: Literal["none", "batch"] = "none"
    """``batch`` normalises every current in front of a neuron; it folds away at export."""
    attention_bias: bool = False
    ffn_bias: bool = True
    final_norm_bias: bool = True
    readout_scale: bool = False
    """Logits are multiplied by exp(readout_log_scale), a learned scalar."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "hidden_size", "intermediate_size", "num_heads", "num_layers", "max_positions"):
            if not 1 <= getattr(self, name) <= LARGEST_SIZE:
                raise BispikError(
                    f"configuration: {name} is {getattr(self, name)}; it must be between 1 and {LARGEST_SIZE:,}"
                )
        if self.hidden_size % self.num_heads:
            raise BispikError(
                f"configuration: hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}"
            )
        if not 1 <= self.steps_per_token <= 8:
            raise BispikError(f"configuration: steps_per_token is {self.steps_per_token}; supported are 1 to 8")
        if not 0.0 <= self.decay < 1.0:
            raise BispikError(f"configuration: decay is {self.decay}; it must be at least 0 and below 1")
        for name in ("threshold", "input_scale"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise BispikError(f"configuration: {name} is {getattr(self, name)}; it must be positive and finite")
        smallest, largest = AMPLITUDES
        if not smallest <= self.spike_amplitude <= largest:
            raise BispikError(
                f"configuration: spike_amplitude is {self.spike_amplitude}; "
                f"it must be positive, from {smallest:g} to {largest:g}"
            )
        if self.spikes == "binary" and self.spike_amplitude != 1.0:
            raise BispikError(
                f"configuration: spike_amplitude is {self.spike_amplitude} for binary spikes, which are 0 or 1; "
                'leave it out, or choose spikes = "ternary"'
            )

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.hidden_size // self.num_heads

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BiSpikCLMConfig:
        """Build a configuration from plain values.

        Raises:
            BispikError: for a missing or unknown key, or a value of another type.
        """
        return record(cls, values, "configuration")
