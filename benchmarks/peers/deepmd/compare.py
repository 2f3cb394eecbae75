"""Error against CPU time of both programs: a picture and a table.

    python compare.py fcc14 --ours RUN_FOLDER --ours-minutes 12

``RUN_FOLDER`` is the output folder of ``deepspin train deepspin_fcc14.yaml`` (for ``nio``: of the shipped model's
``nio.yaml``), DeePMD-kit's errors come from ``results/curve_<task>.csv``.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
QUANTITIES = (
    ("energy_rmse_mev_per_atom", "energy (meV/atom)"),
    ("force_rmse_mev_per_ang", "force (meV/Å)"),
    ("magnetic_force_rmse_mev_per_mub", "magnetic force (meV/µB)"),
)
IN_EVALUATE = ("energy_rmse_meV_per_atom", "force_rmse_meV_per_Ang", "magnetic_rmse_meV_per_muB")
"""The same quantities as evaluate.py names them."""

Curve = list[dict[str, float]]


def read_ours(run: Path, minutes: float) -> Curve:
    """Validation errors by CPU minutes; the schedule spreads the budget evenly over the steps."""
    logs = sorted(run.glob("logs/version_*/metrics.csv"))
    rows = [row for log in logs for row in csv.DictReader(log.read_text().splitlines())]
    last = max(float(row["step"]) for row in rows)
    return [
        {"cpu_min": minutes * float(row["step"]) / last} | {key: float(row[f"val/{key}"]) for key, _ in QUANTITIES}
        for row in rows
        if row[f"val/{QUANTITIES[0][0]}"]
    ]


def read_deepmd(task: str) -> Curve:
    """Errors of DeePMD-kit's checkpoints, see evaluate.py."""
    rows = csv.DictReader((HERE / "results" / f"curve_{task}.csv").read_text().splitlines())
    names = {key: other for (key, _), other in zip(QUANTITIES, IN_EVALUATE, strict=True)}
    return [
        {"cpu_min": float(row["cpu_min"])} | {key: float(row[other]) for key, other in names.items()} for row in rows
    ]


def draw(curves: dict[str, Curve], title: str) -> Figure:
    """One panel per quantity, both axes logarithmic."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    for axes, (key, label) in zip(figure.subplots(1, 3), QUANTITIES, strict=True):
        for name, curve in curves.items():
            axes.loglog([row["cpu_min"] for row in curve], [row[key] for row in curve], label=name)
        axes.set(xlabel="CPU minutes, one thread", ylabel=f"RMSE of {label}")
    figure.get_axes()[0].legend()
    figure.suptitle(title)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("fcc14", "nio"))
    parser.add_argument("--ours", type=Path, required=True, help="output folder of `deepspin train`")
    parser.add_argument("--ours-minutes", type=float, required=True, help="its optimizer.max_cpu_minutes")
    options = parser.parse_args()
    curves = {
        "DeePMD-kit 3.2": read_deepmd(options.task),
        "deepspin-ase": read_ours(options.ours, options.ours_minutes),
    }
    draw(curves, f"{options.task}: validation frames").savefig(HERE / "results" / f"curve_{options.task}.png", dpi=130)
    ours = curves["deepspin-ase"]
    out = HERE / "results" / f"curve_{options.task}_deepspin.csv"
    keys = list(ours[0])
    out.write_text("\n".join([",".join(keys), *(",".join(f"{row[k]:.4f}" for k in keys) for row in ours)]) + "\n")
    print(f"{'quantity':28s} " + " ".join(f"{name:>16s}" for name in curves) + "    ratio")
    for key, label in QUANTITIES:
        last = [curve[-1][key] for curve in curves.values()]
        print(f"{label:28s} " + " ".join(f"{value:16.3f}" for value in last) + f"  {last[0] / last[1]:7.1f}")
    print("CPU minutes".ljust(28), " ".join(f"{curve[-1]['cpu_min']:16.1f}" for curve in curves.values()))


if __name__ == "__main__":
    main()
