"""Where the numbers of figures come from: tables, and the query that finds them again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from analysis.reporting.views import Source
from lake.tables.set_injections import OF_REFERENCE

_RUNS = ("evaluate", "diagnose", "completeness")


def of_models(table: str, columns: str, models: Iterable[str], where: str = "") -> Source:
    """Rows of a table with a column `generation`, of some finders."""
    names, where = tuple(models), f" and {where}" if where else ""
    return Source((table,), f"select {columns} from {table} where generation in ({_listed(names)}){where}", names)


def of_cells(models: Iterable[str], threshold_id: str) -> Source:
    """Rows of `completeness` in which all injections count the same."""
    columns = (
        "generation, theta_e_arcsec, psf_fwhm_nea_arcsec_low, psf_fwhm_nea_arcsec_high, depth_mag_low, depth_mag_high, "
        "n, detected, hosts, completeness, host_clustered_95_low, host_clustered_95_high, joint_95_low, joint_95_high, "
        "jeffreys_95_low, jeffreys_95_high"
    )
    at = f"threshold_id = {_text(threshold_id)} and weighting_id = prior"
    return of_models("completeness", columns, models, f"{at} and cell <> 'marginal' and source_mag_bin = 'all'")


def of_injections(models: Iterable[str], columns: Iterable[str], threshold_id: str) -> Source:
    """Injections with the answers of some finders, and whether each is detected at a threshold."""
    names = tuple(models)
    held = ", ".join(f"made.{column}" for column in columns)
    query = (
        f"select told.generation, made.injection_id, made.galaxy_id, {held}, told.probability, "
        "told.probability > thresholds.threshold as detected from injections made join injection_scores told "
        "using (grid_id, injection_id) join thresholds on thresholds.generation = told.generation "
        f"where thresholds.threshold_id = {_text(threshold_id)} and told.status = 'scored' "
        f"and told.generation in ({_listed(names)})"
    )
    return Source(("injections", "injection_scores", "thresholds"), query, names)


def of_set(source: Source, band: str) -> Source:
    """The same numbers of a set of cut-outs, whose injections lie in `set_injections` without names of bands.

    ``band`` is the set's reference band.
    """
    if "injections" not in source.tables:
        return source
    query = source.query.replace(" from injections made ", " from set_injections made ")
    for name, own in OF_REFERENCE.items():
        query = query.replace(f"made.{name.format(band)}", f"made.{own}")
    tables = tuple("set_injections" if table == "injections" else table for table in source.tables)
    return replace(source, tables=tables, query=query)


def of_gates(models: Iterable[str]) -> Source:
    """Gates of some finders, and the measures that decisions read beside them."""
    runs = tuple(f"{run}-{name}" for name in models for run in _RUNS)
    query = (
        f"select run_id, name, status, value, low, high, threshold, rule from gates where run_id in ({_listed(runs)})"
    )
    return Source(("gates", "diagnostics"), query, runs)


def of_points(models: Iterable[str], figure: str) -> Source:
    """Points of one figure of a diagnostic."""
    runs = tuple(f"{run}-{name}" for name in models for run in _RUNS)
    columns = "run_id, series, position, x, y, low, high, n, label"
    where = f"run_id in ({_listed(runs)}) and figure = {_text(figure)} order by run_id, series, position"
    return Source(("figure_points",), f"select {columns} from figure_points where {where}", runs)


def of_figures(models: Iterable[str], beginnings: Iterable[str]) -> Source:
    """Points of all figures whose names begin alike."""
    runs = tuple(f"{run}-{name}" for name in models for run in _RUNS)
    columns = "run_id, figure, series, position, x, y, low, high, n"
    named = " or ".join(f"figure like {_text(f'{beginning}%')}" for beginning in beginnings)
    where = f"run_id in ({_listed(runs)}) and ({named}) order by run_id, figure, series, position"
    return Source(("figure_points",), f"select {columns} from figure_points where {where}", runs)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(_text, names))


def _text(word: str) -> str:
    return "'" + word.replace("'", "''") + "'"
