"""The report's results as MLflow runs next to the training runs: a mirror of the lake, made in one go.

The tables are the record; MLflow is where generations are compared. Loading its client takes seconds on a small
machine, so one stage does it for all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import pandas as pd

from analysis.figures.completeness import heat_map
from analysis.figures.curves import reliability_figure, roc_figure
from analysis.page import calibration
from analysis.reporting.inputs import GenerationInputs, ReportInputs
from analysis.reporting.summary import by_radius, metrics
from analysis.reporting.thresholds import marginal_row, points, rate, refused, shown
from lake.errors import DarkHaloError
from lake.root import DataRoot
from lake.store import status
from modeling.tracking import models, pastruns, results
from modeling.tracking.results import Result
from modeling.tracking.rundatabase import told

_STAGES = {"checkpoint": (None,), "scores": ("evaluate", "calibrate"), "grid": ("grid", "completeness")}
"""The MLflow runs of a generation that show what does not count; None for all of them."""
_OF_FINDERS = ("evaluate", "calibrate", "diagnose", "completeness")
"""Stages with a run of each finder, where they have a result."""
_HEADLINE = {
    "auc": "test_auc",
    "auc_low": "test_auc_low",
    "auc_high": "test_auc_high",
    **{name: name for name in ("completeness", "completeness_low", "completeness_high", "fpr_reached", "gates_failed")},
}
"""What generations are compared by, and its name on the page, where trainings have figures of the validation split."""
_CALIBRATION = ("calibration/", "calibrated/")
"""Beginnings of the measures that belong to the run `calibrate`."""

log = logging.getLogger(__name__)


def mirror(root: DataRoot, inputs: ReportInputs) -> None:
    """Log the reference system's runs, trainings missing in MLflow, and the report's results of every generation."""
    with told(root.mlflow_database):
        pastruns.import_history(root)
        off = status.invalid_results(root)
        _leave_out(root, off)
        for name in root.finders():
            if f"checkpoint:{name}" in off:
                continue
            try:
                if pastruns.log_training(root, name):
                    models.register(root, name)
            except DarkHaloError as error:
                log.warning("the training of %s is missing in MLflow: %s", name, error)
        compared = {item.name: metrics(item, inputs.params.headline_threshold_id) for item in inputs.generations}
        for item in inputs.generations:
            _log(root, item, compared[item.name], inputs)
        models.crown(root, {name: found["auc"] for name, found in compared.items() if isinstance(found["auc"], float)})


def _leave_out(root: DataRoot, off: Mapping[str, status.Invalid]) -> None:
    """Delete in MLflow the runs that do not count, restorably: its page shows them where deleted runs are asked for."""
    for stem in off:
        kind, _, name = stem.replace("scores.", "scores:", 1).partition(":")
        for stage in _STAGES.get(kind, ()):
            results.forget_runs(root, name, stage)


def _log(root: DataRoot, item: GenerationInputs, found: Mapping[str, object], inputs: ReportInputs) -> None:
    made = list(_results(item, inputs))
    for result in made:
        results.log_result(root, item.name, result)
    for stage in {*_OF_FINDERS} - {result.stage for result in made}:  # such as completeness that is refused by now
        results.forget_runs(root, item.name, stage)
    if len(item.injections):
        results.log_grid(root, item.name, str(item.injections["grid_id"].iloc[0]), root.grid(item.name))
    rates = {name: f"test_{name.replace('/', '_')}" for name in found if name.startswith("tpr_at_fpr/")}
    names = {**_HEADLINE, **rates}
    headline = {shown: value for name, shown in names.items() if isinstance(value := found.get(name), int | float)}
    finder = {} if models.trained(root, item.name) else {"finder": item.facts}
    pictures = _pictures(item, inputs)
    whole = Result("generation", headline, finder, points=_radii(item, inputs), files=pictures)
    results.log_headline(root, item.name, whole)


def _results(item: GenerationInputs, inputs: ReportInputs) -> Iterator[Result]:
    for stage in ("evaluate", "diagnose"):
        run = f"{stage}-{item.name}"
        rows, gates = (frame[frame["run_id"] == run] for frame in (item.diagnostics, item.gates))
        apart = rows["name"].str.startswith(_CALIBRATION)
        if len(rows):
            tables = {f"tables/{stage}.csv": _csv(rows), "tables/gates.csv": _csv(gates)}
            yield Result(stage, _values(rows[~apart]), slices=[("diagnostics", run)], files=tables)
        if apart.any():
            maps = {f"tables/{name}.csv": _csv(each) for name, each in _calibration(item, rows[apart]).items()}
            pictures, made = _reliability(item, inputs), [("calibrations", item.name)]
            yield Result("calibrate", _values(rows[apart]), slices=made, files={**maps, **pictures})
    if len(item.completeness):
        made, table = [("completeness", item.name)], {"tables/completeness.csv": _csv(item.completeness)}
        yield Result("completeness", dict(_marginals(item)), slices=made, points=_radii(item, inputs), files=table)


def _calibration(item: GenerationInputs, rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The calibrators of a finder, how well they do, and its reliability curves."""
    curves = item.points[item.points["figure"].str.contains("/reliability", regex=False)]
    return {"calibrations": item.calibrations, "calibration": rows, "reliability": curves}


def _reliability(item: GenerationInputs, inputs: ReportInputs) -> dict[str, bytes]:
    """Reliability of all test objects and by stratum, as pictures."""
    if item.refusal:
        return {}
    curves = calibration.curves_of({item.name: item.scores}, inputs.params.calibration_bins)
    found = {"figures/reliability.svg": reliability_figure(curves).content}
    if picture := calibration.strata_picture(item):
        found["figures/reliability_by_stratum.svg"] = picture.content
    return found


def _values(rows: pd.DataFrame) -> dict[str, float]:
    known = rows.dropna(subset=["value"])
    names = known["name"].str.replace("@", ":", regex=False)  # MLflow allows no @ in a metric's name
    return dict(zip(names, known["value"], strict=True))


def _marginals(item: GenerationInputs) -> Iterator[tuple[str, float]]:
    """Completeness over all cells at every threshold that can be shown, and the rate that the threshold reaches."""
    for name, point in points(item.thresholds).items():
        row = marginal_row(item.completeness, name)
        if row is not None and not refused(point):
            place = name.replace("@", ":")
            yield f"completeness/{place}", float(row["completeness"])
            yield f"fpr_reached/{place}", float(row["fpr_reached"])


def _radii(item: GenerationInputs, inputs: ReportInputs) -> list[tuple[int, None, dict[str, float]]]:
    """Completeness at each Einstein radius, which takes the place of a step: in hundredths of an arcsecond."""
    rows = by_radius(item, inputs.params.headline_threshold_id).dropna(subset=["completeness"])
    radii = (100 * rows["theta_e_arcsec"]).round().astype(int)
    values = rows["completeness"].astype(float)
    return [(r, None, {"completeness_by_theta_e": value}) for r, value in zip(radii, values, strict=True)]


def _csv(rows: pd.DataFrame) -> bytes:
    return rows.to_csv(index=False).encode()


def _pictures(item: GenerationInputs, inputs: ReportInputs) -> dict[str, bytes]:
    threshold = inputs.params.headline_threshold_id
    ranked = {item.name: (item.scores["label"], item.scores["score"])}
    found = {} if item.refusal else {"figures/roc.svg": roc_figure(ranked, None).content}
    if shown(item, threshold):
        title = f"{item.name}: completeness at {threshold} ({rate(item, threshold)})"
        found["figures/completeness.svg"] = heat_map(item.completeness, threshold, inputs.imaging, title).content
    return found
