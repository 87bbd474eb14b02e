from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

from bispik.models.bispikclm.checkpoint import save_checkpoint
from bispik.models.bispikclm.data import train_tokenizer
from tests.checkpoints import random_checkpoint
from tests.rough.commands import Driver
from tests.stream.nir_files import entry, exit_, lif, nir, write

TEXT = "And it came to pass that the king spake unto the people of the land.\nThe rain fell on the hill.\n"
VOCABULARY = 290


@pytest.fixture(scope="session")
def driver() -> Generator[Driver]:
    made = Driver()
    yield made
    made.close()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained network with its tokeniser and texts."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "calibration.txt").write_text(TEXT * 12, encoding="utf-8")
    (folder / "heldout.txt").write_text(TEXT[40:] * 2, encoding="utf-8")
    train_tokenizer(folder / "calibration.txt", VOCABULARY, folder / "tokenizer.json")
    made = random_checkpoint(7, vocab_size=VOCABULARY, current_norm="batch", num_layers=1, norm_batches=2)
    save_checkpoint(made, folder / "ckpt.pt")
    return folder / "ckpt.pt"


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network in NIR."""
    weight = np.random.default_rng(0).normal(0.0, 1.0, (4, 3))
    nodes = {"input": entry(3), "w": nir.Affine(weight, np.zeros(4)), "n": lif(4), "output": exit_(4)}
    return write(tmp_path_factory.mktemp("network"), nodes, "input w n output")
