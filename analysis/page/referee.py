"""What a referee asks, with answers from the tables of this run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from analysis.page import yields
from analysis.page.answer import first, magnitude_bins
from analysis.page.layout import Item
from analysis.reporting.decisions import verdicts
from analysis.reporting.facts import limitations, published
from analysis.reporting.found import findings
from analysis.reporting.inputs import ReportInputs
from analysis.reporting.thresholds import best_interval, headline, marginal_row, points, rate, refused
from analysis.reporting.views import NOT_MEASURED, Heading, Words, measured, percent
from analysis.results.injection_views import along

Answer = Callable[[ReportInputs], list[str]]
_NONE = "This was not measured in this run"


def items(inputs: ReportInputs) -> list[Item]:
    """Each question with its answer, then the questions of the decision tree."""
    found: list[Item] = []
    for number, (question, answer) in enumerate(QUESTIONS.items(), start=1):
        found += [Heading(question, f"question-{number}"), *map(Words, answer(inputs))]
    for name, verdict in verdicts(first(inputs), inputs).items():
        if verdict.declared.part == "tree":
            said = f"{verdict.status}: {verdict.figures}. {_sentence(verdict.consequence)}{verdict.declared.note}"
            found += [Heading(verdict.declared.question, f"question-{name}"), Words(said)]
    return found


def _use(inputs: ReportInputs) -> list[str]:
    """A low marginal is mostly the prior: completeness by magnitude, and of detectable injections."""
    item, threshold_id = first(inputs), inputs.params.headline_threshold_id
    row = marginal_row(item.completeness, threshold_id)
    if row is None or refused(points(item.thresholds).get(threshold_id)):
        return [f"{_NONE}: {headline(item, threshold_id)}."]
    parts = [
        f"{name}: {best_interval(cell)}"
        for name in magnitude_bins(item)
        if (cell := marginal_row(item.completeness, threshold_id, name)) is not None
    ]
    said = (
        f"The average over the prior is {headline(item, threshold_id)}. It is mostly a statement about the prior: by "
        f"unlensed source magnitude completeness is {'; '.join(parts) or NOT_MEASURED}. The use is the function, not "
        "its average: it can be reweighted to any population that the injections cover."
    )
    return [said, *_detectable(inputs, float(row["threshold"]))]


def _detectable(inputs: ReportInputs, threshold: float) -> list[str]:
    injections = first(inputs).injections
    if "detectable" not in injections.columns:
        return []
    row = along(injections, {"probability": [-1.0, 2.0]}, threshold, detectable_only=True).iloc[0]
    if not row["n"]:
        return []
    return [f"Of the {int(row['n']):,} injections that count as detectable, {best_interval(row)} are found."]


def _contamination(inputs: ReportInputs) -> list[str]:
    """What the finder had seen of what it is tested on, and lenses among the negatives."""
    item = first(inputs)
    held = dict(zip(item.gates.get("name", ()), item.gates.get("status", ()), strict=True))
    gates = {"untouched_test_set": "test galaxies untouched", "lens_recall/leakage_guard": "leakage guard"}
    said = [f"{words}: {held.get(name, 'NOT MEASURED')}" for name, words in gates.items()]
    about = [note for note in limitations(inputs) if item.name in note and ("trained on" in note or "selected" in note)]
    declared = [point for point in points(item.thresholds).values() if point.lenses_high is not None]
    lenses = (
        f"Up to {max(point.lenses_high or 0 for point in declared):,} unlisted lenses are declared among the "
        "negatives that fix thresholds; figures at false-positive rates are given with their range over that number."
        if declared
        else "How many negatives are unlisted lenses is not declared."
    )
    return [f"{item.name}: {'; '.join(said)}. {lenses}", *about]


def _label_noise(inputs: ReportInputs) -> list[str]:
    return _finding(inputs, "label_noise", "wrong labels were not simulated")


def _priors(inputs: ReportInputs) -> list[str]:
    """Completeness under other priors, and the sensitivity to each choice of the injections."""
    item, threshold_id = first(inputs), inputs.params.headline_threshold_id
    rows = item.dual_prior
    if rows.empty or "completeness" not in rows:
        why = "; ".join(map(str, rows.get("refused", pd.Series(dtype=str)).dropna().unique()))
        said = [f"Completeness under other priors was not measured{f': {why}' if why else ''}."]
    else:
        held = rows[(rows.get("threshold_id") == threshold_id) & rows["completeness"].notna()]
        parts = [f"{row.prior}: {percent(row.completeness, row.low_95, row.high_95)}" for row in held.itertuples()]
        own = headline(item, threshold_id)
        said = [f"The grid's own prior gives {own}; reweighted, {'; '.join(parts) or 'no other prior is covered'}."]
    return said + _finding(inputs, "sensitivity", "the sensitivity to PSF, sizes, colours and shapes of sources")


def _real_sources(inputs: ReportInputs) -> list[str]:
    """Which sources the grid used, and whether transplanted real arcs are found as often."""
    models = {str(facts["sources"]) for facts in inputs.grids.values() if "sources" in facts}
    used = f"Sources of this grid: {', '.join(sorted(models))}. " if models else ""
    said = (
        f"{used}A bank of real galaxies can take their place (`grid.source_model`); a grid made with one shows "
        "how much smooth profiles matter."
    )
    return [said, *_finding(inputs, "transplants", "the detection of transplanted real arcs")]


def _paper_iv(inputs: ReportInputs) -> list[str]:
    """Our AUC beside theirs, and what differs."""
    item = first(inputs)
    (theirs,) = [row for row in published()["same_survey"] if str(row["work"]).startswith("Inchausti")]
    said = (
        f"{theirs['work']} gives AUC {theirs['value']} on {theirs['denominator']}; {item.name} has "
        f"{measured(item.diagnostics, 'auc')} on {_sizes(inputs)}. The two differ in the test set, in negatives "
        "(theirs are cleaned by a cross-match with known contaminants and a first model at p > 0.4) and in "
        "the annulus. Neither AUC says which fraction of lenses is missed."
    )
    return [said]


def _hold_out(inputs: ReportInputs) -> list[str]:
    """The test split: how large, how separated."""
    if inputs.manifest.empty:
        others = "the negatives that neither fix thresholds nor host injections"
        return [f"The test sample holds {_sizes(inputs)}: every lens of the set, and {others}."]
    note = "No other lens sample is held out: the same list of candidates gave the lenses of training and test."
    return [f"The reported split holds {_sizes(inputs)}, in HEALPix pixels of their own. {note}"]


def _redshift(inputs: ReportInputs) -> list[str]:
    said = "Source redshift is no axis of the grid: it enters through the size, magnitude and colour priors of sources"
    return [f"{said}. Completeness at a given source redshift is not measured."]


def _published(inputs: ReportInputs) -> list[str]:
    """Published figures with their denominators, beside ours."""
    rows = [row for key in ("same_survey", "other_surveys") for row in published()[key] if row.get("percent")]
    parts = [f"{row['work']}: {row['value']} ({row['denominator']})" for row in rows]
    own = headline(first(inputs), inputs.params.headline_threshold_id)
    return [f"Here: {own}. Elsewhere: {'; '.join(parts)}. Denominators differ, so these do not rank the methods."]


def _rates(inputs: ReportInputs) -> list[str]:
    """The false-positive rate behind the answer, and what it means for candidates."""
    item, threshold_id = first(inputs), inputs.params.headline_threshold_id
    reached = rate(item, threshold_id)
    candidates = "; the section on yield turns it into candidates" if yields.view(inputs) else ""
    return [f"{threshold_id} reaches {reached} on test negatives{candidates}."]


def _finding(inputs: ReportInputs, diagnostic: str, what: str) -> list[str]:
    found = findings(inputs, diagnostic)
    shown = first(inputs).name
    return [found[shown]] if shown in found else [f"{_NONE}: {what}."]


def _sizes(inputs: ReportInputs) -> str:
    labels = first(inputs).scores["label"]
    return f"{int((labels == 1).sum()):,} listed lenses and {int((labels == 0).sum()):,} negatives"


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}. " if words else ""


QUESTIONS: Mapping[str, Answer] = {
    "What use is such a completeness?": _use,
    "How many false positives does it cost?": _rates,
    "Are the training data contaminated?": _contamination,
    "Does label noise invalidate the result?": _label_noise,
    "Are sensitivities around a wrong prior meaningful?": _priors,
    "Why are sources not real galaxies?": _real_sources,
    "Why is Paper IV better?": _paper_iv,
    "Where is the independent hold-out?": _hold_out,
    "Where is the source redshift?": _redshift,
    "How does this compare with published methods?": _published,
}
"""The referee's questions, in the order in which the page answers them."""
