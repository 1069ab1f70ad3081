"""Which code and package data a stage's result depends on, and the hash of each: the stage's *code card*.

Imports are followed statically from the stage's module. Errors, logging, tracking, progress, provenance, locks, garbage
collection, how Spark is started and where parameters are kept are exempt: they change no result. A table named in a
module of ``pipeline``, or whose contract another module asks for, brings in that contract; a data file or folder that a
module names is a dependency.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator, Set
from functools import cache
from pathlib import Path

from lake.errors import DataError, one_line

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ("lake", "etl", "injection", "modeling", "analysis", "demo", "pipeline")
EXEMPT = frozenset(
    {
        "lake/__init__.py",
        *("lake/errors.py", "lake/gc_tuning.py", "lake/progress.py", "lake/provenance.py", "lake/tables/__init__.py"),
        "lake/upkeep/guard.py",
        *(f"modeling/tracking/{name}.py" for name in ("runs", "runstore", "rundatabase", "pastruns")),
        *(f"pipeline/project/{name}.py" for name in ("params", "codecards")),
        *(f"etl/spark/{name}.py" for name in ("connect", "java", "record", "server")),
    }
)
DATA_SUFFIXES = (".yaml", ".csv", ".html", ".css")
_LISTS_MODULES = "iter_modules"
"""What a module calls to find its neighbours, on all of which it then depends; ``pipeline`` only names stages so."""
_CONTRACT = "spec"
"""What a module calls for a table's contract."""
RESOLVED = "modeling/generations/"
"""Overlays of generations: a stage gets them resolved, through params.yaml."""


class Code:
    """The project's code below ``root``; modules that are ``exempt`` are not followed."""

    def __init__(self, root: Path = PROJECT, exempt: Set[str] = EXEMPT) -> None:
        self.root, self.exempt = root, exempt
        self._read: dict[str, tuple[str, list[str]]] = {}
        self._listed: dict[str, frozenset[str]] = {}

    def card(self, start: str) -> dict[str, str]:
        """Path and hash of every file that ``start`` depends on, itself included; paths are relative to the root."""
        seen: dict[str, str] = {}
        waiting = [start]
        while waiting:
            name = waiting.pop()
            if name not in seen and name not in self.exempt and not name.startswith(RESOLVED):
                seen[name], needed = self._file(name)
                waiting += needed
        return {name: seen[name] for name in sorted(seen) if seen[name]}

    def hash(self, start: str) -> str:
        """One hash of :meth:`card`, for partial work that only the same code may resume."""
        return _digest(json.dumps(self.card(start)).encode())

    def _file(self, name: str) -> tuple[str, list[str]]:
        """A file's hash, which comments and docstrings do not change, and the files that it needs."""
        if name not in self._read:
            content = (self.root / name).read_bytes()
            self._read[name] = self._module(name, content) if name.endswith(".py") else (_digest(content), [])
        return self._read[name]

    def _module(self, name: str, content: bytes) -> tuple[str, list[str]]:
        digest, imports, words = _parsed(name, content)
        needed = [*self._imported(imports), *self._quoted_data(name, words)]
        if name.startswith("pipeline/"):
            needed += [file for word in words if self._exists(file := f"lake/tables/{word}.py")]
        elif _LISTS_MODULES in words:
            folder = name.rpartition("/")[0]
            needed += [f"{folder}/{entry}" for entry in self._entries(folder) if entry.endswith(".py")]
        return digest, needed

    def _imported(self, imports: Set[str]) -> Iterator[str]:
        """Modules, and the packages that they lie in."""
        for dotted in imports:
            parts = dotted.split(".")
            packages = ["/".join([*parts[:depth], "__init__.py"]) for depth in range(1, len(parts) + 1)]
            yield from (name for name in ("/".join(parts) + ".py", *packages) if self._exists(name))

    def _quoted_data(self, name: str, words: Set[str]) -> Iterator[str]:
        """Data files that the module names, or whose folder it names, next to itself or at the top of its package."""
        for folder in {name.rpartition("/")[0], name.partition("/")[0]}:
            for word in self._entries(folder).intersection(words):
                named = f"{folder}/{word}"
                held = [f"{named}/{entry}" for entry in self._entries(named)] or [named]
                if f"{named}/__init__.py" not in held:
                    yield from (file for file in held if file.endswith(DATA_SUFFIXES))

    def _exists(self, name: str) -> bool:
        folder, _, file = name.rpartition("/")
        return file in self._entries(folder)

    def _entries(self, folder: str) -> frozenset[str]:
        if folder not in self._listed:
            place = self.root / folder
            self._listed[folder] = frozenset(path.name for path in place.iterdir()) if place.is_dir() else frozenset()
        return self._listed[folder]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


@cache
def _parsed(name: str, content: bytes) -> tuple[str, frozenset[str], frozenset[str]]:
    """A module's hash and what it uses (:func:`_used`); a process that runs several stages parses a file once."""
    try:
        tree = ast.parse(content, name)
    except (SyntaxError, ValueError) as error:
        raise DataError(f"{name} is not valid Python: {one_line(error)}; correct it, then run again") from error
    imports, words = _used(tree)
    digest = _digest(ast.dump(tree, annotate_fields=False).encode()) if tree.body else ""
    return digest, frozenset(imports), frozenset(words)


def _used(tree: ast.Module) -> tuple[set[str], set[str]]:
    """Modules of this project that a syntax tree imports, contracts it asks for included, and words that it quotes.

    Docstrings are removed from the tree; what is only for type checkers is not looked at.
    """
    imports: set[str] = set()
    words: set[str] = set()
    waiting: list[tuple[ast.AST, bool]] = [(tree, True)]
    while waiting:
        node, runs = waiting.pop()
        runs = runs and not (isinstance(node, ast.If) and _name(node.test) == "TYPE_CHECKING")
        if isinstance(body := getattr(node, "body", None), list):
            body[:] = [item for item in body if not _is_docstring(item)]
        if runs:
            _note(node, imports, words)
        waiting += [(child, runs) for child in ast.iter_child_nodes(node)]
    return {name for name in imports if name.split(".")[0] in PACKAGES}, words


def _note(node: ast.AST, imports: set[str], words: set[str]) -> None:
    """Note what a node imports or quotes."""
    match node:
        case ast.Constant(value=str(word)):
            if word.isidentifier() or (word.endswith(DATA_SUFFIXES) and "/" not in word):
                words.add(word)
        case ast.Import():
            imports.update(alias.name for alias in node.names)
        case ast.ImportFrom(module=str(module), level=0):
            imports |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
        case ast.Name(id=name) | ast.Attribute(attr=name):
            words |= {name} & {_LISTS_MODULES}
        case ast.Call(func=func) if _name(func) == _CONTRACT:
            given = (one.value for one in node.args if isinstance(one, ast.Constant))
            imports.update(f"lake.tables.{value}" for value in given if isinstance(value, str))


def _is_docstring(item: ast.stmt) -> bool:
    return isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant) and isinstance(item.value.value, str)


def _name(node: ast.AST) -> str | None:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None
