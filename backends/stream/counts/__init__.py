"""Counting of events of stream programs: what a run costs on a mapping, in whole numbers, before any joule.

Time steps here are logical ones, behind the removal of the fabric's skew. Definitions, as in `bispik.backends.counts`:

- **synop**: one spike, or one number other than 0, reaching one stored synapse, in the step in which it arrives: what
  still waits in a delay when a sequence ends reaches none. Of a dense format every stored weight counts, zeros
  included; of a convolution (``shared``) and of a ``sparse`` format those synapses that exist: a tap beyond the
  source's edge is none. A sparse pattern that a slice stores as a matrix, because that takes less, is dense there.
- **graded synop**: a synop whose message carried a number: all of those from an input that is not only 0 and 1. They
  are among the synops of their format as well.
- **update**: every mapped neuron pays one in every step: ``update_active`` if at least one synop reached it in that
  step, else ``update_inactive``.
- **spike**: a spike that a neuron generated, in the step in which it was sent.
- **message**: one per spike and neurocore that has a synapse for it (`bispik.compiler.stream.readers`), however many
  slices and projections there read it. What the host writes and reads is a host operation and passes no mesh.
- **hop x, y**, **chip crossing**, **local message**, **inter-chip message**: as there.
- **host operations**: ``input_values``: one per input other than 0 and neurocore that reads it; ``output_spikes``: one
  per spike of the population that the host reads; ``output_membranes``: one per membrane and step instead.

Zero spikes cost no synops and no messages. Counts are exact and additive over consecutive steps and over sequences.
"""

from bispik.backends.stream.counts.count import StreamCounter, count_stream
from bispik.backends.stream.counts.events import (
    STREAM_EVENTS,
    STREAM_GRADED,
    STREAM_HOST_OPERATIONS,
    STREAM_SYNOPS,
    StreamCounts,
    StreamEvent,
    StreamHostOperation,
    StreamLoad,
)

__all__ = [
    "STREAM_EVENTS",
    "STREAM_GRADED",
    "STREAM_HOST_OPERATIONS",
    "STREAM_SYNOPS",
    "StreamCounter",
    "StreamCounts",
    "StreamEvent",
    "StreamHostOperation",
    "StreamLoad",
    "count_stream",
]
