"""Spin updates per CPU second of LAMMPS SPIN: bcc Fe, exchange with 14 neighbours, fixed lattice, one core.

python speed.py [--case CELLS STEPS]
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import time

from lammps import lammps

SETUP = """
units metal
atom_style spin
atom_modify map array sort 0 0.0
boundary p p p
lattice bcc 2.8665
region box block 0 {cells} 0 {cells} 0 {cells}
create_box 1 box
create_atoms 1 box
mass 1 55.845
set group all spin/atom/random 31 2.2
velocity all zero linear
pair_style spin/exchange 3.4
pair_coeff * * exchange 3.4 0.0364 0.0 2.4824
neighbor 0.1 bin
neigh_modify every 1000 check no delay 0
{bath}
fix nve all nve/spin lattice frozen
timestep 0.0001
thermo 1000000
run 2
"""
CASES = {
    "nve/spin": "fix field all precession/spin zeeman 0.0 0.0 0.0 1.0",
    "nve/spin, Langevin": "fix field all precession/spin zeeman 0.0 0.0 0.0 1.0\n"
    "fix bath all langevin/spin 300.0 0.1 21",
}


def measure(bath: str, cells: int, steps: int) -> dict[str, float]:
    program = lammps(cmdargs=["-log", "none", "-screen", "none"])
    program.commands_string(SETUP.format(cells=cells, bath=bath))
    atoms = program.get_natoms()
    start = time.process_time()
    program.command(f"run {steps} pre no post no")
    seconds = time.process_time() - start
    program.close()
    return {"updates_per_s": atoms * steps / seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs=2, type=int, default=(20, 100))
    cells, steps = parser.parse_args().case
    print(json.dumps({name: measure(bath, cells, steps) for name, bath in CASES.items()}))


if __name__ == "__main__":
    main()
