"""``lm_eval --model bispik``: the real command, offline, on local tasks; and the model class by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from lm_eval.api.instance import Instance
from tokenizers import Tokenizer

from bispik.backends.host import logits
from bispik.backends.lm_eval_model import BispikLM
from bispik.backends.registry import open_session
from bispik.cli.evaluate import main as evaluate_main
from bispik.compiler.artifact import load_program
from bispik.compiler.program import QuantizedProgram
from bispik.models.bispikclm.data import parse_tokenizer
from bispik.models.errors import BispikError

EXAMPLES = [
    {"prompt": "And it came to pass that the king", "choices": [" spake", " lend me"], "answer": 0},
    {"prompt": "The rain fell on the hill, and", "choices": [" thee", " the river", " Caesar"], "answer": 1},
    {"prompt": "I come to bury", "choices": [" Caesar", " the land"], "answer": 0},
    {"prompt": "Where thou lodgest, I will lodge. Where thou goest, I will", "choices": [" go", " ears"], "answer": 0},
    {"prompt": "Friends,", "choices": [" Romans", " sea", " carried"], "answer": 2},
]
TEXTS = ["And it came to pass that the king spake unto the people of the land.", "Friends, Romans"]

CHOICE = """
task: local_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/examples.jsonl}}}}
output_type: multiple_choice
test_split: test
doc_to_text: prompt
doc_to_choice: choices
doc_to_target: answer
target_delimiter: ""
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""
TEXT = """
task: local_text
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/texts.jsonl}}}}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: text
metric_list: [{{metric: bits_per_byte}}]
"""
WRITING = """
task: local_writing
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/texts.jsonl}}}}
output_type: generate_until
test_split: test
doc_to_text: text
doc_to_target: text
generation_kwargs: {{until: ["\\n"], max_gen_toks: 5}}
metric_list: [{{metric: exact_match}}]
"""


@pytest.fixture(scope="module")
def program_file(compiled: Path) -> Path:
    return compiled / "program.bspk"


@pytest.fixture(scope="module")
def program(program_file: Path) -> QuantizedProgram:
    return load_program(program_file).program


@pytest.fixture(scope="module")
def tokenizer(program: QuantizedProgram) -> Tokenizer:
    return parse_tokenizer(program.tokenizer, "program")


def log_chances(program: QuantizedProgram, ids: list[int]) -> npt.NDArray[np.float64]:
    """ln p of each id but the first, given at most a window of what stands before it in ``ids``."""
    shown = ids[-(program.window + 1) : -1]
    values = logits(program, open_session("sim", program).read(shown))
    values -= values.max(axis=-1, keepdims=True)
    values -= np.log(np.exp(values).sum(axis=-1, keepdims=True))
    chances: npt.NDArray[np.float64] = values[np.arange(len(shown)), ids[-len(shown) :]]
    return chances


def test_the_lm_eval_command_gives_what_the_backend_computes(
    program_file: Path,
    program: QuantizedProgram,
    tokenizer: Tokenizer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    examples = tmp_path / "examples.jsonl"
    examples.write_text("".join(json.dumps(example) + "\n" for example in EXAMPLES))
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    for name, yaml in (("choice", CHOICE), ("text", TEXT), ("writing", WRITING)):
        (tmp_path / f"{name}.yaml").write_text(yaml.format(folder=tmp_path))
    command = [str(Path(sys.executable).parent / "lm_eval"), "--model", "bispik"]
    command += ["--model_args", f"program={program_file},backend=sim"]
    command += ["--tasks", "local_choice,local_text,local_writing", "--include_path", str(tmp_path)]
    command += ["--output_path", str(tmp_path / "out"), "--log_samples"]
    offline = {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "hub"),
        "OMP_NUM_THREADS": "1",
    }
    run = subprocess.run(
        command, env={**os.environ, **offline}, capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert run.returncode == 0, run.stderr
    results = json.loads(next((tmp_path / "out").rglob("results_*.json")).read_text())["results"]

    capsys.readouterr()
    assert evaluate_main([str(program_file), "--tasks", str(examples), "--json"]) == 0
    ours = json.loads(capsys.readouterr().out)["tasks"][0]["results"]["integer"]
    assert results["local_choice"]["acc,none"] == ours["accuracy"]["value"]
    assert results["local_choice"]["acc_stderr,none"] == pytest.approx(ours["accuracy"]["standard_error"])
    assert results["local_choice"]["acc_norm,none"] == ours["accuracy_per_byte"]["value"]

    for sample in samples(tmp_path, "local_choice"):
        prompt = tokenizer.encode(sample["doc"]["prompt"]).ids
        for choice, (answer,) in zip(sample["doc"]["choices"], sample["resps"], strict=True):
            ids = tokenizer.encode(sample["doc"]["prompt"] + choice).ids
            expected = log_chances(program, ids)[-(len(ids) - len(prompt)) :].sum()
            assert float(answer[0]) == pytest.approx(expected, rel=1e-12)

    for sample in samples(tmp_path, "local_text"):
        ids = tokenizer.encode(sample["doc"]["text"]).ids
        room = program.window
        parts = [log_chances(program, ids[start : start + room + 1]) for start in range(0, len(ids) - 1 - room, room)]
        rest = len(ids) - 1 - room * len(parts)
        parts.append(log_chances(program, ids)[-rest:])
        assert len(np.concatenate(parts)) == len(ids) - 1
        assert float(sample["resps"][0][0]) == pytest.approx(np.concatenate(parts).sum(), rel=1e-12)

    for sample in samples(tmp_path, "local_writing"):
        ids = tokenizer.encode(sample["doc"]["text"]).ids[-(program.window - 5) :]
        assert sample["resps"][0][0] == written(program, tokenizer, ids, 5).split("\n")[0]


def samples(folder: Path, task: str) -> list[dict[str, Any]]:
    """What ``--log_samples`` wrote of a task."""
    lines = next((folder / "out").rglob(f"samples_{task}_*.jsonl")).read_text().splitlines()
    return [json.loads(line) for line in lines]


def written(program: QuantizedProgram, tokenizer: Tokenizer, ids: list[int], count: int) -> str:
    """The likeliest continuation, each token from a run of all before it."""
    new: list[int] = []
    for _ in range(count):
        new.append(int(logits(program, open_session("sim", program).read(ids + new))[-1].argmax()))
    text: str = tokenizer.decode(ids + new)
    return text[len(tokenizer.decode(ids)) :]


def ask(*arguments: object) -> Instance:
    return Instance(request_type="loglikelihood", doc={}, arguments=arguments, idx=0)


def test_generation_stops_at_the_first_stop(
    program_file: Path, program: QuantizedProgram, tokenizer: Tokenizer
) -> None:
    model = BispikLM(str(program_file))
    whole = written(program, tokenizer, tokenizer.encode("And it").ids, 8)
    stop = whole[3:5]
    free, stopped = model.generate_until(
        [ask("And it", {"max_gen_toks": 8}), ask("And it", {"until": [stop, "\0"], "max_new_tokens": 8, "top_p": 0.9})]
    )
    assert free == whole
    assert stopped == whole.split(stop)[0]
    assert model.generate_until([ask("And it", {})]) == [
        written(program, tokenizer, tokenizer.encode("And it").ids, program.window // 2)
    ]


def test_greedy_continuations_are_known_as_such(program_file: Path, tokenizer: Tokenizer) -> None:
    model = BispikLM(str(program_file))
    ids = tokenizer.encode("And it").ids
    likeliest = written(model.program, tokenizer, ids, 1)
    (_, greedy), (_, other) = model.loglikelihood([ask("And it", likeliest), ask("And it", " Caesar")])
    assert (greedy, other) == (True, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"do_sample": True}, "do_sample True asks for more than greedy"),
        ({"temperature": 0.5}, "temperature 0.5 asks for more"),
        ({"num_beams": 4}, "num_beams 4"),
        ({"max_gen_toks": 16}, "16 new tokens, in a window of 16: give 1 to 15"),
        ({"max_gen_toks": 0}, "0 new tokens"),
        ({"shape": 1}, "no such argument is known as shape"),
    ],
)
def test_generation_refuses_what_it_cannot_do(program_file: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BispikError, match=message):
        BispikLM(str(program_file)).generate_until([ask("And it", arguments)])


def test_wrong_model_arguments_are_named(program_file: Path, tmp_path: Path) -> None:
    with pytest.raises(BispikError, match="'nowhere': unknown; choose one of sim"):
        BispikLM(str(program_file), backend="nowhere")
    with pytest.raises(BispikError, match=r"none\.bspk: no such file"):
        BispikLM(str(tmp_path / "none.bspk"))
    with pytest.raises(BispikError, match="context is empty"):
        BispikLM(str(program_file)).generate_until([ask("", {})])
    with pytest.raises(BispikError, match="do not fit the window of 16"):
        BispikLM(str(program_file)).loglikelihood([ask("a", " b" * 30)])
