"""Publishing a folder: it appears whole, by rename."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def published_folder(target: Path, draft: Path) -> Iterator[Path]:
    """Fill the folder ``draft``, which takes the place of ``target`` when the block ends well."""
    draft.mkdir(parents=True, exist_ok=True)
    yield draft
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        shutil.rmtree(target)
    draft.replace(target)
