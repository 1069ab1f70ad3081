"""Views of completeness along any axes of the injections, by name: ``completeness_by_theta_e_depth``.

Spark and DuckDB give the same results: numbers are doubles (``5e-1``), and only functions of both engines are used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

from lake.contract import columns
from lake.contract.spec import Column, TableSpec, Type
from lake.errors import invalid
from lake.sky.survey import SURVEY

PREFIX = "completeness_by_"
SET_PREFIX = "set_completeness_by_"
"""The same of audits on sets of cut-outs."""
MOST = 3
"""Axes of one view."""
NEEDS = ("injections", "injection_scores", "thresholds")
MARKED = 0.2
"""Cells above this completeness are marked."""
_IDENTITY = ("grid_id", "grid_name", "generation", "prior", "threshold_id", "threshold", "fpr_reached", "population")


@dataclass(frozen=True)
class Axis:
    """A parameter of injections, in bins."""

    name: str
    column: str
    """Of ``injections`` (i)."""
    meaning: str
    unit: str = ""
    width: float | None = None
    """Width of its bins; None for values that are bins themselves."""
    start: float = 0.0
    """An edge of its bins."""
    is_text: bool = False

    @property
    def sql(self) -> str:
        """The bin of a row: its lower edge, or the value itself."""
        if self.width is None:
            return self.column
        place = f"floor(({self.column} - {self.start:e}) / {self.width:e} + 1e-9)"
        return f"round({place} * {self.width:e} + {self.start:e}, 6)"

    @property
    def spec(self) -> Column:
        bins = "" if self.width is None else f", lower edge of a bin of {self.width:g}"
        kind: Type = "string" if self.is_text else "double"
        return Column(self.name, kind, f"{self.meaning}{bins}", self.unit, role="key", nullable=True)


class ViewSpec(TableSpec):
    """Columns of a view, without the lineage columns of tables."""

    def __post_init__(self) -> None:
        """No lineage is added."""


_BAND = SURVEY.reference_band
AXES = {
    axis.name: axis
    for axis in (
        Axis("theta_e", "i.lens_theta_e_arcsec", "Einstein radius, as the grid has it", "arcsec"),
        Axis("beta_frac", "i.src_beta_frac", "source offset over theta_E", width=0.15, start=0.1),
        Axis("src_mag", f"i.{SURVEY.source_columns[0]}", f"source {_BAND} magnitude, unlensed", "mag", 1.0),
        Axis("depth", f"i.host_depth_{_BAND}_mag", f"{_BAND} 5-sigma depth of the host", "mag", 0.5),
        Axis("seeing", f"i.host_psf_fwhm_nea_{_BAND}_arcsec", f"{_BAND} psfsize of the host", "arcsec", 0.15),
        Axis("host_type", "i.host_type", "Tractor type of the host (null: not known)", is_text=True),
        Axis("host_exposures", "i.host_nobs_z_bin", "bin of the host's z exposures (null: not known)", is_text=True),
        Axis("host_size", "i.host_shape_r", "half-light radius of the host (null: not known)", "arcsec", 0.5),
    )
}

_INDICES = (("t", "lpad(CAST(i.theta_e_index AS STRING), 2, '0')"), ("p", "i.psf_index"), ("d", "i.depth_index"))
_CELL = "concat({})".format(", ".join(f"'{letter}', {index}" for letter, index in _INDICES))
"""The name of an injection's cell, as in ``completeness``."""
SCORED_SQL = f"""SELECT i.grid_id, i.grid_name, s.generation, s.checkpoint_id, i.prior, i.injection_id, i.galaxy_id,
s.status, s.probability, s.host_probability, coalesce(i.detectable, false) AS detectable,
{", ".join(f"{axis.sql} AS {axis.name}" for axis in AXES.values())}
FROM injections i JOIN injection_scores s ON s.grid_id = i.grid_id AND s.injection_id = i.injection_id"""
SCORED_IN_CELLS_SQL = SCORED_SQL.replace(" AS detectable,", f" AS detectable, {_CELL} AS cell,")

SCORED_SPEC = ViewSpec(
    name="scored_injections",
    meaning="An injection with a finder's scores, and the bin of every axis of completeness_by_... that it lies in",
    columns=(
        columns.GRID_ID,
        columns.GRID_NAME,
        columns.GENERATION,
        columns.CHECKPOINT_ID,
        Column("prior", "string", "name of the prior"),
        Column("injection_id", "string", "injection within its grid", role="key"),
        Column("galaxy_id", "string", "the host"),
        Column("status", "string", "scored, or failed and in no denominator"),
        Column("probability", "double", "logistic of the score", nullable=True),
        Column("host_probability", "double", "logistic of the bare host's score", nullable=True),
        Column("detectable", "boolean", "the declared detectability cuts are met"),
        Column("cell", "string", "cell of the grid, as in `completeness`"),
        *(axis.spec for axis in AXES.values()),
    ),
)


SET_NEEDS = ("set_injections", "injection_scores", "thresholds")
_OF_SETS = {
    "theta_e": "i.lens_theta_e_arcsec",
    "beta_frac": "i.src_beta_frac",
    "src_mag": "i.src_mag",
    "depth": "i.host_depth_mag",
    "seeing": "i.host_psf_fwhm_nea_arcsec",
}
"""Axes of sets of cut-outs, whose galaxies are in no pool, by their columns of ``set_injections`` (i)."""
SET_SCORED_SQL = f"""SELECT i.grid_id, i.grid_name, s.generation, s.checkpoint_id, i.prior, i.injection_id, i.galaxy_id,
s.status, s.probability, s.host_probability, coalesce(i.detectable, false) AS detectable,
{", ".join(f"{replace(AXES[name], column=column).sql} AS {name}" for name, column in _OF_SETS.items())}
FROM set_injections i JOIN injection_scores s
ON s.grid_id = i.grid_id AND s.generation = i.generation AND s.injection_id = i.injection_id"""
SET_SCORED_SPEC = replace(
    SCORED_SPEC,
    name="set_scored_injections",
    meaning="The same for injections into cut-outs (`dhs audit --cutouts`), whose hosts are in no catalogue",
    columns=tuple(one for one in SCORED_SPEC.columns if one.name != "cell" and one.name not in {*AXES} - {*_OF_SETS}),
)


def axes_of_sets() -> dict[str, str]:
    """The axes of sets of cut-outs, by their columns of ``set_injections`` (i)."""
    return dict(_OF_SETS)


def axes_of(name: str) -> tuple[str, ...] | None:
    """The axes in the name of a view, in the name's order; None if it is not such a name."""
    for prefix, known in ((PREFIX, AXES), (SET_PREFIX, _OF_SETS)):
        if name.startswith(prefix):
            wanted = (axes for count in range(1, MOST + 1) for axes in product(known, repeat=count))
            words = name.removeprefix(prefix)
            return next((axes for axes in wanted if "_".join(axes) == words and len(set(axes)) == len(axes)), None)
    return None


def checked_axes(names: tuple[str, ...]) -> tuple[str, ...]:
    """One to three different axes. ParameterError for others."""
    if not 1 <= len(names) <= MOST or len(set(names)) < len(names) or not set(names) <= set(AXES):
        raise invalid("by", f"one to {MOST} different axes ({', '.join(AXES)})", ",".join(names))
    return names


def by_spec(axes: tuple[str, ...], of_sets: bool = False) -> TableSpec:
    """Columns of the view along some axes; ``of_sets``: of audits on sets of cut-outs."""
    known = _OF_SETS if of_sets else AXES
    return ViewSpec(
        name=(SET_PREFIX if of_sets else PREFIX) + "_".join(axes),
        meaning=f"Completeness by {', '.join(axes)}, of all and of detectable injections. Any one to {MOST} of "
        f"{', '.join(known)} name such a view",
        columns=(
            columns.GRID_ID,
            columns.GRID_NAME,
            replace(columns.GENERATION, role="key"),
            Column("prior", "string", "name of the prior"),
            Column("threshold_id", "string", "name of the threshold", role="key"),
            Column("threshold", "double", "threshold on the probability"),
            columns.share("fpr_reached", "fraction of test negatives above the threshold"),
            Column("population", "string", "all injections, or those declared detectable", role="key"),
            *(AXES[axis].spec for axis in axes),
            Column("n", "bigint", "scored injections"),
            Column("detected", "bigint", "injections with a probability above the threshold"),
            Column("hosts", "bigint", "distinct hosts"),
            columns.share("completeness", "detected / n"),
            *columns.interval(
                "unlisted",
                "the same at the ends of the threshold's range over unlisted lenses",
                " (null: no range is declared, or threshold chosen beforehand)",
            ),
            Column(
                "standard_error",
                "double",
                "host-clustered; `dhs completeness --by` gives intervals (null: one host, or none or all detected)",
                nullable=True,
            ),
            Column("net_n", "bigint", "scored injections whose bare host is not above the threshold"),
            Column("net_detected", "bigint", "detected ones among them"),
            columns.share("net_completeness", "net_detected / net_n: what the arcs add"),
            Column("above_20_percent", "boolean", "completeness above 20 %"),
        ),
    )


def by_sql(axes: tuple[str, ...], of_sets: bool = False) -> str:
    """SQL of the view. It sums over hosts first, for the clustered standard error."""
    keys = ", ".join((*_IDENTITY, *axes))
    found, alone = "s.probability > t.threshold", "s.host_probability <= t.threshold"
    least, most = (
        f"CASE WHEN s.probability > t.{end} THEN 1e0 WHEN t.{end} IS NOT NULL THEN 0e0 END"
        for end in ("threshold_high", "threshold_low")
    )
    own = ", ".join(f"s.{name}" for name in ("grid_id", "grid_name", "generation", "prior", *axes))
    return f"""WITH scored AS ({SET_SCORED_SQL if of_sets else SCORED_SQL}),
judged AS (SELECT {own}, s.galaxy_id, t.threshold_id, t.threshold, t.fpr_reached, w.population,
CASE WHEN {found} THEN 1 ELSE 0 END AS hit, CASE WHEN {alone} THEN 1 ELSE 0 END AS bare,
CASE WHEN {found} AND {alone} THEN 1 ELSE 0 END AS added,
{least} AS least, {most} AS most
FROM scored s JOIN thresholds t ON t.generation = s.generation AND t.checkpoint_id = s.checkpoint_id
JOIN (SELECT 'all' AS population UNION ALL SELECT 'detectable' AS population) w
ON w.population = 'all' OR s.detectable
WHERE s.status = 'scored' AND t.threshold IS NOT NULL),
hosts AS (SELECT {keys}, galaxy_id, CAST(count(*) AS DOUBLE) AS n, CAST(sum(hit) AS DOUBLE) AS k,
sum(bare) AS bare, sum(added) AS added, sum(least) AS least, sum(most) AS most FROM judged GROUP BY {keys}, galaxy_id),
sums AS (SELECT {keys}, CAST(sum(n) AS BIGINT) AS n, CAST(sum(k) AS BIGINT) AS detected, count(*) AS hosts,
sum(k) / sum(n) AS completeness, sum(k * k) AS kk, sum(k * n) AS kn, sum(n * n) AS nn,
sum(least) / sum(n) AS unlisted_low, sum(most) / sum(n) AS unlisted_high,
CAST(sum(bare) AS BIGINT) AS net_n, CAST(sum(added) AS BIGINT) AS net_detected FROM hosts GROUP BY {keys})
SELECT {keys}, n, detected, hosts, completeness, unlisted_low, unlisted_high,
CASE WHEN hosts > 1 AND detected > 0 AND detected < n THEN sqrt(greatest(
kk - 2e0 * completeness * kn + completeness * completeness * nn, 0e0) * hosts / (hosts - 1e0)) / n END
AS standard_error,
net_n, net_detected, CASE WHEN net_n > 0 THEN CAST(net_detected AS DOUBLE) / net_n END AS net_completeness,
completeness > {MARKED:e} AS above_20_percent FROM sums"""
