"""The energy-and-derivatives function as compiled machine code, kept on disk for the next process.

The function is traced once with symbolic sizes (``make_fx``), with its backward pass inside, and compiled by
AOTInductor. Anything that goes wrong (no C++ compiler, a compiler error, results that differ from the eager ones) is
logged and leaves the eager function in place.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from deepspin_ase.model.potential import Inputs, Outputs, Potential, energy_and_derivatives

logger = logging.getLogger(__name__)

Function = Callable[[Inputs], Outputs]

_TOLERANCE = {torch.float32: 2e-4, torch.float64: 1e-10}


def eager_function(potential: Potential) -> Function:
    """Energies and first derivatives by ordinary torch operations."""

    def evaluate(inputs: Inputs) -> Outputs:
        out = energy_and_derivatives(potential.network, inputs, cutoff=potential.config.cutoff, create_graph=False)
        return Outputs(*(t.detach() for t in out))

    return evaluate


def compiled_function(potential: Potential, *, directory: Path | None = None) -> Function:
    """The same function compiled, or the eager one (with a log line) where that is not possible.

    Parameters
    ----------
    potential
        Its weights become part of the compiled code; do not change them afterwards.
    directory
        Cache of compiled code; default :func:`cache_directory`. The first call on a machine takes one to two minutes,
        later ones under a second.
    """
    eager = eager_function(potential)
    package = (directory or cache_directory()) / f"{fingerprint(potential)}.pt2"
    try:
        if not package.is_file():
            compile_package(potential, package)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = torch._inductor.aoti_load_package(str(package))
    except Exception as error:  # the compiler is a third party with many ways to fail
        logger.warning("compiled evaluation is not available, using the eager one: %s", one_line(error))
        return eager

    def evaluate(inputs: Inputs) -> Outputs:
        return Outputs(*run(*inputs))

    if (difference := _difference(potential, eager, evaluate)) > _TOLERANCE[potential.dtype]:
        logger.warning("compiled evaluation differs from the eager one by %.1e, using the eager one", difference)
        return eager
    return evaluate


def compile_package(potential: Potential, package: Path) -> None:
    """Trace, export and compile; the finished file appears at ``package`` at once or not at all."""
    from torch.export import Dim, export
    from torch.fx.experimental.proxy_tensor import make_fx

    cutoff, network = potential.config.cutoff, potential.network

    def function(*tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(energy_and_derivatives(network, Inputs(*tensors), cutoff=cutoff, create_graph=False))

    logger.info("compiling the model for this machine (once; one to two minutes)")
    inputs = _probe(potential)
    traced = make_fx(function, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*inputs)
    n, k, g = Dim.DYNAMIC, Dim.DYNAMIC, Dim.DYNAMIC
    sizes = ({0: n}, {0: n}, {0: n, 1: k}, {0: g}, {0: n}, {0: n, 1: k}, {0: n, 1: k}, {0: n})
    package.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(dir=package.parent) as scratch:
        warnings.simplefilter("ignore")
        exported = export(traced, tuple(inputs), dynamic_shapes=sizes, strict=False)
        made = torch._inductor.aoti_compile_and_package(exported, package_path=str(Path(scratch) / "model.pt2"))
        os.replace(made, package)


def cache_directory() -> Path:
    """Where compiled code is kept: ``$DEEPSPIN_CACHE``, else ``deepspin-ase`` in the user's cache directory."""
    if chosen := os.environ.get("DEEPSPIN_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "deepspin-ase"


def fingerprint(potential: Potential) -> str:
    """Name of the compiled code: a hash of everything that it depends on."""
    digest = hashlib.sha256()
    parts = (
        torch.__version__,
        platform.machine(),
        torch.backends.cpu.get_cpu_capability(),
        str(torch.get_num_threads()),  # compiled in; code for one thread has no parallel regions
        potential.device.type,
        torch.cuda.get_device_name(potential.device) if potential.device.type == "cuda" else "",
        str(potential.dtype),
        repr(sorted(potential.config.as_dict().items())),
        repr(potential.network.spin_orbit),
        _source_hash(),
    )
    digest.update("\n".join(parts).encode())
    for name, tensor in sorted(potential.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def _source_hash() -> str:
    """Hash of the files that define the traced function, so that code of another version is never loaded."""
    here = Path(__file__).parent
    files = ("basis.py", "quadrupole.py", "interaction.py", "network.py", "potential.py", Path(__file__).name)
    return hashlib.sha256(b"".join((here / name).read_bytes() for name in files)).hexdigest()


def _probe(potential: Potential) -> Inputs:
    """A small batch of two random clusters with distinct sizes, so that no two dimensions are taken for the same."""
    generator = torch.Generator().manual_seed(1)
    graphs = []
    for atoms in (11, 8):
        pos = torch.rand(atoms, 3, generator=generator, dtype=torch.float64) * 0.8 * potential.config.cutoff
        near = (torch.cdist(pos, pos) < potential.config.cutoff) & ~torch.eye(atoms, dtype=torch.bool)
        centre, neighbour = near.nonzero(as_tuple=True)
        species = torch.tensor(potential.config.species)
        graphs.append(
            Data(
                pos=pos,
                cell=10.0 * torch.eye(3, dtype=torch.float64).unsqueeze(0),
                z=species[torch.arange(atoms) % len(species)],
                moments=torch.randn(atoms, 3, generator=generator, dtype=torch.float64),
                edge_index=torch.stack([neighbour, centre]),
                edge_shift=torch.zeros(len(centre), 3, dtype=torch.float64),
                num_nodes=atoms,
            )
        )
    return potential.inputs(Batch.from_data_list(graphs))


def _difference(potential: Potential, one: Function, other: Function) -> float:
    """Largest difference of two functions on the probe, relative to the largest value of each output."""
    inputs = _probe(potential)
    pairs = zip(one(inputs), other(inputs), strict=True)
    return max(float((a - b).abs().max() / a.abs().max().clamp(min=1e-12)) for a, b in pairs)


def one_line(error: Exception) -> str:
    """Kind of an error and the first two lines of its message, on one line."""
    return f"{type(error).__name__}: {' '.join(line.strip() for line in str(error).strip().splitlines()[:2])}"


def freeze(network: nn.Module) -> None:
    """Switch off gradients of the weights: derivatives are then taken only of positions and moments."""
    for parameter in network.parameters():
        parameter.requires_grad_(False)
