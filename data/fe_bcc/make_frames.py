"""Make the data set of bcc iron: structures from a seed, labels from ABINIT.

python data/fe_bcc/make_frames.py run RUNS [2]  # label what is missing, two at a time; stop and repeat at will
python data/fe_bcc/make_frames.py collect RUNS  # add finished frames to frames.extxyz.gz
python data/fe_bcc/make_frames.py add FRAMES    # add frames of a run of deepspin learn, with the same settings
python data/fe_bcc/make_frames.py plan          # what there is and what is missing

Structures are cells of 1-4 atoms of all shapes, strained, with displaced atoms and constrained moments: ferromagnets,
collinear states with reversed moments, tilted ferromagnets, commensurate spirals, random directions. A structure is
known by its ``id``; those in the data file are skipped, so the directory of runs may be lost.
"""

from __future__ import annotations

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.geometry import minkowski_reduce
from numpy.typing import NDArray

from deepspin_ase.data import Frame, read_frames, write_frames
from deepspin_ase.labeling import FailedLabel, label_all
from deepspin_ase.labeling.state import calculation_name, stored_result
from deepspin_ase.moments import get_moments, random_directions, set_moments, tilt
from deepspin_plugins.labelers import AbinitLabeler, AbinitSettings
from deepspin_plugins.labelers.abinit_input import spin_frame

SEED = 20261
COUNT = 400
FRAMES = Path(__file__).with_name("frames.extxyz.gz")
SETTINGS = AbinitSettings(extra={"ecutsm": 0.5})
ONE_ATOM = replace(SETTINGS, kspacing=0.26)  # 12x12x12; with 8x8x8 the ferromagnet is 10 meV off
SCARCITY = {1: 3, 2: 1, 3: 8, 4: 12}  # by number of atoms: cells of two come eight times as often as cells of three
SIZES, SIZE_WEIGHTS = (1, 2, 3, 4), (0.2, 0.4, 0.2, 0.2)
ORDERS, ORDER_WEIGHTS = ("ferromagnet", "reversed", "tilted", "spiral", "random"), (0.3, 0.2, 0.2, 0.15, 0.15)


class IronLabeler:
    """ABINIT with ``SETTINGS``, and with ``ONE_ATOM`` for cells of one atom."""

    def __init__(self) -> None:
        self._one, self._more = AbinitLabeler(ONE_ATOM), AbinitLabeler(SETTINGS)

    @property
    def identity(self) -> str:
        """All settings as text."""
        return f"{self._more.identity}; one atom: {self._one.identity}"

    def label(self, atoms: Atoms, directory: Path) -> Frame | FailedLabel:
        """Label one structure."""
        return (self._one if len(atoms) == 1 else self._more).label(atoms, directory)


def structures() -> list[Atoms]:
    """All structures of the plan, always the same, in the order in which they are labelled.

    All kinds go side by side, the dear ones in smaller shares: larger cells by ``SCARCITY``, states that are not
    collinear by a factor of five. ``info["order"]`` says how the moments were chosen.
    """
    rng = np.random.default_rng(SEED)
    made: Counter[tuple[int, bool]] = Counter()
    places = []
    for _ in range(COUNT):
        atoms = random_structure(rng)
        kind = (len(atoms), spin_frame(get_moments(atoms)).rank > 1)
        made[kind] += 1
        size, noncollinear = kind
        places.append((made[kind] * SCARCITY[size] * (5 if noncollinear else 1), atoms))
    return [atoms for _, atoms in sorted(places, key=lambda place: place[0])]


def random_structure(rng: np.random.Generator) -> Atoms:
    """One structure: cell, strain, displacements, moments."""
    size = int(rng.choice(SIZES, p=SIZE_WEIGHTS))
    order = "ferromagnet" if size == 1 else str(rng.choice(ORDERS, p=ORDER_WEIGHTS))
    matrices = hermite_forms(size)
    atoms = make_supercell(bulk("Fe", a=rng.uniform(2.72, 2.96)), matrices[rng.integers(len(matrices))])
    compact = minkowski_reduce(atoms.cell)[0]  # the same lattice
    atoms.set_cell(compact * np.sign(np.linalg.det(compact)))  # right-handed
    atoms.wrap()
    strain = rng.normal(0, rng.choice([0.0, 0.01, 0.02]), (3, 3))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
    atoms.positions += rng.normal(0, rng.choice([0.0, 0.04, 0.08, 0.13]), (size, 3)) * (size > 1)
    set_moments(atoms, random_moments(atoms, order, rng))
    atoms.info = {"order": order}
    return atoms


def random_moments(atoms: Atoms, order: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """Moments of a kind of order, (n, 3), µB; lengths scatter about a common one."""
    n = len(atoms)
    mean = rng.normal(2.2, 0.25) if order in ("ferromagnet", "tilted") else rng.normal(2.05, 0.25)
    lengths = np.clip(mean + rng.normal(0, rng.choice([0.0, 0.1]), n), 1.3, 2.7)
    axis, other, _ = np.linalg.qr(rng.normal(size=(3, 3)))[0].T
    if order == "random":
        return random_directions(atoms, 1.0, rng) * lengths[:, None]
    if order == "spiral":
        waves = [w for w in product(range(n), repeat=3) if phases_differ(atoms, w)]
        phase = 2 * np.pi * atoms.get_scaled_positions() @ np.array(waves[rng.integers(len(waves))])
        directions = np.cos(phase)[:, None] * axis + np.sin(phase)[:, None] * other
        return tilt(directions * lengths[:, None], float(rng.choice([0.0, 10.0])), rng)
    signs = np.ones(n)
    if order == "reversed":
        signs[1 + rng.permutation(n - 1)[: rng.integers(1, n)]] = -1.0  # the first stays, at least one turns
    aligned = axis * (signs * lengths)[:, None]
    return aligned if order in ("ferromagnet", "reversed") else tilt(aligned, rng.uniform(10.0, 45.0), rng)


def phases_differ(atoms: Atoms, wave: tuple[int, ...]) -> bool:
    """Whether a wave of the supercell's reciprocal lattice tells its atoms apart."""
    phase = atoms.get_scaled_positions() @ np.array(wave)
    return bool(np.abs(phase - phase[0] - np.round(phase - phase[0])).max() > 0.1)


def hermite_forms(size: int) -> list[NDArray[np.int_]]:
    """All supercell matrices of a size, in Hermite normal form: one per superlattice."""
    forms = []
    for a, b in product(range(1, size + 1), repeat=2):
        if size % (a * b) == 0:
            c = size // (a * b)
            forms += [np.array([[a, i, j], [0, b, k], [0, 0, c]]) for i, j, k in product(range(b), range(c), range(c))]
    return forms


def labelled() -> dict[str, Frame]:
    """Frames that are in the data file, by id."""
    return {frame.info["id"]: frame for frame in read_frames(FRAMES)} if FRAMES.is_file() else {}


def collect(left: dict[str, Atoms], runs: Path) -> dict[str, Frame]:
    """Finished calculations of structures that are left, by id."""
    found = {}
    for name, atoms in left.items():
        frame = stored_result(runs / name, atoms)
        if isinstance(frame, Frame):
            info = {**frame.info, "id": name, "order": atoms.info["order"]}
            found[name] = Frame(frame.atoms, frame.labels, source="ABINIT", info=info)
    return found


def learned(file: Path) -> dict[str, Frame]:
    """Frames that a run of active learning labelled, by id; those it started with are in the data already."""
    identity = IronLabeler().identity
    frames = [frame for frame in read_frames(file) if "explorer" in frame.info]
    return {
        name: Frame(frame.atoms, frame.labels, source="ABINIT", info={**frame.info, "id": name, "order": "learned"})
        for frame in frames
        for name in [calculation_name(frame.atoms, identity)]
    }


def main(mode: str, place: str = "", workers: str = "1") -> None:
    """Run one of the modes."""
    labeler = IronLabeler()
    plan = {calculation_name(atoms, labeler.identity): atoms for atoms in structures()}
    known = labelled()
    left = {name: atoms for name, atoms in plan.items() if name not in known}
    if mode == "run":
        with ThreadPoolExecutor(int(workers)) as pool:  # threads are enough: ABINIT is a process of its own
            report = label_all(list(left.values()), labeler, place, executor=pool)
        sys.stdout.write(report.summary() + "\n")
    elif mode in ("collect", "add"):
        known |= collect(left, Path(place)) if mode == "collect" else learned(Path(place))
        write_frames(FRAMES, list(known.values()))  # new ones at the end: cards of models name frames by their numbers
        sys.stdout.write(f"{len(known)} frames in {FRAMES}\n")
    else:
        done = sum(name in known for name in plan)
        sys.stdout.write(f"{len(plan)} structures, {done} labelled, {len(left)} to do; {len(known) - done} learned\n")


if __name__ == "__main__":
    if (len(sys.argv) in (3, 4) and sys.argv[1] in ("run", "collect", "add")) or sys.argv[1:] == ["plan"]:
        main(*sys.argv[1:])
    else:
        sys.exit(__doc__)
