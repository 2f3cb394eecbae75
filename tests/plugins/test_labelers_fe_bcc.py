"""The plan of the iron data set: the same structures every time, of all kinds, and what is labelled of them."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list

from deepspin_ase.active_learning import LearningConfig
from deepspin_ase.active_learning.registry import make_labeler
from deepspin_ase.data import Frame, Labels, read_frames, write_frames
from deepspin_ase.labeling.state import calculation_name
from deepspin_ase.moments import get_moments, set_moments
from deepspin_plugins.labelers import AbinitLabeler


@pytest.fixture(scope="module")
def script(repository: Path) -> ModuleType:
    path = repository / "data" / "fe_bcc" / "make_frames.py"
    spec = importlib.util.spec_from_file_location("make_frames", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def plan(script: ModuleType) -> list[Atoms]:
    return script.structures()


def test_the_plan_is_always_the_same(script: ModuleType, plan: list[Atoms]) -> None:
    for one, other in zip(plan[:50], script.structures()[:50], strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)
        np.testing.assert_array_equal(get_moments(one), get_moments(other))


def test_the_plan_covers_what_it_says(script: ModuleType, plan: list[Atoms]) -> None:
    assert {len(atoms) for atoms in plan} == {1, 2, 3, 4}
    assert set(Counter(atoms.info["order"] for atoms in plan)) == set(script.ORDERS)
    lengths = np.concatenate([np.linalg.norm(get_moments(atoms), axis=1) for atoms in plan])
    assert lengths.min() < 1.6
    assert lengths.max() > 2.6
    assert min(neighbor_list("d", atoms, 3.0).min() for atoms in plan) > 1.8


@pytest.mark.parametrize(("size", "count"), [(1, 1), (2, 7), (3, 13), (4, 35)])
def test_all_superlattices_are_there(script: ModuleType, size: int, count: int) -> None:
    """Numbers of sublattices of index n of a lattice in three dimensions: 1, 7, 13, 35."""
    forms = script.hermite_forms(size)
    assert len({form.tobytes() for form in forms}) == count
    assert all(round(np.linalg.det(form)) == size for form in forms)


def test_shipped_frames_are_labelled_structures(script: ModuleType, plan: list[Atoms]) -> None:
    identity = script.IronLabeler().identity
    known = {calculation_name(atoms, identity): atoms for atoms in plan}
    for frame in read_frames(script.FRAMES):
        if frame.info["order"] != "learned":
            atoms = known[frame.info["id"]]
            np.testing.assert_allclose(frame.atoms.positions, atoms.positions, atol=1e-8)
            np.testing.assert_allclose(frame.atoms.cell.array, atoms.cell.array, atol=1e-8)
            np.testing.assert_allclose(frame.moments, get_moments(atoms), atol=1e-8)
        torques = np.cross(frame.moments, frame.labels.magnetic_forces)
        assert np.linalg.norm(torques.sum(axis=0)) < 2e-3  # eV: no spin-orbit coupling, so nothing turns as a whole
        assert np.linalg.norm(frame.labels.forces.sum(axis=0)) < 1e-4


def test_frames_of_a_learning_run_are_added_once(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "FRAMES", tmp_path / "frames.extxyz.gz")
    atoms = bulk("Fe")
    set_moments(atoms, 2.0)
    labels = Labels(energy=-1.0, forces=np.zeros((1, 3)), magnetic_forces=np.zeros((1, 3)))
    frames = [Frame(atoms, labels, info={"explorer": "states"}), Frame(atoms, labels)]  # the second was known before
    write_frames(tmp_path / "run.extxyz", frames)
    for _ in range(2):
        script.main("add", str(tmp_path / "run.extxyz"))
        (frame,) = read_frames(script.FRAMES)
        assert frame.info["order"] == "learned"
        assert frame.info["explorer"] == "states"
    script.main("plan")
    assert "400 to do; 1 learned" in capsys.readouterr().out


def test_new_frames_come_last(
    script: ModuleType, plan: list[Atoms], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cards of models name validation frames by their numbers in the file."""
    monkeypatch.setattr(script, "FRAMES", tmp_path / "frames.extxyz.gz")
    labels = Labels(energy=-1.0, forces=np.zeros((len(plan[0]), 3)), magnetic_forces=np.zeros((len(plan[0]), 3)))
    name = calculation_name(plan[0], script.IronLabeler().identity)
    known = Frame(plan[0], labels, info={"id": "Fe-of-a-learning-run"})
    write_frames(script.FRAMES, [known])
    found = {name: Frame(plan[0], labels, info={})}
    monkeypatch.setattr(script, "stored_result", lambda place, atoms: found.get(place.name))
    script.main("collect", str(tmp_path))
    assert [frame.info["id"] for frame in read_frames(script.FRAMES)] == ["Fe-of-a-learning-run", name]


def test_one_atom_gets_more_k_points(script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(AbinitLabeler, "label", lambda self, atoms, directory: self.settings.kspacing)
    assert script.IronLabeler().label(bulk("Fe"), tmp_path) == script.ONE_ATOM.kspacing < 0.3
    assert script.IronLabeler().label(bulk("Fe", cubic=True), tmp_path) == script.SETTINGS.kspacing > 0.3
    assert str(script.ONE_ATOM.kspacing) in script.IronLabeler().identity


def test_the_learning_run_labels_like_the_plan(script: ModuleType) -> None:
    config = LearningConfig.from_file(script.FRAMES.with_name("learn.yaml"))
    labeler = make_labeler(config.labeling.engine, config.labeling.options)
    assert labeler.identity == AbinitLabeler(script.SETTINGS).identity
