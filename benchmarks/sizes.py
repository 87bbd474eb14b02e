"""What is measured: the models' shapes, and how often and how long."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.shapes import Shape

OPT_125M = Shape(name="125M", hidden=768, ffn=3072, layers=12, vocabulary=50272, heads=12)
OPT_350M = Shape(name="350M", hidden=1024, ffn=4096, layers=24, vocabulary=50272, heads=16)
OPT_1300M = Shape(name="1.3B", hidden=2048, ffn=8192, layers=24, vocabulary=50272, heads=32)
SIZE_10M = Shape(name="10M", hidden=256, ffn=1024, layers=10, vocabulary=8192, heads=4)
TINY_COMPILED = Shape(name="tiny", hidden=32, ffn=64, layers=2, vocabulary=2048, heads=2)
"""With room for the example's tokens."""
TINY = Shape(name="tiny", hidden=12, ffn=24, layers=2, vocabulary=40, heads=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Sizes of everything that `make bench` runs; the tests run it small."""

    opt: Shape = OPT_125M
    larger: tuple[Shape, ...] = (OPT_350M, OPT_1300M)
    largest: Shape = OPT_1300M
    read_bytes: int = 512 << 20
    rounds: int = 12
    few_rounds: int = 4
    """Where a round takes seconds."""
    burst: int = 5
    """Tokens that the engine decodes in a turn, each with spikes of its own."""
    context: int = 256
    """Stored tokens when a whole decode step is measured."""
    window: int = 2048
    prefill_tokens: int = 128
    lengths: tuple[int, ...] = (512, 2048)
    example_tokens: int = 120
    """Within the example's window."""
    counted_tokens: int = 256
    """Of the OPT shape; as many as counting enters at once."""
    lava_tokens: int = 2
    lava_rounds: int = 40
    """Short ones: Lava's processes wait for each other, so whatever else the machine does takes long from a step."""
    load_rounds: int = 40
    stream_hidden: int = 512
    stream_side: int = 34
    """Of a square map; two channels of events."""
    stream_channels: tuple[int, int] = (16, 32)
    stream_steps: int = 64
    reference_steps: int = 4
    compiled: tuple[Shape, ...] = (SIZE_10M, OPT_125M, OPT_350M, OPT_1300M)
    """Networks that are compiled."""
    compiled_window: int = 256


TINY_SIZES = Sizes(
    opt=TINY,
    larger=(TINY,),
    largest=TINY,
    read_bytes=1 << 16,
    rounds=1,
    few_rounds=1,
    burst=2,
    context=4,
    window=16,
    prefill_tokens=4,
    lengths=(8, 16),
    example_tokens=3,
    counted_tokens=3,
    lava_tokens=1,
    lava_rounds=1,
    load_rounds=2,
    stream_hidden=9,
    stream_side=9,
    stream_channels=(2, 3),
    stream_steps=3,
    reference_steps=2,
    compiled=(TINY_COMPILED,),
    compiled_window=16,
)
