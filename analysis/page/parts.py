"""The page's story: the answer, why to believe it, for what it holds, and everything else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pandas as pd

from analysis.diagnostics import discovery
from analysis.page import answer, calibration, context, diagnosed, pairs, ranking, referee, surfaces, yields
from analysis.page.layout import Item, Part
from analysis.reporting import closing, deciding, evidence, found, performance, selection, sources
from analysis.reporting.facts import (
    first_grid_view,
    limitations,
    literature_views,
    parity_view,
    probability_words,
    reference_view,
)
from analysis.reporting.inputs import ReportInputs
from analysis.reporting.thresholds import threshold_view
from analysis.reporting.views import Shown, TableView

_RANKING = (
    *("positives", "negatives", "auc", "trivial", "tpr_at_fpr", "partial_auc", "fpr_at_tpr", "threshold", "fpr"),
    *("recall", "lens_recall", "precision", "exposure"),
)
_DATA = ("split", "masked", "flux_ratio", "host_noise", "annulus")
_PLACED = (*_RANKING, *_DATA, "stratum", "calibration", "calibrated", closing.GROUP)
"""Groups of measures (the first part of their names) that have their place, whichever diagnostic made them."""
_COMPLETENESS = (
    "Completeness is the share of scored injections with a probability above the threshold. It depends on the "
    "grid, the prior, the finder and the threshold: each figure names them. Read it with the realism gate, the "
    "AUC of a linear probe that separates injections from listed lenses: near 0.5, injections in their hosts look "
    "like lenses in theirs. If the gate fails, arcs or host galaxies differ, and the completeness of injections "
    "may be higher or lower than that of real lenses. A marginal sums detected over scored injections, as many "
    "planned for every cell: it is an average over the grid, not over the survey's own mix of seeing, "
    "depth and Einstein radii."
)
_HOSTS = "Folds, intervals and permutations keep whole hosts together."


def parts_of(inputs: ReportInputs) -> list[Part]:
    """Every part in reading order; parts without content are left out where they are numbered."""
    parts = [*_answer(inputs), *_grounds(inputs), *_selection(inputs), *_classes(inputs), *_diagnostics(inputs)]
    return [_filled(inputs, part) for part in (*parts, *_questions(inputs), *_making(inputs))]


def _answer(inputs: ReportInputs) -> Iterable[Part]:
    own = replace(performance.headline_view(inputs), style="headline")
    items: list[Item | None] = [answer.figure(inputs), answer.conditions(inputs), own]
    yield Part("answer", "The answer", items, answer.sentences(inputs), chapter="The answer")


def _grounds(inputs: ReportInputs) -> Iterable[Part]:
    """Why to believe it."""
    chapter = "Why to believe it"
    yield Part("verdicts", "Verdicts", evidence.gate_views(inputs), evidence.gate_words(inputs), chapter=chapter)
    view = closing.links_view(inputs)
    every = performance.metric_view(inputs, "Every measure of the closure", (closing.GROUP,), folded=True)
    if view is not None:
        yield Part("closure", "Closure", [view, every], (closing.WORDS, closing.skies_words()))
    realism = diagnosed.items(inputs, diagnosed.REALISM)
    yield Part("realism", "Realism of the injections", realism, (_HOSTS,) if realism else ())
    yield Part("budget", "Gap budget", diagnosed.items(inputs, diagnosed.BUDGET))
    decisions = [*deciding.decision_items(inputs), deciding.expectation_view(inputs)]
    yield Part("decisions", "Decisions", decisions, deciding.WORDS)


def _selection(inputs: ReportInputs) -> Iterable[Part]:
    """How complete, and for what."""
    chapter = "How complete, and for what"
    if all(item.completeness.empty for item in inputs.generations):
        yield Part("completeness", "Completeness", words=("No injection grid has been scored yet.",), chapter=chapter)
        return
    marginals = [
        replace(performance.marginal_view(item, inputs.imaging), folded=item.name != inputs.headline)
        for item in inputs.generations
        if len(item.completeness)
    ]
    items = [*surfaces.items(inputs), *selection.pictures(inputs), *performance.heat_maps(inputs), *marginals]
    depends = [performance.identity_view(inputs), threshold_view(inputs)]
    words = (_COMPLETENESS, *deciding.closure_words(inputs))
    yield Part("completeness", "Completeness", [*items, *depends], words, chapter=chapter)
    others: list[Item | None] = [
        selection.denominator_view(inputs),
        selection.lens_hosts_view(inputs),
        selection.dual_prior_view(inputs),
        selection.emulator_view(inputs),
    ]
    yield Part("denominators", "Other denominators, hosts and priors", others)
    expected = yields.view(inputs)
    yield Part("yields", "Purity and yield", [expected], (yields.ASSUMED,) if expected else ())


def _classes(inputs: ReportInputs) -> Iterable[Part]:
    """How well lenses and other galaxies are told apart."""
    figures = ranking.ranking_figures(inputs)
    tables = [
        performance.metric_view(inputs, "Ranking metrics and operating points", _RANKING, folded=True),
        performance.metric_view(inputs, "Metrics per stratum", ("stratum",), folded=True),
    ]
    chapter = "Lenses and other galaxies"
    yield Part("ranking", "Ranking", [*figures, ranking.strata(inputs), *tables], chapter=chapter)
    every = performance.metric_view(inputs, "Measures of calibration", ("calibration", "calibrated"), folded=True)
    strata = [calibration.by_stratum(inputs), calibration.strata_view(inputs)]
    shown = [calibration.figure(inputs), *strata, calibration.calibrators_view(inputs), every]
    yield Part("calibration", "Calibration", shown, probability_words(inputs))
    paired = [ranking.paired_auc_view(inputs), performance.paired_completeness_view(inputs)]
    folded = [replace(view, folded=True) for view in paired if view is not None]
    yield Part("pairs", "Finders compared", [*pairs.matrices(inputs), *folded])


def _diagnostics(inputs: ReportInputs) -> Iterable[Part]:
    yield Part("diagnostics", "Diagnostics", diagnosed.items(inputs, diagnosed.others()), chapter="Diagnostics")
    names = {str(name).split("/")[0] for item in inputs.generations for name in _unplaced(item.diagnostics)}
    tables = [
        performance.metric_view(inputs, f"Measures of '{group}'", (group,), folded=True) for group in sorted(names)
    ]
    yield Part("others", "Other measures", tables)
    shown = [*evidence.gallery_pictures(inputs), found.lens_view(inputs)]
    yield Part("stamps", "Injections, their hosts and listed lenses", shown)
    yield Part("candidates", "Unlisted candidates", [evidence.candidate_view(inputs)])


def _unplaced(diagnostics: pd.DataFrame) -> list[str]:
    """Names of measures that belong to no diagnostic and to no other section."""
    rows = diagnostics[~diagnostics["diagnostic"].isin(discovery.titles())]
    return [name for name in rows["name"] if str(name).split("/")[0] not in _PLACED]


def _questions(inputs: ReportInputs) -> Iterable[Part]:
    chapter = "Questions, limits, context"
    yield Part("questions", "Questions of a referee", referee.items(inputs), chapter=chapter)
    yield Part("limitations", "Limitations", notes=limitations(inputs))
    reference = [parity_view(inputs), reference_view(), first_grid_view()]
    literature: list[Item | None] = [context.literature_figure(inputs), *literature_views(), *reference]
    yield Part("context", "Literature and the reference system", literature)
    yield Part("references", "References", [context.references_view()])


def _making(inputs: ReportInputs) -> Iterable[Part]:
    checks = performance.metric_view(inputs, "Checks of splits and pixels", _DATA, folded=True)
    tables: list[Item] = [evidence.split_view(inputs), evidence.strata_view(inputs), evidence.ingest_view(inputs)]
    items = [context.pipeline_figure(inputs), *tables, *evidence.reason_views(inputs), checks if checks.rows else None]
    yield Part("data", "Pipeline and data", items, chapter="How it was made")
    trained = [evidence.generation_view(inputs), evidence.training_picture(inputs), context.past_training(inputs)]
    yield Part("training", "Models and training", [*trained, evidence.history_view(inputs)])
    yield Part("provenance", "Provenance", evidence.provenance_views(inputs))


def _filled(inputs: ReportInputs, part: Part) -> Part:
    """A part without its empty tables, and with the tables of sets, on a page that is not about a survey."""
    if len(inputs.manifest):
        return part
    items = [item for item in part.items if item and (not isinstance(item, TableView) or item.rows)]
    return replace(part, items=[_of_set(item, inputs.imaging.reference_band) for item in items])


def _of_set(item: Item, band: str) -> Item:
    if isinstance(item, Shown) and item.source:
        return replace(item, source=sources.of_set(item.source, band))
    return item
