"""Contract of ``figure_points``."""

from lake.contract.spec import Column, TableSpec

SPEC = TableSpec(
    name="figure_points",
    meaning="One point of a figure of a diagnostic run",
    slice_by=("run_id",),
    columns=(
        Column("run_id", "string", "the run that measured it", role="key"),
        Column("figure", "string", "the figure, with its diagnostic: bright_arcs/detected", role="key"),
        Column("series", "string", "points of one series are drawn alike", role="key"),
        Column("position", "int", "place within the series, from 0", role="key", low=0),
        Column("x", "double", "horizontal value; of categories their place", nullable=True),
        Column("y", "double", "vertical value", nullable=True),
        Column("low", "double", "lower end of the 95 % interval", nullable=True),
        Column("high", "double", "upper end of the 95 % interval", nullable=True),
        Column("n", "bigint", "objects it was measured on", nullable=True, low=0),
        Column("label", "string", "name of the category or the object", nullable=True),
    ),
)
