"""Training runs in TOML, and every way in which one can be wrong."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from bispik.models.bispikclm.config import BiSpikCLMConfig
from bispik.models.bispikclm.run_config import (
    Card,
    Data,
    IntegerTraining,
    Losses,
    Stage,
    Start,
    Teacher,
    TrainingRun,
    load_run,
)
from bispik.models.bispikclm.sweep_config import load_sweep
from bispik.models.errors import BispikError
from tests.models.runs import TOML, write_run

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "kjv_shakespeare"


def test_paths_are_beside_the_file(tmp_path: Path) -> None:
    run = load_run(write_run(tmp_path))
    assert run.data.train == str(tmp_path / "text.txt")
    assert run.data.cache == tmp_path / ".cache"
    assert run.teacher.source == str(tmp_path / "teacher")
    assert run.card is not None
    assert run.card.file == tmp_path / "CARD.md"
    assert run.losses.temperature == 2.0
    assert isinstance(run.losses.temperature, float)
    assert run.student.gradient_clip == 1.0


@pytest.mark.parametrize(
    ("name", "layers", "steps"), [("train", 4, 4), ("train_t2", 4, 2), ("train_4bit", 4, 4), ("sweep/small", 2, 4)]
)
def test_the_examples_runs_are_valid(name: str, layers: int, steps: int) -> None:
    model = load_run(EXAMPLE / f"{name}.toml").model
    assert (model.num_layers, model.steps_per_token) == (layers, steps)


@pytest.mark.parametrize("name", ["ablation", "pareto"])
def test_the_examples_sweeps_are_valid(name: str, tmp_path: Path) -> None:
    sweep = load_sweep(EXAMPLE / "sweep" / f"{name}.toml", tmp_path)
    assert sweep.calibration.is_file()
    assert sweep.held_out.is_file()
    assert len({variant.run for variant in sweep.variants}) == len(sweep.variants) > 8


def test_the_documentation_has_a_valid_run_and_every_key(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "training.md").read_text()
    shown = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert shown is not None
    assert load_run(write_run(tmp_path, shown[1])).student.steps == 300
    section = text[text.index("## The run's file") : text.index("## Texts")]
    named = set(re.findall(r"`\[?([a-z_0-9.]+)\]?`", section))
    for record in (TrainingRun, Data, BiSpikCLMConfig, Teacher, Stage, Start, Losses, IntegerTraining, Card):
        keys = {field.name for field in dataclasses.fields(record)}
        assert keys - named <= {"training"}, record  # a table of its own: [teacher.training]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed = 1", "seed = ", "not TOML"),
        ("seed = 1", "", "missing keys seed"),
        ("seed = 1", "seed = -1", "seed is -1"),
        ("seed = 1", "seed = 1\nspeed = 2", "unknown keys speed"),
        ("seed = 1", 'seed = "1"', "seed is '1'; expected int"),
        ("seed = 1", "seed = true", "seed is True; expected int"),
        ("compile = false", 'compile = "no"', "compile is 'no'; expected bool"),
        ("compile = false", 'precision = "float16"', "choose one of bfloat16, float32"),
        ('"student.pt"', "3", "checkpoint is 3; expected Path"),
        ("temperature = 2", "temperature = nan", "temperature is nan"),
        ("temperature = 2", "features = -1", r"\[losses\]: features is -1"),
        ("temperature = 2", "soft_targets = 0\nhard_targets = 0", "both 0"),
        ("temperature = 2", "rate_target = 15", "rate_target is 15"),
        ("rate = 0.2", "rate = 0", r"\[start\]: rate is 0"),
        ("rate = 0.2", 'embeddings = "copied"', "choose one of random, teacher"),
        ("[losses]", "[qat]\nbits = 9\n[losses]", r"\[qat\]: bits is 9"),
        ("[losses]", "[qat]\nfirst = 1\n[losses]", r"\[qat\]: first is 1"),
        ("[teacher]", "[teachers]", r"\[teacher\]: missing keys source"),
        ("[data]", "[texts]", r"table \[data\] is missing"),
        ('"text.txt"', '"hub:"', r"\[data\]: hub:: no data set is named"),
        ("[data]", "[data]\nmax_tokens = 1", r"\[data\]: max_tokens is 1; it must be at least 2"),
        ("[data]", '[data]\nnew_tokenizer = "mine"', "choose one of trained, teacher"),
        ("[model]", "[network]", r"table \[model\] is missing"),
        ("vocab_size = 280", "vocab_size = 0", r"\[model\]: configuration: vocab_size is 0"),
        ("vocab_size = 280", "vocab_size = 1.5", r"\[model\]: vocab_size is 1.5; expected int"),
        ("batch = 8", "batch = 0", r"\[teacher.training\]: batch is 0"),
        ("warmup = 5", "evaluate_every = 0\nwarmup = 5", "not TOML"),  # given twice
        ("batch = 8", "batch = 8\naccumulate = 3", r"accumulate is 3; it must divide batch \(8\)"),
        ("steps = 30", "steps = 0", r"\[teacher.training\]: steps is 0"),
        ("learning_rate = 1e-2", "learning_rate = inf", "learning_rate is inf"),
        ("learning_rate = 1e-2", "learning_rate = 1e-2\ndropout = 1.0", "dropout is 1.0"),
        ("new_tokens = 20", "new_tokens = 0", r"\[card\]: new_tokens is 0"),
        ('prompt = "In the"', "", r"\[card\]: missing keys prompt"),
    ],
)
def test_errors_say_what_and_where(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TOML
    path = write_run(tmp_path, TOML.replace(old, new, 1))
    with pytest.raises(BispikError, match=message) as caught:
        load_run(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BispikError, match="cannot read the training run"):
        load_run(tmp_path / "none.toml")


def test_a_teacher_is_a_folder_or_a_name_on_the_hub(tmp_path: Path) -> None:
    path = write_run(tmp_path, TOML[: TOML.index("[teacher.training]")] + TOML[TOML.index("[student]") :])
    assert load_run(path).teacher.source == str(tmp_path / "teacher")
    assert load_run(path, {"teacher": {"source": "facebook/opt-125m"}}).teacher.source == "facebook/opt-125m"
    (tmp_path / "facebook" / "opt-125m").mkdir(parents=True)
    local = load_run(path, {"teacher": {"source": "facebook/opt-125m"}})
    assert local.teacher.source == str(tmp_path / "facebook" / "opt-125m")


def test_a_text_may_be_on_the_hub(tmp_path: Path) -> None:
    name = "hub:HuggingFaceFW/fineweb-edu?name=sample-10BT&split=train"
    assert load_run(write_run(tmp_path, TOML.replace("text.txt", name))).data.train == name


def test_a_command_lines_options_replace_the_files_values(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    assert load_run(path).losses.rate_target is None
    assert load_run(path, {"losses.rate_target": 0.1}).losses.rate_target == 0.1
    with pytest.raises(BispikError, match=r"\[losses\]: rate_target is 2"):
        load_run(path, {"losses.rate_target": 2.0})


@pytest.mark.parametrize("switch", [{"model.block_norm": "pre"}, {"model.embedding_spike": False}])
def test_integers_with_real_numbers_between_blocks_are_refused(tmp_path: Path, switch: dict[str, object]) -> None:
    with pytest.raises(BispikError, match="compiles without it"):
        load_run(write_run(tmp_path), {"qat.bits": 8, **switch})


def test_integers_with_ternary_spikes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BispikError, match="knows binary spikes only"):
        load_run(write_run(tmp_path), {"qat.bits": 8, "model.spikes": "ternary"})
