"""What is in a set of labelled frames, and is it sound? One frozen report: text, picture, JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepspin_ase.data.conservation import ConservationEstimate, estimate_conservation, net_torque_ratio
from deepspin_ase.data.frames import LABEL_NAMES, Frame
from deepspin_ase.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

_NO_MOMENT = 1e-6  # µB
_SAME = 1e-5  # Å and µB: frames this close are the same frame


@dataclass(frozen=True)
class SpeciesSummary:
    """One species: moments (µB) and magnetic-force labels (meV/µB, root mean squares over atoms).

    ``parallel`` is F^m·m/|m|, ``transverse`` the length of the rest. ``labelled`` counts atoms with a label,
    ``missing`` those that lack one in frames that have others.
    """

    atoms: int
    moment_min: float
    moment_mean: float
    moment_max: float
    labelled: int
    missing: int
    parallel: float | None
    transverse: float | None


@dataclass(frozen=True)
class InspectionReport:
    """Summary of a set of frames, made by :func:`inspect_frames`.

    Parameters
    ----------
    frames, formulas, atoms_per_frame
        Number of frames; chemical formula -> frames; smallest and largest number of atoms.
    labels
        Label -> number of frames that have it.
    energy_range
        Smallest and largest energy per atom, eV.
    force_rms, force_max
        Of force vectors per component, and of the largest force, eV/Å.
    stress_max
        Largest stress component, eV/Å³.
    species
        By chemical symbol.
    net_torque
        Σ|Σ m x F^m| / ΣΣ|m x F^m| over all frames; ≈ 0 if a common rotation of all moments costs no energy.
    conservation
        Ratio of energy differences to the work of the magnetic-force labels.
    duplicates
        Pairs of indices of frames with the same structure and moments.
    remarks
        Findings that deserve attention.
    histograms
        Read-only data of the picture: energies above the lowest (meV/atom), force components, |m| and force
        parts by species.
    """

    frames: int
    formulas: Mapping[str, int]
    atoms_per_frame: tuple[int, int]
    labels: Mapping[str, int]
    energy_range: tuple[float, float] | None
    force_rms: float | None
    force_max: float | None
    stress_max: float | None
    species: Mapping[str, SpeciesSummary]
    net_torque: float | None
    conservation: ConservationEstimate
    duplicates: tuple[tuple[int, int], ...]
    remarks: tuple[str, ...]
    histograms: Mapping[str, Array] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the histograms, as plain values for JSON."""
        content = {k: getattr(self, k) for k in self.__dataclass_fields__ if k != "histograms"}
        content["species"] = {name: asdict(s) for name, s in self.species.items()}
        content["conservation"] = asdict(self.conservation)
        return content

    def save(self, path: str | Path) -> None:
        """Write :meth:`to_dict` as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")

    def to_text(self) -> str:
        """Report for people."""
        low, high = self.atoms_per_frame
        lines = [
            f"{self.frames} frames of {low if low == high else f'{low} to {high}'} atoms: "
            + ", ".join(f"{count} x {formula}" for formula, count in self.formulas.items()),
            "labels: " + (", ".join(f"{name} in {n}" for name, n in self.labels.items() if n) or "none"),
        ]
        if self.energy_range:
            span = 1e3 * (self.energy_range[1] - self.energy_range[0])
            lines.append(
                f"energy: {self.energy_range[0]:.6f} to {self.energy_range[1]:.6f} eV/atom (span {span:.1f} meV/atom)"
            )
        if self.force_rms is not None:
            lines.append(f"forces: rms {self.force_rms:.4f} eV/Å per component, largest {self.force_max:.3f} eV/Å")
        if self.stress_max is not None:
            lines.append(f"stress: largest component {self.stress_max:.5f} eV/Å³")
        for symbol, s in self.species.items():
            text = f"{symbol}: |m| {s.moment_min:.3f} to {s.moment_max:.3f} µB (mean {s.moment_mean:.3f})"
            if s.parallel is not None:
                text += f"; F^m rms {s.parallel:.1f} meV/µB parallel to m, {s.transverse:.1f} transverse"
            if s.missing:
                text += f"; label missing on {s.missing} of {s.missing + s.labelled} atoms"
            lines.append(text)
        if self.labels.get("magnetic_forces"):
            if self.net_torque is not None:
                verdict = "no sign of" if self.net_torque < 0.1 else "there is"
                lines.append(f"net torque: {self.net_torque:.2%} of the torques; {verdict} spin-orbit anisotropy")
            lines.append(f"magnetic forces and energies: {self.conservation.to_text()}")
        lines.append(f"duplicates: {len(self.duplicates)}")
        lines.extend(f"remark: {remark}" for remark in self.remarks)
        return "\n".join(lines)

    def plot(self, fig: Figure | None = None) -> Figure:
        """Histograms of energies, forces, moments and magnetic forces.

        Parameters
        ----------
        fig
            Figure to draw into; a new one if None.
        """
        from matplotlib.figure import Figure as NewFigure

        figure = fig if fig is not None else NewFigure(figsize=(9, 6.5), layout="constrained")
        axes = figure.subplots(2, 2)
        panels = (
            ("energy", "energy above the lowest (meV/atom)", "frames"),
            ("force", "force component (eV/Å)", "components"),
            ("moment", "|m| (µB)", "atoms"),
            ("magnetic", "magnetic force (meV/µB)", "atoms"),
        )
        for axis, (prefix, label, count) in zip(axes.flat, panels, strict=True):
            chosen = {k: v for k, v in self.histograms.items() if k.split(":")[0] == prefix and v.any()}
            if chosen:
                edges = _edges(list(chosen.values()), from_zero=prefix == "moment")
            for name, values in chosen.items():
                axis.hist(values, bins=edges, histtype="step", label=name.partition(":")[2])
            if not chosen:
                axis.text(0.5, 0.5, "no labels", ha="center", va="center", transform=axis.transAxes)
            axis.set_xlabel(label)
            axis.set_ylabel(count)
            if any(name.partition(":")[2] for name in chosen):
                axis.legend(fontsize="small")
        axes[0, 1].set_yscale("log" if self.force_rms else "linear")
        return figure


def inspect_frames(frames: Sequence[Frame]) -> InspectionReport:
    """Summarise frames and check that their labels make sense together.

    Parameters
    ----------
    frames
        At least one.

    Raises
    ------
    InputError
        If there are none.
    """
    if not frames:
        raise InputError("there are no frames to inspect")
    sizes = [len(frame) for frame in frames]
    labels = {name: sum(name in f.labels.available for f in frames) for name in LABEL_NAMES}
    energies = np.array([f.energy_per_atom for f in frames if f.energy_per_atom is not None])
    forces = [f.labels.forces for f in frames if f.labels.forces is not None]
    components = np.concatenate([v.ravel() for v in forces]) if forces else np.empty(0)
    stresses = [float(np.abs(f.labels.stress).max()) for f in frames if f.labels.stress is not None]
    species, histograms = _species(frames)
    above = 1e3 * (energies - energies.min()) if len(energies) else energies
    histograms = {"energy:": above, "force:": components, **histograms}
    for values in histograms.values():
        values.flags.writeable = False
    duplicates = tuple(find_duplicates(frames))
    return InspectionReport(
        frames=len(frames),
        formulas=dict(Counter(str(f.atoms.symbols.formula.format("metal")) for f in frames).most_common()),
        atoms_per_frame=(min(sizes), max(sizes)),
        labels=labels,
        energy_range=(float(energies.min()), float(energies.max())) if len(energies) else None,
        force_rms=float(np.sqrt((components**2).mean())) if len(components) else None,
        force_max=max(float(np.linalg.norm(v, axis=1).max()) for v in forces) if forces else None,
        stress_max=max(stresses) if stresses else None,
        species=species,
        net_torque=_net_torque(frames),
        conservation=estimate_conservation(frames),
        duplicates=duplicates,
        remarks=tuple(_remarks(frames, labels, duplicates)),
        histograms=histograms,
    )


def find_duplicates(frames: Sequence[Frame]) -> list[tuple[int, int]]:
    """Pairs of frames with the same species, cell, positions and moments (within 1e-5 Å and µB)."""
    groups: dict[tuple, list[int]] = {}
    for index, frame in enumerate(frames):
        groups.setdefault((tuple(frame.atoms.numbers), tuple(frame.atoms.pbc)), []).append(index)
    pairs = []
    for members in groups.values():
        states = np.array(
            [np.concatenate([x.ravel() for x in (f.atoms.cell.array, f.atoms.positions, f.moments)])
             for f in (frames[k] for k in members)]
        )  # fmt: skip
        weights = np.random.default_rng(0).standard_normal(states.shape[1])
        finger = states @ weights  # equal states have nearly equal fingerprints: only neighbours need comparing
        order = np.argsort(finger)
        reach = _SAME * np.abs(weights).sum()
        for a, first in enumerate(order):
            for second in order[a + 1 :]:
                if finger[second] - finger[first] > reach:
                    break
                if np.abs(states[first] - states[second]).max() < _SAME:
                    i, j = members[first], members[second]
                    pairs.append((min(i, j), max(i, j)))
    return sorted(pairs)


def split_magnetic(moments: Array, magnetic_forces: Array) -> tuple[Array, Array]:
    """Parallel part F^m·m̂ (n,) and length of the transverse part (n,); atoms must have a moment."""
    unit = moments / np.linalg.norm(moments, axis=1, keepdims=True)
    parallel = (magnetic_forces * unit).sum(axis=1)
    return parallel, np.linalg.norm(magnetic_forces - parallel[:, None] * unit, axis=1)


def _species(frames: Sequence[Frame]) -> tuple[dict[str, SpeciesSummary], dict[str, Array]]:
    summaries, histograms = {}, {}
    for symbol in dict.fromkeys(s for f in frames for s in f.atoms.symbols):
        lengths, parallel, transverse = [], [np.empty(0)], [np.empty(0)]
        labelled = missing = 0
        for frame in frames:
            chosen = np.array(frame.atoms.symbols) == symbol
            moments = frame.moments[chosen]
            norms = np.linalg.norm(moments, axis=1)
            lengths.append(norms)
            if frame.labels.magnetic_forces is None:
                continue
            values = frame.labels.magnetic_forces[chosen]
            known = ~np.isnan(values).any(axis=1)
            labelled, missing = labelled + int(known.sum()), missing + int((~known).sum())
            usable = known & (norms > _NO_MOMENT)
            along, across = split_magnetic(moments[usable], values[usable])
            parallel.append(1e3 * along)
            transverse.append(1e3 * across)
        norms, along, across = (np.concatenate(x) for x in (lengths, parallel, transverse))
        summaries[symbol] = SpeciesSummary(
            atoms=len(norms),
            moment_min=float(norms.min(initial=np.inf)),
            moment_mean=float(norms.mean()),
            moment_max=float(norms.max(initial=0.0)),
            labelled=labelled,
            missing=missing,
            parallel=float(np.sqrt((along**2).mean())) if len(along) else None,
            transverse=float(np.sqrt((across**2).mean())) if len(across) else None,
        )
        histograms[f"moment:{symbol}"] = norms
        histograms[f"magnetic:{symbol} parallel"] = along
        histograms[f"magnetic:{symbol} transverse"] = across
    return summaries, histograms


def _net_torque(frames: Sequence[Frame]) -> float | None:
    """Mean of the frames' ratios, weighted with their torques."""
    total = net = 0.0
    for frame in frames:
        ratio = net_torque_ratio(frame)
        if ratio is not None and frame.labels.magnetic_forces is not None:
            torque = np.cross(frame.moments, np.nan_to_num(frame.labels.magnetic_forces))
            size = float(np.linalg.norm(torque, axis=1).sum())
            total, net = total + size, net + ratio * size
    return net / total if total > 0 else None


def _remarks(frames: Sequence[Frame], labels: Mapping[str, int], duplicates: Sequence[tuple[int, int]]) -> list[str]:
    remarks = [
        f"{name} is missing in {len(frames) - count} of {len(frames)} frames"
        for name, count in labels.items()
        if 0 < count < len(frames)
    ]
    zero = [
        index
        for index, f in enumerate(frames)
        if f.labels.magnetic_forces is not None
        and f.moments.any()
        and not np.nan_to_num(f.labels.magnetic_forces).any()
    ]
    if zero:
        remarks.append(
            f"all magnetic forces are exactly 0 in {len(zero)} frame(s), first {zero[0]}: no constraint acted"
        )
    drift = [
        float(np.abs(f.labels.forces.sum(axis=0)).max())
        for f in frames
        if f.labels.forces is not None and f.atoms.pbc.all()
    ]
    if drift and max(drift) > 0.01:
        remarks.append(
            f"forces do not sum to zero: up to {max(drift):.3f} eV/Å (frame {int(np.argmax(drift))} of "
            "those with forces)"
        )
    if duplicates:
        remarks.append(f"frames {duplicates[0][0]} and {duplicates[0][1]} are the same structure with the same moments")
    if not any(f.moments.any() for f in frames):
        remarks.append("no frame has moments")
    return remarks


def _edges(samples: Sequence[Array], *, from_zero: bool) -> Array:
    """Common bin edges of several samples."""
    values = np.concatenate(samples)
    low, high = (0.0 if from_zero else values.min()), values.max()
    margin = 1e-3 * max(abs(low), abs(high), 1e-12)
    return np.linspace(low, high + margin, int(np.clip(np.sqrt(len(values)), 10, 80)) + 1)
