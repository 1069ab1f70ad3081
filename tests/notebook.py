"""Runs a notebook's cells in order as Jupyter would, and stores what they show: ``python -m tests.notebook FILE``.

Jupyter is not among the project's packages; a cell here is plain Python, whose last expression is what it shows.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Shown:
    """What a cell printed and what its last expression is (None if it is none)."""

    printed: str
    value: Any


def run(notebook: dict[str, Any]) -> list[Shown]:
    """Run all code cells in one namespace; an exception of a cell is raised."""
    names: dict[str, Any] = {"__name__": "__main__"}
    return [_run_cell("".join(cell["source"]), names) for cell in code_cells(notebook)]


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _run_cell(source: str, names: dict[str, Any]) -> Shown:
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, "<cell>", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names) if last else None  # noqa: S307
    return Shown(printed.getvalue(), value)


def outputs(shown: Shown, number: int) -> list[dict[str, Any]]:
    """A cell's outputs as the notebook format stores them."""
    found: list[dict[str, Any]] = []
    if shown.printed:
        found.append({"name": "stdout", "output_type": "stream", "text": shown.printed.splitlines(keepends=True)})
    if shown.value is None:
        return found
    data: dict[str, Any] = {"text/plain": repr(shown.value).splitlines(keepends=True)}
    if hasattr(shown.value, "savefig"):
        picture = io.BytesIO()
        shown.value.savefig(picture, format="png", dpi=80, metadata={"Software": None})
        data["image/png"] = base64.b64encode(picture.getvalue()).decode()
    elif hasattr(shown.value, "to_html"):
        data["text/html"] = shown.value.to_html(max_rows=20).splitlines(keepends=True)
    return [*found, {"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": data}]


def fill(path: Path) -> None:
    """Run a notebook on the project in the working directory and store its outputs."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for number, (cell, shown) in enumerate(zip(code_cells(notebook), run(notebook), strict=True), start=1):
        cell |= {"execution_count": number, "outputs": outputs(shown, number)}
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    fill(Path(sys.argv[1]))
