"""Compiled programs as networks of SANA-FE (https://github.com/SLAM-Lab/SANA-FE), a simulator of neuromorphic chips.

What is exported is a *replay*: every neuron of the program becomes a sender that spikes when it spiked in a run of
ours, and a receiver, at the same neurocore, that what reaches it wakes up. SANA-FE knows neither integers nor our
neurons, and need not: it counts synops, messages and hops on its own, prices them by the constants of a profile of
ours, and can model the waiting for links. All exported weights are 0, which changes none of that. Time steps are the
program's logical ones: what is sent in a step wakes its receivers in the next, so that a replay of S steps takes S + 1.

Left out: what attention does on its own neurocore (its queries, keys and values arrive at ports without a price, its
outputs are replayed), operations of norms, bits written, the host's arithmetic. Delays of projections are 0: they move
arrivals in time and change no other number. A link between chips is a hop. What the host sends a stream arrives as a
message of the neurocore to itself. ``expected.json`` says what SANA-FE must find, from our own counts and account.
"""

from bispik.energy.sanafe.expected import Expected
from bispik.energy.sanafe.files import FILES, write_sanafe
from bispik.energy.sanafe.language import language_replay
from bispik.energy.sanafe.replay import Replay
from bispik.energy.sanafe.stream import stream_replay

__all__ = ["FILES", "Expected", "Replay", "language_replay", "stream_replay", "write_sanafe"]
