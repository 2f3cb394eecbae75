"""Write DeePMD-kit npy systems (spin layout) from the extxyz frames, for the tasks ``fcc14`` and ``nio``.

``fcc14`` holds the frames of ``fcc_fe.extxyz`` with ``iteration`` <= 4; ``nio`` holds ``nio_large`` and
``nio_small``. Training and validation frames follow the fixed ``split.json`` beside this file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read

HERE = Path(__file__).resolve().parent
TASKS: dict[str, list[str]] = {"fcc14": ["fcc_fe"], "nio": ["nio_large", "nio_small"]}
TYPE_MAP: dict[str, list[str]] = {"fcc14": ["Fe"], "nio": ["Ni", "O"]}
MAX_ITERATION = 4


def load_split(shared: Path, name: str) -> tuple[list[Atoms], list[Atoms]]:
    """Training and validation frames of one file, in the order of the file."""
    frames: list[Atoms] = read(shared / "data" / "dft" / f"{name}.extxyz", ":")
    held_out = set(json.loads((HERE / "split.json").read_text())[name])
    kept = [i for i, atoms in enumerate(frames) if atoms.info.get("iteration", 0) <= MAX_ITERATION]
    train = [frames[i] for i in kept if i not in held_out]
    return train, [frames[i] for i in kept if i in held_out]


def write_system(folder: Path, frames: list[Atoms], type_map: list[str]) -> None:
    """Write one npy system; atoms of every frame are sorted by type, and all frames share one composition."""
    types = np.array([type_map.index(s) for s in frames[0].get_chemical_symbols()])
    order = np.argsort(types, kind="stable")
    for atoms in frames:
        if [type_map.index(s) for s in atoms.get_chemical_symbols()] != types.tolist():
            raise ValueError(f"{folder.name}: frames differ in species or their order; split them by composition")
    data = folder / "set.000"
    data.mkdir(parents=True, exist_ok=True)
    columns = {
        "coord": [a.positions[order] for a in frames],
        "box": [a.cell.array for a in frames],
        "energy": [[a.info["REF_energy"]] for a in frames],
        "force": [a.arrays["REF_forces"][order] for a in frames],
        "spin": [a.arrays["initial_magmoms"][order] for a in frames],
        "force_mag": [a.arrays["REF_magnetic_forces"][order] for a in frames],
    }
    for name, values in columns.items():
        array = np.asarray(values, dtype=np.float64).reshape(len(frames), -1)
        if not np.isfinite(array).all():
            raise ValueError(f"{folder.name}: column {name} holds values that are not finite")
        np.save(data / f"{name}.npy", array)
    np.savetxt(folder / "type.raw", types[order], fmt="%d")
    (folder / "type_map.raw").write_text("\n".join(type_map) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="folder that holds data/dft/*.extxyz")
    parser.add_argument("--out", type=Path, default=Path("runs/systems"))
    args = parser.parse_args()
    for task, names in TASKS.items():
        for name in names:
            for kind, frames in zip(("train", "valid"), load_split(args.shared, name), strict=True):
                write_system(args.out / task / f"{name}_{kind}", frames, TYPE_MAP[task])
                print(f"{task} {name} {kind}: {len(frames)} frames of {len(frames[0])} atoms")


if __name__ == "__main__":
    main()
