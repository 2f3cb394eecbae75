"""Text files that may be compressed with gzip."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Final

from deepspin_ase.data.frames import FrameError

_MAGIC: Final = b"\x1f\x8b"


def read_text(path: Path) -> str:
    """The text of a file, whatever its name says about compression; bytes that are no UTF-8 become "�".

    Raises
    ------
    FrameError
        A compressed file that is truncated or damaged.
    """
    content = path.read_bytes()
    if content.startswith(_MAGIC):
        try:
            content = gzip.decompress(content)
        except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
            raise FrameError(f"the compressed file is truncated or damaged: {problem}", source=path) from None
    return content.decode("utf-8", errors="replace")


def write_text(path: Path, text: str, *, append: bool = False) -> None:
    """Write or append text, compressed if the name ends with ``.gz``; the same text gives the same bytes."""
    content = text.encode("utf-8")
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    with path.open("ab" if append else "wb") as stream:
        stream.write(content)


def is_compressed(path: Path) -> bool:
    """Whether a file begins like one of gzip."""
    with path.open("rb") as stream:
        return stream.read(len(_MAGIC)) == _MAGIC
