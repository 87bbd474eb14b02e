"""One thread: the networks are too small for more, and other tests run beside."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
