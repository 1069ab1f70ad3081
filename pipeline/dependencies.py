"""Which files of the project a stage's result depends on: what its module imports, followed statically.

Errors, logging, tracking, progress, provenance, garbage collection and how Spark is started are exempt (they change no
result), and so are package ``__init__`` modules, which hold nothing that stages use. A table named in a stage module
brings in that table's contract; a data file or folder that a module names in its own directory is a dependency too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGES = ("lake", "etl", "injection", "modeling", "analysis", "demo", "pipeline")
EXEMPT = frozenset(
    {
        *("lake/errors.py", "lake/gc_tuning.py", "lake/progress.py", "lake/provenance.py", "lake/tables/__init__.py"),
        *(f"modeling/tracking/{name}.py" for name in ("runs", "runstore", "rundatabase", "pastruns")),
        *("lake/__init__.py", "pipeline/project/params.py"),
        *(f"etl/spark/{name}.py" for name in ("jars", "java", "record", "server")),
    }
)
DATA_SUFFIXES = (".yaml", ".csv", ".html")
RESOLVED = "modeling/generations/"
"""Overlays of generations: a stage gets them resolved, through params.yaml."""


def stage_files(root: Path, stage: str) -> list[str]:
    """Paths, relative to ``root``, of the code and package data that ``stage`` depends on."""
    start = root / "pipeline" / "stages" / f"{stage}.py"
    seen: set[Path] = set()
    waiting = [start]
    while waiting:
        path = waiting.pop()
        name = path.relative_to(root).as_posix()
        if path in seen or name in EXEMPT or name.startswith(RESOLVED):
            continue
        seen.add(path)
        if path.suffix != ".py":
            continue
        waiting.extend(_imports(root, path))
        waiting.extend(_named_data(path))
        if path.is_relative_to(root / "pipeline"):
            waiting.extend(_named_tables(root, path))
    return sorted(p.relative_to(root).as_posix() for p in seen if p.name != "__init__.py" or p.stat().st_size > 400)


@cache
def _imports(root: Path, path: Path) -> tuple[Path, ...]:
    tree = ast.parse(path.read_text())
    typing_only = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    found: list[Path] = []
    for node in ast.walk(tree):
        if id(node) not in typing_only:
            found.extend(_targets(root, node))
    return tuple(found)


def _targets(root: Path, node: ast.AST) -> Iterator[Path]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
        names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    else:
        return
    for name in names:
        if name.split(".")[0] in PACKAGES:
            yield from _module_files(root, name)


def _module_files(root: Path, name: str) -> Iterator[Path]:
    base = root.joinpath(*name.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.exists():
            yield candidate


@cache
def _named_data(path: Path) -> tuple[Path, ...]:
    """Data files of the package that the module names, alone or within a folder it names."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.strip("."):
            named = path.parent / node.value
            if "/" not in node.value and named.suffix in DATA_SUFFIXES:
                found.update(path.parent.rglob(node.value))
            elif node.value.isidentifier() and named.is_dir() and not (named / "__init__.py").exists():
                found.update(file for file in named.iterdir() if file.suffix in DATA_SUFFIXES)
    return tuple(sorted(found))


def _named_tables(root: Path, path: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            contract = root / "lake" / "tables" / f"{node.value}.py"
            if node.value.isidentifier() and contract.exists():
                yield contract
