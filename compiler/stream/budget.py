"""How much memory a network from a file may take: a file says its sizes, and a small one can claim anything."""

from __future__ import annotations

from bispik.models.errors import BispikError

BYTES_PER_FILE_BYTE = 64
BYTES_AT_LEAST = 1 << 28
"""256 MiB, and 64 bytes for each byte of the file: composed weights and neurons, all together."""

NUMBER = 8
"""Bytes."""


class Budget:
    """Numbers in float64 that may still be allocated."""

    def __init__(self, name: str, stored: int) -> None:
        self.name = name
        self.stored = stored
        self.left = (BYTES_AT_LEAST + BYTES_PER_FILE_BYTE * stored) // NUMBER

    def take(self, numbers: int, what: str) -> None:
        """Count numbers that are about to be allocated.

        Raises:
            BispikError: if they are more than are left, before anything is allocated.
        """
        if numbers > self.left:
            raise BispikError(
                f"{self.name}: {what} needs {numbers:,} numbers, and {self.left:,} are left of what a network from a "
                f"file of {self.stored:,} bytes may take ({BYTES_AT_LEAST >> 20} MiB and {BYTES_PER_FILE_BYTE} bytes "
                "for each of its own); make the layer smaller, or put neurons between it and the layer before"
            )
        self.left -= numbers
