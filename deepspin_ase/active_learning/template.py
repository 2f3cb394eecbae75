"""The commented example that ``deepspin learn --init`` writes."""

from __future__ import annotations

TEMPLATE = """\
# Active learning of a magnetic potential. Run:  deepspin learn THIS_FILE      (first: --dry-run)
# Required: structures, committee.optimizer, explorers, labeling. Paths are relative to this file.

structures: [fe.extxyz]        # files that ASE reads, all frames of them, with moments, or give them:
# moments: {Fe: 2.2}           # µB along +z
# data: [frames.extxyz]        # labelled frames to begin with
initial: 20                    # labels of random proposals before the first training

committee:
  members: 4                   # trainings with different seeds
  # warm_start: true           # continue from the models of the iteration before
  model: {cutoff: 5.0, channels: 32, layers: 2}      # the sections of `deepspin train --init`
  optimizer: {epochs: 300, batch_size: 4}
  continued: {epochs: 150, batch_size: 4, learning_rate: 0.002}   # of warm starts; null: as optimizer
  # loss: {}
  # runtime: {device: auto, compile: auto}

explorers:                     # who proposes structures, from iteration `first` to `last`
  - kind: states               # strained and shaken copies of the structures in many magnetic states
    options:
      count: 300
      # states: {ordered: 1, tilted: 3, spiral: 1, collinear: 1, random: 2}   # weights
      # tilt: 90               # degrees, largest
      # length_spread: 0.08    # relative standard deviation of |m|
      # displacement: 0.08     # Å, largest standard deviation
      # strain: 0.01           # standard deviation
      # volume: [0.94, 1.06]   # relative
  - kind: spin-lattice         # dynamics of atoms and moments with the committee, until it is unsure
    last: 2
    options: {temperatures: [100, 300], steps: 500, interval: 20}
  - kind: spin-lattice
    first: 3
    options: {temperatures: [300, 600, 1000], pressures: [0, 10], steps: 1000, interval: 20}

selection:
  labels: 20                   # per iteration, for training: candidates far from each other and from the data
  validation: 10               # per iteration, at random, never trained on
  trust:                       # [low, high] of the committee deviation, or auto: from the error distribution
    forces: auto               # eV/Å
    magnetic_perp: auto        # eV/µB

labeling:
  engine: calculator           # or another labeler that is installed, e.g. abinit
  options: {factory: "reference.py:make_calculator"}   # any ASE calculator with magnetic forces
  # workers: 1                 # processes on this machine

stop:
  accurate: 0.95               # enough: this fraction of the explored structures has deviations below the low levels,
  # errors: {force_rmse_mev_per_ang: 50, magnetic_force_perp_rmse_mev_per_mub: 5}   # and these hold on fresh frames
  iterations: 10               # at most
  # labels: 500                # at most, of all kinds

# seed: 0
# output: runs/<name of this file>
"""
