"""What a run would do, and what it has done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepspin_ase.active_learning.config import LearningConfig
from deepspin_ase.active_learning.iteration import LABELS, STAGES, START, Workplace
from deepspin_ase.active_learning.storage import read_json
from deepspin_ase.data import read_frames
from deepspin_ase.errors import InputError
from deepspin_ase.labeling.state import STATE


def plan(config: LearningConfig) -> list[str]:
    """Lines that say what a run would do and how many labels it would ask for; everything in the file is checked.

    Raises
    ------
    InputError
        As :func:`~deepspin_ase.active_learning.learn`, where that can be known beforehand.
    """
    config = config.resolved(Path.cwd())
    place = Workplace.build(config, Path(config.output or "runs/learn"), None, lambda line: None)
    committee, options, stop = config.committee, config.selection, config.stop
    given = sum(len(read_frames(path)) for path in config.data)
    lines = [
        f"structures: {len(place.structures)} ({', '.join(sorted({str(a.symbols) for a in place.structures}))})",
        f"labels by {config.labeling.engine!r}: {place.labeler.identity}",
        f"before the first training: {given} frames from files, {config.initial} labels",
        f"each iteration trains {committee.members} models: {_budget(committee.optimizer)}"
        + (f", warm starts {_budget(committee.continued or committee.optimizer)}" if committee.warm_start else ""),
    ]
    for entry, explorer in zip(config.explorers, place.explorers, strict=True):
        until = "the end" if entry.last is None else f"iteration {entry.last}"
        size = explorer.size(len(place.structures))
        lines.append(f"explorer {entry.kind}, iteration {entry.first} to {until}: up to {size} structures")
    idle = [n for n in range(stop.iterations) if not any(entry.active(n) for entry in config.explorers)]
    if idle:
        raise InputError(f"no explorer is at work in iteration {idle[0]}; change first or last, or stop.iterations")
    most = config.initial + stop.iterations * options.validation + (stop.iterations - 1) * options.labels
    most = most if stop.labels is None else min(most, stop.labels)
    lines += [
        f"each iteration labels up to {options.labels} candidates and {options.validation} fresh frames",
        f"stop: {stop.accurate:.0%} accurate, or {stop.iterations} iterations"
        + (f", or {stop.labels} labels" if stop.labels else ""),
        f"labels in total: at most {most}",
    ]
    return lines


def status(output: str | Path) -> list[str]:
    """Lines that say how far the run in a directory is.

    Raises
    ------
    InputError
        There is no run.
    """
    output = Path(output)
    if not (output / "config.yaml").is_file():
        raise InputError(f"there is no run in {output}")
    config = LearningConfig.from_file(output / "config.yaml")
    begun = config.initial == 0 or (output / START / "label.json").is_file()
    lines = [f"first labels: {'done' if begun else 'to do'}"]
    for folder in sorted(output.glob("iteration-*")):
        done = [name for name in STAGES if (folder / f"{name}.json").is_file()]
        trained = len(list(folder.glob("member-*/trained.json")))
        text = f"{folder.name}: {', '.join(done) or 'nothing'} done"
        if "train" not in done:
            text += f", {trained} of {config.committee.members} members trained"
        if "select" in done:
            fractions = read_json(folder / "select.json")["fractions"]
            text += f"; {', '.join(f'{value:.0%} {name}' for name, value in fractions.items())}"
        lines.append(text)
    counts: dict[str, int] = {}
    for file in output.glob(f"{LABELS}/*/{STATE}"):
        found = str(read_json(file)["status"])
        counts[found] = counts.get(found, 0) + 1
    lines.append("labels: " + (", ".join(f"{n} {name}" for name, n in sorted(counts.items())) or "none"))
    result = output / "result.json"
    lines.append(f"stopped: {read_json(result)['reason']}" if result.is_file() else "not finished; go on with --resume")
    return lines


def _budget(optimizer: Any) -> str:
    name = next(n for n in ("epochs", "max_minutes", "max_cpu_minutes") if getattr(optimizer, n) is not None)
    unit = {"epochs": "epochs", "max_minutes": "minutes", "max_cpu_minutes": "CPU minutes"}[name]
    return f"{getattr(optimizer, name)} {unit}"
