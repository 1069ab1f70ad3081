"""Which code is running: what makes a figure traceable."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path


def lineage() -> dict[str, object]:
    """Values of the lineage columns of rows written now."""
    return {"pipeline_version": pipeline_version(), "git_commit": git_commit(), "extracted_at": datetime.now(UTC)}


@lru_cache(maxsize=1)
def git_commit() -> str:
    """Commit of the code, with ``+dirty`` where the work tree differs; ``DHS_COMMIT`` where there is no git (EMR)."""
    declared = os.environ.get("DHS_COMMIT")
    if declared:
        return declared
    folder = Path(__file__).resolve().parent
    held = _git(folder, "ls-files", Path(__file__).name)  # not another project's repository that surrounds this folder
    commit = _git(folder, "rev-parse", "HEAD") if held else None
    if commit is None:
        return "unknown"
    dirty = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", "*.py")
    return commit + ("+dirty" if dirty else "")


@lru_cache(maxsize=1)
def pipeline_version() -> str:
    """Version of the installed package, or of the source tree's absence of one."""
    try:
        return metadata.version("darkhaloscope")
    except metadata.PackageNotFoundError:
        return "source"


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
