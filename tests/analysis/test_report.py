"""The report: one page that loads nothing, says what is simulated, and names what each number depends on."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from analysis.page import ranking
from analysis.page.calibration import strata_view
from analysis.page.ranking import ranking_figures
from analysis.page.report import rendered
from analysis.reporting.facts import at_share, limitations, literature_views, probability_words, reference_view
from analysis.reporting.performance import marginal_view, metric_view, paired_completeness_view
from analysis.reporting.selection import denominator_view, dual_prior_view, emulator_view, pictures
from analysis.reporting.thresholds import headline, shown
from analysis.statistics.thresholds import fix_thresholds, threshold_rows
from tests.analysis.report_inputs import EVALUATE

_VOID = {"meta", "img", "br", "link", "input", "hr", "wbr"}


class Page(HTMLParser):
    """Checks nesting and collects what a browser would fetch."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.loads, self.links, self.tags = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        self.loads += [values[key] for key in ("src", "srcset", "poster", "data", "action") if key in values]
        if tag == "link":
            self.loads.append(values.get("href"))
        if tag == "a":
            self.links.append(values["href"])
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(html):
    parser = Page()
    parser.feed(html)
    parser.close()
    return parser


def test_html_is_well_formed(page):
    assert page.open == []


def test_nothing_is_loaded_from_elsewhere(page, html):
    assert page.loads
    assert all(address.startswith("data:image/") for address in page.loads)
    assert not {"script", "iframe", "object", "link"} & set(page.tags)
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert re.findall(r'(?:href="|url\()(?!#|https://www.legacysurvey.org/|figures/|data:image/png)[^")]*', html) == []
    outside = [link for link in page.links if not link.startswith(("#", "figures/"))]
    assert outside
    assert all(link.startswith("https://www.legacysurvey.org/viewer?") for link in outside)


def test_anchors_lead_somewhere(page, html):
    for link in page.links:
        if link.startswith("#"):
            assert f'id="{link[1:]}"' in html


@pytest.fixture(scope="module")
def bare_inputs(inputs):
    """One model on a real survey with a hostile name, no grid, no pictures of stamps."""
    item = dataclasses.replace(inputs.generations[0], completeness=pd.DataFrame(), injections=pd.DataFrame())
    name = "<script>alert(1)</script>"
    return dataclasses.replace(inputs, generations=[item], galleries=(), simulated=False, survey_name=name)


@pytest.fixture(scope="module")
def bare_html(whole_stage, bare_inputs):
    return rendered(bare_inputs).html


def test_simulated_results_say_so(html, bare_html):
    assert "SIMULATED DATA" in html
    assert "SIMULATED" not in bare_html
    assert "simulated sky" not in bare_html


def test_every_completeness_names_what_it_depends_on(html):
    headline = html[html.index('id="answer"') : html.index('id="verdicts"')]
    for word in ("threshold fpr5e-2@val", "FPR\u00a0", "prior v1", "grid main (9f21c0)", "realism gate"):
        assert word in headline
    assert "0.910 [0.870,\u00a00.940]" in headline


def test_marginal_on_the_page_is_the_ratio_of_sums(html, inputs):
    frame = inputs.generations[0].completeness
    cells = frame[
        (frame["cell"] != "marginal") & (frame["threshold_id"] == "fpr5e-2@val") & (frame["source_mag_bin"] == "all")
    ]
    share = cells["detected"].sum() / cells["n"].sum()
    assert f"{100 * share:.1f}\u00a0% [" in html
    assert f"{cells['detected'].sum():,} / {cells['n'].sum():,}" in html


def test_no_completeness_stands_without_the_rate_of_its_threshold(html, inputs):
    """Every figure in every table and caption: with the rate, or replaced by the reason why there is none."""
    for item in inputs.generations:
        stored = item.thresholds.set_index("threshold_id")
        reached = stored.loc["fpr5e-2@val"]
        low, high = 100 * reached.fpr_low, 100 * reached.fpr_high
        rate = f"FPR\u00a0{100 * reached.fpr_reached:.1f}\u00a0% [{low:.1f},\u00a0{high:.1f}]"
        assert f"at {rate}" in html
        assert f"{item.name} {rate}" in html, "in the captions of figures"
        loose = 100 * stored.loc["p0.3"].fpr_reached
        assert loose > 10.0
        assert f"not selective (FPR\u00a0{loose:.1f}\u00a0% [" in html
        row = item.completeness.query("cell == 'marginal' and threshold_id == 'p0.3' and source_mag_bin == 'all'")
        assert f"{row.detected.item():,} / {row.n.item():,}" not in html
        assert f"threshold fpr1e-3@val of {item.name} is not measurable with 400 negatives, needs 10,000" in html


def test_the_marginal_carries_the_threshold_s_own_uncertainty(html, inputs):
    row = inputs.generations[0].completeness.query("cell == 'marginal' and threshold_id == 'fpr5e-2@val'").iloc[-1]
    assert row.joint_95_high - row.joint_95_low > row.host_clustered_95_high - row.host_clustered_95_low
    assert f"[{100 * row.joint_95_low:.1f},\u00a0{100 * row.joint_95_high:.1f}]\u00a0t" in html


def test_the_marginal_for_the_sky_is_shown_apart(inputs):
    """With bricks known its interval is the last column; without them there is none."""
    item = inputs.generations[0]
    bare = marginal_view(item, inputs.imaging)
    assert bare.headers[-1] == "for the sky"
    assert {row[-1] for row in bare.rows} == {"—"}
    wide = item.completeness.assign(field_clustered_95_low=0.01, field_clustered_95_high=0.99)
    rows = marginal_view(dataclasses.replace(item, completeness=wide), inputs.imaging).rows
    assert any(row[-1].endswith("[1.0,\u00a099.0]") for row in rows)
    assert len({len(row) for row in rows}) == 1


def test_a_finder_that_says_yes_to_everything_has_no_completeness(inputs):
    """An untrained network (AUC one half): 100 % of injections above p0.3, and of the negatives too."""
    always = np.full(400, 0.6)
    item = inputs.generations[0]
    stored = pd.DataFrame(threshold_rows(fix_thresholds(always, always, EVALUATE), item.checkpoint_id, item.name))
    yes = dataclasses.replace(item, thresholds=stored)
    assert headline(yes, "p0.3") == "not selective (FPR\u00a0100.0\u00a0% [99.1,\u00a0100.0] {100.0–100.0})"
    assert not shown(yes, "p0.3")


def test_generations_are_compared_in_pairs(html):
    assert "demo2 − demo1" in html
    assert "indistinguishable" in html


def test_an_interval_that_one_host_does_not_give_is_left_out(inputs):
    alone = [dataclasses.replace(i, injections=i.injections.assign(galaxy_id="h")) for i in inputs.generations]
    view = paired_completeness_view(dataclasses.replace(inputs, generations=alone))
    assert view is not None
    assert all(re.fullmatch(r"[+-][\d.]+ pp", row[4]) for row in view.rows)


def test_what_models_do_not_share_is_said_of_each(inputs):
    """Their thresholds differ, and so may the number of objects behind a figure of the same name."""
    first, second = inputs.generations
    rows = [
        item.diagnostics.assign(name="x", value=0.5, n=n, method=how).head(1)
        for item, n, how in ((first, 127, "p > 0.19"), (second, 126, "p > 0.23"))
    ]
    apart = [dataclasses.replace(i, diagnostics=row) for i, row in zip((first, second), rows, strict=True)]
    (found,) = metric_view(dataclasses.replace(inputs, generations=apart), "", ("x",)).rows
    assert list(found[-2:]) == ["demo1: 127; demo2: 126", "demo1: p > 0.19; demo2: p > 0.23"]
    alike = [dataclasses.replace(i, diagnostics=rows[0]) for i in apart]
    (found,) = metric_view(dataclasses.replace(inputs, generations=alike), "", ("x",)).rows
    assert list(found[-2:]) == ["127", "p > 0.19"]


@pytest.mark.usefixtures("words_only")
def test_each_model_s_scores_are_marked_at_its_own_thresholds(inputs, monkeypatch):
    drawn = {}
    monkeypatch.setattr(ranking, "score_histograms", lambda scores, marks: drawn.update(marks))
    first, second = inputs.generations
    moved = second.thresholds["threshold"].where(second.thresholds["threshold_id"] != "fpr5e-2@val", 0.123)
    models = [first, dataclasses.replace(second, thresholds=second.thresholds.assign(threshold=moved))]
    ranking_figures(dataclasses.replace(inputs, generations=models))
    for item in models:
        rows = item.thresholds.dropna(subset=["threshold"])
        assert drawn[item.name] == dict(zip(rows["threshold_id"], rows["threshold"], strict=True))
    assert drawn["demo1"]["fpr5e-2@val"] != drawn["demo2"]["fpr5e-2@val"] == 0.123


def test_what_a_referee_looks_for(html):
    expected = ("Reliability", "ROC on the test split", "Gates, worst first", "Reconciliation", "Limitations")
    stated = ("Jacobs+19", "3,755 / 110,000 = 3.41 %", "clamp bug", "Negatives are not cleaned")
    assert "lower bound" not in html.replace("lower bound above trivial features", ""), "nothing here shows it"
    for text in (*expected, *stated):
        assert text in html


def test_the_same_inputs_give_the_same_page(bare_html, bare_inputs):
    assert rendered(bare_inputs).html == bare_html


def test_a_run_without_a_grid_still_has_a_report(bare_html):
    assert "No injection grid has been scored yet." in bare_html
    assert "no grid" in bare_html


def test_two_priors_of_one_grid_or_why_there_are_none(inputs):
    assert dual_prior_view(inputs) is None
    item = inputs.generations[0]
    told = {"prior": "anchored", "completeness": 0.25, "low_95": 0.2, "high_95": 0.3, "interval": "h"}
    told |= {"n": 900, "n_eff": 310.4, "support": 1.0, "mean_weight": 0.987}
    good = next(name for name in item.thresholds["threshold_id"] if shown(item, name))
    rows = [{**told, "threshold_id": name} for name in (good, "p0.3")] + [{"prior": "v1", "refused": "cover 19.7%"}]
    changed = dataclasses.replace(item, dual_prior=pd.DataFrame(rows))
    first, second, third = dual_prior_view(dataclasses.replace(inputs, generations=[changed])).rows
    assert first[:3] == [item.name, "anchored", good]
    words = [word.replace("\u00a0", " ") for word in (first[3], *first[5:])]
    assert words == ["25.0 % [20.0, 30.0] h", "310 of 900", "100.0 %", "0.987"]
    assert first[4].startswith("FPR")
    assert second[3].startswith("not selective")
    assert third[1:4] == ["v1", "—", "cover 19.7%"]


def test_the_emulator_is_shown_against_the_table(inputs):
    assert emulator_view(inputs) is None
    item = inputs.generations[0]
    found = {"inside": 53, "cells": 54, "scatter": 0.971, "log_loss": 0.42731, "log_loss_constant": 0.614}
    changed = dataclasses.replace(
        item, emulator=pd.DataFrame([{"threshold_id": "p0.3", **found, "calibration_slope": 0.95}])
    )
    row = emulator_view(dataclasses.replace(inputs, generations=[changed])).rows[0]
    assert row[:2] == [item.name, "p0.3"]
    assert row[3:] == ["53 of 54", "0.97", "0.427 (0.614)", "0.95"]


def test_errors_of_calibrators_are_shown_by_stratum(inputs):
    item = inputs.generations[0]
    errors = {"calibration/ece": 0.2, "calibration/mce": 0.4, "calibrated/platt/ece": 0.05, "calibrated/platt/mce": 0.1}
    rows = [
        {"name": f"stratum/psf_bin/1.20-1.35/{name}", "value": value, "method": ""} for name, value in errors.items()
    ]
    rows += [{"name": "stratum/tier/A/positives", "value": 3.0, "method": ""}]
    known = item.diagnostics[~item.diagnostics["name"].str.startswith("stratum/")]
    without = dataclasses.replace(item, diagnostics=known)
    assert strata_view(dataclasses.replace(inputs, generations=[without])) is None
    changed = dataclasses.replace(item, diagnostics=pd.concat([known, pd.DataFrame(rows)]))
    found = strata_view(dataclasses.replace(inputs, generations=[changed], headline=item.name))
    assert found.headers == ["stratum", "value", "none", "temperature", "platt", "beta", "isotonic"]
    unmeasured = ["not measured"] * 2
    assert found.rows == [["psf_bin", "1.20-1.35", "0.2, 0.4", "not measured", "0.05, 0.1", *unmeasured]]


def test_text_from_data_is_escaped(bare_html):
    assert not re.search(r"<script", bare_html)


def test_injections_without_parameters_have_denominators_but_no_curves(inputs):
    known = ["grid_id", "injection_id", "galaxy_id", "status", "probability"]
    items = [dataclasses.replace(item, injections=item.injections[known]) for item in inputs.generations]
    bare = dataclasses.replace(inputs, generations=items)
    assert pictures(bare) == []
    assert {"not recorded"} == {row[4] for row in denominator_view(bare).rows if "not selective" not in row[3]}


def test_figures_of_the_reference_are_those_of_its_records():
    """A pair that is easily exchanged: core suppression raises detection."""
    rows = {row[0]: row[1] for row in reference_view().rows}
    assert rows["detected at p > 0.5 without / with core suppression"] == "4.0 % / 5.0 %"
    assert rows["completeness, 110,000 injections, v1 prior"] == "3,755 / 110,000 = 3.41 %"
    published = {row[0]: row[2] for view in literature_views() for row in view.rows}
    assert published["Inchausti+25 (Paper IV)"] == "0.9984 (ResNet), 0.9987 (EfficientNetV2), 0.9989 (ensemble)"
    assert published["Jacobs+19"] == "4.8 %"


def test_probabilities_are_said_to_hold_where_the_model_learned_them(inputs, html):
    """p = 0.3 learned at 30 % lenses is 1.06 % at one lens in 94; the test split here holds 140 of 840."""
    assert at_share(0.3, 0.3, 1 / 94) == pytest.approx(0.0106, abs=5e-5)
    assert at_share(0.3, 0.2, 0.2) == pytest.approx(0.3)
    outside = dataclasses.replace(inputs.generations[1], lens_share=None, lens_share_origin="")
    words = probability_words(dataclasses.replace(inputs, generations=(inputs.generations[0], outside)))
    assert "demo1: 30.0 %, set by its sampler; demo2: not known" in words[0]
    assert len(words) == 2, "nothing is derived for a model of which it is not known"
    said = "16.7 % of the test split are lenses: if nothing but that fraction differs, a probability of 0.5 from demo1"
    assert f"{said} means 0.32" in words[1]
    assert "own ratio" not in html


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("FAIL", "a linear probe separates"),
        ("BORDERLINE", "cannot decide"),
        ("NOT MEASURED", "is not known"),
        ("PASS", ""),
    ],
)
def test_what_the_realism_gate_found_is_said_as_it_was_found(inputs, status, said):
    item = inputs.generations[0]
    gates = item.gates.assign(status=item.gates["status"].mask(item.gates["name"] == "realism/linear_probe", status))
    notes = limitations(dataclasses.replace(inputs, generations=(dataclasses.replace(item, gates=gates),)))
    about = [note for note in notes if note.startswith("The realism gate of demo1")]
    assert len(about) == (1 if said else 0)
    assert all(f"is {status}" in note and said in note for note in about)


def test_a_finder_whose_training_set_is_unknown_is_said_to_be_so(inputs):
    item = inputs.generations[0]
    assert not any("trained on is not known" in note for note in limitations(inputs))
    gates = item.gates.assign(
        status=item.gates["status"].mask(item.gates["name"] == "untouched_test_set", "NOT MEASURED")
    )
    notes = limitations(dataclasses.replace(inputs, generations=(dataclasses.replace(item, gates=gates),)))
    assert any(note.startswith("What demo1 was trained on is not known") for note in notes)
