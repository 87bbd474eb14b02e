from __future__ import annotations

from pathlib import Path

import pytest

from bispik.cli.compile import main as compile_main
from bispik.models.bispikclm.checkpoint import save_checkpoint
from bispik.models.bispikclm.data import train_tokenizer
from tests.checkpoints import random_checkpoint

SENTENCES = [
    "And it came to pass that the king spake unto the people of the land.",
    "Friends, Romans, countrymen, lend me your ears: I come to bury Caesar.",
    "The rain fell on the hill, and the river carried it down to the sea.",
    "Where thou goest, I will go; and where thou lodgest, I will lodge.",
]
VOCABULARY = 300


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained network with its tokeniser and texts, as a user keeps them."""
    folder = tmp_path_factory.mktemp("model")
    text = "\n".join(SENTENCES * 12)
    (folder / "calibration.txt").write_text(text)
    (folder / "heldout.txt").write_text("\n".join(reversed(SENTENCES)) * 3)
    train_tokenizer(folder / "calibration.txt", VOCABULARY, folder / "tokenizer.json")
    checkpoint = random_checkpoint(7, vocab_size=VOCABULARY, current_norm="batch", max_positions=16)
    save_checkpoint(checkpoint, folder / "ckpt.pt")
    return folder


@pytest.fixture(scope="session")
def compiled(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of one compile."""
    out = tmp_path_factory.mktemp("out")
    assert compile_main([str(model_folder / "ckpt.pt"), "--target", "loihi2", "-o", str(out), "--json"]) == 0
    return out


@pytest.fixture(scope="session")
def compiled_stock(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a network with hard resets, compiled to Lava's own neurons."""
    out = tmp_path_factory.mktemp("stock")
    checkpoint = random_checkpoint(
        8, vocab_size=VOCABULARY, current_norm="batch", max_positions=16, reset="zero", num_layers=1
    )
    save_checkpoint(checkpoint, model_folder / "hard.safetensors")
    assert compile_main([str(model_folder / "hard.safetensors"), "--neurons", "stock", "-o", str(out), "--json"]) == 0
    return out


@pytest.fixture(scope="session", params=["subtract", "zero"])
def compiled_ternary(
    request: pytest.FixtureRequest, model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The output folder of a network with ternary spikes, soft or hard resets, and another length of tokens each."""
    out = tmp_path_factory.mktemp("ternary")
    checkpoint = random_checkpoint(
        9,
        vocab_size=VOCABULARY,
        current_norm="batch",
        max_positions=16,
        num_layers=1,
        spikes="ternary",
        spike_amplitude=0.8,
        reset=request.param,
        steps_per_token=2 if request.param == "zero" else 5,
    )
    source = model_folder / f"ternary_{request.param}.pt"
    save_checkpoint(checkpoint, source)
    assert compile_main([str(source), "--target", "loihi2", "-o", str(out), "--json"]) == 0
    return out
