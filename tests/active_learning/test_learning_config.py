"""The file, the command, and the names of engines: mistakes end in one readable message."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from deepspin_ase.active_learning import LearningConfig, StateExplorer, make_explorer, make_labeler, plan
from deepspin_ase.active_learning.commands import learn as command
from deepspin_ase.active_learning.registry import EXPLORERS, LABELERS, available
from deepspin_ase.active_learning.template import TEMPLATE
from deepspin_ase.errors import InputError
from tests.active_learning.conftest import calls, iron

Settings = Callable[..., dict[str, Any]]


def deepspin_learn(*words: object) -> tuple[int, str, BaseException | None]:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.output, result.exception


def test_template_is_valid_and_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert deepspin_learn("--init")[0] == 0
    config = LearningConfig.from_file("learn.yaml")
    assert config.structures == [str(tmp_path / "fe.extxyz")]
    assert config.labeling.options["factory"] == f"{tmp_path / 'reference.py'}:make_calculator"
    assert config.explorers[0].kind == "states"
    make_explorer("states", config.explorers[0].options)
    assert isinstance(deepspin_learn("--init")[2], InputError)


def test_comments_of_the_template_show_the_defaults() -> None:
    config = LearningConfig.from_dict(yaml.safe_load(TEMPLATE))
    block = TEMPLATE.split("count: 300\n")[1].split("- kind")[0]
    shown = {k: yaml.safe_load(v) for k, v in re.findall(r"^ +# (\w+): (.*?)(?:  +#.*)?$", block, re.MULTILINE)}
    assert set(shown) == set(StateExplorer.model_fields) - {"count"}
    assert StateExplorer(**shown) == StateExplorer()
    assert config.selection == type(config.selection)()
    assert config.stop == type(config.stop)()
    assert (config.initial, config.committee.members) == (20, 4)


def test_configuration_survives_its_file(settings: Settings) -> None:
    config = LearningConfig.from_dict(settings(selection={"trust": {"forces": [0.1, 0.5]}}))
    assert LearningConfig.from_dict(yaml.safe_load(config.to_yaml())) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"committees": {}}, "committees: unknown option; did you mean 'committee'"),
        ({"committee": {"members": 1, "optimizer": {"epochs": 1}}}, "committee.members: .*greater than or equal to 2"),
        (
            {"committee": {"optimizer": {"epoch": 3}}},
            "committee.optimizer.epoch: unknown option; did you mean 'epochs'",
        ),
        ({"committee": {"optimizer": {"epochs": 3}, "runtime": {"output": "x"}}}, "leave runtime.output out"),
        ({"explorers": []}, "explorers"),
        ({"explorers": [{"options": {}}]}, r"explorers\[0\].kind: required"),
        ({"selection": {"trust": {"forces": [0.5, 0.1]}}}, "selection.trust.forces: .*higher level"),
        ({"stop": {"errors": {"force": 3}}}, "allowed: energy_rmse_mev_per_atom"),
        ({"stop": {"accurate": 1.5}}, "stop.accurate"),
        ({"initial": 0}, "labelled frames"),
        ({"seed": float("nan")}, "seed"),
    ],
)
def test_wrong_options(settings: Settings, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LearningConfig.from_dict(settings(**change))


def test_no_table_and_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a table"):
        LearningConfig.from_dict([1, 2])
    (tmp_path / "learn.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(InputError, match="not valid YAML"):
        LearningConfig.from_file(tmp_path / "learn.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"structures": ["nowhere.extxyz"]}, "There is no file"),
        ({"moments": {}}, "no moments"),
        ({"moments": {"Ni": 1.0}}, "no entry for Fe"),
        ({"labeling": {"engine": "quantum"}}, "there is no labeler 'quantum'; installed: .*calculator"),
        ({"labeling": {"engine": "calculator"}}, "required, but missing: factory"),
        ({"labeling": {"engine": "calculator", "options": {"factory": "nothing"}}}, "package.module:function"),
        ({"labeling": {"engine": "calculator", "options": {"factory": "no_module:f"}}}, "cannot be imported"),
        ({"labeling": {"engine": "calculator", "options": {"factory": "gone.py:f"}}}, "there is no file"),
        ({"explorers": [{"kind": "dreams"}]}, "there is no explorer 'dreams'; installed: .*states"),
        ({"explorers": [{"kind": "states", "options": {"number": 3}}]}, "number: unknown option"),
        ({"explorers": [{"kind": "states", "first": 1}]}, "no explorer is at work in iteration 0"),
    ],
)
def test_dry_run_finds_what_cannot_work(settings: Settings, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan(LearningConfig.from_dict(settings(**change)))


def test_dry_run_counts_labels_and_makes_none(settings: Settings, workplace: Path) -> None:
    (workplace / "learn.yaml").write_text(yaml.safe_dump(settings(stop={"iterations": 3})), encoding="utf-8")
    code, text, _ = deepspin_learn(workplace / "learn.yaml", "--dry-run")
    assert code == 0
    assert "labels in total: at most 32" in text  # 8 + 3 × 4 fresh + 2 × 6
    assert "explorer states, iteration 0 to the end: up to 30 structures" in text
    assert calls(workplace) == 0
    assert not (workplace / "run").exists()
    limited = LearningConfig.from_dict(settings(stop={"iterations": 3, "labels": 20}))
    assert plan(limited)[-1] == "labels in total: at most 20"


def test_status_needs_a_run(settings: Settings, workplace: Path) -> None:
    (workplace / "learn.yaml").write_text(yaml.safe_dump(settings()), encoding="utf-8")
    problem = deepspin_learn(workplace / "learn.yaml", "--status")[2]
    assert isinstance(problem, InputError)
    assert "there is no run" in str(problem)
    assert isinstance(deepspin_learn()[2], InputError)


MODULE = """
class Fixed:
    needs_model = False
    def size(self, structures): return structures
    def explore(self, task): return [atoms.copy() for atoms in task.structures]

def fixed(*, depth=1): return Fixed()
def wrong(): return 3
def engine(*, cutoff): return object()
"""


def test_engines_and_explorers_come_by_entry_points(install_fake: Callable[..., Path]) -> None:
    install_fake(
        "deepspin-mine",
        {"fixed": "my_explorers:fixed", "wrong": "my_explorers:wrong", "gone": "my_explorers:gone"},
        {"my_explorers": MODULE},
        group=EXPLORERS,
    )
    assert {"fixed", "states"} <= set(available(EXPLORERS))
    assert make_explorer("fixed", {"depth": 2}).size(3) == 3
    with pytest.raises(InputError, match="unknown width; allowed: depth"):
        make_explorer("fixed", {"width": 2})
    with pytest.raises(InputError, match="gives a int, which lacks needs_model"):
        make_explorer("wrong", {})
    with pytest.raises(InputError, match="'gone' cannot be imported"):
        make_explorer("gone", {})


def test_labelers_of_others_are_checked(install_fake: Callable[..., Path]) -> None:
    install_fake("deepspin-engine", {"mine": "my_engine:engine"}, {"my_engine": MODULE}, group=LABELERS)
    with pytest.raises(InputError, match="required, but missing: cutoff"):
        make_labeler("mine", {})
    with pytest.raises(InputError, match="lacks identity or label"):
        make_labeler("mine", {"cutoff": 5.0})


def test_structures_that_cannot_be_used(settings: Settings, workplace: Path) -> None:
    from ase import Atoms
    from ase.io import write

    broken = iron()
    broken.positions[2, 1] = float("nan")
    for structure, message in (
        (broken, "positions: row 2 is not finite"),
        (Atoms(), "no atoms|no moments|cannot read"),
    ):
        write(workplace / "fe.extxyz", structure)
        with pytest.raises(InputError, match=message):
            plan(LearningConfig.from_dict(settings()))
    (workplace / "fe.extxyz").write_text("2\nPropert", encoding="utf-8")
    with pytest.raises(InputError, match="ASE cannot read"):
        plan(LearningConfig.from_dict(settings()))


def test_several_frames_of_a_file_are_all_taken(settings: Settings, workplace: Path) -> None:
    from ase.io import write

    write(workplace / "fe.extxyz", [iron(), iron().repeat((1, 1, 2))])
    found = LearningConfig.from_dict(settings()).read_structures()
    assert [len(atoms) for atoms in found] == [4, 8]
    assert found[1].get_initial_magnetic_moments().shape == (8, 3)
