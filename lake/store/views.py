"""Views: common questions, phrased correctly once, under names that work like tables."""

from __future__ import annotations

from dataclasses import dataclass

from lake import tables
from lake.errors import not_one_of

MAIN = "main"
"""Name of the grid that fills the survey's own galaxies."""


@dataclass(frozen=True)
class View:
    """A query (read alike by Spark and DuckDB) with the columns of one table."""

    name: str
    meaning: str
    table: str
    """The table whose columns it has."""
    needs: tuple[str, ...]
    """The tables it reads."""
    sql: str


_COMPLETENESS_MAIN = View(
    name="completeness_main",
    meaning="Rows of completeness that may be compared and summed: one grid, the survey's own, and valid results only",
    table="completeness",
    needs=("completeness", "experiments"),
    sql=f"""SELECT * FROM completeness
WHERE origin = 'own' AND grid_name = '{MAIN}'
AND grid_id IN (SELECT max_by(grid_id, extracted_at) FROM completeness WHERE origin = 'own' AND grid_name = '{MAIN}')
AND weighting_id = prior
AND generation NOT IN (SELECT origin FROM experiments WHERE origin IS NOT NULL AND status <> 'valid')""",
)
_VIEWS = {view.name: view for view in (_COMPLETENESS_MAIN,)}


def names() -> tuple[str, ...]:
    """Names of all views."""
    return tuple(sorted(_VIEWS))


def view(name: str) -> View:
    """A view by name."""
    if name not in _VIEWS:
        raise not_one_of("view", names(), name)
    return _VIEWS[name]


def named(name: str) -> tuple[str, ...]:
    """The tables behind a name in a query: those a view needs, or the table itself."""
    return _VIEWS[name].needs if name in _VIEWS else (name,)


def known() -> tuple[str, ...]:
    """All names that a query may use: tables and views."""
    return tuple(sorted((*tables.names(), *names())))
