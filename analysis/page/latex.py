"""Words and tables as LaTeX: ASCII in the file, whatever the text holds."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from analysis.reporting.views import Link, TableView, Tag

_SPECIAL = {
    **{"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"},
    **{"|": r"\textbar{}", '"': r"\textquotedbl{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}"},
    **{"\u00a0": "~", "—": "---", "–": "--", "−": r"\ensuremath{-}", "±": r"\ensuremath{\pm}"},
    **{"×": r"\ensuremath{\times}", "≥": r"\ensuremath{\geq}", "≤": r"\ensuremath{\leq}", "°": r"\ensuremath{^\circ}"},
    **{"-": "{-}", "[": "{[}", "]": "{]}"},
}
"""A hyphen alone, so that two do not become a dash; brackets in braces, so that none is an option of a command."""
_BREAKS = re.compile(r"(?<=[/_:])(?=\S)")
_SIZES = {"footnotesize": 118.0, "scriptsize": 138.0, "tiny": 182.0}
"""Letters that a line holds, by size."""
_GAP = 1.6
"""Letters between two columns."""
_MOST = 44
_WORDS = re.compile(r"[\s/_:\u00a0-]+")
_BREAK = "\u200b"


def escaped(text: object) -> str:
    """Text for LaTeX; letters that a plain engine does not know are named by their number."""
    return "".join(_letter(letter) for letter in _BREAKS.sub(_BREAK, str(text)))


def _letter(letter: str) -> str:
    if letter == _BREAK:
        return r"\allowbreak{}"
    if letter in _SPECIAL:
        return _SPECIAL[letter]
    if letter.isascii():
        return letter if letter.isprintable() else " "
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return plain or f"{{[}}U+{ord(letter):04X}{{]}}"


def table(view: TableView, label: str) -> str:
    """A table over as many pages as it takes, its head repeated (packages longtable, booktabs, array)."""
    rows = [[cell_text(cell) for cell in row] for row in view.rows]
    headers = [str(header) for header in view.headers]
    size, room = _size([headers, *rows])
    columns = "".join(f"P{{{width:.3f}}}" for width in _widths([headers, *rows], room))
    head = _line(headers, bold=True) if any(headers) else ""
    body = "\n".join(_line(row) for row in rows) or _line(["none", *[""] * (len(headers) - 1)])
    caption = f"\\caption{{{escaped(view.caption)}}}\\label{{{label}}}\\\\"
    again = f"\\caption[]{{(continued)}}\\\\\n\\toprule\n{head}\n\\midrule\n\\endhead"
    return (
        f"{{\\{size}\n\\begin{{longtable}}{{{columns}}}\n{caption}\n\\toprule\n{head}\n\\midrule\n\\endfirsthead\n"
        f"{again}\n\\bottomrule\n\\endfoot\n{body}\n\\end{{longtable}}}}\n"
    )


def cell_text(cell: Any) -> str:
    """A cell without its link or colour."""
    if isinstance(cell, Tag):
        return f"{cell.status} {cell.words}".strip()
    return cell.text if isinstance(cell, Link) else str(cell)


def _line(cells: Sequence[str], bold: bool = False) -> str:
    words = (escaped(cell) for cell in cells)
    return " & ".join(f"\\textbf{{{word}}}" if bold and word else word for word in words) + r" \\"


def _widths(rows: Sequence[Sequence[str]], letters: float) -> list[float]:
    """Shares of the line: room for the longest word of each column, the rest by the longest cell."""
    columns, least = list(zip(*rows, strict=True)), _least(rows)
    most = [max(min(max(map(len, column)), _MOST) + 1.5, low) for column, low in zip(columns, least, strict=True)]
    if sum(most) <= letters:
        return [length / letters for length in most]
    spare, wanted = max(letters - sum(least), 0.0), sum(most) - sum(least)
    grown = [low + spare * (high - low) / max(wanted, 1.0) for low, high in zip(least, most, strict=True)]
    return [length / max(sum(grown), letters) for length in grown]


def _least(rows: Sequence[Sequence[str]]) -> list[float]:
    """Letters of the longest word of each column."""
    columns = zip(*rows, strict=True)
    return [min(max(len(word) for cell in column for word in _WORDS.split(cell)), _MOST) + 1.5 for column in columns]


def _size(rows: Sequence[Sequence[str]]) -> tuple[str, float]:
    """The largest size in which every column has room for its longest word, and its letters on a line."""
    for size, letters in _SIZES.items():
        room = letters - _GAP * len(rows[0])
        if sum(_least(rows)) <= room:
            return size, room
    return size, room
