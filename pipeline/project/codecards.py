"""Which code and package data a stage's result depends on, and the hash of each: the stage's *code card*.

Imports are followed statically from the stage's module. Errors, logging, tracking, progress, provenance, garbage
collection, how Spark is started and where parameters are kept are exempt: they change no result. A table named in a
module of ``pipeline`` brings in that table's contract, and a data file or folder that a module names is a dependency.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ("lake", "etl", "injection", "modeling", "analysis", "demo", "pipeline")
EXEMPT = frozenset(
    {
        "lake/__init__.py",
        *("lake/errors.py", "lake/gc_tuning.py", "lake/progress.py", "lake/provenance.py", "lake/tables/__init__.py"),
        *(f"modeling/tracking/{name}.py" for name in ("runs", "runstore", "rundatabase", "pastruns")),
        *(f"pipeline/project/{name}.py" for name in ("params", "codecards")),
        *(f"etl/spark/{name}.py" for name in ("jars", "java", "record", "server")),
    }
)
DATA_SUFFIXES = (".yaml", ".csv", ".html")
_LISTS_MODULES = "iter_modules"
"""What a module calls to find its neighbours, on all of which it then depends; ``pipeline`` only names stages so."""
RESOLVED = "modeling/generations/"
"""Overlays of generations: a stage gets them resolved, through params.yaml."""


class Source(NamedTuple):
    """What one file says: a hash that comments and docstrings do not change, what it imports, the words it quotes."""

    hash: str
    imports: list[str]
    words: list[str]


class Code:
    """The project's code below ``root``; what ``known`` holds by a file's content is not parsed again."""

    def __init__(self, root: Path = PROJECT, known: dict[str, Source] | None = None) -> None:
        self.root = root
        self.known = known or {}
        self.sources: dict[str, Source] = {}
        """What was used of ``known``, and what was read."""
        self._read: dict[Path, tuple[Source, list[Path]]] = {}
        self._listed: dict[Path, frozenset[str]] = {}

    def card(self, start: str) -> dict[str, str]:
        """Path and hash of every file that ``start`` depends on, itself included; paths are relative to the root."""
        seen: dict[str, str] = {}
        waiting = [self.root / start]
        while waiting:
            path = waiting.pop()
            name = path.relative_to(self.root).as_posix()
            if name not in seen and name not in EXEMPT and not name.startswith(RESOLVED):
                source, needed = self._file(path)
                seen[name] = source.hash
                waiting += needed
        return {name: seen[name] for name in sorted(seen) if seen[name]}

    def hash(self, start: str) -> str:
        """One hash of :meth:`card`, for partial work that only the same code may resume."""
        return _digest(json.dumps(self.card(start)).encode())

    def _file(self, path: Path) -> tuple[Source, list[Path]]:
        """A file's source and the files that it needs."""
        if path not in self._read:
            content = path.read_bytes()
            key = f"{path.suffix} {_digest(content)}"
            source = self.sources[key] = self.known.get(key) or _source(path, content)
            needed = [*self._imported(source), *self._quoted_data(path, source)]
            if path.is_relative_to(self.root / "pipeline"):
                needed += self._quoted_tables(source)
            elif _LISTS_MODULES in source.words:
                needed += sorted(path.parent.glob("*.py"))
            self._read[path] = (source, needed)
        return self._read[path]

    def _imported(self, source: Source) -> Iterator[Path]:
        """Modules, and the packages that they lie in."""
        for name in source.imports:
            base = self.root.joinpath(*name.split("."))
            packages = [folder / "__init__.py" for folder in (base, *base.parents) if folder.is_relative_to(self.root)]
            yield from (path for path in (base.with_suffix(".py"), *packages) if path.exists())

    def _quoted_data(self, path: Path, source: Source) -> Iterator[Path]:
        """Data files that the module names, or whose folder it names, next to itself or at the top of its package."""
        top = self.root / path.relative_to(self.root).parts[0]
        for folder in {path.parent, top}:
            for named in (folder / word for word in self._entries(folder).intersection(source.words)):
                held = [named / entry for entry in self._entries(named)] if named.is_dir() else [named]
                if named / "__init__.py" not in held:
                    yield from (file for file in held if file.suffix in DATA_SUFFIXES)

    def _quoted_tables(self, source: Source) -> Iterator[Path]:
        folder = self.root / "lake" / "tables"
        yield from (folder / name for name in self._entries(folder).intersection(f"{word}.py" for word in source.words))

    def _entries(self, folder: Path) -> frozenset[str]:
        if folder not in self._listed:
            self._listed[folder] = frozenset(path.name for path in folder.iterdir()) if folder.is_dir() else frozenset()
        return self._listed[folder]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _source(path: Path, content: bytes) -> Source:
    if path.suffix != ".py":
        return Source(_digest(content), [], [])
    walk = _Walk()
    body = ast.parse(content, str(path)).body
    walk.value(body, runs=True)
    text = "\0".join(walk.parts).encode()
    return Source(_digest(text) if len(walk.parts) > 1 else "", sorted(walk.imports), sorted(walk.words))


class _Walk:
    """One walk through a syntax tree, without the texts that stand alone (docstrings); an empty module has no parts."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.imports: set[str] = set()
        self.words: set[str] = set()

    def value(self, value: object, runs: bool) -> None:
        if isinstance(value, ast.AST):
            self._node(value, runs)
        elif isinstance(value, list):
            items = [item for item in value if not _is_docstring(item)]
            self.parts.append(f"[{len(items)}")
            for item in items:
                self.value(item, runs)
        else:
            self.parts.append(repr(value))

    def _node(self, node: ast.AST, runs: bool) -> None:
        runs = runs and not (
            isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        )
        if runs:
            self._note(node)
        self.parts.append(type(node).__name__)
        for name in node._fields:
            self.value(getattr(node, name, None), runs)

    def _note(self, node: ast.AST) -> None:
        """Note what a node imports (unless only for type checkers) or quotes."""
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            word = node.value
            if word.isidentifier() or (word.endswith(DATA_SUFFIXES) and "/" not in word):
                self.words.add(word)
            return
        else:
            if isinstance(node, ast.Attribute) and node.attr == _LISTS_MODULES:
                self.words.add(node.attr)
            return
        self.imports.update(name for name in names if name.split(".")[0] in PACKAGES)


def _is_docstring(item: object) -> bool:
    return isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant) and isinstance(item.value.value, str)


def _is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
