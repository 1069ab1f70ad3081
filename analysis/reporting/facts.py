"""Limitations of a run, and the literature that the report compares it with."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from analysis.reporting.inputs import GenerationInputs, ReportInputs
from analysis.reporting.thresholds import points
from analysis.reporting.views import TableView, measure, measured
from lake import yamltext

_SIMULATED = (
    "The sky of this run is simulated. Its numbers measure the procedure, not the performance on a real survey."
)
_OF_A_SURVEY = "Tier A lenses have no hold-out set other than the spatial split."
_ALWAYS = (
    "The grid has no source-redshift axis: redshift enters implicitly through the size, magnitude and colour priors.",
    "The number of lenses on the sky is not measured: expected yields rest on a declared population.",
    "Completeness averaged over a prior is mostly a statement about the prior: read it per source magnitude.",
    "Injections share hosts, so cells are not binomial: read the host-clustered intervals; Jeffreys intervals "
    "are too narrow wherever hosts are used more than once.",
)
_REALISM = {
    "FAIL": "a linear probe separates injections from listed lenses in its feature space{hosts}. The gate does not say "
    "whether arcs or host galaxies differ, nor whether the completeness of injections is higher or lower than that of "
    "real lenses",
    "BORDERLINE": "the sample cannot decide whether injections can be told apart from listed lenses",
    "NOT MEASURED": "whether injections look like listed lenses is not known",
}
_UNKNOWN_TRAINING = (
    "What {name} was trained on is not known: listed lenses and negatives on this page may have been part of it, and "
    "every figure of {name} on them may be too optimistic."
)
_SELECTED = (
    "The epoch of {name} was selected on {seen:,} of the {of:,} negatives that {use}: a manifest with one validation "
    "split allows no others."
)
_LEFT_OUT = "{name} was trained on {seen:,} of the {of:,} negatives that {use}; these are left out."
_USES = {"threshold_negatives": "are kept to fix its thresholds", "hosts": "are kept to host injections"}
_HOSTS_ALONE = "realism/bare_hosts_against_listed_lenses/probe_auc"
_DECLARED = (
    "Negatives are not cleaned of unlisted lenses: figures at false-positive rates have ranges, in braces, from none "
    "of them to the most that are declared."
)
_UNDECLARED = (
    "No number of unlisted lenses among the negatives is declared (evaluate.unlisted_lenses_per_negative): figures at "
    "false-positive rates hold if there are none. Each unlisted lens that is selected makes rates too high, and "
    "completeness at a rate too low."
)
_LENSES_ALONE = (
    "The threshold {name} of {model} may be fixed by unlisted lenses alone: up to {lenses:,} are declared among its "
    "{negatives:,} negatives, of which {expected:.3g} are expected above it."
)
_UNRESOLVED = "The threshold {name} of {model} is {refusal}."


def limitations(inputs: ReportInputs) -> list[str]:
    """The limitations of this run, then the general ones."""
    found = [_SIMULATED] if inputs.simulated else []
    if inputs.left_out:
        found.append(f"Results of invalidated runs are left out. {'; '.join(inputs.left_out)}.")
    for generation in inputs.generations:
        gates = dict(zip(generation.gates.get("name", ()), generation.gates.get("status", ()), strict=True))
        status = gates.get("realism/linear_probe", "PASS")
        if status in _REALISM:
            hosts = measure(generation.diagnostics, _HOSTS_ALONE)
            apart = "" if hosts is None else f" (AUC of bare hosts against listed lenses: {hosts['value']:.2f})"
            said = _REALISM[status].format(hosts=apart)
            found.append(f"The realism gate of {generation.name} is {status}: {said}.")
        if gates.get("untouched_test_set") == "NOT MEASURED":
            found.append(_UNKNOWN_TRAINING.format(name=generation.name))
        found += [*_exposed(generation), *_of_thresholds(generation)]
    return [*dict.fromkeys(found), *([_OF_A_SURVEY] if len(inputs.manifest) else []), *_ALWAYS]


def _exposed(item: GenerationInputs) -> Iterator[str]:
    """What the finder trained or selected on: test objects, negatives that fix thresholds, hosts."""
    if item.refusal or "left out" in item.facts.get("test figures", ""):
        yield f"Test figures of {item.name}: {item.facts.get('test figures', item.refusal)}."
    for name, use in _USES.items():
        for what, words in (("selected_on", _SELECTED), ("trained_on", _LEFT_OUT)):
            row = measure(item.diagnostics, f"exposure/{name}/{what}")
            if row is not None and row["value"] > 0:
                yield words.format(name=item.name, seen=int(row["value"]), of=int(row["n"]), use=use)


def _of_thresholds(item: GenerationInputs) -> Iterator[str]:
    """Thresholds that are not measurable, or that unlisted lenses may fix."""
    named = points(item.thresholds).values()
    for point in named:
        if not point.measurable:
            yield _UNRESOLVED.format(name=point.threshold_id, model=item.name, refusal=point.reason)
        elif point.lenses_may_fix_it:
            counts = {"lenses": point.lenses_high, "negatives": point.negatives}
            expected = point.target_fpr * point.negatives
            yield _LENSES_ALONE.format(name=point.threshold_id, model=item.name, expected=expected, **counts)
    if named:
        yield _UNDECLARED if all(point.lenses_high is None for point in named) else _DECLARED


def probability_words(inputs: ReportInputs) -> list[str]:
    """What a probability means: the fraction of lenses in each finder's training, and its value for the test split."""
    learned = {
        item.name: "not known"
        if item.lens_share is None
        else f"{100 * item.lens_share:.1f} %, {item.lens_share_origin}"
        for item in inputs.generations
    }
    shares = "; ".join(f"{name}: {said}" for name, said in learned.items())
    words = [
        "Probabilities are the logistic of the score and are not calibrated. They are valid, at best, at the fraction "
        f"of lenses seen in training ({shares}), not at that on the sky, which is far smaller.",
    ]
    labels = inputs.generations[0].scores["label"].to_numpy() if inputs.generations else np.empty(0)
    share = float(np.mean(labels == 1)) if len(labels) else 0.0
    for item in inputs.generations:
        if item.lens_share is not None and 0.0 < item.lens_share < 1.0 and 0.0 < share < 1.0:
            here, rare = (at_share(0.5, item.lens_share, other) for other in (share, 1e-3))
            words.append(
                f"{100 * share:.1f} % of the test split are lenses: if nothing but that fraction "
                f"differs, a probability of 0.5 from {item.name} means {here:.2g} there, and {rare:.2g} if one "
                "object in a thousand is a lens."
            )
    return words


def at_share(probability: float, learned: float, share: float) -> float:
    """A probability valid at the ``learned`` fraction of lenses, converted to another ``share`` (Bayes' rule)."""
    odds = probability / (1.0 - probability) * (share / (1.0 - share)) / (learned / (1.0 - learned))
    return odds / (1.0 + odds)


def literature_views() -> list[TableView]:
    """Published completeness and recall figures, with their denominators; same survey and other surveys apart."""
    headers = ("work", "quantity", "value", "denominator")
    titles = {
        "same_survey": "Works on the Legacy Surveys or DECam imaging",
        "other_surveys": "Works on other surveys",
        "source_priors": "Source populations and selection thresholds in the literature",
    }
    return [_fact_view(key, title, headers) for key, title in titles.items()]


def reference_view() -> TableView:
    """What the reference system recorded; both values are given where its own records disagree."""
    title = "The reference system's own figures (another data set: the procedure compares, the numbers do not)"
    return _fact_view("reference", title, ("quantity", "value", "record"))


def first_grid_view() -> TableView:
    """The reference's first grid by Einstein radius."""
    headers = ("theta_E (arcsec)", "p > 0.3", "p > 0.5", "FPR 1e-3", "mean arc SNR", "magnitude 23-24, p > 0.3")
    rows = [
        [f"{radius:.2f}", *(f"{share:.1f} %" for share in shares), f"{snr:.1f}", f"{bright:.1f} % of {n:,}"]
        for radius, *shares, snr, bright, n in published()["first_grid"]
    ]
    title = "Completeness of the reference's first grid (308 cells, 61,600 injections, prior v1, gen4)"
    return TableView(title, headers, rows, folded=True)


def parity_view(inputs: ReportInputs) -> TableView:
    """Paper IV, the reference's two networks of these kinds, and each finder of the page."""
    headers = ("", "Inchausti+25 (Paper IV)", "gen4", "resnet-gen1", *(item.name for item in inputs.generations))
    own = [_parity(item, inputs.params.headline_threshold_id) for item in inputs.generations]
    rows = [
        [row["what"], row["paper_iv"], row["gen4"], row["resnet_gen1"], *(facts.get(row["what"], "—") for facts in own)]
        for row in published()["paper_iv"]
    ]
    title = "Paper IV beside the reference system's networks and this page's finders, each on its own objects"
    return TableView(title, headers, rows)


def _parity(item: GenerationInputs, threshold_id: str) -> dict[str, str]:
    """What is known about a finder, by row of the table."""
    labels, point = item.scores["label"], points(item.thresholds).get(threshold_id)
    found = {
        "positives and negatives": f"{int((labels == 1).sum()):,} + {int((labels == 0).sum()):,} (test)",
        "network": item.facts.get("network", item.facts.get("kind", "—")),
        "AUC": measured(item.diagnostics, "auc"),
        "best epoch": item.facts.get("epochs", "—"),
        "annulus (pixels)": item.facts.get("annulus (pixels)", "—"),
    }
    if point is not None and point.measurable:
        found["threshold"] = f"{point.threshold:.4g} ({threshold_id})"
    return found


def _fact_view(key: str, title: str, headers: tuple[str, ...]) -> TableView:
    return TableView(title, headers, [[row[name] for name in headers] for row in published()[key]])


@cache
def published() -> dict[str, list[dict[str, Any]]]:
    """Entries of `literature.yaml` by their group."""
    text = resources.files("analysis.reporting").joinpath("literature.yaml").read_text(encoding="utf-8")
    loaded: dict[str, list[dict[str, Any]]] = yamltext.values(text)
    return loaded
