"""Which objects a gallery shows, and whose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pandas as pd

from analysis.statistics.thresholds import Threshold, fix_thresholds
from lake.store.stamps import StampStore
from pipeline.reporting.galleries import errors
from pipeline.reporting.results import shown_first
from tests.analysis.report_inputs import EVALUATE
from tests.pipeline.checkout import values_of


class _Blank:
    """Answers blank stamps."""

    def get(self, rows: pd.DataFrame) -> Any:
        assert len(rows), "no stamps asked for"
        return np.zeros((len(rows), 3, 5, 5), dtype=np.float32)


def test_found_and_missed_are_divided_by_the_threshold() -> None:
    test = pd.DataFrame({"label": [1, 1, 1, 0, 0], "probability": [0.9, 0.3, 0.1, 0.31, 0.2]}, index=[7, 3, 9, 1, 5])
    store = cast(StampStore, _Blank())
    (gallery,) = errors(test, store, "demo1", point(0.3))
    shown = {heading: list(labels) for heading, _, labels in gallery.rows}
    assert shown == {"found": ["p 0.900"], "missed": ["p 0.100", "p 0.300"], "mistaken": ["p 0.310"]}
    (gallery,) = errors(test, store, "demo1", point(0.05))
    assert [len(stamps) for _, stamps, _ in gallery.rows] == [3, 0, 2], "nothing below the threshold is called missed"
    assert "demo1, threshold p0.05" in gallery.caption
    assert "0 of 3 listed lenses are missed, 2 of 2 negatives are mistaken for lenses" in gallery.caption
    many = pd.concat([test] * 10, ignore_index=True)
    (gallery,) = errors(many.assign(seen_in_training=many.index < 5), store, "demo1", point(0.05))
    assert "0 of 27 listed lenses are missed, 18 of 18 negatives" in gallery.caption, "those trained on are left out"
    assert errors(many.assign(seen_in_training=True), store, "demo1", point(0.05)) == []
    assert errors(test, store, "demo1", replace(point(0.3), status="refused", threshold=np.nan)) == []


def test_each_stamp_is_labelled_with_what_it_is() -> None:
    test = pd.DataFrame(
        {
            "label": [1, 1, 0, 0], "probability": [0.9, 0.1, 0.8, 0.7], "tier": ["A", "B", None, None],
            "confuser_category": [None, None, "ring", None],
        }
    )  # fmt: skip
    (gallery,) = errors(test, cast(StampStore, _Blank()), "demo1", point(0.3))
    shown = {heading: list(labels) for heading, _, labels in gallery.rows}
    assert shown == {"found": ["p 0.900 A"], "missed": ["p 0.100 B"], "mistaken": ["p 0.800 ring", "p 0.700"]}
    told = gallery.objects
    assert list(told["row"]) == ["found", "missed", "mistaken", "mistaken"], "the data are of what is shown"
    assert list(told["probability"]) == [0.9, 0.1, 0.8, 0.7]


def point(threshold: float) -> Threshold:
    params = EVALUATE.model_copy(update={"probability_thresholds": (threshold,), "fpr_points": ()})
    return fix_thresholds([0.1], [0.01] * 40, params)[0]


def test_galleries_and_candidates_follow_the_declared_model() -> None:
    declared = values_of("demo")["report"]["headline_generation"]
    assert declared == "demo1", "the first of those audited"
    assert shown_first(["aaa", "demo1", "theirs"], declared) == "demo1"
    assert shown_first(["theirs"], declared) == "theirs"
