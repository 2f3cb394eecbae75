"""Validate a model of bcc iron.

python data/fe_bcc/validate.py run RUNS [2]    # label the direct points, two at a time; stop and repeat at will
python data/fe_bcc/validate.py collect RUNS    # write what is finished to direct.extxyz
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from direct_points import direct_points
from make_frames import SETTINGS

from deepspin_ase.data import Frame, write_frames
from deepspin_ase.labeling import label_all
from deepspin_ase.labeling.state import calculation_name, stored_result
from deepspin_plugins.labelers import AbinitLabeler

DIRECT = Path(__file__).with_name("direct.extxyz")


def run(directory: str, workers: str = "1") -> str:
    """Label what is missing."""
    with ThreadPoolExecutor(int(workers)) as pool:  # threads are enough: ABINIT is a process of its own
        return label_all(direct_points(), AbinitLabeler(SETTINGS), directory, executor=pool).summary()


def collect(directory: str) -> str:
    """Write finished points to ``direct.extxyz``."""
    identity = AbinitLabeler(SETTINGS).identity
    points = direct_points()
    frames = []
    for atoms in points:
        frame = stored_result(Path(directory) / calculation_name(atoms, identity), atoms)
        if isinstance(frame, Frame):
            info = {**frame.info, **atoms.info}
            frames.append(Frame(frame.atoms, frame.labels, source="ABINIT", info=info))
    write_frames(DIRECT, frames)
    return f"{len(frames)} of {len(points)} points in {DIRECT}"


def main(arguments: Sequence[str]) -> None:
    """Run one of the modes."""
    modes = {"run": (run, (1, 2)), "collect": (collect, (1,))}
    if not arguments or arguments[0] not in modes or len(arguments) - 1 not in modes[arguments[0]][1]:
        sys.exit(__doc__)
    sys.stdout.write(modes[arguments[0]][0](*arguments[1:]) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
