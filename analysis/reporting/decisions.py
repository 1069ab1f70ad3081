"""The decisions of ``decisions.yaml``, taken from the tables: GO, NO-GO, BORDERLINE with figures, or not measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.comparisons.crossmodel import Crossed, crossed, verdict
from analysis.diagnostics import discovery
from analysis.records import Status
from analysis.reporting.compare import INDISTINGUISHABLE, paired_auc_tests
from analysis.reporting.declarations import Declared, Evidence, declared
from analysis.reporting.facts import literature_views
from analysis.reporting.inputs import GenerationInputs, ReportInputs
from analysis.reporting.thresholds import marginal_row, points, refused
from analysis.reporting.views import REASONS, interval, measure, number
from analysis.statistics.completeness import interval_of

_BAD_TO_GOOD: tuple[Status, ...] = ("NO-GO", "NOT MEASURED", "BORDERLINE", "GO")
_ONE_IS_ENOUGH: tuple[Status, ...] = ("GO", "BORDERLINE", "NOT MEASURED", "NO-GO")
_READS: Mapping[str, Status] = {
    "PASS": "GO", "FAIL": "NO-GO", "WARN": "BORDERLINE", "GO": "GO", "NO-GO": "NO-GO", "BORDERLINE": "BORDERLINE",
}  # fmt: skip
_FRESH = "random weights"
EMBEDDING_PICTURE = "feature_space/umap"
"""The figure that shows a finder's embedding."""
_DEPTH_BIN_MAG = 0.5
_LEAST_DEPTH_BINS = 2
_RECORDED = ("commands", "configuration", "seed", "code commit")
_UNTOUCHED = "untouched_test_set"
_ON_UNTOUCHED = ("evaluation", "closure")
"""What measures the finder on objects that it must not have seen, beside the diagnostics that say so of themselves."""
_CITED = ("Jacobs+19", "Huang+20", "He+20", "Rojas+22", "Herle+24")


@dataclass(frozen=True)
class Verdict:
    """A decision about one finder."""

    declared: Declared
    status: Status
    figures: str
    """What was measured, or why nothing was."""

    @property
    def consequence(self) -> str:
        """What follows; nothing from what was not measured."""
        return self.declared.consequence.get(self.status, "")


@dataclass(frozen=True)
class _Found:
    status: Status
    figures: str


def verdicts(item: GenerationInputs, inputs: ReportInputs) -> dict[str, Verdict]:
    """Every decision about one finder, by name."""
    found: dict[str, Verdict] = {}
    for one in declared().decisions:
        decided = _decided(one, item, inputs, found)
        found[one.name] = Verdict(one, decided.status, decided.figures)
    return found


def _decided(one: Declared, item: GenerationInputs, inputs: ReportInputs, known: Mapping[str, Verdict]) -> _Found:
    evidence = one.evidence
    if evidence.measure is not None:
        name = evidence.measure.format(headline=inputs.params.headline_threshold_id)
        row = measure(item.diagnostics, name)
        if (why := _ungated(name, item.gates) or _unjudged(row, item.gates)) is not None:
            return _Found("NOT MEASURED", why)
        return _of_measure(one, row, name)
    if evidence.completeness_at is not None:
        return _of_completeness(one, item, evidence.completeness_at)
    if evidence.gates:
        return _of_gates(evidence, item.gates)
    if evidence.all_of:
        return _joined({name: known[name].status for name in evidence.all_of}, evidence.any_of_them)
    if evidence.measured:
        return _of_presence(evidence, item.diagnostics)
    if evidence.auc_change:
        return _of_change(item, inputs)
    return _CHECKS[str(evidence.check)](item, inputs)


def compared(one: Declared, value: float, low: float, high: float) -> Status:
    """A figure with its interval against the threshold; without an interval it is not measured."""
    threshold = one.threshold
    if threshold is None or any(math.isnan(bound) for bound in (value, low, high)):
        return "NOT MEASURED"
    above = low >= threshold, high < threshold
    below = high <= threshold, low > threshold
    goes, does_not = above if one.side == "above" else below
    return "GO" if goes else "NO-GO" if does_not else "BORDERLINE"


def _ungated(name: str, gates: pd.DataFrame) -> str | None:
    """The rule of the measure's own gate, with the reason, where that gate is not measured; None otherwise."""
    held = zip(gates["name"], gates["status"], gates["rule"], strict=True) if len(gates) else ()
    own = (str(rule) for gate, status, rule in held if status == "NOT MEASURED" and f"{name}/".startswith(f"{gate}/"))
    return next(own, None)


def _unjudged(row: pd.Series | None, gates: pd.DataFrame) -> str | None:
    """Why nothing is decided on a measure of objects that the finder must not have seen: it is not known which it has;
    None if it is known, or the measure is of others, such as injections."""
    of_such = {*_ON_UNTOUCHED, *(name for name, module in discovery.named().items() if discovery.on_untouched(module))}
    return _ungated(_UNTOUCHED, gates) if row is not None and row.get("diagnostic") in of_such else None


def _of_measure(one: Declared, row: pd.Series | None, name: str) -> _Found:
    if row is None:
        return _Found("NOT MEASURED", f"{name} is not in the table diagnostics")
    value, low, high = (math.nan if pd.isna(row[key]) else float(row[key]) for key in ("value", "low", "high"))
    if math.isnan(value):
        method = str(row.get("method"))
        return _Found("NOT MEASURED", method if method.startswith(REASONS) else f"{name} has no value")
    if math.isnan(low) or math.isnan(high):
        return _Found("NOT MEASURED", f"{name} is {number(value)}, without an interval")
    digits, unit = (1, f" {one.unit}") if one.unit else (4 if one.threshold and one.threshold > 0.99 else 3, "")
    return _Found(compared(one, value, low, high), f"{interval(value, low, high, digits)}{unit}")


def _of_completeness(one: Declared, item: GenerationInputs, threshold_id: str) -> _Found:
    row, point = marginal_row(item.completeness, threshold_id), points(item.thresholds).get(threshold_id)
    if row is None or point is None:
        return _Found("NOT MEASURED", f"no grid was scored at {threshold_id}")
    if (why := refused(point)) is not None:
        return _Found("NOT MEASURED", f"{threshold_id} is {why}")
    low, high, _ = interval_of(row)
    status = compared(one, float(row["completeness"]), low, high)
    return _Found(status, f"{interval(row['completeness'], low, high)}, prior {row['prior']}")


def _of_gates(evidence: Evidence, gates: pd.DataFrame) -> _Found:
    held = dict(zip(gates["name"], gates["status"], strict=True)) if len(gates) else {}
    reads = {**_READS, **evidence.reads}
    found: dict[str, Status] = {name: reads.get(str(held.get(name)), "NOT MEASURED") for name in evidence.gates}
    said = ", ".join(f"{name} {held.get(name, 'NOT MEASURED')}" for name in evidence.gates)
    return _Found(_joined(found, evidence.any_of_them).status, said)


def _joined(parts: Mapping[str, Status], any_of_them: bool) -> _Found:
    """Several decisions as one: the worst of them, or the first that is enough."""
    order = _ONE_IS_ENOUGH if any_of_them else _BAD_TO_GOOD
    status = min(parts.values(), key=order.index)
    return _Found(status, ", ".join(f"{name} {part}" for name, part in parts.items()))


def _of_presence(evidence: Evidence, diagnostics: pd.DataFrame) -> _Found:
    missing = []
    for name in evidence.measured:
        row = measure(diagnostics, name)
        needed = ("value", "low", "high") if evidence.with_interval else ("value",)
        if row is None or any(pd.isna(row[key]) for key in needed):
            missing.append(name)
    if missing:
        return _Found("NOT MEASURED", f"missing: {', '.join(missing)}")
    return _Found("GO", f"{len(evidence.measured)} of {len(evidence.measured)}")


def _of_change(item: GenerationInputs, inputs: ReportInputs) -> _Found:
    parent = str(item.facts.get("starts from", ""))
    other = next((one for one in inputs.generations if one.name == parent), None)
    if other is None:
        why = {"": "the network that it starts from is not known", _FRESH: f"it starts from {_FRESH}"}
        return _Found("NOT MEASURED", why.get(parent, f"{parent}, which it starts from, is not on this page"))
    if unknown := [f"{one.name}: {rule}" for one in (other, item) if (rule := _ungated(_UNTOUCHED, one.gates))]:
        return _Found("NOT MEASURED", "; ".join(unknown))
    if refusals := [f"{one.name} is {one.refusal}" for one in (other, item) if one.refusal]:
        return _Found("NOT MEASURED", "; ".join(refusals))
    (test,) = paired_auc_tests({parent: other.scores, item.name: item.scores}).to_dict("records")
    change, error = test["difference"], test["standard_error"]
    words = f"{change:+.4f} against {parent}; two standard errors are {2 * error:.4f}"
    if test["verdict"] == INDISTINGUISHABLE:
        return _Found("BORDERLINE", f"indistinguishable: {words}")
    return _Found("GO" if change > 0 else "NO-GO", words)


def _axes(item: GenerationInputs, inputs: ReportInputs) -> _Found:
    rows = item.injections
    needed = ["lens_theta_e_arcsec", "src_beta_frac", f"host_depth_{inputs.imaging.reference_band}_mag"]
    if rows.empty or not set(needed) <= set(rows.columns):
        return _Found("NOT MEASURED", "no injections with these parameters")
    bins = int((rows[needed[-1]].dropna() // _DEPTH_BIN_MAG).nunique())
    return _Found("GO" if bins >= _LEAST_DEPTH_BINS else "NO-GO", f"{len(rows):,} injections, {bins} depth bins")


def _literature(item: GenerationInputs, inputs: ReportInputs) -> _Found:
    works = " ".join(str(row[0]) for view in literature_views() for row in view.rows)
    missing = [work for work in _CITED if work not in works]
    return _Found("NO-GO" if missing else "GO", f"missing: {', '.join(missing)}" if missing else ", ".join(_CITED))


def _annulus(item: GenerationInputs, inputs: ReportInputs) -> _Found:
    loss = measure(item.diagnostics, "annulus_scoring/auc_loss")
    if loss is not None and not pd.isna(loss["value"]):
        return _Found("GO", "its effect is measured (Q2.4)")
    described = str(item.facts.get("annulus (pixels)", ""))
    scaled = "32.5" in described and "45" in described
    return _Found("GO" if scaled else "NOT MEASURED", f"annulus {described}" if described else "annulus not known")


def _priors(item: GenerationInputs, inputs: ReportInputs) -> _Found:
    held = item.dual_prior
    if held.empty or not {"prior", "completeness"} <= set(held.columns):
        return _Found("NOT MEASURED", "completeness was not reweighted")
    names = [str(name) for name in held.loc[held["completeness"].notna(), "prior"].unique()]
    return _Found("GO" if len(names) > 1 else "NO-GO", f"measured under {', '.join(names) or 'none'}")


def _embedding(item: GenerationInputs, inputs: ReportInputs) -> _Found:
    shown = int((item.points["figure"] == EMBEDDING_PICTURE).sum())
    if not shown:
        return _Found("NOT MEASURED", "no picture of the embedding was made")
    return _Found("GO", f"{shown} objects shown")


def _provenance(item: GenerationInputs, inputs: ReportInputs) -> _Found:
    missing = [what for what in _RECORDED if not inputs.provenance.get(what)]
    missing += [] if len(inputs.tables) else ["versions of tables"]
    words = f"{', '.join(_RECORDED)}, and {len(inputs.tables)} tables with version and fingerprint"
    return _Found("NOT MEASURED" if missing else "GO", f"missing: {', '.join(missing)}" if missing else words)


def _cross_model(item: GenerationInputs, inputs: ReportInputs) -> _Found:
    others = {one.name: crossed(item.trials, one.trials) for one in inputs.generations if one.name != item.name}
    if not others:
        return _Found("NOT MEASURED", "no other finder is on this page")
    known = [one for one in others.values() if isinstance(one, Crossed)]
    words = (f"{name}: {one if isinstance(one, str) else one.words}" for name, one in others.items())
    return _Found(verdict(known), "; ".join(words))


_CHECKS: Mapping[str, Callable[[GenerationInputs, ReportInputs], _Found]] = {
    "axes": _axes,
    "literature": _literature,
    "annulus": _annulus,
    "cross_model": _cross_model,
    "priors": _priors,
    "embedding": _embedding,
    "provenance": _provenance,
}


def chains(found: Mapping[str, Verdict]) -> list[list[Verdict]]:
    """The decision tree: each chain of questions that follow from each other, first to last, reached or not."""
    tree = {name: verdict for name, verdict in found.items() if verdict.declared.part == "tree"}
    later = {name for verdict in tree.values() for name in verdict.declared.then.values()}
    made = []
    for name in (name for name in tree if name not in later):
        chain = [tree[name]]
        while following := next(iter(dict.fromkeys(chain[-1].declared.then.values())), None):
            chain.append(tree[following])
        made.append(chain)
    return made


def is_reached(chain: Sequence[Verdict], place: int) -> bool:
    """Whether the outcomes before a question lead to it."""
    return all(chain[i].status in chain[i].declared.then for i in range(place))
