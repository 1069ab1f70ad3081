"""What partial work was made by: the code of the modules that made it, so that changed code does not resume from it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType


def code_hash(modules: Iterable[ModuleType]) -> str:
    """Hash of the modules' source files."""
    digest = hashlib.sha256()
    for path in sorted(str(module.__file__) for module in modules):
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()[:16]


def state(path: Path) -> str:
    """Name, size and time of change of a file, or that it is absent."""
    if not path.exists():
        return f"{path.name} absent"
    facts = path.stat()
    return f"{path.name} {facts.st_size} {facts.st_mtime_ns}"
