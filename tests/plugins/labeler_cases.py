"""Structures and stand-ins for engines that the tests of the labelers share."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk

from deepspin_ase.data import read_frames
from deepspin_ase.heisenberg import Heisenberg, HeisenbergModel
from deepspin_ase.moments import random_directions, set_moments

OUTPUT = Path(__file__).parents[1] / "data" / "abinit" / "fe2_displaced.abo.gz"


def abinit_structure(directory: Path) -> Atoms:
    """The structure of the stored ABINIT output, which is unpacked into a directory as ``stored.txt``."""
    path = directory / "stored.txt"
    path.write_bytes(gzip.decompress(OUTPUT.read_bytes()))
    return read_frames(path, "abinit")[0].atoms


def iron_structures(count: int, seed: int = 0) -> list[Atoms]:
    """Two-atom cells of iron with random directions."""
    rng = np.random.default_rng(seed)
    structures = []
    for _ in range(count):
        atoms = bulk("Fe", cubic=True)
        set_moments(atoms, random_directions(atoms, 2.2, rng))
        structures.append(atoms)
    return structures


def heisenberg() -> Heisenberg:
    """Nearest-neighbour ferromagnet on bcc."""
    atoms = bulk("Fe", cubic=True)
    set_moments(atoms, 2.2)
    return Heisenberg(HeisenbergModel.from_shells(atoms, [0.02]))


def fake_abinit(
    directory: Path, *, fails: int = 0, change: tuple[str, str] = ("", ""), output: Path = OUTPUT
) -> tuple[str, ...]:
    """Command that leaves a stored output behind, without "=>converged" in its first runs.

    ``change`` replaces a text of the output by another. It counts its runs in ``runs`` of ``directory``, and leaves a
    density where ``prtden 1`` asks for one.
    """
    script = directory / "fake_abinit.py"
    script.write_text(
        f"""
import gzip, pathlib, sys
count = pathlib.Path({str(directory / "runs")!r})
runs = int(count.read_text()) if count.exists() else 0
count.write_text(str(runs + 1))
given = pathlib.Path(sys.argv[1])
text = gzip.decompress(pathlib.Path({str(output)!r}).read_bytes()).decode()
if runs < {fails}:
    text = text.replace("=>converged", "")
text = text.replace(*{change!r}) if {change!r}[0] else text
given.with_suffix(".abo").write_text(text)
if "prtden 1" in given.read_text():
    pathlib.Path(given.stem + "o_DEN").write_text("density")
"""
    )
    return (sys.executable, str(script))
