"""The audited completeness report: one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import resources

import jinja2
from markupsafe import Markup

from analysis.page import exhibits, ranking
from analysis.page.layout import Part, numbered
from analysis.reporting import closing, deciding, evidence, found, performance, selection
from analysis.reporting.facts import limitations, literature_views, probability_words, reference_view
from analysis.reporting.inputs import ReportInputs
from analysis.reporting.thresholds import threshold_view
from analysis.reporting.views import Link, Shown, TableView, Tag

_RANKING = (
    *("positives", "negatives", "auc", "trivial", "tpr_at_fpr", "partial_auc", "fpr_at_tpr", "threshold", "fpr"),
    *("recall", "lens_recall", "precision", "exposure"),
)
_DATA = ("split", "masked", "flux_ratio", "annulus")
_PLACED = (*_RANKING, *_DATA, "stratum", "calibration", "realism", "shortcut", closing.GROUP)
"""Groups of measures (the first part of their names) that have their place on the page."""


FOLDER = "figures"
"""Where the files of figures lie, beside the page."""


@dataclass(frozen=True)
class Page:
    """The page, and the files beside it."""

    html: str
    files: Mapping[str, bytes]
    """Pictures and data of its figures, by name in that folder."""


def render_report(inputs: ReportInputs) -> str:
    """The page as HTML: style and pictures inside, no scripts, nothing loaded from elsewhere."""
    return rendered(inputs).html


def rendered(inputs: ReportInputs, folder: str = FOLDER) -> Page:
    """The page with the files of its figures, which it links to in a folder beside it and can be read without."""
    parts = numbered(part for part in map(partial(_filled, inputs), _parts(inputs)))
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.tests.update(
        {
            "table": lambda item: isinstance(item, TableView),
            "link": lambda item: isinstance(item, Link),
            "tag": lambda item: isinstance(item, Tag),
        }
    )
    html = environment.from_string(_text("page.html")).render(
        inputs=inputs,
        folder=folder,
        style=Markup(_text("page.css")),
        parts=parts,
        drawn=lambda picture: Markup(picture.content.decode()),
        made_from=lambda placed: exhibits.made_from(placed, inputs.tables),
        data_file=exhibits.data_file,
        picture_file=exhibits.picture_file,
    )
    return Page(html, exhibits.files(parts))


def _text(name: str) -> str:
    return resources.files("analysis.page").joinpath(name).read_text(encoding="utf-8")


def _parts(inputs: ReportInputs) -> list[Part]:
    context = [*literature_views(), reference_view(), evidence.history_view(inputs)]
    calibration, words = performance.metric_view(inputs, "Calibration", ("calibration",)), probability_words(inputs)
    return [
        Part("headline", "Headline", [performance.headline_view(inputs)], chapter="The answer"),
        _completeness(inputs),
        Part("ranking", "Ranking", _ranking(inputs)),
        Part("calibration", "Calibration", [ranking.calibration_figure(inputs), calibration], words),
        _realism(inputs),
        _closure(inputs),
        Part("others", "Other diagnostics", _others(inputs)),
        Part(
            "stamps",
            "Injections, their hosts and listed lenses",
            [*evidence.gallery_pictures(inputs), found.lens_view(inputs)],
        ),
        Part(
            "decisions",
            "Decisions",
            [*deciding.decision_items(inputs), deciding.expectation_view(inputs)],
            deciding.WORDS,
        ),
        Part("gates", "Gates", [evidence.gate_view(inputs)]),
        Part("data", "Data", _data(inputs)),
        Part("training", "Models and training", [evidence.generation_view(inputs), evidence.training_picture(inputs)]),
        Part("candidates", "Unlisted candidates", [evidence.candidate_view(inputs)]),
        Part("context", "Literature, reference system, history", context),
        Part("limitations", "Limitations", notes=limitations(inputs)),
        Part("provenance", "Provenance", evidence.provenance_views(inputs)),
    ]


def _decisions(inputs: ReportInputs) -> list[TableView | Shown | None]:
    return [*deciding.decision_items(inputs), deciding.expectation_view(inputs)]


def _filled(inputs: ReportInputs, part: Part) -> Part:
    """A part without its empty tables, on a page that is not about a survey."""
    if len(inputs.manifest):
        return part
    return replace(part, items=[item for item in part.items if item and (not isinstance(item, TableView) or item.rows)])


def _completeness(inputs: ReportInputs) -> Part:
    if all(item.completeness.empty for item in inputs.generations):
        return Part("completeness", "Completeness", words=("No injection grid has been scored yet.",))
    words = (
        "Completeness is the share of scored injections with a probability above the threshold. It depends on the "
        "grid, the prior, the model and the threshold: each figure names them. Read it with the realism gate, the "
        "AUC of a linear probe that separates injections from listed lenses: near 0.5, injections in their hosts look "
        "like lenses in theirs. If the gate fails, arcs or host galaxies differ, and the completeness of injections "
        "may be higher or lower than that of real lenses. A marginal sums detected over scored injections, as many "
        "planned for every cell: it is an average over the grid, not over the survey's own mix of seeing, "
        "depth and Einstein radii.",
        *deciding.closure_words(inputs),
    )
    items = [
        performance.identity_view(inputs),
        threshold_view(inputs),
        *performance.heat_maps(inputs),
        *selection.pictures(inputs),
        *(performance.marginal_view(item, inputs.imaging) for item in inputs.generations if len(item.completeness)),
        performance.paired_completeness_view(inputs),
        selection.denominator_view(inputs),
        selection.lens_hosts_view(inputs),
        selection.dual_prior_view(inputs),
        selection.emulator_view(inputs),
    ]
    return Part("completeness", "Completeness", items, words)


def _ranking(inputs: ReportInputs) -> list[TableView | Shown | None]:
    figures = ranking.ranking_figures(inputs)
    return [
        *figures[:-1],
        ranking.paired_auc_view(inputs),
        *figures[-1:],
        performance.metric_view(inputs, "Ranking metrics and operating points", _RANKING, folded=True),
        performance.metric_view(inputs, "Metrics per stratum", ("stratum",), folded=True),
    ]


def _realism(inputs: ReportInputs) -> Part:
    view = performance.metric_view(inputs, "Linear probes and Frechet distances", ("realism",))
    other = performance.metric_view(inputs, "Shortcuts a network could take", ("shortcut",))
    words = ("Folds, intervals and permutations keep whole hosts together.",) if view.rows else ()
    return Part("realism", "Realism of the injections, shortcuts", [v for v in (view, other) if v.rows], words)


def _closure(inputs: ReportInputs) -> Part:
    view = closing.links_view(inputs)
    if view is None:
        return Part("closure", "Closure")
    every = performance.metric_view(inputs, "Every measure of the closure", (closing.GROUP,), folded=True)
    return Part("closure", "Closure", [view, every], (closing.WORDS, closing.skies_words()))


def _others(inputs: ReportInputs) -> list[TableView | Shown]:
    """Findings and figures, and groups of measures that no other section shows; a new diagnostic appears by itself."""
    names = {str(name).split("/")[0] for item in inputs.generations for name in item.diagnostics["name"]}
    groups = sorted(names - set(_PLACED))
    tables = [performance.metric_view(inputs, f"Measures of '{group}'", (group,)) for group in groups]
    findings = found.finding_view(inputs)
    return [*([findings] if findings else []), *found.pictures(inputs), *tables]


def _data(inputs: ReportInputs) -> list[TableView | None]:
    checks = performance.metric_view(inputs, "Checks of splits and pixels", _DATA, folded=True)
    tables = [evidence.split_view(inputs), evidence.strata_view(inputs), evidence.ingest_view(inputs)]
    return [*tables, *evidence.reason_views(inputs), checks if checks.rows else None]
