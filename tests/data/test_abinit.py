"""ABINIT outputs: a real one, and what is refused."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase.units import Bohr, Hartree

from deepspin_ase.data import FrameError, guess_format, read_frames
from deepspin_ase.data.abinit import sphere_moments

PACKED = Path(__file__).parent / "abinit" / "fe2_displaced.abo.gz"
TEXT = gzip.decompress(PACKED.read_bytes()).decode()


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "fe2.abo"
    path.write_text(TEXT)
    return path


@pytest.fixture
def damaged(tmp_path: Path) -> Callable[..., Path]:
    """A copy of the output in which a text is replaced, or that ends at a text."""

    def make(old: str, new: str = "", *, cut: bool = False) -> Path:
        assert old in TEXT
        path = tmp_path / "run.abo"
        path.write_text(TEXT[: TEXT.index(old)] if cut else TEXT.replace(old, new))
        return path

    return make


def test_every_number_has_its_unit_and_sign(output: Path) -> None:
    (frame,) = read_frames(output, "abinit")
    labels = frame.labels
    assert frame.atoms.get_chemical_formula() == "Fe2"
    assert frame.atoms.pbc.all()
    assert frame.atoms.cell[1] == pytest.approx([0.02, 2.89, -0.03], abs=1e-7)
    assert labels.energy == pytest.approx(-249.13364184995 * Hartree, abs=1e-9)
    assert labels.forces[0] == pytest.approx(
        np.array([-2.5099538999e-3, 4.1374230377e-3, -5.3903649014e-3]) * Hartree / Bohr
    )
    assert labels.stress[5] == pytest.approx(9.4488601928e-5 * Hartree / Bohr**3)  # ABINIT's sixth is xy too
    assert labels.stress[0] == pytest.approx(7.6612060974e-4 * Hartree / Bohr**3)
    assert frame.moments[1] == pytest.approx([1.5907836042, 0, 1.2121912080], abs=1e-9)  # the target
    assert sphere_moments(TEXT, 2, output)[1] == pytest.approx([1.590742, 0.000011, 1.212162])


def test_compressed_output_is_read_as_it_is(output: Path) -> None:
    assert guess_format(PACKED) == "abinit"
    assert read_frames(PACKED)[0].labels.energy == read_frames(output)[0].labels.energy


def test_magnetic_forces_are_what_the_target_gradient_says_but_negative(output: Path) -> None:
    frame = read_frames(output, "abinit")[0]
    printed = TEXT.split("Gradient with respect to target")[1].splitlines()[4:6]
    gradient = np.array([[float(x) for x in row.split()[3:]] for row in printed]) * Hartree
    np.testing.assert_allclose(frame.labels.magnetic_forces, -gradient, atol=2e-5)


def test_format_is_recognised_and_metadata_kept(output: Path) -> None:
    assert guess_format(output) == "abinit"
    info = read_frames(output)[0].info
    assert info["code"] == "ABINIT 9.6.2"
    assert info["constraint_kind"] == 1
    assert info["pawxcdev"] == 0
    assert info["scf_steps"] == 18


def test_truncated_output_is_refused(damaged: Callable[..., Path]) -> None:
    with pytest.raises(FrameError, match="did not reach its end"):
        read_frames(damaged("-outvars: echo values of variables after", cut=True), "abinit")


def test_unconverged_output_is_refused(damaged: Callable[..., Path]) -> None:
    with pytest.raises(FrameError, match="did not converge"):
        read_frames(damaged("=>converged", "=>not"), "abinit")


def test_unconstrained_run_is_refused(damaged: Callable[..., Path]) -> None:
    with pytest.raises(FrameError, match="constraint_kind was 0"):
        read_frames(damaged("grspin", "other"), "abinit")


def test_damaged_table_of_moments_is_refused(damaged: Callable[..., Path]) -> None:
    with pytest.raises(FrameError, match="table of moments"):
        read_frames(damaged("14.", "xx."), "abinit")


def test_lost_forces_are_refused(damaged: Callable[..., Path]) -> None:
    with pytest.raises(FrameError, match="3 numbers for 2 atoms"):
        read_frames(damaged("                       2.5099538999E-03 -4.1374230377E-03  5.3903649014E-03\n"), "abinit")


def test_expanded_exchange_correlation_is_warned_about(
    damaged: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    read_frames(damaged("         pawxcdev           0\n"), "abinit")
    assert "smaller than the gradient" in caplog.text


def test_stress_with_moments_along_y_is_left_out(
    damaged: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = damaged("1.5907836042E+00  0.0000000000E+00", "1.5007836042E+00  0.5000000000E+00")
    (frame,) = read_frames(path, "abinit")
    assert frame.labels.stress is None
    assert "the stress is left out" in caplog.text
