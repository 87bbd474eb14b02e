"""The fast simulator: the same bits as `reference`, in C++."""

from bispik.backends.sim.batch import SimBatch
from bispik.backends.sim.session import SimSession

__all__ = ["SimBatch", "SimSession"]
