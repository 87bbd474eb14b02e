"""Counting of events: what a run costs on a mapping, in whole numbers, before any joule.

Time steps here are logical ones, behind the removal of the fabric's skew. Definitions:

- **synop**: one spike, of either sign, reaching one stored synapse. Stored synapses count whatever their value: a
  spike into a dense matrix meets one per row, zero weights included; a query spike meets the stored key of its
  channel for every token so far (position + 1 of them, ones and zeros); a score spike meets the head_dim values
  of its token.
- **graded synop**: a synop whose message carried a number instead of a spike (from a join, a norm or an attention). It
  is one event for any number, though a multiplication or a repeated addition of its weight: the audit lists
  these. They are among the synops of their format as well.
- **update**: every mapped neuron pays one in every step: ``update_active`` if at least one synop or the host's
  current reached it in that step, else ``update_inactive``. An attention has one neuron per head and stored
  token of the *window* and one per output channel, and all of them pay in every step: on a clocked neurocore
  they do, in use or not.
- **norm operation**: one of the multiplications, divisions and roots of a norm inside a block, on the chip. With n
  channels it squares n numbers and their sum, multiplies these n numbers and the sum of their squares by n, takes one
  root and divides n times in each of a token's T steps, whatever arrives: 3 n + 3. Its additions and shifts are among
  its updates. What arrives at a norm and leaves it is counted as of any other node: synops, graded outputs, messages;
  its outputs that meet weights are graded synops.
- **partial sum**: where a row reads more than fits into one neurocore, parts of it (`bispik.compiler.fan_in`) count as
  nodes of their own: synops of their matrices, a neuron and its updates for each row, a graded output, and with it a
  message, for each sum other than 0. At the row's own neurocore each of these is a graded one-to-one synop.
- **spike**: a spike that a neuron generated, of either sign, the score neurons' included. **graded output**: a
  number other than 0 that a join, a norm, an attention or a part of what a row reads generated.
- **message**: one per spike or graded output and destination neurocore. A score spike is one message to its own
  neurocore: the values lie there. An attention whose stored tokens are spread over neurocores sends partial
  counts from each.
- **hop x, y**: links between routers of one chip that a message passes, east-west and north-south; **chip
  crossing**: a link from chip to chip; **local message**: one that stays at its router; **inter-chip message**:
  one that leaves its chip.
- **K/V bits written**: a key and a value bit per channel and step, and another for the sign of each where they are
  ternary. **K/V bits read**: those that attention's synops meet.
- **host operation**: see `bispik.backends.counts.host`.

Zero spikes cost no synops and no messages. Counts are exact and additive over tokens; moving neurocores changes hops,
crossings, local and inter-chip messages, and which link carries how many, only. Over all links of the mesh, the
messages that each carried (`link_messages`) add up to hops and crossings.
"""

from bispik.backends.counts.by_slice import IntArray
from bispik.backends.counts.count import EventCounter, count_events
from bispik.backends.counts.events import (
    EVENTS,
    FORMATS,
    GRADED,
    HOST_OPERATIONS,
    SYNOPS,
    Event,
    EventCounts,
    Format,
    HostOperation,
    StepLoad,
)
from bispik.backends.counts.mesh_traffic import link_messages, mesh_traffic

__all__ = [
    "EVENTS",
    "FORMATS",
    "GRADED",
    "HOST_OPERATIONS",
    "SYNOPS",
    "Event",
    "EventCounter",
    "EventCounts",
    "Format",
    "HostOperation",
    "IntArray",
    "StepLoad",
    "count_events",
    "link_messages",
    "mesh_traffic",
]
