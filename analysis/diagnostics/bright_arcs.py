"""Diagnostic: how many bright arcs are found, and does their geometry explain the misses?

Arcs of one Einstein radius in bins of source magnitude, with small source offsets (the baseline of the experiment
`bright_arcs`) and with the prior's. The ceiling is the largest share over the bins.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from pydantic import Field

from analysis.comparisons import trials
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
    decide,
    missing,
    not_measured,
    reason,
)
from analysis.statistics.intervals import largest
from analysis.statistics.thresholds import probability_name
from lake.tables.trials import BASELINE

NAME, FREE = "bright_arcs", "unrestricted"
GATE_AT = "p0.3"
_ALWAYS = (0.3, 0.5)
"""Probabilities at which the reference measured, whatever thresholds the finder has."""
_RULE = "GO: the interval of the ceiling, the largest share over the bins at p > 0.3, lies above {:g}; NO-GO: below it"
_HOW = "Clopper-Pearson bounds, the lower ones of all bins at once"

FIGURES = {
    "bright_arcs/detected": Drawing(
        "Bright arcs found at p > 0.3", "source magnitude", "found", percent=True, reference=0.40
    ),
    "bright_arcs/variants": Drawing(
        "Bright arcs found at p > 0.3 with each variant, in all bins together", "variant", "found", percent=True
    ),
}


class Params(DiagnosticParams):
    """The ceiling of bright arcs."""

    bright_arc_ceiling: float = Field(0.40, gt=0, lt=1)
    """Share of bright arcs with small offsets, in the bin of magnitude where most are found, above which they count as
    found."""


def diagnose(subject: Subject, params: Params) -> Outcome:
    """Shares per bin and their ceiling, at the probabilities of the reference and at the finder's thresholds."""
    frame = subject.trials
    at = {probability_name(p): p for p in _ALWAYS}
    at |= {one.threshold_id: one.threshold for one in subject.thresholds if one.measurable}
    kinds = {"": trials.scored(frame, NAME, BASELINE), f"{FREE}/": trials.scored(frame, NAME, FREE)}
    labels, measures = trials.bins(frame, NAME), [*_arcs(frame, kinds[""])]
    for kind, rows in kinds.items():
        for threshold_id, probability in at.items():
            measures += _shares(kind, rows, labels, threshold_id, probability)
    offsets = trials.compared(f"{NAME}/{FREE}", frame, NAME, FREE, at[GATE_AT])
    measures += offsets.measures()
    known = {measure.name: measure for measure in measures}
    bare = known[f"{NAME}/bare_hosts/{GATE_AT}"]
    gate = _gate(known[f"{NAME}/ceiling/{GATE_AT}"], bare, params.bright_arc_ceiling)
    found = Finding(_said(known, labels, gate, offsets))
    return Outcome(NAME, tuple(measures), (gate,), findings=(found,), points=tuple(_points(frame, known, labels)))


def _shares(
    kind: str, rows: pd.DataFrame, labels: list[str], threshold_id: str, probability: float
) -> Iterator[Measure]:
    """Shares of one set of offsets at one threshold, the ceiling first."""
    found, how = rows["probability"] > probability, f"p > {probability:.4g}"
    parts = {
        label: trials.share_of_hosts(
            f"{NAME}/{kind}detected/{label}/{threshold_id}",
            found[rows["bin"] == label],
            rows.loc[rows["bin"] == label, "galaxy_id"],
            how,
        )
        for label in labels
    }
    yield _ceiling(f"{NAME}/{kind}ceiling/{threshold_id}", parts, how)
    yield from parts.values()
    if not kind:
        bare = rows.drop_duplicates("galaxy_id")
        above = bare["host_probability"] > probability
        yield trials.share_of_hosts(f"{NAME}/bare_hosts/{threshold_id}", above, bare["galaxy_id"], how)


def _ceiling(name: str, parts: dict[str, Measure], how: str) -> Measure:
    known = {label: one for label, one in parts.items() if one.n}
    if not known:
        return missing(name, "no trial was scored")
    counts = [one.n for one in known.values()]
    low, high = largest([round(one.value * one.n) for one in known.values()], counts)
    top = max(known, key=lambda label: known[label].value)
    return Measure(name, known[top].value, low, high, known[top].n, method=f"largest share, in {top}; {_HOW}; {how}")


def _arcs(frame: pd.DataFrame, rows: pd.DataFrame) -> Iterator[Measure]:
    why = trials.lacking(frame, NAME, BASELINE)
    if why is not None:
        yield missing(f"{NAME}/arc_snr", why)
        return
    failed = (frame["experiment"] == NAME) & (frame["status"] == "failed")
    made = int((frame["experiment"] == NAME).sum())
    yield Measure(f"{NAME}/failed", float(failed.sum()), n=made, method="injections that failed; in no share")
    for label, part in rows.groupby("bin", sort=False):
        snr = part["arc_snr"].dropna()
        yield Measure(f"{NAME}/arc_snr/{label}", float(snr.median()), n=len(snr), method="median arc SNR")


def _gate(ceiling: Measure, bare: Measure, threshold: float) -> Gate:
    """Arcs that make no difference to their hosts are not found, whatever their share."""
    rule = _RULE.format(threshold)
    if np.isnan(ceiling.value):
        return not_measured("bright_arcs/ceiling", threshold, f"{rule}; {reason(ceiling)}")
    status: Status = "GO" if ceiling.low >= threshold else "NO-GO" if ceiling.high < threshold else "BORDERLINE"
    if status == "GO" and bare.high >= ceiling.low:
        why = f"{_percent(bare)} of the hosts are above it without an arc, which is not told from the ceiling"
        return not_measured("bright_arcs/ceiling", threshold, f"{rule}; {why}")
    return decide("bright_arcs/ceiling", ceiling, threshold, rule, status)


def _said(known: dict[str, Measure], labels: list[str], gate: Gate, offsets: trials.Comparison) -> str:
    top = known[f"{NAME}/ceiling/{GATE_AT}"]
    if np.isnan(top.value):
        return f"The ceiling of bright arcs is {top.method}."
    where = top.method.partition(";")[0].removeprefix("largest share, in ")
    first = known[f"{NAME}/detected/{labels[0]}/{GATE_AT}"]
    meant = {
        "GO": "this is above {}",
        "NO-GO": "this is below {}, so large source offsets do not explain the misses",
        "BORDERLINE": "{} lies within the interval",
        "NOT MEASURED": "this is not judged against {}, because bare hosts are found as often",
    }[gate.status].format(f"the gate's {100 * gate.threshold:g} %")
    bare = known[f"{NAME}/bare_hosts/{GATE_AT}"]
    text = f"Of bright arcs with small source offsets at most {_percent(top)} are found at p > 0.3 (the bin of source "
    text += f"magnitude {where}), and {_percent(bare)} of their hosts without an arc; {meant}."
    if first.high < top.low:
        text += f" The brightest ({labels[0]}) are found less often, {_percent(first)}: the finder rejects them."
    changed = "the change of the share is" if offsets.refused is not None else "the share over all bins changes by"
    return f"{text} With the prior's offsets {changed} {offsets.words}."


def _percent(of: Measure) -> str:
    return f"{100 * of.value:.1f} % [{100 * of.low:.1f}, {100 * of.high:.1f}]"


def _points(frame: pd.DataFrame, known: dict[str, Measure], labels: list[str]) -> Iterator[Point]:
    for kind, series in (("", "small offsets"), (f"{FREE}/", "the prior's offsets")):
        for place, label in enumerate(labels):
            of = known[f"{NAME}/{kind}detected/{label}/{GATE_AT}"]
            if of.n:
                yield Point("bright_arcs/detected", series, place, of.value, of.low, of.high, of.n, label)
    for place, variant in enumerate(trials.variants(frame, NAME)):
        rows = trials.scored(frame, NAME, variant)
        of = trials.share_of_hosts(variant, rows["probability"] > _ALWAYS[0], rows["galaxy_id"], "")
        if of.n:
            yield Point("bright_arcs/variants", "all bins", place, of.value, of.low, of.high, of.n, variant)
