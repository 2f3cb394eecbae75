"""Baths in checkpoints: what a running bath is and where its random numbers stand, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepspin_plugins.spin_dynamics.barostat import Barostat, CellRescaling
from deepspin_plugins.spin_dynamics.baths import RescaledTemperature, SpinBath, SpinLangevin
from deepspin_plugins.spin_dynamics.lattice_bath import LatticeBath, LatticeLangevin
from deepspin_plugins.spin_dynamics.nose_hoover import Chain, NoseHooverChain

Bath = SpinBath | LatticeBath | Chain | Barostat
Arrays = Mapping[str, NDArray[Any]]


def pack(baths: Mapping[str, Bath | None]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Settings and arrays of running baths by name; None is left out."""
    settings: dict[str, Any] = {}
    arrays: dict[str, NDArray[Any]] = {}
    for name, bath in baths.items():
        if bath is not None:
            record, own = _pack_one(bath)
            settings[name] = {"kind": type(bath).__name__, **record}
            arrays |= {f"{name}/{key}": array for key, array in own.items()}
    return settings, arrays


def options(settings: Mapping[str, Any], arrays: Arrays) -> dict[str, Any]:
    """Settings objects by name, as the constructors of the drivers take them."""
    return {name: _unpack(record, _own(arrays, name)) for name, record in settings.items()}


def restore(baths: Mapping[str, Bath | None], settings: Mapping[str, Any], arrays: Arrays) -> None:
    """Let newly started baths continue where the packed ones stood."""
    for name, bath in baths.items():
        if isinstance(bath, SpinBath):
            bath.restore({"rng": settings[name]["rng"], **_own(arrays, name)})
        elif isinstance(bath, Chain):
            bath.speeds, bath.positions = arrays[f"{name}/speeds"], arrays[f"{name}/positions"]
        elif bath is not None:
            bath.rng = _generator(settings[name]["rng"])


def _pack_one(bath: Bath) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    if isinstance(bath, SpinBath):
        state, statistics = bath.state(), bath.statistics
        kind = asdict(statistics) if isinstance(statistics, RescaledTemperature) else statistics
        spin = {"temperature": bath.temperature, "statistics": kind, "rng": state.pop("rng")}
        return spin, {"damping": bath.damping, **state}
    if isinstance(bath, Chain):
        return {"options": asdict(bath.settings)}, {"speeds": bath.speeds, "positions": bath.positions}
    stream = bath.rng.bit_generator.state
    if isinstance(bath, LatticeBath):
        return {"temperature": bath.temperature, "rng": stream}, {"friction": bath.friction}
    return {"options": asdict(bath.settings), "rng": stream}, {}


def _unpack(record: Mapping[str, Any], own: Arrays) -> SpinLangevin | LatticeLangevin | NoseHooverChain | CellRescaling:
    kind = record["kind"]
    given: dict[str, Any] = record.get("options", {})
    if kind == SpinBath.__name__:
        statistics = record["statistics"]
        statistics = RescaledTemperature(**statistics) if isinstance(statistics, dict) else statistics
        return SpinLangevin(record["temperature"], own["damping"], statistics)
    if kind == LatticeBath.__name__:
        return LatticeLangevin(record["temperature"], own["friction"])
    return NoseHooverChain(**given) if kind == Chain.__name__ else CellRescaling(**given)


def _own(arrays: Arrays, name: str) -> dict[str, NDArray[Any]]:
    return {key.removeprefix(f"{name}/"): array for key, array in arrays.items() if key.startswith(f"{name}/")}


def _generator(state: Mapping[str, Any]) -> np.random.Generator:
    bits = getattr(np.random, state["bit_generator"])()
    bits.state = dict(state)
    return np.random.Generator(bits)
