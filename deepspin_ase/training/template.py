"""The commented example that ``deepspin train --init`` writes."""

from __future__ import annotations

TEMPLATE = """\
# Training of a magnetic potential. Run:  deepspin train THIS_FILE
# Only data and optimizer are required; every other line shows a default.

data:                          # one entry per file; paths are relative to this file, $VARIABLES are replaced
  - path: frames.extxyz        # see `deepspin inspect`; labels may be missing on some frames
    # name: frames             # name in tables; by default the stem of the path
    # format: auto             # auto, extxyz, deepmd-npy, deepmd-tf, abacus, vasp-deltaspin
    # keys: {energy_key: REF_energy}   # options of the reader
    # weight: 1.0
    # where: {iteration: [1, 2, 3, 4]} # frames whose info has one of these values, or {min: ..., max: ...}
    validation: 0.1            # a fraction, a list of frame numbers (in the file, from 0), or another file
    # seed: 0                  # which frames the fraction picks
    # scale_magnetic_forces: false     # learn one factor for labels that do not match their own energies
    # licence: CC-BY-4.0       # for the model card
    # origin: where the data were published

model:
  cutoff: 5.0                  # Å
  channels: 32                 # 16 quick, 32 good, 64 slower and better with many data
  layers: 2
  radial: 10
  quadrupoles: 8               # spin tensors of rank two, for biquadratic exchange; 0: none
  spin_orbit: false            # true only if the data were computed with spin-orbit coupling
  magnetic: auto               # species with moments, e.g. [Fe]; auto: those that have any in the data
  species: auto

optimizer:
  max_minutes: 30              # or epochs: 500, or max_cpu_minutes: 30
  learning_rate: 0.004
  batch_size: 4                # frames
  # weight_decay: 0.0
  # warmup_steps: 100
  # ema: 0.998                 # decay of the running average of the weights
  # clip: 10.0                 # largest norm of a gradient
  # patience: null             # stop after so many epochs without improvement
  # validate_every: auto       # epochs

loss:                          # weights of errors that are divided by the rms of their labels
  energy: 1.0                  # per atom
  forces: 1.0
  stress: 0.1                  # if there are stress labels
  magnetic_perp: 1.0           # turns moments
  magnetic_par: 1.0            # stretches moments
  huber: 1.0                   # normalised errors beyond this count linearly; null: never
  # max_force: null            # eV/Å; frames with a larger force F get the weight (max_force/F)²
  # energy_window: null        # eV/atom above the lowest frame of the same composition, likewise

runtime:
  device: auto                 # auto, cpu, cuda
  precision: float32           # float32, float64
  seed: 0
  compile: auto                # on, off; auto: if the run is longer than about three minutes
  # threads: null              # CPU threads; null: torch's default
  # devices: 1                 # processes on this node (DDP); nodes: 1
  # output: runs/<name of this file>

# init_from: nio               # start from a shipped model or a model file (fine-tuning)
"""
