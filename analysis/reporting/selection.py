"""Section on the selection function: completeness along the parameters of the injections, and other denominators."""

from __future__ import annotations

import pandas as pd

from analysis.figures.completeness import Axis, completeness_curves, depth_label, heat_panels
from analysis.reporting.inputs import GenerationInputs, ReportInputs
from analysis.reporting.sources import of_injections
from analysis.reporting.thresholds import best_interval, marginal_row, over_lenses, points, rate, rates, refused, shown
from analysis.reporting.views import Shown, TableView, measure, measured, number, percent
from analysis.results.injection_views import along, at_values, host_false_positives, midpoints, quantile_edges
from analysis.results.lenshosts import AUC, BALANCE, EFFECTIVE, SUPPORT
from analysis.statistics.completeness import HOST_SUMS
from lake.sky.imaging import Imaging
from lake.sky.photometry import magnitude_from_flux

_BINS = 6
_CURVE = [
    "low", "high", "n", "detected", "hosts", "completeness", "host_clustered_95_low", "host_clustered_95_high",
]  # fmt: skip
_GRIDDED = 15
"""Most distinct values of a gridded column, in which each value is its own bin."""
_THETA_E, _OFFSET = "lens_theta_e_arcsec", "src_beta_frac"


def parameters(imaging: Imaging) -> dict[str, str]:
    """Columns of injections into hosts of this imaging along which completeness is shown, and their labels."""
    band = imaging.reference_band
    return {
        _THETA_E: "Einstein radius (arcsec)",
        f"src_mag_{band}": f"source {band} magnitude, unlensed",
        _OFFSET: "source offset / Einstein radius",
        "src_re_arcsec": "source half-light radius (arcsec)",
        f"host_psf_fwhm_nea_{band}_arcsec": f"{band} psfsize of the host (arcsec)",
        _depth(imaging): f"{band} depth of the host (5 sigma, mag)",
    }


def _lensed(rows: pd.DataFrame, imaging: Imaging) -> tuple[pd.DataFrame, dict[str, str]]:
    """Injections with what lensing made of their sources, as far as it was recorded, and the labels of that."""
    band = imaging.reference_band
    flux, labels = f"arc_flux_{band}_nmgy", {}
    if flux in rows:
        rows = rows.assign(lensed_mag=magnitude_from_flux(rows[flux].where(rows[flux] > 0)))
        labels["lensed_mag"] = f"source {band} magnitude, lensed"
    if "arc_snr" in rows:
        labels["arc_snr"] = f"arc SNR in {band}"
    return rows, labels


def _depth(imaging: Imaging) -> str:
    return f"host_depth_{imaging.reference_band}_mag"


def pictures(inputs: ReportInputs) -> list[Shown]:
    """Curves along every parameter, and the plane of Einstein radius, source offset and depth, with their captions."""
    threshold_id, imaging = inputs.params.headline_threshold_id, inputs.imaging
    models = [i for i in inputs.generations if shown(i, threshold_id) and _threshold(i, threshold_id) is not None]
    plane = (_THETA_E, _OFFSET, _depth(imaging))
    drawn = [item for item in models if item.name == inputs.headline and _varies(item.injections, plane)]
    return [*_curves(models, threshold_id, imaging), *(_plane(item, threshold_id, imaging) for item in drawn)]


def denominator_view(inputs: ReportInputs) -> TableView:
    """Completeness of all injections, of those declared detectable, and the bare hosts above the threshold."""
    rows = []
    for item in inputs.generations:
        for threshold_id in item.completeness.get("threshold_id", pd.Series(dtype=str)).unique():
            if (threshold := _threshold(item, threshold_id)) is None:
                continue
            reason = refused(points(item.thresholds).get(threshold_id))
            *words, hosts = _denominators(item.injections, threshold)
            words = [reason, "—"] if reason else words
            rows.append([item.name, threshold_id, rate(item, threshold_id), *words, hosts])
    headers = (
        "finder", "threshold", "FPR reached", "all injections", "detectable injections",
        "bare hosts above the threshold",
    )  # fmt: skip
    caption = (
        "Other denominators. Detectable, a declared option and never the default: an arc pixel above 5 sigma of the "
        "sky, above 1.5 times the lens there, magnification of 5 or more (HOLISMOKES XI). Bare hosts: the same "
        "galaxies without an arc, each once."
    )
    return TableView(caption, headers, rows)


def dual_prior_view(inputs: ReportInputs) -> TableView | None:
    """Completeness under two priors from the injections of one grid."""
    rows = []
    for item in inputs.generations:
        for row in item.dual_prior.to_dict("records"):
            if not pd.isna(row.get("refused")):
                rows.append([item.name, row["prior"], "—", str(row["refused"]), *["—"] * 4])
                continue
            words = f"{percent(row['completeness'], row['low_95'], row['high_95'])}\u00a0{row['interval']}"
            words += over_lenses(row.get("unlisted_low"), row.get("unlisted_high"))
            reason = refused(points(item.thresholds).get(row["threshold_id"]))
            weight = [f"{row['n_eff']:,.0f} of {row['n']:,.0f}", percent(row["support"]), number(row["mean_weight"], 3)]
            named = [item.name, row["prior"], row["threshold_id"]]
            rows.append([*named, reason or words, rate(item, row["threshold_id"]), *weight])
    headers = (
        "finder", "prior", "threshold", "completeness", "FPR reached", "effective injections", "support", "mean weight",
    )  # fmt: skip
    caption = (
        "Two priors, one grid: the same injections, weighted by the density of each prior over that of the one they "
        "were drawn from. Support: share of the prior's mass that the injections can represent; below 95 % no "
        "completeness is given. Einstein radii count as the grid has them."
    )
    return TableView(caption, headers, rows) if rows else None


def emulator_view(inputs: ReportInputs) -> TableView | None:
    """The emulator of `dhs completeness --at` against the table."""
    rows = [
        [
            item.name,
            row["threshold_id"],
            rate(item, row["threshold_id"]),
            f"{row['inside']:.0f} of {row['cells']:.0f}",
            number(row["scatter"], 2),
            f"{number(row['log_loss'])} ({number(row['log_loss_constant'])})",
            number(row["calibration_slope"], 2),
        ]
        for item in inputs.generations
        for row in item.emulator.to_dict("records")
    ]
    headers = (
        "finder", "threshold", "FPR reached", "cells inside", "root mean square of z", "log loss (constant)",
        "calibration slope",
    )  # fmt: skip
    caption = (
        "The emulator of completeness at a point (dhs completeness --at), from models that did not see an injection's "
        "host, against the cells of the grid. Inside: its mean lies in the cell's host-clustered 95 % interval. z: "
        "detected minus expected, over the standard error; its root mean square is 1 if the model misses nothing. "
        "Slope: 1 if calibrated."
    )
    return TableView(caption, headers, rows, folded=True) if rows else None


def lens_hosts_view(inputs: ReportInputs) -> TableView | None:
    """The marginal completeness with hosts as drawn and with hosts weighted to follow the lenses' hosts."""
    rows, said = [], []
    for item in inputs.generations:
        fit = measure(item.diagnostics, AUC)
        if fit is None:
            continue
        if pd.isna(fit["value"]):
            rows.append([item.name, "—", "—", str(fit["method"]), "—", "—", "—"])
            continue
        said.append(f"{item.name}: {_propensity_words(item)}.")
        for threshold_id in item.lens_hosts.get("threshold_id", pd.Series(dtype=str)).unique():
            equal, weighted = (marginal_row(found, threshold_id) for found in (item.completeness, item.lens_hosts))
            if equal is None or weighted is None:
                continue
            reason = refused(points(item.thresholds).get(threshold_id))
            words = [reason, "—"] if reason else [best_interval(equal), best_interval(weighted)]
            change = "—" if reason else f"{100 * (weighted['completeness'] - equal['completeness']):+.1f} points"
            effective = f"{weighted['n_eff']:,.0f} of {weighted['n']:,.0f}"
            rows.append([item.name, threshold_id, rate(item, threshold_id), *words, change, effective])
    headers = (
        "finder", "threshold", "FPR reached", "hosts as drawn", "hosts like those of lenses", "change",
        "effective injections",
    )  # fmt: skip
    caption = (
        "Hosts: the same injections, each weighted by the odds that a galaxy like its host is a listed lens of the "
        "training split rather than a negative. Intervals take these weights as given. " + " ".join(said)
    )
    return TableView(caption, headers, rows) if rows else None


def _propensity_words(item: GenerationInputs) -> str:
    """AUC, support, effective hosts and balance of a host propensity."""
    found = item.diagnostics.set_index("name")
    gaps = {
        when: found.loc[found.index.str.match(rf"{BALANCE}/.*/{when}$"), "value"].abs() for when in ("before", "after")
    }
    worst = str(gaps["before"].idxmax()).split("/")[-2]
    hosts = found.loc[EFFECTIVE]
    support, before, after = percent(found.loc[SUPPORT, "value"]), gaps["before"].max(), gaps["after"].max()
    return (
        f"AUC of the propensity {measured(item.diagnostics, AUC)}; negatives represent {support} of the lenses' hosts; "
        f"{hosts['value']:,.0f} of {hosts['n']:,.0f} hosts effective; largest standardised difference between hosts "
        f"and lenses' hosts {before:.2f} ({worst}) before and {after:.2f} after weighting"
    )


def _denominators(injections: pd.DataFrame, threshold: float) -> list[str]:
    every = {"probability": [-1.0, 2.0]}
    found = [best_interval(along(injections, every, threshold).iloc[0]), "not recorded", "not recorded"]
    if "detectable" in injections.columns:
        row = along(injections, every, threshold, detectable_only=True).iloc[0]
        found[1] = f"{best_interval(row)} of {int(row['n']):,}" if row["n"] else "none is detectable"
    if "host_probability" in injections.columns:
        found[2] = best_interval(host_false_positives(injections, threshold).iloc[0])
    return found


def _curves(models: list[GenerationInputs], threshold_id: str, imaging: Imaging) -> list[Shown]:
    views: dict[str, dict[str, pd.DataFrame]] = {}
    held = {item.name: _lensed(item.injections, imaging)[0] for item in models}
    lensed = _lensed(models[0].injections, imaging)[1] if models else {}
    for column, label in (parameters(imaging) | lensed).items():
        if models and all(_varies(rows, (column,)) for rows in held.values()):
            values = held[models[0].name][column]
            for item in models:
                view = along(held[item.name], {column: _edges(values)}, _threshold(item, threshold_id) or 0.0)
                named = at_values(view, column, values) if values.nunique() <= _GRIDDED else view
                views.setdefault(label, {})[item.name] = named
    caption = (
        f"Completeness at threshold {threshold_id} ({rates(models, threshold_id)}) as a function of each parameter of "
        "the injections, summed over all others. Bars: host-clustered 95 % intervals at the threshold's value; points "
        "of different finders are offset horizontally."
    )
    title = f"Threshold {threshold_id}, summed over all other parameters"
    if not views:
        return []
    stored = [*parameters(imaging), "arc_snr", f"arc_flux_{imaging.reference_band}_nmgy"]
    known = [name for name in stored if name in models[0].injections]
    source = of_injections((item.name for item in models), known, threshold_id)
    return [Shown(completeness_curves(views, title), caption, "completeness-curves", _long(views), source)]


def _long(views: dict[str, dict[str, pd.DataFrame]]) -> pd.DataFrame:
    """Curves as one table: `parameter`, `generation`, `low`, `high` of the bin, counts, completeness, interval."""
    parts = []
    for label, held in views.items():
        for name, view in held.items():
            column = next(column for column in view.columns if column.endswith("_low")).removesuffix("_low")
            rows = view.rename(columns={f"{column}_{end}": end for end in ("low", "high")})
            parts.append(rows[_CURVE].assign(parameter=label, generation=name))
    return pd.concat(parts)


def _plane(item: GenerationInputs, threshold_id: str, imaging: Imaging) -> Shown:
    rows, third, labels = item.injections, _depth(imaging), parameters(imaging)
    radii = rows[_THETA_E]
    edges = {_THETA_E: _edges(radii), _OFFSET: quantile_edges(rows[_OFFSET], 4), third: quantile_edges(rows[third], 2)}
    cells = along(rows, edges, _threshold(item, threshold_id) or 0.0)
    if radii.nunique() <= _GRIDDED:
        cells = at_values(cells, _THETA_E, radii)
    x, y = (Axis(name, labels[name]) for name in (_THETA_E, _OFFSET))
    at = f"{threshold_id} ({rate(item, threshold_id)})"
    caption = (
        f"{item.name}: completeness (%) at threshold {at} over Einstein radius, source offset, depth. Small: 95 % "
        "interval, injections (n) and hosts (h.)."
    )
    picture = heat_panels(cells, (x, y, Axis(third, depth_label(imaging))), f"{item.name}, {at}")
    source = of_injections([item.name], (_THETA_E, _OFFSET, third), threshold_id)
    return Shown(picture, caption, "completeness-offset-depth", cells.drop(columns=list(HOST_SUMS)), source)


def _varies(rows: pd.DataFrame, columns: tuple[str, ...]) -> bool:
    return all(name in rows.columns and rows[name].nunique() > 1 for name in columns)


def _edges(values: pd.Series) -> list[float]:
    return midpoints(values) if values.nunique() <= _GRIDDED else quantile_edges(values, _BINS)


def _threshold(item: GenerationInputs, threshold_id: str) -> float | None:
    row = marginal_row(item.completeness, threshold_id)
    return None if row is None or item.injections.empty else float(row["threshold"])
