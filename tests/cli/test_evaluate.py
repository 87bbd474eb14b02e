"""``bispik-eval`` as its users meet it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bispik.backends.host import logits, negative_log2_likelihood
from bispik.backends.registry import open_session
from bispik.cli.evaluate import main
from bispik.compiler.artifact import load_program
from bispik.models.bispikclm.checkpoint import load_checkpoint, save_checkpoint
from bispik.models.bispikclm.config import BiSpikCLMConfig
from bispik.models.bispikclm.data import encode_file, load_tokenizer, train_tokenizer
from bispik.models.bispikclm.evaluate import evaluate
from bispik.models.bispikclm.teacher import build_teacher, load_teacher, save_teacher, teacher_bits_per_byte
from tests.checkpoints import random_checkpoint
from tests.cli.conftest import VOCABULARY

Capture = pytest.CaptureFixture[str]

TEACHER = BiSpikCLMConfig(
    vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_heads=2, num_layers=1, max_positions=12
)
EXAMPLES = [
    {"prompt": "And it came to pass that the king", "choices": [" spake", " lend me"], "answer": 0},
    {"prompt": "The rain fell on the hill, and ", "choices": ["thee", "the river carried", "Caesar"], "answer": 1},
    {
        "prompt": "Where thou goest, I will go; and where thou lodgest, I will lodge. " * 3,
        "choices": ["a b", "c"],
        "answer": 1,
    },
    {"prompt": "", "choices": ["Friends, Romans", "countrymen"], "answer": 0},
]


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teachers") / "teacher"
    torch.manual_seed(3)
    save_teacher(build_teacher(TEACHER, 0.0), folder)
    return folder


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tasks") / "task.jsonl"
    path.write_text("\n".join(json.dumps(example) for example in EXAMPLES) + "\n\n")
    return path


def evaluated(capsys: Capture, *arguments: object) -> dict[str, Any]:
    capsys.readouterr()  # what fixtures printed
    assert main([*map(str, arguments), "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    result: dict[str, Any] = json.loads(printed.out)
    return result


def test_float_and_integer_are_what_training_and_the_backends_compute(
    model_folder: Path, compiled: Path, capsys: Capture
) -> None:
    checkpoint, text = model_folder / "ckpt.pt", model_folder / "heldout.txt"
    program = load_program(compiled / "program.bspk").program
    result = evaluated(capsys, compiled / "program.bspk", "--checkpoint", checkpoint, "--text", text)
    tokens = encode_file(load_tokenizer(model_folder / "tokenizer.json"), text)
    assert result["window"] == program.window == 16
    assert result["text"]["tokens"] == len(tokens.ids) - 1
    assert result["text"]["num_bytes"] == text.stat().st_size
    expected = evaluate(load_checkpoint(checkpoint).network(), tokens).bits_per_byte
    assert result["text"]["results"]["float"]["bits_per_byte"] == pytest.approx(expected, rel=1e-6)

    bits = 0.0
    for window in tokens.windows(program.window):
        run = open_session("sim", program).read(window[:-1])
        bits += negative_log2_likelihood(logits(program, run), window[1:])
    integer = result["text"]["results"]["integer"]
    assert integer["bits_per_byte"] == pytest.approx(bits / tokens.num_bytes, rel=1e-6)
    assert integer["perplexity"] == pytest.approx(2 ** (bits / (len(tokens.ids) - 1)), rel=1e-5)
    assert result["execution_modes"]["integer"].startswith("sim")


@pytest.mark.parametrize("backend", ["reference", "lava"])
def test_backends_give_the_same_numbers(
    compiled: Path, model_folder: Path, task: Path, capsys: Capture, backend: str
) -> None:
    one = ["--text", model_folder / "heldout.txt", "--tokens", 3]
    if backend == "reference":
        one += ["--tasks", task]
    first, second = (evaluated(capsys, compiled / "program.bspk", *one, "--backend", b) for b in ("sim", backend))
    assert second["execution_modes"].pop("integer").startswith(backend)
    del first["execution_modes"], second["execution_modes"]
    assert first == second


def test_all_three_see_the_smallest_window_and_the_table_says_so(
    model_folder: Path, compiled: Path, teacher_folder: Path, task: Path, capsys: Capture
) -> None:
    three = [compiled / "program.bspk", "--checkpoint", model_folder / "ckpt.pt", "--teacher", teacher_folder]
    text = ["--text", model_folder / "heldout.txt"]
    result = evaluated(capsys, *three, *text, "--tasks", task)
    assert result["windows"] == {"float": 16, "integer": 16, "teacher": 12}
    assert result["window"] == 12
    tokens = encode_file(load_tokenizer(model_folder / "tokenizer.json"), model_folder / "heldout.txt")
    expected = teacher_bits_per_byte(load_teacher(str(teacher_folder)), tokens, 12)
    assert result["text"]["results"]["teacher"]["bits_per_byte"] == pytest.approx(expected, rel=1e-6)

    assert main([*map(str, [*three, *text, "--tasks", task]), "--threads", str(torch.get_num_threads())]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    words = " ".join(printed.err.split())
    for part in (
        "Relative to teacher",
        "1.0000×",
        "4 examples, chance",
        "the smallest of float 16, integer 16, teacher 12",
    ):
        assert part in words


def test_multiple_choice_is_the_likeliest_continuation(model_folder: Path, task: Path, capsys: Capture) -> None:
    model = load_checkpoint(model_folder / "ckpt.pt").network()
    tokenizer = load_tokenizer(model_folder / "tokenizer.json")
    right, right_per_byte = [], []
    for example in EXAMPLES:
        scores, per_byte = [], []
        for choice in list(example["choices"]):  # type: ignore[call-overload]
            prompt = str(example["prompt"])
            ids = tokenizer.encode(prompt + choice).ids
            scored = len(ids) - max(1, len(tokenizer.encode(prompt.rstrip()).ids))
            shown = torch.tensor([ids[-17:-1]])
            with torch.no_grad():
                chances = model(shown)[0][0].double().log_softmax(-1)
            nats = sum(float(chances[place - scored, ids[place - scored]]) for place in range(scored))
            scores.append(nats)
            per_byte.append(nats / len(choice.encode()))
        right.append(int(np.argmax(scores)) == example["answer"])
        right_per_byte.append(int(np.argmax(per_byte)) == example["answer"])
    result = evaluated(capsys, "--checkpoint", model_folder / "ckpt.pt", "--tasks", task)
    (found,) = result["tasks"]
    assert found["examples"] == 4
    assert found["chance"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 2 + 1 / 2) / 4)
    accuracy = found["results"]["float"]["accuracy"]
    assert accuracy["value"] == np.mean(right)
    assert accuracy["standard_error"] == pytest.approx(np.std(right, ddof=1) / math.sqrt(4))
    assert found["results"]["float"]["accuracy_per_byte"]["value"] == np.mean(right_per_byte)


@pytest.mark.timeout(120)
def test_two_processes_share_the_windows_of_a_text(compiled: Path, model_folder: Path, capsys: Capture) -> None:
    arguments = [compiled / "program.bspk", "--text", model_folder / "heldout.txt"]
    one = evaluated(capsys, *arguments, "--counts")
    assert evaluated(capsys, *arguments, "--counts", "--jobs", 2) == one
    assert one["text"]["counts"]["tokens"] == one["text"]["tokens"]
    uncounted = evaluated(capsys, *arguments)
    assert uncounted["text"].pop("counts") is None
    del one["text"]["counts"]
    assert uncounted == one
    assert main([*map(str, arguments), "--counts"]) == 0
    assert "tokens run" in capsys.readouterr().err
    assert main([str(compiled / "program.bspk"), "--tasks", "t.jsonl", "--jobs", "2"]) == 2
    assert "--jobs and --dask share the windows of a text" in capsys.readouterr().err


def test_tokens_limits_the_text(model_folder: Path, capsys: Capture) -> None:
    arguments = ["--checkpoint", model_folder / "ckpt.pt", "--text", model_folder / "heldout.txt"]
    text = evaluated(capsys, *arguments, "--tokens", 20)["text"]
    assert text["tokens"] == 20
    tokenizer = load_tokenizer(model_folder / "tokenizer.json")
    ids = encode_file(tokenizer, model_folder / "heldout.txt").ids[:21]
    assert text["num_bytes"] == len(tokenizer.decode(ids.tolist()).encode())
    whole = evaluated(capsys, *arguments)
    assert evaluated(capsys, *arguments, "--tokens", 10**6) == whole


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "task.jsonl:2: not JSON"),
        ("[1]", "task.jsonl:2: a list, not an object"),
        ('{"prompt": "a", "choices": ["b", "c"]}', "task.jsonl:2: answer missing"),
        ('{"prompt": 1, "choices": ["b", "c"], "answer": 0}', "task.jsonl:2: prompt is a int"),
        ('{"prompt": "a", "choices": ["b", ""], "answer": 0}', "task.jsonl:2: choices must be"),
        ('{"prompt": "a", "choices": ["b"], "answer": 0}', "task.jsonl:2: 1 choices"),
        ('{"prompt": "a", "choices": ["b", "c"], "answer": true}', "task.jsonl:2: answer is a bool"),
        ('{"prompt": "a", "choices": ["b", "c"], "answer": 2}', "task.jsonl:2: answer 2 is out of range"),
        ('{"prompt": "a", "choices": ["b", "c"], "answer": -1}', "task.jsonl:2: answer -1 is out of range"),
        ('{"prompt": "", "choices": ["b", "c"], "answer": 0}', "task.jsonl:2: 'b' gives 1 tokens"),
        (json.dumps({"prompt": "a", "choices": ["b", "x y " * 20], "answer": 0}), "do not fit the window of 16"),
    ],
)
def test_a_malformed_example_is_named_by_file_and_line(
    model_folder: Path, tmp_path: Path, capsys: Capture, line: str, message: str
) -> None:
    (tmp_path / "task.jsonl").write_text(json.dumps(EXAMPLES[0]) + "\n" + line + "\n")
    assert_refused(capsys, message, "--checkpoint", model_folder / "ckpt.pt", "--tasks", tmp_path / "task.jsonl")


def test_bad_input_gets_one_line(
    model_folder: Path, compiled: Path, teacher_folder: Path, task: Path, tmp_path: Path, capsys: Capture
) -> None:
    program, text = compiled / "program.bspk", model_folder / "heldout.txt"
    (tmp_path / "short.txt").write_text("a")
    (tmp_path / "empty.jsonl").write_text("\n\n")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text("{}")
    (tmp_path / "other.txt").write_text("zebra quagga " * 50)
    train_tokenizer(tmp_path / "other.txt", VOCABULARY, tmp_path / "other.json")
    train_tokenizer(model_folder / "calibration.txt", VOCABULARY + 9, tmp_path / "large.json")
    save_checkpoint(random_checkpoint(0), tmp_path / "small.pt")
    save_checkpoint(
        random_checkpoint(0, vocab_size=VOCABULARY, num_layers=1, current_norm="batch", max_positions=16),
        tmp_path / "one_layer.pt",
    )
    on_text: list[object] = ["--text", text]
    refused: dict[str, list[object]] = {
        "no network given": on_text,
        "nothing to evaluate on": [program],
        "--tokens 0: give at least 1": [program, *on_text, "--tokens", 0],
        "--tokens is about --text": [program, "--tasks", task, "--tokens", 5],
        "--threads 0: give at least 1": [program, *on_text, "--threads", 0],
        "--backend nowhere: unknown": [program, *on_text, "--backend", "nowhere"],
        "none.bspk: no such file": [tmp_path / "none.bspk", *on_text],
        "none.pt: no such file": ["--checkpoint", tmp_path / "none.pt", *on_text],
        "no teacher is there": ["--teacher", tmp_path / "none", *on_text],
        "a teacher of type None": ["--teacher", tmp_path / "damaged", *on_text],
        "none.txt: cannot read the text": [program, "--text", tmp_path / "none.txt"],
        "none.jsonl: cannot read the task": [program, "--tasks", tmp_path / "none.jsonl"],
        "none.json: cannot read the tokeniser": [program, *on_text, "--tokenizer", tmp_path / "none.json"],
        "short.txt: 1 tokens; at least 2": [program, "--text", tmp_path / "short.txt"],
        "empty.jsonl: the task is empty": [program, "--tasks", tmp_path / "empty.jsonl"],
        "program.bspk knows 300 tokens, ": [program, "--checkpoint", tmp_path / "small.pt", *on_text],
        "made from a network with num_layers 2": [program, "--checkpoint", tmp_path / "one_layer.pt", *on_text],
        "no tokeniser is known": ["--teacher", teacher_folder, *on_text],
        "are not the same": [program, *on_text, "--tokenizer", tmp_path / "other.json"],
        "gives ids up to": ["--teacher", teacher_folder, *on_text, "--tokenizer", tmp_path / "large.json"],
    }
    for message, arguments in refused.items():
        assert_refused(capsys, message, *arguments)


def assert_refused(capsys: Capture, message: str, *arguments: object) -> None:
    capsys.readouterr()
    assert main([*map(str, arguments)]) == 2, message
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.startswith("bispik-eval: ")
    assert printed.err.count("\n") == 1
