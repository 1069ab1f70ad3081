"""No text calls completeness a lower bound, but the one that is shown where closure shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
_TEXTS = ("README.md", "docs/*.md", "analysis/**/*.py", "analysis/**/*.yaml", "analysis/**/*.html", "pipeline/**/*.py")
_SHOWN_BY_CLOSURE = {
    "analysis/reporting/decisions.yaml": "closure/direction",
    "docs/statistics.md": "is said only where `closure/whole/",
}
_BOUND = re.compile(r"lower\s+(bound|limit)", re.IGNORECASE)


def paragraphs() -> list[tuple[str, str]]:
    """Every paragraph (or entry of a list, or row of a table) that speaks of completeness and a lower bound."""
    found = []
    for pattern in _TEXTS:
        for path in sorted(PROJECT.glob(pattern)):
            for part in re.split(r"\n\s*\n|\n(?=[|])|\n\s*- name: ", path.read_text(encoding="utf-8")):
                if _BOUND.search(part) and "completeness" in part.lower():
                    found.append((str(path.relative_to(PROJECT)), part))
    return found


@pytest.mark.parametrize(("path", "text"), [(p, t) for p, t in paragraphs() if "Jeffreys" not in t])
def test_only_closure_makes_completeness_a_lower_bound(path: str, text: str) -> None:
    assert path in _SHOWN_BY_CLOSURE, text
    assert _SHOWN_BY_CLOSURE[path] in text, text


def test_what_closure_shows_is_among_them() -> None:
    assert set(_SHOWN_BY_CLOSURE) <= {path for path, _ in paragraphs()}
