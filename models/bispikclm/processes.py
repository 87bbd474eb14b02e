"""Several processes that train one network, each on its slice of every batch, as ``torchrun`` starts them.

Gradients are averaged (``DistributedDataParallel``), and so are the statistics of normalised currents and the mean
firing rate of the loss: N processes take the steps that one would take, within rounding.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from bispik.models.bispikclm.model import SpikingNeurons
from bispik.models.errors import BispikError, first_line

_PATIENCE = timedelta(hours=6)
"""How long the others wait for the first, which evaluates and tokenises alone."""


_CPU = torch.device("cpu")


class _Gathered(torch.autograd.Function):
    """Stack a tensor of every process; the gradient of each process's copy flows back to where it came from."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, processes: Processes) -> Tensor:
        ctx.rank = processes.rank
        parts = [torch.empty_like(own) for _ in range(processes.size)]
        distributed.all_gather(parts, own.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        total = grads[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total[ctx.rank], None


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """Which of how many processes this is, and the device that it computes on."""

    rank: int = 0
    size: int = 1
    device: torch.device = _CPU

    @property
    def first(self) -> bool:
        """Whether this is the process that evaluates, writes and reports."""
        return self.rank == 0

    def wait(self) -> None:
        """Return when all processes are here."""
        if self.size > 1:
            distributed.barrier()

    def gathered(self, own: Tensor) -> Tensor:
        """Return a tensor of every process, stacked by rank; differentiable."""
        if self.size == 1:
            return own[None]
        stacked: Tensor = _Gathered.apply(own, self)  # type: ignore[no-untyped-call]
        return stacked

    def own_slice(self, batch: Tensor) -> Tensor:
        """Return this process's share of a batch, on its device."""
        return batch.chunk(self.size)[self.rank].to(self.device)

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return the means over all processes of numbers that each has by the same names."""
        if self.size == 1:
            return dict(values)
        total = torch.tensor(list(values.values()), dtype=torch.float32, device=self.device)
        distributed.all_reduce(total)
        return dict(zip(values, (total / self.size).tolist(), strict=True))

    def check_divides(self, sequences: int, what: str) -> None:
        """Check that a batch can be cut into equal slices.

        Raises:
            BispikError: naming ``what`` the sequences are.
        """
        if sequences % self.size:
            raise BispikError(f"{what} has {sequences} sequences, which {self.size} processes cannot share equally")

    def replicated(self, module: nn.Module) -> nn.Module:
        """Move a module to the device; with several processes, return what averages its gradients over them.

        All processes get the first one's parameters and buffers. Populations normalise by the statistics of all.
        """
        module.to(self.device)
        if self.size == 1:
            return module
        for buffer in module.buffers():
            distributed.broadcast(buffer, 0)
        for population in module.modules():
            if isinstance(population, SpikingNeurons):
                population.moments = self._moments  # type: ignore[method-assign]
        devices = [self.device] if self.device.type == "cuda" else None
        # Running statistics are equal in all processes: they need not be sent.
        return DistributedDataParallel(module, device_ids=devices, broadcast_buffers=False)

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # a graph holds no communication
    def _moments(self, current: Tensor) -> tuple[Tensor, Tensor]:
        """Return variance and mean of each channel over the slices of all processes, which are equally large."""
        variances, means = self.gathered(torch.stack(SpikingNeurons.moments(current))).unbind(1)
        mean = means.mean(0)
        return (variances + (means - mean) ** 2).mean(0), mean


def without_averaging(module: nn.Module) -> AbstractContextManager[None]:
    """Inside the block, gradients of what `Processes.replicated` returned are kept to add up, and not averaged yet."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()


@contextmanager
def joined_processes() -> Generator[Processes]:
    """Yield the processes that ``torchrun`` started, this one alone if it did not.

    Each takes the GPU that its ``LOCAL_RANK`` names, if there are GPUs (backend NCCL), else the CPU (backend Gloo).

    Raises:
        BispikError: if there are fewer GPUs than processes, or they do not find each other.
    """
    size, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    device = _CPU
    if torch.cuda.is_available():
        if local >= torch.cuda.device_count():
            raise BispikError(f"{torch.cuda.device_count()} GPUs, but a process asks for number {local}")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if size == 1:
        yield Processes(device=device)
        return
    try:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise BispikError(f"the {size} processes do not find each other: {first_line(error)}; use torchrun") from error
    try:
        yield Processes(rank=distributed.get_rank(), size=size, device=device)
    finally:
        # Replicated modules refer to the group, in cycles. If one outlives the interpreter, so do the group's threads,
        # and the process aborts.
        gc.collect()
        distributed.destroy_process_group()
