"""A run of a few steps: it learns, keeps its promises about files, and its errors are clear."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from bispik.cli.quantiser import quantiser
from bispik.compiler.lift import lift
from bispik.compiler.program import IntegerPopulation, QuantizedProgram
from bispik.compiler.quantize import quantize
from bispik.compiler.quantize_options import QuantizeOptions
from bispik.models.bispikclm import training
from bispik.models.bispikclm.card import write_card
from bispik.models.bispikclm.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from bispik.models.bispikclm.corpus import check_tokenizer, corpus
from bispik.models.bispikclm.data import load_tokenizer
from bispik.models.bispikclm.evaluate import evaluate, recorded_rates
from bispik.models.bispikclm.initial_rates import set_initial_rates
from bispik.models.bispikclm.model import BiSpikCLM, SpikingNeurons
from bispik.models.bispikclm.optimise import learning_rate
from bispik.models.bispikclm.run_config import IntegerTraining, Losses, Start, Teacher, TrainingRun, load_run
from bispik.models.bispikclm.run_log import json_lines, read_log
from bispik.models.bispikclm.teacher import (
    build_teacher,
    check_teacher,
    load_teacher,
    save_teacher,
    teacher_signals,
    teacher_tokenizer,
)
from bispik.models.errors import BispikError
from tests.models.runs import write_run

Log = list[dict[str, Any]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingRun, Log]:
    """A run with teacher and student, and what they reported."""
    torch.set_num_threads(1)
    run = load_run(write_run(tmp_path_factory.mktemp("run")))
    lines: Log = []
    write = json_lines(run.log)

    def report(metrics: dict[str, Any]) -> None:
        lines.append(metrics)
        write(metrics)

    training.train_teacher(run, report)
    training.train_student(run, report)
    return run, lines


def of_stage(lines: Log, stage: str) -> Log:
    return [line for line in lines if line["stage"] == stage]


def test_both_losses_fall(finished: tuple[TrainingRun, Log]) -> None:
    for stage in ("teacher", "student"):
        losses = [line["loss"] for line in of_stage(finished[1], stage) if "loss" in line]
        assert len(losses) == 30
        assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5]), stage


def test_what_is_stored_is_what_was_measured(finished: tuple[TrainingRun, Log]) -> None:
    run, lines = finished
    assert lines[-1]["stage"] == "stored student"
    assert lines[-1]["dtype"] == "float16"
    checkpoint = load_checkpoint(run.checkpoint)
    for tensor in checkpoint.tensors.values():
        assert tensor.dim() < 2 or torch.equal(tensor, tensor.half().float())
    result = evaluate(checkpoint.network(), corpus(run)[1])
    assert lines[-1]["bits_per_byte"] == pytest.approx(result.bits_per_byte)
    assert lines[-1]["firing_rates"] == pytest.approx(result.firing_rates)
    assert 0.02 < result.mean_rate < 0.6


def test_the_log_holds_every_line(finished: tuple[TrainingRun, Log]) -> None:
    run, lines = finished
    assert read_log(run.log) == json.loads(json.dumps(lines))
    assert ["bits_per_byte" in line for line in of_stage(lines, "teacher")].count(True) == 1
    assert ["bits_per_byte" in line for line in of_stage(lines, "student")].count(True) == 1


def test_card(finished: tuple[TrainingRun, Log]) -> None:
    run, lines = finished
    path = write_card(run)
    text = path.read_text()
    assert write_card(run).read_text() == text
    assert text.startswith("# A tiny network\n")
    from_log = dataclasses.replace(run, teacher=dataclasses.replace(run.teacher, source="none"))
    assert write_card(from_log).read_text() == text
    checkpoint = load_checkpoint(run.checkpoint)
    teacher = of_stage(lines, "stored teacher")[-1]["bits_per_byte"]
    for fact in (
        checkpoint.sha256,
        f"{sum(p.numel() for p in checkpoint.network().parameters()):,}",
        f"| {lines[-1]['bits_per_byte']:.3f} | {lines[-1]['bits_per_byte'] / teacher:.3f} |",
        f"| {teacher:.3f} |",
        "Two sentences, **public domain**.",
        "> **In the**",
        "| `blocks.0.attention.score_spike` |",
        f"{lines[-1]['mean_rate']:.1%}",
    ):
        assert fact in text


def test_card_without_what_it_needs(finished: tuple[TrainingRun, Log], tmp_path: Path) -> None:
    run, _ = finished
    assert run.card is not None
    with pytest.raises(BispikError, match=r"no \[card\] table"):
        write_card(dataclasses.replace(run, card=None))
    with pytest.raises(BispikError, match="prompt is empty"):
        write_card(dataclasses.replace(run, card=dataclasses.replace(run.card, prompt="")))
    (tmp_path / "log.jsonl").write_text('{"stage": "student"}\n')
    with pytest.raises(BispikError, match="no line of stage 'teacher'"):
        write_card(dataclasses.replace(run, log=tmp_path / "log.jsonl"))
    other = dataclasses.replace(run, checkpoint=tmp_path / "single.pt")
    checkpoint = load_checkpoint(run.checkpoint)
    tensors = {name: tensor.float() * 1.0001 for name, tensor in checkpoint.tensors.items()}
    save_checkpoint(Checkpoint(config=checkpoint.config, tensors=tensors), other.checkpoint)
    with pytest.raises(BispikError, match="not stored as float16"):
        write_card(other)
    (tmp_path / "log.jsonl").write_text("{}\nhello\n")
    with pytest.raises(BispikError, match="line 2 is not JSON"):
        write_card(dataclasses.replace(run, log=tmp_path / "log.jsonl"))


@pytest.mark.parametrize("spikes", ["binary", "ternary"])
def test_initial_rates(finished: tuple[TrainingRun, Log], spikes: Any) -> None:
    run, _ = finished
    torch.manual_seed(0)
    model = BiSpikCLM(dataclasses.replace(run.model, spikes=spikes)).eval()
    ids = torch.randint(0, 280, (8, 16))
    set_initial_rates(model, ids, 0.2, 0.15)
    assert not model.training
    model.train()
    with torch.no_grad(), recorded_rates(model) as rates:
        model(ids)
    # Scores are whole numbers: a gain on them moves many across the threshold at once.
    tolerance = 0.1 if spikes == "ternary" else 0.06
    for name, rate in rates.items():
        assert rate == pytest.approx(0.15 if "score" in name else 0.2, abs=tolerance), name
    assert all(m.momentum == 0.1 for m in model.modules() if isinstance(m, SpikingNeurons))


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_a_ternary_student_learns(finished: tuple[TrainingRun, Log], tmp_path: Path, reset: Any) -> None:
    model = dataclasses.replace(finished[0].model, spikes="ternary", spike_amplitude=0.8, reset=reset)
    run = dataclasses.replace(finished[0], model=model, checkpoint=tmp_path / "student.pt")
    lines: Log = []
    training.train_student(run, lines.append)
    losses = [line["loss"] for line in of_stage(lines, "student") if "loss" in line]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert load_checkpoint(run.checkpoint).config == model


def test_initial_rates_leave_nothing_behind_an_error(finished: tuple[TrainingRun, Log]) -> None:
    model = BiSpikCLM(finished[0].model).eval()
    with pytest.raises(IndexError):
        set_initial_rates(model, torch.full((1, 4), 999), 0.2, 0.15)
    assert not model.training
    for module in model.modules():
        if isinstance(module, SpikingNeurons):
            assert module.momentum == SpikingNeurons.momentum
            assert "momentum" not in vars(module)
            assert not module._forward_pre_hooks  # pyright: ignore[reportPrivateUsage]


def test_learning_rate_warms_up_and_falls_to_a_tenth(finished: tuple[TrainingRun, Log]) -> None:
    stage = finished[0].student
    rates = [learning_rate(stage, step) for step in range(stage.steps + 1)]
    assert rates[0] == pytest.approx(stage.learning_rate / stage.warmup)
    assert max(rates) == pytest.approx(stage.learning_rate) == pytest.approx(rates[stage.warmup])
    assert rates[-1] == pytest.approx(stage.learning_rate / 10)


def test_a_loss_that_is_not_finite_stops_the_run(finished: tuple[TrainingRun, Log], tmp_path: Path) -> None:
    stage = finished[0].teacher.training
    assert stage is not None
    stage = dataclasses.replace(stage, learning_rate=1e30, warmup=0)
    teacher = Teacher(source=str(tmp_path / "teacher"), training=stage)
    run = dataclasses.replace(finished[0], teacher=teacher, checkpoint=tmp_path / "student.pt")
    with pytest.raises(BispikError, match=r"step \d+: the loss or its gradient is not finite"):
        training.train_teacher(run, lambda _metrics: None)
    assert list(tmp_path.iterdir()) == []


def with_data(run: TrainingRun, **changes: Any) -> TrainingRun:
    return dataclasses.replace(run, data=dataclasses.replace(run.data, **changes))


def test_corpus_errors(finished: tuple[TrainingRun, Log], tmp_path: Path) -> None:
    run, _ = finished
    (tmp_path / "short.txt").write_text("In the beginning")
    with pytest.raises(BispikError, match=r"short.txt: \d+ tokens; more than max_positions \(16\)"):
        corpus(with_data(run, train=str(tmp_path / "short.txt")))
    _, validation = corpus(with_data(run, validation=str(tmp_path / "short.txt")))
    assert evaluate(load_checkpoint(run.checkpoint).network(), validation).tokens == len(validation.ids) - 1
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(BispikError, match=r"empty\.txt: 0 tokens"):
        corpus(with_data(run, train=str(tmp_path / "empty.txt")))
    with pytest.raises(BispikError, match="cannot read"):
        corpus(with_data(run, train=str(tmp_path / "none.txt")))
    assert len(corpus(with_data(run, max_tokens=100))[0].ids) == 100
    small = dataclasses.replace(run.model, vocab_size=260)
    with pytest.raises(BispikError, match=r"the tokeniser has \d+ tokens, the model 260"):
        corpus(dataclasses.replace(run, model=small))


def test_teacher_errors(finished: tuple[TrainingRun, Log], tmp_path: Path) -> None:
    run, _ = finished
    with pytest.raises(BispikError, match="no teacher is there"):
        load_teacher(str(tmp_path / "none"))
    with pytest.raises(BispikError, match="nobody/none: no such folder, and not to be had"):
        load_teacher("nobody/none")
    sheet = tmp_path / "config.json"
    for text, message in (("{", "not a model's"), ("[]", "not a model's"), ('{"model_type": "gpt2"}', "'gpt2'")):
        sheet.write_text(text)
        with pytest.raises(BispikError, match=message):
            load_teacher(str(tmp_path))
    sheet.write_bytes((Path(run.teacher.source) / "config.json").read_bytes())
    for contents in (None, b"garbage"):
        if contents is not None:
            (tmp_path / "model.safetensors").write_bytes(contents)
        with pytest.raises(BispikError, match="not an OPT checkpoint folder"):
            load_teacher(str(tmp_path))


def test_the_tokeniser_must_be_the_teachers(finished: tuple[TrainingRun, Log], tmp_path: Path) -> None:
    run = finished[0]
    check_tokenizer(run)  # the stage of the teacher has put a copy into its folder
    values = json.loads(run.data.tokenizer.read_text())
    vocabulary = values["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (tmp_path / "swapped.json").write_text(json.dumps(values))
    other = with_data(run, tokenizer=tmp_path / "swapped.json")
    message = r"swapped\.json: not the tokeniser of the teacher .*: 2 tokens differ; 'a' is \d+ here and \d+ there"
    with pytest.raises(BispikError, match=message):
        training.train_student(dataclasses.replace(other, checkpoint=tmp_path / "student.pt"), lambda _metrics: None)
    copied = with_data(run, tokenizer=tmp_path / "copied.json", new_tokenizer="teacher")
    corpus(copied)
    assert json.loads((tmp_path / "copied.json").read_text()) == json.loads(run.data.tokenizer.read_text())
    sheet = tmp_path / "teacher" / "config.json"
    sheet.parent.mkdir()
    sheet.write_bytes((Path(run.teacher.source) / "config.json").read_bytes())
    bare = dataclasses.replace(other, teacher=Teacher(source=str(sheet.parent)))
    check_tokenizer(bare)  # nothing to compare with
    with pytest.raises(BispikError, match="the teacher has no tokeniser of its own"):
        corpus(with_data(bare, tokenizer=tmp_path / "none.json", new_tokenizer="teacher"))


def test_the_tokeniser_of_a_teacher_as_the_hub_holds_it(finished: tuple[TrainingRun, Log], tmp_path: Path) -> None:
    run = finished[0]
    model = json.loads(run.data.tokenizer.read_text())["model"]
    folder = tmp_path / "teacher"
    save_teacher(build_teacher(run.model, 0.0), folder)
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, **{token: 3 + index for token, index in model["vocab"].items()}}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    merges = [" ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    special = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer", **special}))
    found = teacher_tokenizer(str(folder))
    assert found is not None
    assert found.token_to_id("</s>") == 2
    text = "In the beginning God created"
    assert [i - 3 for i in found.encode(text, add_special_tokens=False).ids] == (
        load_tokenizer(run.data.tokenizer).encode(text).ids
    )


def test_a_teacher_whose_embeddings_are_narrower(tmp_path: Path) -> None:
    """As OPT-350M: norms behind the parts of a layer, and a projection that is no layer's hidden state."""
    import transformers

    library: Any = transformers
    sizes = {"hidden_size": 16, "word_embed_proj_dim": 8, "ffn_dim": 32, "num_attention_heads": 2}
    shape = {"num_hidden_layers": 2, "vocab_size": 20, "max_position_embeddings": 6, "do_layer_norm_before": False}
    special = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
    library.OPTForCausalLM(library.OPTConfig(**sizes, **shape, **special)).save_pretrained(tmp_path / "opt")
    teacher = load_teacher(str(tmp_path / "opt"))
    ids = torch.randint(0, 20, (2, 6))
    signals = teacher_signals(teacher, ids, Losses())
    assert [state.shape for state in signals.hidden] == [(2, 6, 16)] * 3
    head = teacher.get_parameter("model.decoder.embed_tokens.weight")
    projection = teacher.get_parameter("model.decoder.project_out.weight")
    torch.testing.assert_close(signals.hidden[-1] @ projection.T @ head.T, signals.logits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 99}, "has 280 tokens, the student 99$"),
        ({"max_positions": 17}, "has 16 positions, the student 17"),
        ({"hidden_size": 32}, r"has 16 channels, the student 32; \[losses\] embedding needs"),
        ({"num_layers": 2}, r"has 1 layers, the student 2; \[losses\] attention, features need"),
        ({"num_heads": 4}, r"has 2 heads, the student 4; \[losses\] attention needs"),
    ],
)
def test_a_teacher_of_another_shape(finished: tuple[TrainingRun, Log], change: dict[str, Any], message: str) -> None:
    run = finished[0]
    teacher = load_teacher(run.teacher.source)
    check_teacher(teacher, run)
    run = dataclasses.replace(run, model=dataclasses.replace(run.model, **change))
    with pytest.raises(BispikError, match=message):
        check_teacher(teacher, run)
    if "tokens" not in message and "positions" not in message:
        check_teacher(teacher, dataclasses.replace(run, losses=Losses(embedding=0, attention=0, features=0)))
    if "channels" in message:
        copied = dataclasses.replace(run, losses=Losses(embedding=0), start=Start(embeddings="teacher"))
        with pytest.raises(BispikError, match="has 16 embedding channels, the student 32"):
            check_teacher(teacher, copied)


def test_an_old_teacher_stays_if_the_new_one_cannot_be_written(
    finished: tuple[TrainingRun, Log], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = finished[0].model
    save_teacher(build_teacher(model, 0.0), tmp_path / "teacher")
    before = {path.name: path.read_bytes() for path in (tmp_path / "teacher").iterdir()}
    other = build_teacher(model, 0.0)

    def full_disk(folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(other, "save_pretrained", full_disk)
    with pytest.raises(BispikError, match="No space left"):
        save_teacher(other, tmp_path / "teacher")
    assert {path.name: path.read_bytes() for path in (tmp_path / "teacher").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["teacher"]
    monkeypatch.undo()
    save_teacher(other, tmp_path / "teacher")
    assert (tmp_path / "teacher" / "model.safetensors").read_bytes() != before["model.safetensors"]


def test_transformers_is_imported_only_for_a_teacher() -> None:
    program = (
        "import sys, bispik.cli.train, bispik.models.bispikclm.training, bispik.models.bispikclm.card; "
        "sys.exit('transformers' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("neurons", ["bispik", "stock"])
def test_a_hard_reset_trains_in_integers_of_both_neuron_programs(
    finished: tuple[TrainingRun, Log], tmp_path: Path, neurons: Literal["bispik", "stock"]
) -> None:
    run = dataclasses.replace(
        finished[0],
        model=dataclasses.replace(finished[0].model, reset="zero"),
        qat=IntegerTraining(bits=4, neurons=neurons, first=0.3, refresh=5),
        checkpoint=tmp_path / "student.pt",
    )
    lines: Log = []
    training.train_student(run, lines.append, scales=quantiser(run))
    losses = [line["loss"] for line in of_stage(lines, "student") if "loss" in line]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    program = compiled(load_checkpoint(run.checkpoint), neurons)
    assert {node.neurons.program for node in program.of_kind(IntegerPopulation)} == {neurons}


def compiled(checkpoint: Checkpoint, neurons: Literal["bispik", "stock"]) -> QuantizedProgram:
    graph = lift(checkpoint)
    text = np.random.default_rng(0).integers(0, 280, (4, 16))
    return quantize(graph, text, QuantizeOptions(bits=4, neuron_program=neurons, window=16))


def test_the_third_party_form_trains(finished: tuple[TrainingRun, Log], tmp_path: Path) -> None:
    third_party = dataclasses.replace(
        finished[0].model,
        reset="zero",
        current_norm="none",
        embedding_spike=False,
        input_current="ramp",
        input_scale=50.0,
        block_norm="pre",
        pre_spike=False,
        attention_output_spike=True,
        ffn_output_spike=False,
        block_output_spike=True,
        readout_scale=True,
    )
    run = dataclasses.replace(finished[0], model=third_party, checkpoint=tmp_path / "student.pt")
    lines: Log = []
    training.train_student(run, lines.append)
    losses = [line["loss"] for line in of_stage(lines, "student") if "loss" in line]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert 0.01 < lines[-1]["mean_rate"] < 0.6
