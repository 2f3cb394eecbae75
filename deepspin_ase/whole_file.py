"""Files that are written whole or not at all, whatever happens in between."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4


@contextmanager
def whole_file(path: str | Path) -> Iterator[BinaryIO]:
    """Binary stream into a new file that takes the place of ``path`` when the block ends.

    A kill, a full disk or an error inside the block leaves the older file, or none, as it was.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{uuid4().hex[:8]}")
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
