"""The host's input as a Lava Process."""

from __future__ import annotations

from bispik.backends.lava.tape import NodeTape
from bispik.backends.lava.vendor import AbstractProcess, OutPort


class Injection(AbstractProcess):
    """Writes the embedding's current into the network, and says when a token passes.

    s_out[t] = current of logical step t, (size,), int32;   gate_out[t] = 1, (1,)
    Between tokens both are 0. The gate is what the attention needs to tell a token from an idle window.

    On hardware this is the host's side: an input adapter takes its place.

    Args:
        size: channels.
        tape: holds the currents, put there by the host.
        name: of the node.
    """

    def __init__(self, *, size: int, tape: NodeTape, name: str) -> None:
        super().__init__(size=size, tape=tape, name=name)
        self.s_out = OutPort(shape=(size,))
        self.gate_out = OutPort(shape=(1,))
