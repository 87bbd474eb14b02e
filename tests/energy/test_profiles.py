"""Energy profiles: complete, sourced, and refused if they are not."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from bispik.energy.profiles import DIMENSIONS, list_profiles, load_profile
from bispik.models.errors import BispikError

LOIHI2 = (files("bispik.energy") / "profiles" / "loihi2.toml").read_text(encoding="utf-8")


def test_profiles_are_listed() -> None:
    assert set(list_profiles()) == {"loihi1-davies", "loihi1-sanafe", "loihi2", "loihi2-inherit-l1", "paper-45nm"}


def test_loihi2_at_loihis_prices_has_one_column_set_and_power_of_its_own() -> None:
    inherited, loihi1, loihi2 = (load_profile(name) for name in ("loihi2-inherit-l1", "loihi1-sanafe", "loihi2"))
    powers = {"chip_power", "board_power"}
    assert all(inherited[name] == (loihi2 if name in powers else loihi1)[name] for name in DIMENSIONS)
    assert all(inherited.constants[name].grade == "X" for name in DIMENSIONS if name.startswith("synop"))


@pytest.mark.parametrize("name", list_profiles())
def test_every_constant_is_in_range_and_sourced(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert set(profile.constants) == set(DIMENSIONS)
    for constant in profile.constants.values():
        assert 0 <= constant.value.low <= constant.value.default <= constant.value.high
        assert constant.source


def test_values_are_in_si_units() -> None:
    profile = load_profile("loihi2")
    assert profile["synop_dense"].default == pytest.approx(13.3e-12)
    assert profile["time_step"].high == pytest.approx(465e-9)
    assert profile["chip_power"].default == pytest.approx(0.26)


def test_papers_convention_counts_arithmetic_only() -> None:
    profile = load_profile("paper-45nm")
    counted = {name for name, constant in profile.constants.items() if constant.grade is not None}
    assert counted == {name for name in DIMENSIONS if name.startswith("synop")} | {
        "norm_operation",
        "host_multiply_accumulate",
    }
    assert profile["synop_dense"].default == pytest.approx(0.9e-12)
    assert profile["synop_graded"].default == pytest.approx(4.6e-12)


def test_a_profile_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(LOIHI2.replace('name = "loihi2"', 'name = "mine"'), encoding="utf-8")
    assert load_profile(path).name == "mine"


def without(key: str) -> Callable[[str], str]:
    return lambda sheet: re.sub(rf"^{key} = .*\n", "", sheet, count=1, flags=re.MULTILINE)


def swapped(old: str, new: str) -> Callable[[str], str]:
    return lambda sheet: sheet.replace(old, new, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("source"), "synop_dense: missing keys source"),
        (without("grade"), "synop_dense: missing keys grade"),
        (without("banner"), "missing keys banner"),
        (swapped("default = 13.3", "default = 99"), r"0 <= low 3.8 <= default 99.0 <= high 30.0 does not hold"),
        (swapped("default = 13.3", "default = nan"), "does not hold"),
        (swapped("low = 3.8", "low = -1"), "does not hold"),
        (swapped("high = 30.0", "high = inf"), "does not hold"),
        (swapped("default = 13.3", "default = true"), "default is True; expected a number"),
        (swapped('unit = "pJ"', 'unit = "ns"'), "unit is 'ns'; units of energy are fJ, pJ, nJ"),
        (swapped('grade = "D"', 'grade = "A"'), "grade is 'A'; grades are M, P, D, X"),
        (swapped("[constants.spike]", "[constants.spkie]"), "unknown keys spkie"),
        (swapped("low = 3.8", "low = 3.8\nhigher = 1"), "unknown keys higher"),
        (swapped("schema = 1", "schema = 2"), "schema is 2; this version reads 1"),
        (swapped("counts_memory = true", 'counts_memory = "yes"'), "must be true or false"),
        (swapped('title = "Loihi 2"', 'title = ""'), "title is ''; expected a text"),
        (swapped("schema = 1", "schema = "), "is no TOML"),
        (lambda sheet: sheet + '\n[not_counted]\nreason = "x"\nconstants = ["spike"]\n', "spike given and also named"),
        (lambda sheet: sheet + '\n[not_counted]\nreason = "x"\nconstants = "spike"\n', "expected a list of names"),
    ],
)
def test_incomplete_sheets_are_refused(tmp_path: Path, change: Callable[[str], str], message: str) -> None:
    path = tmp_path / "bad.toml"
    changed = change(LOIHI2)
    assert changed != LOIHI2
    path.write_text(changed, encoding="utf-8")
    with pytest.raises(BispikError, match=message):
        load_profile(path)


def test_unknown_profiles_are_named(tmp_path: Path) -> None:
    with pytest.raises(BispikError, match=r"energy profile 'loihi3': unknown; choose one of .*loihi2"):
        load_profile("loihi3")
    with pytest.raises(BispikError, match="cannot read the energy profile"):
        load_profile(tmp_path / "none.toml")
