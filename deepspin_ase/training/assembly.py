"""From a configuration to everything that a training run needs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch_geometric.data import Data

from deepspin_ase.data import Frame, frames_to_graphs, magnetic_species
from deepspin_ase.errors import InputError
from deepspin_ase.model.checkpoint import load_checkpoint, place
from deepspin_ase.model.config import ModelConfig
from deepspin_ase.model.elements import SYMBOLS
from deepspin_ase.model.potential import Potential
from deepspin_ase.model.zoo import model_path
from deepspin_ase.training.batches import size_classes, slots_of
from deepspin_ase.training.config import ModelSection, TrainingConfig
from deepspin_ase.training.datasets import DataSplit, load_split
from deepspin_ase.training.evaluation import check_species, predictions
from deepspin_ase.training.loss import LossWeights
from deepspin_ase.training.module import TrainingModule
from deepspin_ase.training.preparation import Norms, attach_targets, fit_references, frame_weights

logger = logging.getLogger(__name__)

_COMPILE_PAYS = 180.0  # expected seconds of training
_SECONDS_PER_ATOM = 7e-4  # plain training step, 32 channels, one core


@dataclass(frozen=True)
class Assembly:
    """Model, graphs and numbers of a run; ``training`` and ``validation`` hold the graphs of all data sets."""

    splits: tuple[DataSplit, ...]
    potential: Potential
    training: list[Data]
    validation: list[Data]
    norms: Norms
    weights: NDArray[np.float64]

    @property
    def sizes(self) -> list[int]:
        """Atoms of each training frame."""
        return [int(graph.num_nodes) for graph in self.training]


def assemble(config: TrainingConfig) -> Assembly:
    """Read the data, make or load the model, fit reference energies and norms.

    Raises
    ------
    InputError
        Anything in data or options that does not fit together.
    """
    splits = tuple(load_split(section) for section in config.data)
    training = [frame for split in splits for frame in split.training]
    validation = [frame for split in splits for frame in split.validation]
    if not training:
        raise InputError("no frames are left for training; lower the validation fraction or add data")
    per_frame = [split.section.weight for split in splits for _ in split.training]
    weights = frame_weights(training, per_frame, config.loss)
    potential = (
        _fresh(config, training, validation, weights)
        if config.init_from is None
        else _tuned(config, training, validation, weights)
    )
    dtype = torch.float64 if config.runtime.precision == "float64" else torch.float32
    place(potential, dtype=dtype)
    graphs = _graphs(potential, splits, "training")
    network = potential.network
    references, flags = torch.zeros(119, dtype=torch.float64), torch.zeros(119)
    species = list(potential.config.species)
    references[species], flags[species] = network.reference, network.magnetic.float()
    norms = attach_targets(graphs, weights, references, flags)
    if config.init_from is None:
        network.scale.fill_(3.0 * norms.energy)
    return Assembly(splits, potential, graphs, _graphs(potential, splits, "validation"), norms, weights)


def training_module(assembly: Assembly, config: TrainingConfig) -> TrainingModule:
    """The Lightning module of a run."""
    loss = config.loss
    weights = LossWeights(
        loss.energy, loss.forces, loss.stress, loss.magnetic_perp, loss.magnetic_par, huber=loss.huber
    )
    return TrainingModule(
        assembly.potential,
        weights=weights,
        norms=assembly.norms,
        optimizer=config.optimizer,
        slots=slots_of(assembly.training),
        size_classes=size_classes(assembly.sizes),
        scaled_datasets=tuple(split.section.scale_magnetic_forces for split in assembly.splits),
        compiled=_compile(assembly, config),
    )


def _compile(assembly: Assembly, config: TrainingConfig) -> bool:
    """Whether compilation of the training step is wanted."""
    if config.runtime.compile != "auto":
        return config.runtime.compile == "on"
    options = config.optimizer
    if options.epochs is None:
        return 60.0 * (options.max_minutes or options.max_cpu_minutes or 0.0) > _COMPILE_PAYS
    cost = _SECONDS_PER_ATOM * assembly.potential.config.channels / 32
    return options.epochs * sum(assembly.sizes) * cost > _COMPILE_PAYS


def _graphs(potential: Potential, splits: Sequence[DataSplit], part: str) -> list[Data]:
    magnetic = [SYMBOLS[z] for z in potential.config.magnetic]
    return [
        graph
        for number, split in enumerate(splits)
        for graph in frames_to_graphs(getattr(split, part), potential.config.cutoff, dataset=number, magnetic=magnetic)
    ]


def _fresh(
    config: TrainingConfig, training: list[Frame], validation: list[Frame], weights: NDArray[np.float64]
) -> Potential:
    """A new model for the species of the data."""
    section = config.model
    frames = training + validation
    present = sorted({int(z) for frame in frames for z in frame.atoms.numbers})
    species = present if section.species == "auto" else sorted(_numbers(section.species, "model.species"))
    if missing := [SYMBOLS[z] for z in present if z not in species]:
        raise InputError(f"model.species lacks {', '.join(missing)}, which occurs in the data")
    symbols = magnetic_species(training) if section.magnetic == "auto" else section.magnetic
    magnetic = sorted(_numbers(symbols, "model.magnetic"))
    if unknown := [SYMBOLS[z] for z in magnetic if z not in species]:
        raise InputError(f"model.magnetic: {', '.join(unknown)} is not in the data or in model.species")
    if not magnetic:
        logger.warning("no frame has moments: the model will not be magnetic")
    trained = {int(z) for frame in training for z in frame.atoms.numbers}
    if untrained := [SYMBOLS[z] for z in species if z not in trained]:
        logger.warning("no training frame has %s; its energies will be meaningless", ", ".join(untrained))
    edges = [graph.edge_index.shape[1] / graph.num_nodes for graph in frames_to_graphs(training, section.cutoff)]
    model = ModelConfig(
        species=tuple(species),
        magnetic=tuple(magnetic),
        cutoff=section.cutoff,
        channels=section.channels,
        layers=section.layers,
        radial=section.radial,
        quadrupoles=section.quadrupoles,
        spin_orbit=section.spin_orbit,
        mean_neighbours=max(float(np.mean(edges)), 1.0),
    )
    potential = Potential(model, seed=config.runtime.seed)
    potential.network.reference.copy_(torch.from_numpy(fit_references(training, species, weights)))
    return potential


def _tuned(
    config: TrainingConfig, training: list[Frame], validation: list[Frame], weights: NDArray[np.float64]
) -> Potential:
    """A trained model; only its reference energies are fitted anew."""
    assert config.init_from is not None
    potential, _ = load_checkpoint(model_path(config.init_from))
    _check_same_architecture(config.model, potential.config)
    check_species(potential, training + validation)
    graphs = frames_to_graphs(training, potential.config.cutoff)
    predicted = torch.cat([out["energy"] for out, *_ in predictions(potential, graphs)]).numpy()
    present = sorted({int(z) for frame in training for z in frame.atoms.numbers})
    rows = [potential.config.species.index(z) for z in present]
    shift = fit_references(training, present, weights, baseline=predicted)
    potential.network.reference[rows] += torch.from_numpy(shift)
    return potential.train()


def _check_same_architecture(section: ModelSection, model: ModelConfig) -> None:
    """Options given in the file must be those of the model that is continued."""
    for name in section.model_fields_set:
        wanted, found = getattr(section, name), getattr(model, name)
        if wanted == "auto":
            continue
        if name in ("magnetic", "species"):
            wanted, found = sorted(wanted), sorted(SYMBOLS[z] for z in found)
        if wanted != found:
            raise InputError(f"model.{name} is {wanted}, but the model of init_from has {found}; leave the option out")


def _numbers(symbols: Sequence[str], option: str) -> set[int]:
    if unknown := [symbol for symbol in symbols if symbol not in SYMBOLS[1:]]:
        raise InputError(f"{option}: {unknown} are no chemical symbols; write them like Fe or Ni")
    return {SYMBOLS.index(symbol) for symbol in symbols}


def set_graphs(assembly: Assembly, number: int, part: str) -> list[Data]:
    """Graphs of one data set with the labels as they were read; ``part`` is train or validation."""
    if part == "validation":
        return [graph for graph in assembly.validation if int(graph.dataset) == number]
    config, split = assembly.potential.config, assembly.splits[number]
    return frames_to_graphs(split.training, config.cutoff, magnetic=[SYMBOLS[z] for z in config.magnetic])
