"""Frames as torch-geometric graphs, and what may be imported without torch."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from deepspin_ase.data import Frame, Labels, frames_to_graphs, magnetic_species, write_frames
from deepspin_ase.errors import InputError


def test_graphs_have_labels_with_nan_where_missing(make_frames, nio):
    frames = [*make_frames(1), *make_frames(1, stress=False), Frame(nio)]
    graphs = frames_to_graphs(frames, 3.0, dataset=4)
    full, no_stress, bare = graphs
    assert str(full.energy.dtype) == "torch.float64"
    assert (full.energy.shape, full.forces.shape, full.stress.shape) == ((1,), (4, 3), (1, 6))
    np.testing.assert_array_equal(full.forces, frames[0].labels.forces)
    np.testing.assert_array_equal(full.magnetic_forces[:2], frames[0].labels.magnetic_forces[:2])
    np.testing.assert_array_equal(full.moments, frames[0].moments)
    assert full.magnetic_forces[2:].isnan().all()  # oxygen
    assert no_stress.stress.isnan().all()
    assert bare.energy.isnan().all()
    assert bare.forces.isnan().all()
    assert full.dataset.tolist() == [4]
    assert full.edge_index.shape[1] > 0


def test_graphs_can_be_batched(make_frames):
    from torch_geometric.data import Batch

    batch = Batch.from_data_list(frames_to_graphs(make_frames(3), 3.0))
    assert batch.energy.shape == (3,)
    assert batch.stress.shape == (3, 6)
    assert batch.magnetic_forces.shape == (12, 3)
    assert batch.dataset.shape == (3,)


def test_magnetic_species_can_be_chosen(make_frames):
    frames = make_frames(1)
    assert magnetic_species(frames) == ("Ni",)
    assert magnetic_species(frames, threshold=100.0) == ()
    graph = frames_to_graphs(frames, 3.0, magnetic=["O"])[0]
    assert graph.magnetic_forces.isnan().all()  # Ni is excluded, O has no moment
    with pytest.raises(InputError, match="no chemical symbols"):
        frames_to_graphs(frames, 3.0, magnetic=["Nickel"])
    with pytest.raises(InputError, match="cutoff must be positive"):
        frames_to_graphs(frames, 0.0)


def test_graphs_do_not_share_memory_with_frames(make_frames):
    frame = make_frames(1)[0]
    graph = frames_to_graphs([frame], 3.0)[0]
    graph.forces += 1
    graph.pos += 1
    np.testing.assert_array_equal(frames_to_graphs([frame], 3.0)[0].forces, frame.labels.forces)


def test_reading_frames_needs_no_torch(tmp_path, nio):
    write_frames(tmp_path / "a.extxyz", [Frame(nio, Labels(energy=-1.0))])
    code = (
        "import sys; import deepspin_ase.data as d; f = d.read_frames(sys.argv[1]); "
        "d.inspect_frames(f).to_text();"
        "sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.extxyz")], check=True)
