"""The fast simulator: the same bits as `reference`, all tokens and time steps of a node at once."""

from bispik.backends.sim.session import SimSession

__all__ = ["SimSession"]
