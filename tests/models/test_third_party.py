"""The third-party layout against what its code computes, on SpikingJelly's own neurons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bispik.models.bispikclm.checkpoint import load_checkpoint, load_config
from bispik.models.errors import BispikError
from tests.checkpoints import recorded_spikes
from tests.third_party import OURS, D, L, V, third_party_checkpoint, third_party_run


@pytest.mark.parametrize("seed", range(5))
def test_spike_for_spike(tmp_path: Path, seed: int) -> None:
    saved = third_party_checkpoint(seed)
    torch.save(saved, tmp_path / "student.pt")
    network = load_checkpoint(tmp_path / "student.pt").network(torch.float64)
    ids = torch.randint(0, V, (2, L), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad(), recorded_spikes(network) as spikes:
        logits, _ = network(ids)
    expected_logits, expected = third_party_run(saved["student"], ids)
    assert len(expected) == len(spikes)
    for name, value in expected.items():
        index, part = name.split(".")
        ours = spikes[f"blocks.{index}.{OURS[part]}"][0]
        assert torch.equal(ours.tril() if part == "s" else ours, value.tril() if part == "s" else value), name
        assert 0.01 < float(value.mean()) < 0.9, name
    torch.testing.assert_close(logits, expected_logits)


def test_an_explicit_input_scale_and_no_readout_scale(tmp_path: Path) -> None:
    saved = third_party_checkpoint()
    del saved["student"]["readout_log_scale"]
    saved["config"]["model"]["input_scale"] = 30
    torch.save(saved, tmp_path / "student.pt")
    config = load_checkpoint(tmp_path / "student.pt").config
    assert config.input_scale == 30.0
    assert not config.readout_scale
    assert load_config(tmp_path / "student.pt") == config


@pytest.mark.parametrize(
    ("part", "name", "value", "message"),
    [
        ("model", "num_steps", None, "steps_per_token is None"),
        ("model", "initializer_range", 0.0, "unusable value"),
        ("model", "initializer_range", "0.02", "unusable value"),
        ("model", "membrane_decay", 1.5, "decay is 1.5"),
        ("student", "lm_head.weight", torch.ones(V, D), "only tied heads"),
        ("student", "lm_head.weight", torch.ones(1).expand(10**9, 10**9), "only tied heads"),
        ("student", "model.more.weight", torch.ones(1), "no place"),
        ("student", "model.layers.x.mlp.fc1.weight", torch.ones(1), "unknown"),
        ("student", "final_layer_norm.weight", torch.ones(D + 1), "shape"),
        ("student", "final_layer_norm.weight", "text", "str, expected a named tensor"),
        ("student", 7, torch.ones(1), "student.7"),
    ],
)
def test_bad_files(tmp_path: Path, part: str, name: Any, value: Any, message: str) -> None:
    saved = third_party_checkpoint()
    (saved["config"]["model"] if part == "model" else saved["student"])[name] = value
    torch.save(saved, tmp_path / "student.pt")
    with pytest.raises(BispikError, match=message) as caught:
        load_checkpoint(tmp_path / "student.pt")
    assert str(caught.value).startswith(str(tmp_path))


def test_a_missing_value_is_named(tmp_path: Path) -> None:
    saved = third_party_checkpoint()
    del saved["config"]["model"]["membrane_decay"]
    torch.save(saved, tmp_path / "student.pt")
    with pytest.raises(BispikError, match=r"config\.model has no 'membrane_decay'"):
        load_checkpoint(tmp_path / "student.pt")
