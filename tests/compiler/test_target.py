from __future__ import annotations

from collections import Counter
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from bispik.compiler.artifact import load_program, save_program
from bispik.compiler.mesh import usable_places
from bispik.compiler.plan import map_program
from bispik.compiler.rules import check
from bispik.compiler.target import RESOURCES, Target, list_targets, load_target
from bispik.models.errors import BispikError
from tests.networks import random_program

SHEET = (files("bispik.compiler") / "targets" / "loihi2.toml").read_text(encoding="utf-8")


def test_the_packaged_sheet_has_the_published_limits() -> None:
    target = load_target("loihi2")
    assert target.resources.neurons.value == 4095
    assert target.resources.synapse_memory.value == 96_000
    assert {name: system.chips.value for name, system in target.systems.items()} == {
        "oheo-gulch": 1,
        "kapoho-point": 8,
        "alia-point": 32,
        "hala-point": 1152,
    }
    assert target.neurocores(target.system("kapoho-point")) == 8 * target.mesh.usable_neurocores.value
    assert tuple(name for name, _ in target.resources.items()) == RESOURCES


def test_list_targets_names_every_packaged_sheet_and_each_loads() -> None:
    assert "loihi2" in list_targets()
    for name in list_targets():
        assert load_target(name).name == name


def test_a_users_own_sheet_is_read_from_its_path(tmp_path: Path) -> None:
    sheet = tmp_path / "mine.toml"
    sheet.write_text(SHEET.replace('name = "loihi2"', 'name = "mine"'), encoding="utf-8")
    target = load_target(sheet)
    assert target.name == "mine"
    assert target.resources == load_target("loihi2").resources
    assert target.sha256 != load_target("loihi2").sha256


def test_a_chip_may_have_fewer_usable_neurocores() -> None:
    target = load_target("loihi2")
    fewer = target.with_usable_neurocores(100)
    assert fewer.neurocores(fewer.system("kapoho-point")) == 800
    assert (fewer.chips(100), fewer.chips(101)) == (1, 2)
    assert fewer.smallest_system(101) == fewer.system("kapoho-point")
    assert fewer.sha256 != target.sha256
    assert target.with_usable_neurocores(120) == target
    with pytest.raises(BispikError, match=r"--usable-neurocores 129: a chip of loihi2 has 128; choose 1 to 128"):
        target.with_usable_neurocores(129)


def test_an_unknown_target_lists_those_that_exist() -> None:
    with pytest.raises(BispikError, match=r"target 'loihi9': unknown; choose one of .*loihi2"):
        load_target("loihi9")


def test_an_unknown_system_lists_those_that_exist() -> None:
    with pytest.raises(
        BispikError, match=r"system 'nahuku': unknown for loihi2; choose one of oheo-gulch, kapoho-point"
    ):
        load_target("loihi2").system("nahuku")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "Intel Loihi 2"', "", r"mine\.toml: missing title"),
        ('title = "Intel Loihi 2"', "title = 3", r"title: is 3; it must be text"),
        ("[resources.neurons]", "[resources.neuron]", r"resources: missing neurons"),
        (
            "[resources.axons_in]",
            "[resources.synapses]\n[resources.axons_in]",
            r"resources: unknown synapses; expected are",
        ),
        ('unit = "neurons"\n', "", r"resources\.neurons: missing unit"),
        ('unit = "neurons"', 'unit = " "', r"resources\.neurons: unit: is ' '; it must be text"),
        ("value = 4095", "value = 0", r"resources\.neurons: value is 0; it must be a whole number of at least 1"),
        ("value = 4095", "value = true", r"resources\.neurons: value is True"),
        ("value = 4095", "value = 4095.0", r"resources\.neurons: value is 4095\.0"),
        ("value = 4095", "value = 4095\nmaximum = 8192", r"resources\.neurons: unknown maximum"),
        ('grade = "D"', 'grade = "A"', r"grade is 'A'; choose one of M, P, D, X"),
        ("value = 4095", "value = ", r"mine\.toml: is no TOML"),
        ("chip_columns = { value = 8", "chip_columns = { value = 7", r"alia-point: 32 chips do not fill rows of 7"),
        ("value = 120\n", "value = 129\n", r"mesh: usable_neurocores is 129, but the routers have 128"),
        ("[mesh.rows]", "[mesh.lines]", r"mesh: missing rows"),
    ],
)
def test_an_ill_made_sheet_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in SHEET
    sheet = tmp_path / "mine.toml"
    sheet.write_text(SHEET.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(BispikError, match=message):
        load_target(sheet)


MASK = '[mesh.unusable_neurocores]\nvalue = {}\nsource = "a test"\ngrade = "M"\n\n[mesh.crossing_hops]'


def masked(tmp_path: Path, numbers: str, sheet: str = SHEET) -> Target:
    path = tmp_path / "mine.toml"
    path.write_text(sheet.replace("[mesh.crossing_hops]", MASK.format(numbers)), encoding="utf-8")
    return load_target(path)


def test_a_sheet_may_name_neurocores_that_cannot_be_used(tmp_path: Path) -> None:
    target = masked(tmp_path, "[77, 3, 0]")
    assert target.mesh.unusable_neurocores.value == (0, 3, 77)
    assert load_target("loihi2").mesh.unusable_neurocores.value == ()
    assert target.mesh.usable_on_router(0, 0) == (1, 2)
    assert target.mesh.usable_on_router(3, 2) == (76, 78, 79)  # router 19 of 8 a row
    assert target.neurocores(target.system("oheo-gulch")) == 120
    assert target.with_usable_neurocores(125).mesh.usable_neurocores.value == 125
    with pytest.raises(
        BispikError, match=r"--usable-neurocores 126: a chip of loihi2 has 128, of which its sheet names 3"
    ):
        target.with_usable_neurocores(126)


def test_nothing_is_placed_on_a_neurocore_that_cannot_be_used(tmp_path: Path) -> None:
    """The first router of the curve is left out whole, of the second one half is."""
    target = masked(tmp_path, "[0, 1, 2, 3, 32, 33]")
    places = usable_places(target, target.system("kapoho-point"), 2)
    assert len(places.x) == 240
    for chip in np.unique(places.chip):
        here = Counter(zip(places.x[places.chip == chip].tolist(), places.y[places.chip == chip].tolist(), strict=True))
        assert here[0, 0] == 0
        assert here[0, 1] == 2
        assert sum(here.values()) == 120
    mapped = map_program(random_program(1), target)
    assert all((core.x, core.y) != (0, 0) for core in mapped.neurocores)
    moved = replace(mapped, neurocores=(replace(mapped.neurocores[0], x=0, y=0), *mapped.neurocores[1:]))
    with pytest.raises(BispikError, match=r"router \(0, 0\): 1 of 0 usable neurocores"):
        check(moved)


def test_a_file_keeps_the_mask(tmp_path: Path) -> None:
    mapped = map_program(random_program(1), masked(tmp_path, "[5]"))
    save_program(mapped, tmp_path / "a.bspk")
    assert load_program(tmp_path / "a.bspk").target == mapped.target


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ("[128]", r"mesh\.unusable_neurocores: value is \[128\]; it must list numbers of neurocores, 0 to 127"),
        ("[-1]", r"it must list numbers of neurocores"),
        ("[1.0]", r"it must list numbers of neurocores"),
        ("3", r"value is 3; it must list"),
        ("[3, 3]", r"value names a neurocore twice"),
        (
            "[0, 1, 2, 3, 4, 5, 6, 7, 8]",
            r"usable_neurocores is 120, but of 128 neurocores unusable_neurocores leaves 119",
        ),
        ('[3]\nunit = "neurocores"', r"mesh\.unusable_neurocores: unknown unit"),
    ],
)
def test_a_mask_that_cannot_be_is_refused(tmp_path: Path, numbers: str, message: str) -> None:
    with pytest.raises(BispikError, match=message):
        masked(tmp_path, numbers)


def test_a_sheet_without_systems_is_refused(tmp_path: Path) -> None:
    sheet = tmp_path / "mine.toml"
    sheet.write_text("systems = {}\n" + SHEET[: SHEET.index("[systems")], encoding="utf-8")
    with pytest.raises(BispikError, match=r"systems: must name at least one system"):
        load_target(sheet)


def test_a_sheet_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BispikError, match=r"none\.toml: cannot read the target sheet"):
        load_target(tmp_path / "none.toml")
