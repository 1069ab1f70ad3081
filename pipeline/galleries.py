"""Pictures of the report: injections beside hosts and listed lenses; what was found, missed and mistaken."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.config import ReportParams
from analysis.reporting.inputs import Gallery, GalleryRow
from lake.stamps import StampStore
from pipeline.context import RunContext
from pipeline.injected import drawn_again, grid_params, sample

_COLUMNS = 8


def galleries(
    context: RunContext, manifest: pd.DataFrame, generation: str, store: StampStore, params: ReportParams
) -> Sequence[Gallery]:
    """Contact sheets of one finder."""
    scores = context.read("scores", slices=[generation]).to_pandas()
    objects = manifest.merge(scores[["galaxy_id", "probability"]], on="galaxy_id")
    test = objects[objects["split"] == "test"]
    return [_injections(context, test, generation, store, params), _errors(test, store, generation)]


def _injections(
    context: RunContext, test: pd.DataFrame, generation: str, store: StampStore, params: ReportParams
) -> Gallery:
    rows = context.read("injections", slices=[generation])
    answers = context.read("injection_scores", ["injection_id", "probability"], slices=[generation])
    rows = rows.join(answers, "injection_id")
    bright = rows.filter(pc.greater(rows["arc_snr"], 20.0))
    chosen = sample(bright if bright.num_rows else rows, params.contact_sheet_rows * _COLUMNS // 2, context.seed)
    bare, injected = drawn_again(context, chosen, grid_params(context, generation), store)
    shown: list[GalleryRow] = []
    for start in range(0, chosen.num_rows, _COLUMNS):
        part = slice(start, start + _COLUMNS)
        shown.append(GalleryRow("hosts", bare[part], [""] * len(bare[part])))
        shown.append(GalleryRow("with arcs", injected[part], _labels(chosen.slice(start, _COLUMNS))))
    lenses = test[test["label"] == 1].sort_values("galaxy_id").head(_COLUMNS)
    shown.append(_row("listed lenses", lenses, store))
    return Gallery(
        "Injections beside their hosts and beside listed lenses",
        f"Injections with arc SNR above 20, by keyed hash; last row: listed test lenses. Scores: {generation}.",
        shown,
    )


def _errors(test: pd.DataFrame, store: StampStore, generation: str) -> Gallery:
    lenses, others = test[test["label"] == 1], test[test["label"] == 0]
    return Gallery(
        "Found, missed, and mistaken",
        f"Test split, ordered by the probability of {generation}.",
        [
            _row("found first", lenses.nlargest(_COLUMNS, "probability"), store),
            _row("missed", lenses.nsmallest(_COLUMNS, "probability"), store),
            _row("mistaken", others.nlargest(_COLUMNS, "probability"), store),
        ],
    )


def _row(heading: str, objects: pd.DataFrame, store: StampStore) -> GalleryRow:
    labels = [f"p {value:.3f}" for value in objects["probability"]]
    return GalleryRow(heading, store.get(objects), labels)


def _labels(rows: pa.Table) -> list[str]:
    return [
        f'{row["lens_theta_e_arcsec"]:.2f}" m{row["src_mag_r"]:.1f} p {row["probability"]:.3f}'
        for row in rows.to_pylist()
    ]
