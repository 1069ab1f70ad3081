"""Views: common questions, phrased correctly once, under names that work like tables."""

from __future__ import annotations

from dataclasses import dataclass

from lake import tables

MAIN = "main"
"""Name of the grid that fills the survey's own galaxies."""


@dataclass(frozen=True)
class View:
    """A query that Spark and DuckDB both understand, with the columns of one table."""

    meaning: str
    table: str
    """The table whose columns it has."""
    needs: tuple[str, ...]
    """The tables it reads."""
    sql: str


VIEWS = {
    "completeness_main": View(
        meaning="Rows of completeness that may be compared and summed: one grid, the survey's own, and valid results "
        "only",
        table="completeness",
        needs=("completeness", "experiments"),
        sql=f"""SELECT * FROM completeness
WHERE origin = 'own' AND grid_name = '{MAIN}'
AND grid_id IN (SELECT max_by(grid_id, extracted_at) FROM completeness WHERE origin = 'own' AND grid_name = '{MAIN}')
AND weighting_id = prior
AND generation NOT IN (SELECT origin FROM experiments WHERE origin IS NOT NULL AND status <> 'valid')""",
    )
}
"""All views by name."""


def named(name: str) -> tuple[str, ...]:
    """The tables behind a name in a query: those a view needs, or the table itself."""
    return VIEWS[name].needs if name in VIEWS else (name,)


def known() -> tuple[str, ...]:
    """All names that a query may use: tables and views."""
    return tuple(sorted((*tables.names(), *VIEWS)))
