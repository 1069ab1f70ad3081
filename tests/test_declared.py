"""What the project imports of other projects, it declares, and the lock has it."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from pipeline.project.codecards import PACKAGES

PROJECT = Path(__file__).resolve().parents[1]
_IMPORT = re.compile(r"^\s*(?:from|import) +(\w+)", re.MULTILINE)


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_module_that_is_imported_is_of_a_declared_dependency() -> None:
    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {plain(re.match(r"[\w.-]+", each)[0]) for each in declared}  # type: ignore[index]
    locked = {
        plain(name) for name in re.findall(r"^([\w.-]+)==", (PROJECT / "requirements.lock").read_text(), re.MULTILINE)
    }
    assert names <= locked
    sources = [path.read_text() for package in PACKAGES for path in (PROJECT / package).rglob("*.py")]
    imported = {name for text in sources for name in _IMPORT.findall(text)} - set(PACKAGES) - sys.stdlib_module_names
    of = packages_distributions()
    assert len(imported) > 30
    assert {name for name in imported if name in of and not names & {plain(each) for each in of[name]}} == set()
