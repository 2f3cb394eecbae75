"""Fixtures and habits that all tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # no worker processes that outlive a test

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip GPU tests where there is no GPU (torch is imported only if there are such tests)."""
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_items:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the source tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Directory with published first-principles data, which is not part of this repository."""
    root = Path(os.environ.get("DEEPSPIN_SHARED", REPOSITORY.parent / "shared"))
    data = root / "data"
    if not data.is_dir():
        pytest.skip(f"published data not found in {data}; set DEEPSPIN_SHARED to the directory that has data/")
    return data


@pytest.fixture
def rng() -> np.random.Generator:
    """The random generator of a test: always the same numbers."""
    return np.random.default_rng(20240611)


@pytest.fixture(autouse=True)
def _reproducible_and_clean() -> Iterator[None]:
    """Seed torch's global generator before a test; afterwards its global settings must be as they were."""
    if "torch" in sys.modules:
        import torch

        torch.manual_seed(20240611)
        before = _torch_settings()
    else:
        before = None
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    if before is not None:
        assert _torch_settings() == before, "the test, or what it called, changed global settings of torch"


def _torch_settings() -> tuple[object, ...]:
    import torch

    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
    )


@pytest.fixture
def bcc_fe() -> Atoms:
    """Cubic bcc Fe, 2 atoms, a = 2.8665 Å, without moments."""
    return _without_moments(bulk("Fe", "bcc", a=2.8665, cubic=True))


@pytest.fixture
def fcc_fe() -> Atoms:
    """Cubic fcc Fe, 4 atoms, a = 3.55 Å, without moments."""
    return _without_moments(bulk("Fe", "fcc", a=3.55, cubic=True))


@pytest.fixture
def nio() -> Atoms:
    """NiO with AFM II order in its magnetic primitive cell: 4 atoms, a = 4.17 Å, ±1.27 µB on Ni along z.

    Ferromagnetic (111) sheets alternate; the atoms are ordered Ni up, Ni down, O, O.
    """
    a = 4.17
    cell = a * np.array([[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]])
    positions = a * np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.5, 0.5, 0.5], [1.5, 1.5, 1.5]])
    atoms = Atoms("Ni2O2", positions=positions, cell=cell, pbc=True)
    moments = np.zeros((4, 3))
    moments[0, 2], moments[1, 2] = 1.27, -1.27
    atoms.set_initial_magnetic_moments(moments)
    return atoms


def _without_moments(atoms: Atoms) -> Atoms:
    """Drop the scalar moments that ``ase.build.bulk`` puts on Fe, Co and Ni."""
    if atoms.has("initial_magmoms"):
        del atoms.arrays["initial_magmoms"]
    return atoms


class Spring(Calculator):
    """E = ½ Σ |R|² + ½ Σ |m − m0|² with m0 = 2 µB along x; takes arguments of DeepSpin."""

    implemented_properties = ["energy", "forces", "stress", "magnetic_forces"]  # noqa: RUF012

    def __init__(self, model: str = "spring", *, device: str = "cpu") -> None:
        super().__init__()

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        from deepspin_ase import get_moments

        super().calculate(atoms, properties, system_changes)
        gap = get_moments(self.atoms) - np.array([2.0, 0.0, 0.0])
        positions = self.atoms.positions
        self.results = {
            "energy": 0.5 * float((positions**2).sum() + (gap**2).sum()),
            "forces": -positions,
            "stress": np.arange(6.0),
            "magnetic_forces": -gap,
        }


@pytest.fixture
def spring() -> type[Calculator]:
    """A calculator class with closed-form results, to stand in for DeepSpin."""
    return Spring


@pytest.fixture
def install_fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Install a made-up distribution: ``install_fake(name, {entry point: target}, {module: code}) -> its
    directory``.

    It is on ``sys.path`` for the test and on ``PYTHONPATH`` for processes that the test starts.
    """
    modules: set[str] = set()

    def install(
        name: str, points: Mapping[str, str], code: Mapping[str, str], *, group: str = "deepspin_ase.plugins"
    ) -> Path:
        site = tmp_path / f"site-{name}"
        info = site / f"{name.replace('-', '_')}-1.2.3.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2.3\n", encoding="utf-8")
        listed = "".join(f"{point} = {target}\n" for point, target in points.items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{listed}", encoding="utf-8")
        for module, text in code.items():
            (site / f"{module}.py").write_text(text, encoding="utf-8")
            modules.add(module)
        monkeypatch.syspath_prepend(site)
        present = os.environ.get("PYTHONPATH")
        monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{present}" if present else str(site))
        return site

    yield install
    for module in modules:
        sys.modules.pop(module, None)
