"""The sheets of examples/opt: OPT's shapes and the published settings, run at reduced length, killed and resumed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from bispik.models.bispikclm.checkpoint import load_checkpoint
from bispik.models.bispikclm.config import BiSpikCLMConfig
from bispik.models.bispikclm.data import train_tokenizer
from bispik.models.bispikclm.model import BiSpikCLM
from bispik.models.bispikclm.named_shapes import list_shapes, load_shape
from bispik.models.bispikclm.run_config import TrainingRun, load_run
from bispik.models.bispikclm.run_log import read_log
from tests.models.runs import KilledError, losses, train, write_run

SHEETS = Path(__file__).parents[2] / "examples" / "opt"
SIZES = ("125m", "350m", "1.3b")
SHAPES = {"125m": (12, 768, 12, 3072), "350m": (24, 1024, 16, 4096), "1.3b": (24, 2048, 32, 8192)}
TOKENS = {"125m": 1.0e9, "350m": 2.6e9, "1.3b": 10.0e9}
# OPT-350M has its norms behind the parts of a layer, and embeddings half as wide as its layers.
QUIRKS: Mapping[str, Mapping[str, Any]] = {"350m": {"word_embed_proj_dim": 8, "do_layer_norm_before": False}}
VOCABULARY = 280
STEPS = 6


def sheet(size: str) -> Path:
    return SHEETS / f"opt-{size}.toml"


@pytest.mark.parametrize("size", SIZES)
def test_a_sheet_has_the_published_settings(size: str) -> None:
    run = load_run(sheet(size))
    student, model = run.student, run.model
    assert (model.num_layers, model.hidden_size, model.num_heads, model.intermediate_size) == SHAPES[size]
    assert (model.vocab_size, model.max_positions, model.steps_per_token) == (50272, 2048, 4)
    assert run.teacher.source == f"facebook/opt-{size}"
    assert run.teacher.training is None
    assert (student.learning_rate, student.weight_decay, student.gradient_clip) == (5e-4, 0.0, 0.7)
    assert student.batch == 16 * 16
    assert student.accumulate == 16
    assert student.warmup == round(0.2 * student.steps)
    assert student.steps * student.batch * model.max_positions == pytest.approx(TOKENS[size], rel=0.01)
    assert student.checkpoint_activations
    losses = run.losses
    weights = (losses.embedding, losses.attention, losses.features, losses.soft_targets, losses.hard_targets)
    assert weights == (0.2, 0.1, 0.1, 0.3, 0.3)
    assert run.data.train != run.data.validation
    assert run.data.max_tokens == TOKENS[size]


@pytest.mark.parametrize("size", SIZES)
def test_the_packaged_shape_is_the_sheets(size: str) -> None:
    assert load_shape(f"opt-{size}") == load_shape(str(sheet(size))) == load_run(sheet(size)).model
    assert set(list_shapes()) == {f"opt-{name}" for name in SIZES}


@pytest.mark.parametrize("size", SIZES)
def test_the_real_shape_builds(size: str) -> None:
    layers, width, heads, inner = SHAPES[size]
    with torch.device("meta"):
        network = BiSpikCLM(load_run(sheet(size)).model)
    norm = 2  # a gain and a bias per channel or head
    attention = 4 * width**2 + 5 * norm * width + norm * heads  # spikes: input, query, key, value, output; scores
    feed_forward = 2 * width * inner + inner + width + norm * (width + inner + width)
    tables = (50272 + 2048) * width
    expected = tables + norm * width + layers * (attention + feed_forward) + 2 * width
    assert sum(parameter.numel() for parameter in network.parameters()) == expected
    assert expected == {"125m": 125_368_608, "350m": 356_233_984, "1.3b": 1_316_447_744}[size]


def save_opt(folder: Path, text: Path, model: BiSpikCLMConfig, **quirks: Any) -> None:
    """Write an untrained OPT of a student's shape with a tokeniser of its own, as the hub's folders have one."""
    import transformers

    library: Any = transformers
    torch.manual_seed(0)
    opt = library.OPTConfig(
        vocab_size=model.vocab_size,
        ffn_dim=model.intermediate_size,
        num_attention_heads=model.num_heads,
        num_hidden_layers=model.num_layers,
        max_position_embeddings=model.max_positions,
        **{"hidden_size": model.hidden_size, "word_embed_proj_dim": model.hidden_size, **quirks},
    )
    library.OPTForCausalLM(opt).save_pretrained(folder)
    train_tokenizer(text, VOCABULARY, folder / "tokenizer.json")


def local(size: str, folder: Path, changes: Mapping[str, Any]) -> TrainingRun:
    """Return a sheet's run with files in a folder and a teacher made there."""
    texts = write_run(folder / "texts").parent
    files = {
        "checkpoint": str(folder / "student.pt"),
        "log": str(folder / "log.jsonl"),
        "data.train": str(texts / "text.txt"),
        "data.validation": str(texts / "validation.txt"),
        "data.tokenizer": str(folder / "tokenizer.json"),
        "data.cache": str(folder / "cache"),
        "teacher.source": str(folder / "teacher"),
        "compile": False,
    }
    run = load_run(sheet(size), {**files, **changes})
    if not (folder / "teacher").exists():
        save_opt(folder / "teacher", texts / "text.txt", run.model, **QUIRKS.get(size, {}))
    return run


SMALL: Mapping[str, Any] = {
    "model.vocab_size": VOCABULARY + 7,  # more rows than the tokeniser has tokens, as OPT
    "model.hidden_size": 16,
    "model.intermediate_size": 32,
    "model.num_heads": 2,
    "model.num_layers": 2,
    "model.max_positions": 16,
    "student.steps": STEPS,
    "student.batch": 8,
    "student.accumulate": 2,
    "student.warmup": 1,
    "student.save_every": 2,
    "student.evaluate_every": 4,
}


@pytest.mark.parametrize("size", SIZES)
def test_a_reduced_sheet_trains_and_resumes(size: str, tmp_path: Path) -> None:
    run = local(size, tmp_path, SMALL)
    train(run)
    whole = losses(run)
    assert [line["step"] for line in whole] == list(range(1, STEPS + 1))
    assert whole[-1]["loss"] != whole[0]["loss"]
    assert load_checkpoint(run.checkpoint).config == run.model

    second = {"checkpoint": str(tmp_path / "second.pt"), "log": str(tmp_path / "second.jsonl")}
    run = local(size, tmp_path, {**SMALL, **second})
    with pytest.raises(KilledError):
        train(run, kill_behind=5)
    train(run)
    assert [line["step"] for line in read_log(run.log) if line.get("event") == "resumed"] == [4]
    assert losses(run) == whole


@pytest.mark.slow
def test_the_real_shape_of_125m_trains_and_resumes(tmp_path: Path) -> None:
    """Every size but the sequence's and the batch's, and all rows of the vocabulary; 3.5 GB."""
    changes = {"model.max_positions": 32, "student.steps": 2, "student.batch": 1, "student.accumulate": 1}
    run = local("125m", tmp_path, {**changes, "student.warmup": 1, "student.save_every": 1})
    with pytest.raises(KilledError):
        train(run, kill_behind=2)
    before = losses(run)
    train(run)
    assert [line["step"] for line in read_log(run.log) if line.get("event") == "resumed"] == [1]
    assert losses(run) == before
    assert [line["step"] for line in before] == [1, 2]
    assert load_checkpoint(run.checkpoint).config == run.model
