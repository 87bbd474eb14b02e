"""Spiking attention as a Lava Process."""

from __future__ import annotations

from collections.abc import Sequence

from bispik.backends.lava.clock import Clock
from bispik.backends.lava.tape import NodeTape
from bispik.backends.lava.vendor import AbstractProcess, InPort, OutPort, Var
from bispik.compiler.program import IntegerAttention


class Attention(AbstractProcess):
    """Softmax-free attention over stored keys and values: the equation of `bispik.compiler.program`.

    At logical step t of a token, with H heads of D channels, keys and values stored by step of the token:
    keys[t, :, n] = k;   values[t, :, n] = v             n: number of tokens before this one
    I_j = (q . keys[t, :, j]) << exponent, j = 0 to n;   a_j = one step of score neuron j
    s_out = sum over j of a_j * values[t, :, j]
    The score neurons start from rest at t = 0. Causality comes from what is stored. ``gate_in`` is 1 while a token
    passes; in an idle window nothing is stored, the count stands still, and s_out is 0.

    q_in, k_in, v_in: (H * D,), spikes; s_out: (H * D,), int32, of magnitude up to the window. There is no public
    program for a chip.

    Args:
        node: heads and the constants of the score neurons.
        window: tokens that there is room for.
        hops: steps from query, key and value to here.
        clock: where the attention is in its tokens.
        tape: takes outputs and score spikes down.
        name: of the node.
    """

    def __init__(
        self, *, node: IntegerAttention, window: int, hops: Sequence[int], clock: Clock, tape: NodeTape, name: str
    ) -> None:
        super().__init__(node=node, window=window, hops=hops, clock=clock, tape=tape, name=name)
        stored = (clock.steps_per_token, node.heads, window, node.head_dim)
        self.q_in = InPort(shape=(node.size,))
        self.k_in = InPort(shape=(node.size,))
        self.v_in = InPort(shape=(node.size,))
        self.gate_in = InPort(shape=(1,))
        self.s_out = OutPort(shape=(node.size,))
        self.keys = Var(shape=stored)
        self.values = Var(shape=stored)
        self.tokens = Var(shape=(1,))
        self.v = Var(shape=(node.heads, window))
        self.s = Var(shape=(node.heads, window))
