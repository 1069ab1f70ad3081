"""The data-model page, generated from the table contracts: ``make deps`` writes docs/data-model.md."""

from __future__ import annotations

from pathlib import Path

from lake import tables
from lake.contract.spec import Column, TableSpec
from lake.store import views

PAGE = Path("docs/data-model.md")

_INTRODUCTION = """# Data model

Generated from the contracts in `lake/tables/` by `make deps`; do not edit. Each contract is enforced three times:
rows are judged before they are written (those that break it go to `quarantine` with the reason), by Delta CHECK
constraints, and by the type of each column. **Key** columns identify a row; **lineage** columns say who wrote it and
when, and are not part of the table's fingerprint. A table with *slices* is written one slice at a time (a generation,
a grid, a stage), each with its own card.
"""
_HEAD = ("| column | type | unit | meaning | allowed | role |", "|---|---|---|---|---|---|")


def page() -> str:
    """The page as Markdown."""
    index = [f"- [`{name}`](#{name}): {tables.spec(name).meaning}" for name in tables.names()]
    index += [f"- [`{name}`](#{name}) (a view): {views.VIEWS[name].meaning}" for name in views.VIEWS]
    sections = [*(_section(tables.spec(name)) for name in tables.names()), *(_view(name) for name in views.VIEWS)]
    return "\n".join([_INTRODUCTION, *index, "", *sections])


def _view(name: str) -> str:
    view = views.VIEWS[name]
    where = "in `dhs query`, `dhs sql` and `lake.read`"
    if view.spec.name in tables.names():
        columns = f"A view with the columns of [`{view.spec.name}`](#{view.spec.name}), {where}"
        return f"## {name}\n\n{view.meaning}. {columns}:\n\n```sql\n{view.sql}\n```\n"
    rows = "\n".join([*_HEAD, *(_row(column) for column in view.spec.columns)])
    return f"## {name}\n\n{view.meaning}. A view, {where}.\n\n{rows}\n"


def _section(spec: TableSpec) -> str:
    slices = f" Slices by {', '.join(f'`{name}`' for name in spec.slice_by)}." if spec.slice_by else ""
    rules = "".join(f"\nAlso: {rule.text}.\n" for rule in spec.extra_rules)
    rows = [_row(column) for column in spec.columns]
    written = "Spark" if spec.engine == "spark" else "delta-rs (no JVM)"
    intro = f"## {spec.name}\n\n{spec.meaning}. Written by {written}.{slices}\n{rules}"
    return "\n".join([intro, *_HEAD, *rows, ""])


def _row(column: Column) -> str:
    allowed = column.allowed_text() + (" or null" if column.nullable else "")
    cells = (f"`{column.name}`", column.type, column.unit, column.meaning, allowed, column.role)
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
