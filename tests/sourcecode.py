"""What the modules of the project import and call, by their syntax trees; each file is parsed once a run."""

from __future__ import annotations

import ast
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.project.codecards import PACKAGES

PROJECT = Path(__file__).resolve().parents[1]
MODULES = sorted(path for package in PACKAGES for path in (PROJECT / package).rglob("*.py"))


@dataclass(frozen=True)
class Used:
    """What a module uses."""

    imports: frozenset[str]
    """Modules imported whole, and ``module.name`` of names taken from one."""
    sources: frozenset[str]
    """Modules that names are taken from."""
    calls: frozenset[tuple[str, str]]
    """As (what it is called on, name)."""


Uses = Callable[[Path], Used]
"""What a module of the project uses (fixture ``used``)."""


def write(folder: Path) -> None:
    """Leave in a folder what every module uses, for :func:`read`."""
    (folder / "used").write_bytes(pickle.dumps({path: _used(path) for path in MODULES}))


def read(folder: Path) -> Uses:
    found: dict[Path, Used] = pickle.loads((folder / "used").read_bytes())  # noqa: S301 - written by this run
    return found.__getitem__


def _used(path: Path) -> Used:
    imports: set[str] = set()
    sources: set[str] = set()
    calls: set[tuple[str, str]] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import():
                imports.update(alias.name for alias in node.names)
            case ast.ImportFrom():
                sources.add(str(node.module))
                imports.update(f"{node.module}.{alias.name}" for alias in node.names)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=value), attr=name)):
                calls.add((value, name))
            case ast.Call(func=ast.Attribute(value=value, attr=name)):
                calls.add((ast.unparse(value), name))
            case ast.Call(func=ast.Name(id=name)):
                calls.add(("", name))
    return Used(frozenset(imports), frozenset(sources), frozenset(calls))
