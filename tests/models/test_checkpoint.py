"""Checkpoints: round trips, and every way in which a file can be wrong."""

from __future__ import annotations

import json
import pickle
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from bispik.models.bispikclm.checkpoint import Checkpoint, load_checkpoint, load_config, save_checkpoint
from bispik.models.errors import BispikError
from tests.checkpoints import random_checkpoint

FC1 = "blocks.0.ffn.fc1.weight"
FORMATS = ["model.pt", "model.safetensors"]


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return random_checkpoint(current_norm="batch", readout_scale=True)


def stored(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a ``.pt`` file of ours holds."""
    tensors = {name: tensor.clone() for name, tensor in checkpoint.tensors.items()}
    return {"format": "bispik-checkpoint", "version": 1, "config": checkpoint.config.to_dict(), "tensors": tensors}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_round_trip(checkpoint: Checkpoint, tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    path = tmp_path / "new folder" / name
    save_checkpoint(checkpoint, path, dtype)
    loaded = load_checkpoint(path)
    assert loaded.config == checkpoint.config
    assert list(loaded.tensors) == list(checkpoint.tensors)
    for key, tensor in checkpoint.tensors.items():
        expected = tensor.to(dtype).float() if tensor.dim() > 1 else tensor
        assert loaded.tensors[key].dtype == (dtype if tensor.dim() > 1 else torch.float32)
        assert torch.equal(loaded.tensors[key].float(), expected), key
    assert len(loaded.sha256) == 64
    names = {name, "model.json"} if name.endswith("safetensors") else {name}
    assert {file.name for file in path.parent.iterdir()} == names


def write_shards(checkpoint: Checkpoint, folder: Path) -> Path:
    """Two shards and an index, as Hugging Face writes them, with our configuration beside them."""
    save_checkpoint(checkpoint, folder / "model.safetensors", torch.float16)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    places = {name: f"model-0000{1 + (name > names[20])}-of-00002.safetensors" for name in names}
    for shard in set(places.values()):
        save_file({name: tensors[name] for name in names if places[name] == shard}, folder / shard)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


def test_shards_are_read_as_one_checkpoint(checkpoint: Checkpoint, tmp_path: Path) -> None:
    index = write_shards(checkpoint, tmp_path / "shards")
    save_checkpoint(checkpoint, tmp_path / "whole.pt", torch.float16)
    whole = load_checkpoint(tmp_path / "whole.pt")
    for path in (index, index.parent):
        loaded = load_checkpoint(path)
        assert loaded.config == checkpoint.config
        assert list(loaded.tensors) == list(whole.tensors)
        assert all(torch.equal(tensor, whole.tensors[name]) for name, tensor in loaded.tensors.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda places: places.update(more="model-00001-of-00002.safetensors"), "lacks more"),
        (lambda places: places.pop(FC1), f"holds more than the index names: {FC1}"),
        (lambda places: places.update({FC1: "../model.safetensors"}), "not a file beside it"),
        (lambda places: places.update({FC1: "absent.safetensors"}), "not a file beside it"),
        (lambda places: places.update({FC1: 3}), "not an index of shards"),
    ],
)
def test_an_index_that_does_not_fit_its_shards_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    index = write_shards(checkpoint, tmp_path)
    content = json.loads(index.read_text())
    change(content["weight_map"])
    index.write_text(json.dumps(content))
    with pytest.raises(BispikError, match=message):
        load_checkpoint(index)


@pytest.mark.parametrize("name", FORMATS)
def test_tensors_outlive_a_release_and_the_replacement_of_their_file(
    checkpoint: Checkpoint, tmp_path: Path, name: str
) -> None:
    save_checkpoint(checkpoint, tmp_path / name)
    loaded = load_checkpoint(tmp_path / name)
    save_checkpoint(random_checkpoint(4, norm_batches=1, current_norm="batch", readout_scale=True), tmp_path / name)
    loaded.release()
    assert all(torch.equal(tensor, checkpoint.tensors[key]) for key, tensor in loaded.tensors.items())


def test_an_archive_that_lacks_part_of_a_tensor_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    torch.save(stored(checkpoint), tmp_path / "whole.pt")
    with (
        zipfile.ZipFile(tmp_path / "whole.pt") as whole,
        zipfile.ZipFile(tmp_path / "model.pt", "w", zipfile.ZIP_STORED) as short,
    ):
        for name in whole.namelist():
            content = whole.read(name)
            short.writestr(name, content[:-8] if name.endswith("/data/3") else content)
    with pytest.raises(BispikError, match="not a PyTorch checkpoint"):
        load_checkpoint(tmp_path / "model.pt")


@pytest.mark.parametrize("name", FORMATS)
def test_the_configuration_alone_can_be_read(checkpoint: Checkpoint, tmp_path: Path, name: str) -> None:
    save_checkpoint(checkpoint, tmp_path / name)
    assert load_config(tmp_path / name) == checkpoint.config


def test_the_configuration_of_a_file_of_an_older_pytorch(checkpoint: Checkpoint, tmp_path: Path) -> None:
    torch.save(stored(checkpoint), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert load_config(tmp_path / "old.pt") == checkpoint.config


def test_the_configuration_needs_no_tensor_to_be_right(checkpoint: Checkpoint, tmp_path: Path) -> None:
    values = stored(checkpoint)
    values["tensors"]["final_norm.weight"].fill_(float("nan"))
    torch.save(values, tmp_path / "nan.pt")
    assert load_config(tmp_path / "nan.pt") == checkpoint.config


@pytest.mark.parametrize("key", ["format", "version", "config"])
def test_a_file_that_is_no_checkpoint_has_no_configuration(checkpoint: Checkpoint, tmp_path: Path, key: str) -> None:
    values = stored(checkpoint)
    del values[key]
    torch.save(values, tmp_path / "other.pt")
    with pytest.raises(BispikError, match=rf"other.pt: .*{key}"):
        load_config(tmp_path / "other.pt")


def test_half_precision_halves_the_file(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(checkpoint, tmp_path / "single.safetensors")
    save_checkpoint(checkpoint, tmp_path / "half.safetensors", torch.float16)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("single", "half")]
    assert sizes[1] < 0.75 * sizes[0]


def test_digest_covers_the_configuration_of_a_safetensors_file(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(checkpoint, tmp_path / "model.safetensors")
    before = load_checkpoint(tmp_path / "model.safetensors").sha256
    sheet = json.loads((tmp_path / "model.json").read_text())
    sheet["config"]["decay"] = 0.5
    (tmp_path / "model.json").write_text(json.dumps(sheet))
    assert load_checkpoint(tmp_path / "model.safetensors").sha256 != before


def test_network_has_copies_and_leaves_the_random_numbers_alone(checkpoint: Checkpoint) -> None:
    torch.manual_seed(5)
    network = checkpoint.network()
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(5)))
    with torch.no_grad():
        network.token_embedding.weight.add_(1)
    assert not torch.equal(network.token_embedding.weight, checkpoint.tensors["token_embedding.weight"])
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not network.training


def set_tensor(name: str, value: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        values["tensors"][name] = value(values["tensors"][name])

    return change


def set_config(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        values["config"][name] = value

    return change


NAN, INFINITY = float("nan"), float("inf")

WRONG: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no format": (lambda v: v.pop("format"), "not a BiSpikCLM checkpoint"),
    "other version": (lambda v: v.update(version=2), "version 2"),
    "no config": (lambda v: v.pop("config"), "'config' is missing"),
    "tensors is a list": (lambda v: v.update(tensors=[1]), "'tensors' is missing"),
    "missing tensor": (lambda v: v["tensors"].pop(FC1), f"1 tensors are missing, the first is {FC1}"),
    "superfluous tensor": (lambda v: v["tensors"].update(more=torch.ones(1)), "the first is more"),
    "tensor name is a number": (lambda v: v["tensors"].update({7: torch.ones(1)}), "the first is 7"),
    "mis-shaped": (set_tensor(FC1, lambda t: t.T.contiguous()), r"\[16, 24\], expected \[24, 16\]"),
    "no tensor": (set_tensor(FC1, lambda _t: 3), "int, not a tensor"),
    "integers": (set_tensor(FC1, lambda t: t.int()), "int32"),
    "complex": (set_tensor(FC1, lambda t: t.to(torch.complex64)), "complex64"),
    "8 bit floats": (set_tensor(FC1, lambda t: t.to(torch.float8_e4m3fn)), "float8_e4m3fn"),
    "NaN": (set_tensor(FC1, lambda t: t.index_fill(0, torch.tensor(0), NAN)), "16 values of 384 that are NaN"),
    "infinity": (set_tensor(FC1, lambda t: t * INFINITY), "NaN or infinite"),
    "too large for float32": (set_tensor(FC1, lambda t: t.double() + 1e300), "NaN or infinite"),
    "expanded": (set_tensor(FC1, lambda _t: torch.ones(1).expand(24, 16)), "not stored in full"),
    "sparse": (set_tensor(FC1, lambda t: t.to_sparse()), "not stored in full"),
    "negative variance": (set_tensor("embedding_spike.running_var", lambda t: -t), "variance"),
    "huge gain": (set_tensor("embedding_spike.log_gain", lambda t: t + 1000), "log_gain"),
    "huge scale": (set_tensor("readout_log_scale", lambda t: t - 1000), "readout_log_scale"),
    "unknown key": (set_config("dropout", 0.1), "unknown keys dropout"),
    "key is a number": (set_config(3, 0.1), "unknown keys 3"),  # type: ignore[arg-type]
    "missing key": (lambda v: v["config"].pop("num_heads"), "missing keys num_heads"),
    "string for a number": (set_config("num_heads", "2"), "num_heads is '2'; expected int"),
    "bool for a number": (set_config("num_heads", True), "expected int"),
    "number for a bool": (set_config("pre_spike", 1), "expected bool"),
    "tensor for a number": (set_config("decay", torch.ones(2)), "expected float"),
    "unknown choice": (set_config("reset", "soft"), "choose one of subtract, zero"),
    "list for a choice": (set_config("reset", ["zero"]), "choose one of"),
    "heads do not divide": (set_config("num_heads", 3), "not a multiple"),
    "no layer": (set_config("num_layers", 0), "num_layers is 0"),
    "time steps": (set_config("steps_per_token", 9), "1 to 8"),
    "decay": (set_config("decay", 1.0), "decay"),
    "decay NaN": (set_config("decay", NAN), "decay"),
    "threshold": (set_config("threshold", INFINITY), "threshold"),
    "spikes": (set_config("spikes", "quaternary"), "spikes"),
    "size of binary spikes": (set_config("spike_amplitude", 0.5), "spike_amplitude is 0.5 for binary spikes"),
    "size of spikes": (set_config("spike_amplitude", 0.0), "spike_amplitude is 0.0; it must be positive"),
    "tiny spikes": (set_config("spike_amplitude", 1e-200), "from 0.001 to 1000"),
    "input scale": (set_config("input_scale", NAN), "input_scale"),
    "absurd vocabulary": (set_config("vocab_size", 10**12), "vocab_size is 1000000000000"),
    "large vocabulary": (set_config("vocab_size", 10**7), r"expected \[10000000, 16\]"),
    "large network": (lambda v: v["config"].update(hidden_size=2**24, intermediate_size=2**24), "expected"),
    "absurd layers": (set_config("num_layers", 10**7), "10000000 layers"),
    "more layers": (set_config("num_layers", 3), r"tensors are missing, the first is blocks\.2"),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_wrong_contents(checkpoint: Checkpoint, tmp_path: Path, case: str) -> None:
    change, message = WRONG[case]
    values = stored(checkpoint)
    change(values)
    torch.save(values, tmp_path / "model.pt")
    with pytest.raises(BispikError, match=message) as caught:
        load_checkpoint(tmp_path / "model.pt")
    assert str(caught.value).startswith(f"{tmp_path}/model.pt: ")
    assert "\n" not in str(caught.value)


class _RunsCode:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
def test_a_pickle_that_would_run_code_runs_none(checkpoint: Checkpoint, tmp_path: Path, how: str) -> None:
    target, path = tmp_path / "created", tmp_path / "model.pt"
    values = {**stored(checkpoint), "more": _RunsCode(target)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(values))
    else:
        torch.save(values, path, _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(BispikError, match="could run code"):
        load_checkpoint(path)
    assert not target.exists()


def test_a_whole_module_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    torch.save(checkpoint.network(), tmp_path / "model.pt")
    with pytest.raises(BispikError, match="state dict"):
        load_checkpoint(tmp_path / "model.pt")


def test_a_compressed_archive_is_refused_unread(checkpoint: Checkpoint, tmp_path: Path) -> None:
    torch.save(stored(checkpoint), tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "model.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(BispikError, match="compressed"):
        load_checkpoint(tmp_path / "model.pt")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("contents", [b"", b"hello", b"\x80\x02", b"PK\x03\x04 no zip", b"\x00" * 4096])
def test_no_checkpoint(tmp_path: Path, name: str, contents: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(contents)
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(BispikError, match="not a"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_a_file_that_was_cut_off(checkpoint: Checkpoint, tmp_path: Path, name: str, part: float) -> None:
    path = tmp_path / name
    save_checkpoint(checkpoint, path)
    contents = path.read_bytes()
    path.write_bytes(contents[: int(part * len(contents))])
    with pytest.raises(BispikError, match="not a"):
        load_checkpoint(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(BispikError, match="no such file"):
        load_checkpoint(tmp_path / "model.pt")
    with pytest.raises(BispikError, match="is a folder"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("sheet", "message"),
    [
        (None, "cannot read the configuration"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"version": ' + "9" * 5000 + "}", "not JSON"),
        ("[]", "list, not the configuration"),
        ("{}", "no 'format'"),
    ],
)
def test_sheet_of_a_safetensors_file(checkpoint: Checkpoint, tmp_path: Path, sheet: str | None, message: str) -> None:
    save_checkpoint(checkpoint, tmp_path / "model.safetensors")
    if sheet is None:
        (tmp_path / "model.json").unlink()
    else:
        (tmp_path / "model.json").write_text(sheet)
    with pytest.raises(BispikError, match=message):
        load_checkpoint(tmp_path / "model.safetensors")


def test_a_tensor_that_is_a_parameter_loads_as_a_plain_one(checkpoint: Checkpoint, tmp_path: Path) -> None:
    values = stored(checkpoint)
    values["tensors"][FC1] = torch.nn.Parameter(values["tensors"][FC1])
    torch.save(values, tmp_path / "model.pt")
    assert not load_checkpoint(tmp_path / "model.pt").tensors[FC1].requires_grad


def test_only_two_names_can_be_written(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(BispikError, match=r"\.pt or \.safetensors"):
        save_checkpoint(checkpoint, tmp_path / "new" / "model.bin")
    assert list(tmp_path.iterdir()) == []


def test_values_that_half_precision_cannot_hold_are_not_written(checkpoint: Checkpoint, tmp_path: Path) -> None:
    large = Checkpoint(config=checkpoint.config, tensors={**checkpoint.tensors, FC1: checkpoint.tensors[FC1] + 1e6})
    with pytest.raises(BispikError, match=FC1):
        save_checkpoint(large, tmp_path / "model.pt", torch.float16)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_disk_leaves_the_old_checkpoint(checkpoint: Checkpoint, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    save_checkpoint(random_checkpoint(3, norm_batches=1), path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # a longer file fails as on a full disk
    try:
        with pytest.raises(BispikError, match="cannot be written"):
            save_checkpoint(checkpoint, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_folder_that_is_a_file(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BispikError, match="cannot be written"):
        save_checkpoint(checkpoint, tmp_path / "file" / "model.pt")
