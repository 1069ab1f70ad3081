"""Diagnostic: does the finder recognise spectroscopic lenses, and reject known contaminants?"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd
from pydantic import Field

from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import (
    Drawing,
    Finding,
    Gate,
    Measure,
    Outcome,
    Point,
    Status,
    gate_below,
    missing,
    not_measured,
    plotted,
    reason,
)
from analysis.results.testlenses import programmes
from analysis.results.untouched import FEWEST
from analysis.statistics.intervals import TABLE_LEVEL, share
from analysis.statistics.roc import delong

UNTOUCHED = True
_RATES, _SCORES = "anchors/rates", "anchors/scores"
FIGURES = {
    _RATES: Drawing(
        "Spectroscopic lenses and known contaminants above a threshold", "threshold", "share", percent=True
    ),
    _SCORES: Drawing("Scores of the anchors", "theta_E (arcsec), 0 where it is not known", "probability", "scatter"),
}
_WHAT = {"lens": "recall", "contaminant": "contamination"}
_SERIES = {"lens": "spectroscopic lenses", "contaminant": "known contaminants"}


class Params(DiagnosticParams):
    """What counts as an anchor, and what is asked of the finder."""

    anchor_contaminants: str = r"(?<!einstein )\bring\b|merger|contaminant|artefact|artifact|not a lens"
    """Pattern for the grade or kind of known contaminants: ring galaxies, mergers, artefacts."""
    anchor_thresholds: tuple[float, ...] = Field((0.5, 0.7, 0.9), min_length=1)
    """Probabilities above which an anchor counts as recognised; the gates judge the first."""
    anchor_recall_min: float = Field(0.5, gt=0, lt=1)
    """Least recall of spectroscopic lenses."""
    anchor_contamination_max: float = Field(0.2, gt=0, lt=1)
    """Largest share of contaminants above the threshold."""


def diagnose(subject: Subject, params: Params) -> Outcome:
    """The untouched test objects that the list, or the table of a set of cut-outs, names as anchors, and the list's
    objects without an accepted grade."""
    held = subject.untouched
    return anchors(held.objects, subject.listed, params, held.refusal(), subject.ungraded)


def anchors(
    objects: pd.DataFrame,
    listed: pd.DataFrame,
    params: Params,
    refused: str | None = None,
    ungraded: pd.DataFrame | None = None,
) -> Outcome:
    """Recall of spectroscopic lenses, and share of known contaminants above the same thresholds.

    `objects`: `galaxy_id`, `label`, `probability`. `listed`: by `galaxy_id` any of `name`, `reference` (which programme
    a lens is from), `grading`, `kind` (whether it is a contaminant; of a lens only its grade says so),
    `theta_e_arcsec`. `refused`: why nothing may be measured. `ungraded`: rows of `ungraded_scores`; those that overlap
    stamps of other splits, or that the finder has seen, are not measured.
    """
    columns = ["galaxy_id", "name", "reference", "grading", "kind", "theta_e_arcsec"]
    known = listed.reindex(columns=columns).astype({"galaxy_id": object})
    rows = objects[["galaxy_id", "label", "probability"]].merge(known, on="galaxy_id")
    rows["programme"] = programmes(rows["name"], rows["reference"], params.anchor_lenses)
    bad = _named_bad(rows["grading"], params) | (_named_bad(rows["kind"], params) & (rows["label"] == 0))
    groups = {
        "lens": rows[(rows["label"] == 1) & rows["programme"].notna() & ~bad],
        "contaminant": _contaminants(rows[bad], ungraded, params),
    }
    groups = {kind: group[np.isfinite(group["probability"].astype(float))] for kind, group in groups.items()}
    reasons = {kind: refused or _reason(kind, group, params) for kind, group in groups.items()}
    measures = [each for kind, group in groups.items() for each in _rates(kind, group, reasons[kind], params)]
    order, moments = _order(groups, reasons), _moments(groups, reasons)
    gates = (*_gates(measures, params), order)
    said = _finding(measures, groups, reasons, order, params)
    points = (*_points(measures, params), *_scores(groups))
    return Outcome("anchors", (*measures, *moments), gates, findings=(said,), points=points)


def _named_bad(words: pd.Series, params: Params) -> pd.Series:
    """Which words name a contaminant."""
    text = words.fillna("").astype(str)
    return text.str.contains(params.anchor_contaminants, flags=re.IGNORECASE, regex=True)


def _contaminants(tested: pd.DataFrame, ungraded: pd.DataFrame | None, params: Params) -> pd.DataFrame:
    """Known contaminants: those tested, and those without an accepted grade that may be measured."""
    radii, probabilities = pd.to_numeric(tested["theta_e_arcsec"]), tested["probability"].to_numpy(float)
    if ungraded is not None and len(ungraded):
        bad = _named_bad(ungraded["grading"], params) | _named_bad(ungraded["kind"], params)
        seen = ungraded["seen_in_training"].astype("boolean").fillna(False).astype(bool)
        more = ungraded.loc[bad & ~seen & ~ungraded["shares_pixels"], "probability"].to_numpy(float)
        probabilities, radii = np.r_[probabilities, more], np.r_[radii, np.full(len(more), np.nan)]
    return pd.DataFrame({"probability": probabilities, "theta_e_arcsec": np.asarray(radii, dtype=float)})


def _reason(kind: str, group: pd.DataFrame, params: Params) -> str | None:
    """Why a group is not measured; None if it is."""
    if len(group) >= FEWEST:
        return None
    if kind == "lens":
        return (
            f"{len(group):,} listed lenses of the test split come from {', '.join(sorted(params.anchor_lenses))} "
            f"by name or reference, fewer than {FEWEST}"
        )
    return (
        f"{len(group):,} known contaminants (by the list's grade or type) have a stamp apart from training and "
        f"validation, fewer than {FEWEST}; a set of cut-outs with a column `kind` can hold more"
    )


def _rates(kind: str, group: pd.DataFrame, why: str | None, params: Params) -> Iterator[Measure]:
    for threshold in params.anchor_thresholds:
        name = f"anchors/{_WHAT[kind]}/p{threshold:g}"
        if why is not None:
            yield missing(name, why)
            continue
        yield share(name, int((group["probability"] > threshold).sum()), len(group))


def _moments(groups: dict[str, pd.DataFrame], reasons: dict[str, str | None]) -> Iterator[Measure]:
    """Mean, median and standard deviation of the probabilities, as the reference recorded them."""
    for kind, group in groups.items():
        values = group["probability"].to_numpy(float)
        if reasons[kind] is None:
            found = {"mean": values.mean(), "median": np.median(values), "sd": values.std(ddof=1)}
            for what, value in found.items():
                yield Measure(f"anchors/{kind}/probability_{what}", float(value), n=len(values), method=what)


def _gates(measures: list[Measure], params: Params) -> Iterator[Gate]:
    held, at = {each.name: each for each in measures}, f"p{params.anchor_thresholds[0]:g}"
    for what, limit, side in (
        ("recall", params.anchor_recall_min, "above"),
        ("contamination", params.anchor_contamination_max, "below"),
    ):
        found, rule = held[f"anchors/{what}/{at}"], f"{what} at {at} {side} {limit:g}"
        if np.isnan(found.value):
            yield not_measured(f"anchors/{what}", limit, f"{rule}; {reason(found)}")
            continue
        good = found.value > limit if side == "above" else found.value < limit
        status: Status = "BORDERLINE" if found.low < limit < found.high else "PASS" if good else "FAIL"
        yield Gate(f"anchors/{what}", status, found.value, found.low, found.high, limit, rule)


def _order(groups: dict[str, pd.DataFrame], reasons: dict[str, str | None]) -> Gate:
    """Whether contaminants score higher than lenses."""
    rule = "chance that a contaminant scores higher than a lens below 0.5; WARN where contaminants outscore lenses"
    why = next((reason for reason in reasons.values() if reason is not None), None)
    if why is not None:
        return not_measured("anchors/order", 0.5, f"{rule}; {why}")
    lens, bad = (group["probability"].to_numpy(float) for group in groups.values())
    area = delong(np.repeat([1, 0], [len(bad), len(lens)]), np.r_[bad, lens], TABLE_LEVEL)
    chance = Measure("anchors/order", area.auc, area.low, area.high, len(bad) + len(lens), method="DeLong")
    return gate_below("anchors/order", chance, 0.5, rule, miss="WARN")


def _points(measures: list[Measure], params: Params) -> Iterator[Point]:
    for kind, what in _WHAT.items():
        for x, threshold in enumerate(params.anchor_thresholds):
            found = next(each for each in measures if each.name == f"anchors/{what}/p{threshold:g}")
            if np.isfinite(found.value):
                yield plotted(found, _RATES, _SERIES[kind], float(x), f"p{threshold:g}")


def _scores(groups: dict[str, pd.DataFrame]) -> Iterator[Point]:
    for kind, group in groups.items():
        series = group["programme"] if kind == "lens" else pd.Series("contaminants", group.index)
        radius = pd.to_numeric(group["theta_e_arcsec"]).fillna(0.0)
        for name, x, y in zip(series, radius, group["probability"], strict=True):
            yield Point(_SCORES, str(name), float(x), float(y))


def _finding(
    measures: list[Measure],
    groups: dict[str, pd.DataFrame],
    reasons: dict[str, str | None],
    order: Gate,
    params: Params,
) -> Finding:
    held, at, parts = {each.name: each for each in measures}, f"p{params.anchor_thresholds[0]:g}", []
    for kind, words in _SERIES.items():
        if (why := reasons[kind]) is not None:
            parts.append(f"{words} are not measured ({why})")
            continue
        found = held[f"anchors/{_WHAT[kind]}/{at}"]
        bounds = f"[{100 * found.low:.1f}, {100 * found.high:.1f}]"
        parts.append(f"{100 * found.value:.1f} % {bounds} of {len(groups[kind]):,} {words} are above {at}")
    chance = f"{order.value:.2f} [{order.low:.2f}, {order.high:.2f}]"
    tail = f"; contaminants outscore lenses (chance {chance})" if order.status == "WARN" else ""
    text = f"{'; '.join(parts)}{tail}."
    return Finding(text[:1].upper() + text[1:])
