"""What a stage imports from other projects: what a machine needs that runs it."""

from __future__ import annotations

import ast
import sys
from functools import cache

from pipeline.project.codecards import PACKAGES, PROJECT, Code

_ELSEWHERE = frozenset(
    {
        *(f"etl/spark/{name}.py" for name in ("connect", "java", "record", "server")),
        *(f"pipeline/project/{name}.py" for name in ("params", "codecards", "libraries")),
    }
)
"""Modules that run where a stage is started from, and those of the command line, which every stage needs."""


def libraries(stage: str) -> list[str]:
    """Top-level modules of other projects that a stage's module and its context import, directly or not."""
    found: set[str] = set()
    code = Code(exempt=_ELSEWHERE)
    for start in (f"pipeline/stages/{stage}.py", "pipeline/stage.py"):
        for name in code.card(start):
            if name.endswith(".py"):
                found |= _imported(name, (PROJECT / name).read_bytes())
    return sorted(found - set(PACKAGES) - sys.stdlib_module_names)


@cache
def _imported(name: str, content: bytes) -> frozenset[str]:
    """First names of all modules that a module imports; the project itself imports none by a relative name."""
    found = set()
    for node in ast.walk(ast.parse(content, name)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return frozenset(found)
