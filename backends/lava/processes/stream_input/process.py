"""The host's input of a stream program as a Lava Process."""

from __future__ import annotations

from bispik.backends.lava.stream.tape import StreamNodeTape
from bispik.backends.lava.vendor import AbstractProcess, OutPort


class StreamInput(AbstractProcess):
    """Sends what the host has put on the tape: s_out[t] = values of logical step t, whole numbers; 0 outside of a run.

    On hardware this is the host's side: an input adapter takes its place.

    Args:
        shape: of the output.
        tape: holds the values.
        name: of the input.
    """

    def __init__(self, *, shape: tuple[int, ...], tape: StreamNodeTape, name: str) -> None:
        super().__init__(shape=shape, tape=tape, name=name)
        self.s_out = OutPort(shape=shape)
