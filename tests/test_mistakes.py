"""The pages of mistakes and of faults name guards that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PAGES = [PROJECT / "docs" / f"{name}.md" for name in ("mistakes", "faults")]
_GUARD = re.compile(r"`([\w./]+\.(?:py|toml|yaml|md))(?:::(\w+))?`")


def guards() -> list[tuple[str, str | None]]:
    """Every file, and name in it, that the last column of a row of the pages gives."""
    rows = [line for page in PAGES for line in page.read_text().splitlines() if line.startswith("| ")]
    cells = [row.rstrip("| ").rsplit("|", 1)[-1] for row in rows if not row.startswith(("| mistake", "| fault"))]
    found = [_GUARD.findall(cell) for cell in cells]
    assert all(found), cells[found.index([])]
    return [(path, name or None) for cell in found for path, name in cell]


@cache
def names_in(path: Path) -> set[str]:
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)}


def test_every_guard_exists() -> None:
    missing = [
        f"{path}::{name}"
        for path, name in guards()
        if not (PROJECT / path).is_file() or (name and name not in names_in(PROJECT / path))
    ]
    assert not missing
    assert len(guards()) > 30
