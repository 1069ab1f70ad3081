"""Galleries of the report: injections next to hosts and listed lenses; lenses found and missed, negatives mistaken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.config import ReportParams
from analysis.figures.stamps import WIDTH, Line, lines
from analysis.reporting.inputs import Gallery
from analysis.reporting.sources import of_injections, of_models
from analysis.results.untouched import untouched
from analysis.statistics.thresholds import Threshold, from_rows
from injection.experiment.setting import Setting
from lake.store import status
from lake.store.stamps import StampStore
from pipeline.experiment.grids import sample, scored_setting
from pipeline.project.context import RunContext

_BRIGHT_SNR = 20.0
_KNOWN = ("galaxy_id", "label", "tier", "confuser_category", "probability")
"""What the data of a gallery tell of an object, as far as it is known."""


class Stamps(Protocol):
    """Where stamps are kept."""

    def get(self, rows: pd.DataFrame) -> NDArray[np.float32]:
        """Stamps (row, band, y, x) nMgy of rows."""


def galleries(
    context: RunContext, manifest: pd.DataFrame, generation: str, store: StampStore, params: ReportParams
) -> Sequence[Gallery]:
    """Contact sheets of one finder."""
    scores = context.read("scores", slices=[generation]).to_pandas()
    objects = manifest.merge(scores[["galaxy_id", "probability", "seen_in_training"]], on="galaxy_id")
    test = objects[objects["split"] == "test"]
    point = _point(context, generation, params)
    counts = f"injection_scores.{generation}" not in status.invalid_results(context.root)
    arcs = [injected(context, test, generation, store, params)] if counts else []
    drawn = of_injections([generation], ("arc_snr",), point.threshold_id)
    scored = of_models("scores", "galaxy_id, label, probability", [generation], "split = 'test'")
    return [
        *(replace(one, source=drawn) for one in arcs),
        *(replace(one, source=scored) for one in errors(test, store, generation, point)),
    ]


def injected(
    context: RunContext, test: pd.DataFrame, generation: str, store: StampStore, params: ReportParams
) -> Gallery:
    answers = context.read("injection_scores", ["injection_id", "probability"], slices=[generation])
    rows = context.read("injections", slices=[generation]).join(answers, "injection_id")
    chosen, which = shown_injections(rows, params.contact_sheet_rows, context.seed)
    return next_to_hosts(chosen, which, scored_setting(context, generation, chosen), test, store, generation)


def shown_injections(rows: pa.Table, lines_: int, seed: int) -> tuple[pa.Table, str]:
    """Some injections with bright arcs, if there are any, and how they are chosen in words."""
    bright = rows.filter(pc.and_(pc.equal(rows["status"], "scored"), pc.greater(rows["arc_snr"], _BRIGHT_SNR)))
    which = f"Injections with arc SNR above {_BRIGHT_SNR:g}" if bright.num_rows else "Injections of any arc SNR"
    return sample(bright if bright.num_rows else rows, lines_ * WIDTH // 2, seed), which


def next_to_hosts(
    chosen: pa.Table, which: str, setting: Setting, test: pd.DataFrame, store: Stamps, generation: str
) -> Gallery:
    """Injections, their hosts, and lenses of the test split."""
    drawn = setting.again(chosen)
    planes = {"hosts": drawn.bare, "with arcs": drawn.images}
    magnitude = setting.hosts.imaging.source_columns[0]
    labels = [
        f'{row["lens_theta_e_arcsec"]:.2f}" m{row[magnitude]:.1f} p {row["probability"]:.3f}'
        for row in chosen.to_pylist()
    ]
    lenses = test[test["label"] == 1].sort_values("galaxy_id").head(WIDTH)
    made = chosen.select(["injection_id", "galaxy_id", "lens_theta_e_arcsec", magnitude, "arc_snr", "probability"])
    return Gallery(
        "Injections with their hosts and listed lenses",
        f"{which}, drawn at random by their identifiers; last row: listed test lenses. Scores: {generation}.",
        [*lines(planes, labels, "with arcs"), _row("listed lenses", lenses, store)],
        _objects({"with arcs": made.to_pandas(), "listed lenses": _known(lenses)}),
    )


def errors(test: pd.DataFrame, store: Stamps, generation: str, point: Threshold) -> list[Gallery]:
    """Untouched lenses and negatives on either side of a threshold; a row with no objects stays empty. None where the
    threshold, or the objects, are refused."""
    held, name, threshold = untouched(test), point.threshold_id, point.threshold
    if held.refusal() or not point.measurable:
        return []
    test = held.objects
    lenses, above = test[test["label"] == 1], test["probability"] > threshold
    missed, mistaken = test[(test["label"] == 1) & ~above], test[(test["label"] == 0) & above]
    counts = (
        f"{len(missed):,} of {len(lenses):,} listed lenses are missed, {len(mistaken):,} of "
        f"{int((test['label'] == 0).sum()):,} negatives are mistaken for lenses"
    )
    caption = (
        f"Test split, {generation}, threshold {name} (probability above {threshold:.4g}): {counts}. Found and "
        "mistaken: most probable first; missed: least probable first. Above each its probability, with its tier or the "
        "catalogue's category of confusers."
    )
    shown = {
        "found": lenses[above[lenses.index]].nlargest(WIDTH, "probability"),
        "missed": missed.nsmallest(WIDTH, "probability"),
        "mistaken": mistaken.nlargest(WIDTH, "probability"),
    }
    rows = [_row(heading, objects, store) for heading, objects in shown.items()]
    return [
        Gallery(
            "Found, missed, and mistaken",
            caption,
            rows,
            _objects({name: _known(objects) for name, objects in shown.items()}),
        )
    ]


def _known(objects: pd.DataFrame) -> pd.DataFrame:
    return objects[[name for name in _KNOWN if name in objects]]


def _objects(shown: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The objects of each row of a gallery, with what is known of them."""
    return pd.DataFrame(
        [{"row": heading, **facts} for heading, objects in shown.items() for facts in objects.to_dict("records")]
    )


def _point(context: RunContext, generation: str, params: ReportParams) -> Threshold:
    """The headline threshold, or the first by name if that one has no value."""
    known = {
        point.threshold_id: point for point in from_rows(context.read("thresholds", slices=[generation]).to_pandas())
    }
    held = {name: point for name, point in known.items() if point.measurable} or known
    return held.get(params.headline_threshold_id) or held[min(held)]


def _row(heading: str, objects: pd.DataFrame, store: Stamps) -> Line:
    """Stamps with their probability and what each is: the tier of a lens, the category of a confuser."""
    kinds = [objects[name] for name in ("tier", "confuser_category") if name in objects]
    words = [" ".join(str(kind.loc[index]) for kind in kinds if pd.notna(kind.loc[index])) for index in objects.index]
    labels = [f"p {value:.3f} {word}".rstrip() for value, word in zip(objects["probability"], words, strict=True)]
    stamps = store.get(objects) if len(objects) else np.empty((0, 0, 0, 0), np.float32)
    return heading, stamps, labels
