"""The models that come with the package, each with a card that says how it was made and how good it is."""

from __future__ import annotations

from pathlib import Path

from deepspin_ase.errors import InputError

_FOLDER = Path(__file__).parent


def available_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.pt"))


def model_path(name_or_path: str | Path) -> Path:
    """File of a model.

    Parameters
    ----------
    name_or_path
        One of :func:`available_models`, or a file.

    Raises
    ------
    InputError
        If there is neither.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    if isinstance(name_or_path, str) and name_or_path.lower() in available_models():
        return _FOLDER / f"{name_or_path.lower()}.pt"
    known = ", ".join(available_models()) or "none"
    raise InputError(f"there is no model {str(name_or_path)!r}: neither a file nor a shipped model ({known})")


def model_card(name: str) -> str:
    """Markdown text of the card of a shipped model.

    Raises
    ------
    InputError
        If there is no such model.
    """
    card = model_path(name).with_suffix(".md")
    if not card.is_file():
        raise InputError(f"the model {name!r} has no card")
    return card.read_text(encoding="utf-8")
