"""Values that commands take as text."""

from __future__ import annotations

import typer


def numbers_by_symbol(text: str, option: str) -> dict[str, float]:
    """Turn ``Fe=2.2,O=0`` into a dictionary; empty text gives an empty one.

    Raises
    ------
    typer.BadParameter
        If a part is not SYMBOL=NUMBER; names ``option``.
    """
    values = {}
    for part in filter(None, text.split(",")):
        symbol, _, number = part.partition("=")
        try:
            values[symbol.strip()] = float(number)
        except ValueError:
            message = f"{part!r} is not SYMBOL=NUMBER; write for example {option} Fe=2.2,O=0"
            raise typer.BadParameter(message, param_hint=option) from None
    return values
