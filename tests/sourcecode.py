"""What the modules of the project import and call, by their syntax trees; each file is parsed once a process."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Used:
    """What a module uses."""

    imports: frozenset[str]
    """Modules imported whole, and ``module.name`` of names taken from one."""
    sources: frozenset[str]
    """Modules that names are taken from."""
    calls: frozenset[tuple[str, str]]
    """As (what it is called on, name)."""


@cache
def used(path: Path) -> Used:
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
