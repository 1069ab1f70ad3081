"""Views: common questions, phrased correctly once, under names that work like tables."""

from __future__ import annotations

from dataclasses import dataclass

from lake import tables
from lake.contract.spec import TableSpec
from lake.store import axisviews, calibratedview, lineageview

MAIN = "main"
"""Name of the grid that fills the survey's own galaxies."""


@dataclass(frozen=True)
class View:
    """A query that Spark and DuckDB both understand."""

    meaning: str
    spec: TableSpec
    """Its columns: those of a table, or its own."""
    needs: tuple[str, ...]
    """The tables it reads."""
    every: str
    """Its query, of all results."""
    valid: str = ""
    """What its query ends with where only valid results are asked for."""

    @property
    def sql(self) -> str:
        return self.every + self.valid

    def query(self, invalid: bool) -> str:
        """Its query; of invalid results too where they are asked for."""
        return self.every if invalid else self.sql


def _along(axes: tuple[str, ...], of_sets: bool = False) -> View:
    spec, needs = axisviews.by_spec(axes, of_sets), axisviews.SET_NEEDS if of_sets else axisviews.NEEDS
    return View(spec.meaning, spec, needs, axisviews.by_sql(axes, of_sets))


class Views(dict[str, View]):
    """The listed views; it finds those along other axes by their names too."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or axisviews.axes_of(str(name)) is not None

    def __missing__(self, name: str) -> View:
        axes = axisviews.axes_of(name)
        if axes is None:
            raise KeyError(name)
        return _along(axes, name.startswith(axisviews.SET_PREFIX))


_LISTED = {
    "completeness_main": View(
        meaning="Rows of completeness that may be compared and summed: one grid, the survey's own, and valid results "
        "only",
        spec=tables.spec("completeness"),
        needs=("completeness", "experiments"),
        every=f"""SELECT * FROM completeness
WHERE origin = 'own' AND grid_name = '{MAIN}'
AND grid_id IN (SELECT max_by(grid_id, extracted_at) FROM completeness WHERE origin = 'own' AND grid_name = '{MAIN}')
AND weighting_id = prior""",
        valid="""
AND generation NOT IN (SELECT origin FROM experiments WHERE origin IS NOT NULL AND status <> 'valid')""",
    ),
    "scored_injections": View(
        axisviews.SCORED_SPEC.meaning,
        axisviews.SCORED_SPEC,
        ("injections", "injection_scores"),
        axisviews.SCORED_IN_CELLS_SQL,
    ),
    "set_scored_injections": View(
        axisviews.SET_SCORED_SPEC.meaning,
        axisviews.SET_SCORED_SPEC,
        ("set_injections", "injection_scores"),
        axisviews.SET_SCORED_SQL,
    ),
    "lineage": View(lineageview.SPEC.meaning, lineageview.SPEC, lineageview.NEEDS, lineageview.SQL),
    "calibrated_scores": View(
        calibratedview.SPEC.meaning, calibratedview.SPEC, calibratedview.NEEDS, calibratedview.SQL
    ),
    "completeness_by_theta_e_depth": _along(("theta_e", "depth")),
}
VIEWS = Views(_LISTED)
"""All views by name."""


def named(name: str) -> tuple[str, ...]:
    """The tables behind a name in a query: those a view needs, or the table itself."""
    return VIEWS[name].needs if name in VIEWS else (name,)


def known() -> tuple[str, ...]:
    """Names of the tables and listed views."""
    return tuple(sorted((*tables.names(), *VIEWS)))


def exists(name: str) -> bool:
    """Whether a query may use a name."""
    return name in tables.names() or name in VIEWS
