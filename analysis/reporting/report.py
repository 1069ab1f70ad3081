"""The audited completeness report: one self-contained HTML page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import jinja2

from analysis.figures.style import Picture
from analysis.reporting import evidence, performance, selection
from analysis.reporting import thresholds as operating
from analysis.reporting.facts import limitations, literature_views, probability_words, reference_view
from analysis.reporting.inputs import ReportInputs
from analysis.reporting.views import Link, TableView

_RANKING = (
    *("positives", "negatives", "auc", "trivial", "tpr_at_fpr", "partial_auc", "fpr_at_tpr", "threshold", "fpr"),
    *("recall", "lens_recall", "precision"),
)
_DATA = ("split", "masked", "flux_ratio", "annulus")
_PLACED = (*_RANKING, *_DATA, "stratum", "calibration", "realism", "shortcut")
"""Groups of measures (the first part of their names) that have their place on the page."""


@dataclass(frozen=True)
class Shown:
    """A picture with its caption."""

    picture: Picture
    caption: str


@dataclass(frozen=True)
class Part:
    """One section of the page, in reading order: words, tables, pictures."""

    anchor: str
    title: str
    words: Sequence[str] = ()
    items: Sequence[TableView | Shown] = ()


def render_report(inputs: ReportInputs) -> str:
    """The page as HTML: style and pictures inside, no scripts, nothing loaded from elsewhere."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["data_uri"] = data_uri
    environment.tests["table"] = lambda item: isinstance(item, TableView)
    environment.tests["link"] = lambda item: isinstance(item, Link)
    source = resources.files("analysis.reporting").joinpath("page.html").read_text(encoding="utf-8")
    parts = [part for part in _parts(inputs) if part.items or part.words]
    page = environment.from_string(source)
    return page.render(
        inputs=inputs, headline=performance.headline_view(inputs), parts=parts, notes=limitations(inputs)
    )


def data_uri(picture: Picture) -> str:
    """The picture as text embedded in the page."""
    return f"data:{picture.media_type};base64,{base64.b64encode(picture.content).decode()}"


def _parts(inputs: ReportInputs) -> list[Part]:
    galleries = [Shown(picture, caption) for caption, picture in evidence.gallery_pictures(inputs)]
    context = [*literature_views(), reference_view(), evidence.history_view(inputs)]
    return [
        _completeness(inputs),
        _ranking(inputs),
        _calibration(inputs),
        _realism(inputs),
        _others(inputs),
        Part("stamps", "Injections, their hosts and listed lenses", (), galleries),
        Part("gates", "Gates", (), [evidence.gate_view(inputs)]),
        _data(inputs),
        _training(inputs),
        Part("candidates", "Unlisted candidates", (), [evidence.candidate_view(inputs)]),
        Part("context", "Literature, reference system, history", (), context),
        Part("provenance", "Provenance", (), evidence.provenance_views(inputs)),
    ]


def _completeness(inputs: ReportInputs) -> Part:
    if all(item.completeness.empty for item in inputs.generations):
        return Part("completeness", "Completeness", ("No injection grid has been scored yet.",))
    words = (
        "Completeness is the share of scored injections with a probability above the threshold. It depends on the "
        "grid, the prior, the model and the threshold: each figure names them. Read it with the realism gate, the "
        "AUC of a linear probe that separates injections from listed lenses: near 0.5, injections in their hosts look "
        "like lenses in theirs. If the gate fails, arcs or host galaxies differ, and the completeness of injections "
        "may be higher or lower than that of real lenses. A marginal sums detected over scored injections, as many "
        "planned for every cell: it is an average over the grid, not over the survey's own mix of seeing, "
        "depth and Einstein radii.",
    )
    threshold = inputs.params.headline_threshold_id
    drawn = [item for item in inputs.generations if operating.shown(item, threshold)]
    rates = "; ".join(f"{item.name} {operating.rate(item, threshold)}" for item in drawn)
    band = inputs.imaging.reference_band
    caption = (
        f"Completeness (%) at threshold {threshold} ({rates}) as a function of Einstein radius, psfsize and depth in "
        f"{band} for all source magnitudes. Small: 95 % interval, injections (n) and hosts (h.). Hatched: no scored "
        "injection."
    )
    items: list[TableView | Shown] = [performance.identity_view(inputs), operating.threshold_view(inputs)]
    items += [Shown(picture, caption) for picture in performance.heat_maps(inputs)]
    items += [Shown(picture, words) for words, picture in selection.pictures(inputs)]
    items += [performance.marginal_view(item, inputs.imaging) for item in inputs.generations if len(item.completeness)]
    items += [view for view in [performance.paired_completeness_view(inputs)] if view]
    items.append(selection.denominator_view(inputs))
    return Part("completeness", "Completeness", words, items)


def _ranking(inputs: ReportInputs) -> Part:
    figure, histogram = performance.ranking_figures(inputs)
    caption = (
        "ROC on the test split. Bands: 95 % interval of the true-positive rate, including the "
        "uncertainty of the threshold at that rate, where at least ten negatives are above it. Dashed: a "
        "classifier trained on flux, colours, size and core brightness."
    )
    items: list[TableView | Shown] = [Shown(figure, caption)]
    items += [view for view in [performance.paired_auc_view(inputs)] if view]
    items.append(Shown(histogram, "Scores of listed lenses and negatives; dashed: thresholds."))
    items.append(performance.metric_view(inputs, "Ranking metrics and operating points", _RANKING, folded=True))
    items.append(performance.metric_view(inputs, "Metrics per stratum", ("stratum",), folded=True))
    return Part("ranking", "Ranking", (), items)


def _calibration(inputs: ReportInputs) -> Part:
    words = probability_words(inputs)
    caption = "Reliability. Error bars: Jeffreys 95 %. Below: objects per bin."
    table = performance.metric_view(inputs, "Calibration", ("calibration",))
    return Part("calibration", "Calibration", words, [Shown(performance.calibration_figure(inputs), caption), table])


def _realism(inputs: ReportInputs) -> Part:
    view = performance.metric_view(inputs, "Linear probes and Frechet distances", ("realism",))
    other = performance.metric_view(inputs, "Shortcuts a network could take", ("shortcut",))
    words = ("Folds, intervals and permutations keep whole hosts together.",) if view.rows else ()
    return Part("realism", "Realism of the injections, shortcuts", words, [v for v in (view, other) if v.rows])


def _others(inputs: ReportInputs) -> Part:
    """Every group of measures that has no place of its own: a diagnostic needs no line here to be shown."""
    names = {str(name).split("/")[0] for item in inputs.generations for name in item.diagnostics["name"]}
    groups = tuple(sorted(names - set(_PLACED)))
    items = [performance.metric_view(inputs, f"Measures of '{group}'", (group,)) for group in groups]
    return Part("others", "Other diagnostics", (), items)


def _data(inputs: ReportInputs) -> Part:
    items: list[TableView | Shown] = [evidence.split_view(inputs), evidence.strata_view(inputs)]
    items += [evidence.ingest_view(inputs), *evidence.reason_views(inputs)]
    checks = performance.metric_view(inputs, "Checks of splits and pixels", _DATA, folded=True)
    return Part("data", "Data", (), [*items, *([checks] if checks.rows else [])])


def _training(inputs: ReportInputs) -> Part:
    items: list[TableView | Shown] = [evidence.generation_view(inputs)]
    picture = evidence.training_picture(inputs)
    if picture is not None:
        items.append(Shown(picture, "Training history. The validation AUC selects the epoch; it is never the result."))
    return Part("training", "Models and training", (), items)
