"""What the page says, in which order, and where its sentences come from."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.figures.curves import rate_steps
from analysis.figures.flow import _depths, _forward, _reduced
from analysis.fitted.standardised import standardised_rate
from analysis.page import answer, context, pairs, referee, surfaces, yields
from analysis.reporting import selection
from analysis.reporting.evidence import gate_views, gate_words
from analysis.reporting.facts import first_grid_view, parity_view, published
from analysis.reporting.views import Heading, Tag, Words
from analysis.results.injection_views import along
from analysis.results.purity import Sky, contaminants, purity
from analysis.statistics.thresholds import from_rows

STRATA = ("DEV", "REX", "SER")


def test_the_answer_comes_first_then_why_to_believe_it(html):
    order = ["answer", "verdicts", "decisions", "completeness", "ranking", "pairs", "questions", "limitations"]
    places = [html.index(f'<section id="{name}"') for name in [*order, "references", "data", "provenance"]]
    assert places == sorted(places)
    assert html.index("<svg") < html.index('<section id="verdicts"'), "the answer has a figure"


def test_the_answer_is_the_marginal_at_its_rate(inputs):
    """One sentence with the completeness, its interval, the hosts, the rate and the range over unlisted lenses."""
    item = inputs.generations[1]
    row = item.completeness.query("cell == 'marginal' and source_mag_bin == 'all' and threshold_id == 'fpr5e-2@val'")
    row = row.iloc[0]
    (said, *_) = answer.sentences(inputs)
    assert said.startswith(f"demo2 finds {100 * row.completeness:.1f}\u00a0% [")
    assert f"into {int(row.hosts):,} galaxies of demo sky" in said
    assert f"{100 * row.unlisted_low:.1f}–{100 * row.unlisted_high:.1f} %" in said
    bare = dataclasses.replace(item, completeness=pd.DataFrame(), injections=pd.DataFrame())
    (said,) = answer.sentences(dataclasses.replace(inputs, generations=[bare]))
    assert said == "demo2: no injection grid has been scored, so its completeness is not measured."


def test_conditions_name_verdicts_and_what_is_not_known(inputs):
    rows = {row[0]: row[1:] for row in answer.conditions(inputs).rows}
    assert rows["realism"][0] == Tag("FAIL")
    assert "embedding" in rows["realism"][1]
    assert rows["closure"][0] == Tag("NOT MEASURED")
    assert rows["prior"][1] == "v1"
    assert "fixed on 400 validation negatives" in rows["threshold"][1]


def test_a_map_over_radius_and_magnitude_counts_every_scored_injection_once(inputs):
    picture, table = surfaces.items(inputs)
    item = inputs.generations[1]
    threshold = item.thresholds.set_index("threshold_id")["threshold"]["fpr5e-2@val"]
    assert picture.data["n"].sum() == len(item.injections)
    assert picture.data["detected"].sum() == (item.injections["probability"] > threshold).sum()
    assert table.folded
    assert len(table.rows) == 3
    assert all("n " in cell and "[" in cell for cell in table.rows[0][1:])


def test_every_two_models_are_compared_and_the_matrix_is_antisymmetric(inputs):
    auc, completeness = pairs.matrices(inputs)
    (_, own, upper), (_, lower, _) = auc.rows
    assert own.startswith(f"{inputs.generations[0].diagnostics.set_index('name')['value']['auc']:.3f}")
    assert float(upper.split()[0]) == -float(lower.split()[0])
    first, second = (float(row[place].split()[0]) for row, place in zip(completeness.rows, (2, 1), strict=True))
    assert first == -second != 0.0
    assert pairs.matrices(dataclasses.replace(inputs, generations=inputs.generations[:1])) == []


def test_gates_that_fail_somewhere_are_open_and_the_others_folded(inputs):
    failing, passing = gate_views(inputs)
    assert failing.rows[0][0] == "realism/linear_probe"
    assert failing.rows[0][2].status == "FAIL"
    assert passing.folded
    assert {cell.status for row in passing.rows for cell in row if isinstance(cell, Tag)} == {"PASS"}
    assert "demo1: " in gate_words(inputs)[0]
    assert "1 FAIL" in gate_words(inputs)[0]


def test_one_stratum_has_garwood_s_interval_and_several_cover():
    """Exact Poisson limits where all weights are equal (Garwood 1936); at least the nominal coverage otherwise."""
    total, low, high = standardised_rate([7], [50], [50], 0.95)
    assert total == 7
    assert low == pytest.approx(stats.chi2.ppf(0.025, 14) / 2)
    assert high == pytest.approx(stats.chi2.ppf(0.975, 16) / 2)
    assert standardised_rate([0, 0], [20, 30], [200, 300], 0.95)[:2] == (0.0, 0.0)
    assert np.isnan(standardised_rate([1, 0], [9, 0], [90, 50], 0.95)).all()
    rng, size, sampled = np.random.default_rng(0), np.array([400.0, 900.0, 150.0]), np.array([80, 60, 30])
    rates = np.array([0.02, 0.05, 0.1])
    drawn = [standardised_rate(rng.binomial(sampled, rates), sampled, size, 0.95) for _ in range(400)]
    held = [low <= size @ rates <= high for _, low, high in drawn]
    assert np.mean(held) > 0.93


def sky_of(inputs):
    pool = pd.DataFrame({"type_bin": STRATA, "nobs_z_bin": "3-5", "n": [500, 200, 800]})
    items = []
    for item in inputs.generations:
        scores = item.scores.assign(nobs_z_bin="3-5", pool=np.where(item.scores["label"] == 1, "P", "N1"))
        rows = [{"threshold_id": name, "expected_low": 0.1, "expected": 0.2, "expected_high": 0.4, "support": 0.8}
                for name in item.thresholds["threshold_id"]]  # fmt: skip
        items.append(dataclasses.replace(item, scores=scores, expected=pd.DataFrame(rows)))
    return dataclasses.replace(inputs, generations=items, pool=pool, area_deg2=2.0)


def test_contaminants_are_the_galaxies_of_the_pool_above_the_threshold(inputs):
    """All galaxies per square degree where every negative is above it; lenses and confusers do not count."""
    item = sky_of(inputs).generations[0]
    sky = Sky(sky_of(inputs).pool, 2.0)
    assert contaminants(item.scores, sky, -1.0)[0] == pytest.approx(750.0)
    assert contaminants(item.scores, sky, 1.0)[0] == 0.0
    confusers = item.scores.assign(pool=np.where(item.scores["label"] == 1, "P", "N2"))
    assert np.isnan(contaminants(confusers, sky, 0.5)[0])


def test_purity_joins_few_lenses_with_many_contaminants(inputs):
    sky = sky_of(inputs)
    item = sky.generations[0]
    named = {point.threshold_id: point for point in from_rows(item.thresholds)}
    found = purity(item.expected, item.scores, Sky(sky.pool, 2.0), named)
    assert set(found["threshold_id"]) == {name for name, point in named.items() if point.measurable}
    assert (found["purity_low"] < found["purity"]).all()
    assert (found["purity"] < found["purity_high"]).all()
    row = found.iloc[0]
    assert row.purity == pytest.approx(row.lenses / (row.lenses + row.contaminants))
    assert row.purity_low == pytest.approx(row.lenses_low / (row.lenses_low + row.contaminants_high))


def test_yields_are_shown_or_say_why_not(inputs):
    assert yields.view(inputs) is None, "no population was asked for"
    view = yields.view(sky_of(inputs))
    assert view.rows[0][3] == "0.2 (0.1 to 0.4)"
    assert view.rows[0][6] == "80 %"
    item = dataclasses.replace(inputs.generations[0], expected=pd.DataFrame({"refused": ["cover 19.7%"]}))
    (row,) = yields.view(dataclasses.replace(inputs, generations=[item])).rows
    assert row[3] == "cover 19.7%"
    sky = sky_of(inputs)
    bare = dataclasses.replace(sky.generations[0], scores=inputs.generations[0].scores.drop(columns="type_bin"))
    (row,) = yields.view(dataclasses.replace(sky, generations=[bare])).rows
    assert row[4] == "not measured: strata of the test objects are not known"


def test_each_question_of_a_referee_has_an_answer_from_the_tables(inputs):
    items = referee.items(inputs)
    questions = [item.text for item in items if isinstance(item, Heading)]
    asked = ("contaminated", "label noise", "wrong prior", "real galaxies", "Paper IV", "hold-out", "redshift")
    for word in (*asked, "published"):
        assert any(word in question for question in questions), word
    answers = " ".join(item.text for item in items if isinstance(item, Words))
    assert "23-24: " in answers, "completeness by magnitude"
    assert "140 listed lenses and 700 negatives" in answers
    assert "This was not measured in this run: wrong labels were not simulated." in answers
    assert "AUC 0.9984 (ResNet)" in answers
    noise = pd.DataFrame({"diagnostic": ["label_noise"], "finding": ["Wrong labels cost 1.2 points."]})
    told = [dataclasses.replace(item, findings=noise) for item in inputs.generations]
    again = referee.items(dataclasses.replace(inputs, generations=told))
    assert "Wrong labels cost 1.2 points." in " ".join(item.text for item in again if isinstance(item, Words))


def test_detectable_injections_are_answered_apart(inputs):
    said = " ".join(item.text for item in referee.items(inputs) if isinstance(item, Words))
    item = inputs.generations[1]
    threshold = item.thresholds.set_index("threshold_id")["threshold"]["fpr5e-2@val"]
    every = {"probability": [-1.0, 2.0]}
    row = along(item.injections, every, threshold, detectable_only=True).iloc[0]
    assert f"Of the {int(row['n']):,} injections that count as detectable, {100 * row['completeness']:.1f}" in said


OF_THE_REFERENCE = {"reference", "paper_iv", "first_grid"}
"""Groups of published figures that cite no work."""


def test_paper_iv_stands_beside_every_finder(inputs):
    """Its ResNet trained longer than its EfficientNetV2, two figures that are easily exchanged."""
    view = parity_view(inputs)
    rows = {row[0]: row[1:] for row in view.rows}
    assert view.headers[1:] == ("Inchausti+25 (Paper IV)", "gen4", "resnet-gen1", "demo1", "demo2")
    assert rows["best epoch"][0] == "126 (ResNet), 50 (EfficientNetV2)"
    assert rows["threshold"][0].startswith("0.9867")
    labels = inputs.generations[1].scores["label"]
    assert rows["positives and negatives"][-1] == f"{(labels == 1).sum():,} + {(labels == 0).sum():,} (test)"
    auc = inputs.generations[1].diagnostics.set_index("name")["value"]["auc"]
    assert rows["AUC"][-1].startswith(f"{auc:.3f}")


def test_the_first_grid_of_the_reference_has_its_radii_and_numbers():
    rows = first_grid_view().rows
    assert [row[0] for row in rows] == [f"{0.5 + 0.25 * step:.2f}" for step in range(11)]
    assert rows[5] == ["1.75", "5.7 %", "4.9 %", "3.6 %", "8.2", "10.6 % of 1,881"]
    bright = [int(row[-1].rpartition(" ")[2].replace(",", "")) for row in rows]
    assert sum(bright) == 20_666


def test_every_cited_work_is_among_the_references_and_none_has_an_invented_identifier():
    keys = {one["key"] for one in context.references()}
    cited = {str(row["work"]) for group, rows in published().items() for row in rows if group not in OF_THE_REFERENCE}
    assert cited <= keys
    known = {"Collett 15", "DESI Legacy Imaging Surveys", "Gorski+05"}
    assert {one["key"] for one in context.references() if "where" in one} == known
    names = [one["key"].lower() for one in context.references()]
    assert names == sorted(names)


def test_published_ranges_are_those_of_the_table(inputs):
    rows = context.literature_figure(inputs).data.set_index("label")
    ends = {label.partition(":")[0]: (row.low, row.high) for label, row in rows.iterrows()}
    assert ends["Gonzalez+25"] == (31, 70)
    assert ends["Jacobs+19"] == (4.8, 4.8)
    own = [label for label in rows.index if label.startswith("demo2")]
    assert len(own) == 1
    assert 0 < rows.loc[own[0], "low"] < rows.loc[own[0], "high"] < 100


def test_a_diagram_of_stages_leaves_out_what_longer_ways_imply():
    edges = {("pool", "negatives"), ("negatives", "manifest"), ("pool", "manifest"), ("manifest", "train")}
    assert _reduced(edges) == edges - {("pool", "manifest")}
    assert _depths(edges) == {"pool": 0, "negatives": 1, "manifest": 2, "train": 3}


def test_regimes_and_past_trainings_are_drawn(inputs):
    assert context.past_training(inputs) is None
    past = inputs.training_epochs.assign(phase="Frozen + warmup", generation="gen2")
    shown = context.past_training(dataclasses.replace(inputs, past_epochs=past))
    assert b"Frozen + warmup" in shown.picture.content
    assert b"gen2" in shown.picture.content


def test_six_models_share_tables(inputs):
    """Tables of verdicts grow by a column per model, not by rows."""
    models = [dataclasses.replace(inputs.generations[k % 2], name=f"m{k}") for k in range(6)]
    six = dataclasses.replace(inputs, generations=models, headline="m0")
    assert len(gate_views(six)[0].rows) == len(gate_views(inputs)[0].rows)
    assert len(pairs.matrices(six)[0].rows) == 6


@pytest.mark.usefixtures("words_only")
def test_curves_over_lensed_magnitude_and_arc_snr_count_every_arc(inputs):
    """A flux of 1 nMgy is magnitude 22.5; injections without a flux are in no bin of its curve."""
    items = []
    for item in inputs.generations:
        flux = np.geomspace(0.5, 20.0, len(item.injections))
        flux[::10] = 0.0
        rows = item.injections.assign(arc_flux_r_nmgy=flux, arc_snr=30 * flux + 0.1)
        items.append(dataclasses.replace(item, injections=rows))
    shown, *_ = selection.pictures(dataclasses.replace(inputs, generations=items))
    rows = shown.data[shown.data["generation"] == "demo1"].groupby("parameter")
    lensed, snr = rows.get_group("source r magnitude, lensed"), rows.get_group("arc SNR in r")
    assert lensed["n"].sum() == (items[0].injections["arc_flux_r_nmgy"] > 0).sum()
    assert snr["n"].sum() == len(items[0].injections)
    assert lensed["low"].min() == pytest.approx(22.5 - 2.5 * np.log10(20.0), abs=1e-6)
    assert "made.arc_snr" in shown.source.query


def test_own_and_past_trainings_share_a_figure_with_peak_and_rate_steps(inputs):
    rate = [1e-4, 2e-4, 2e-4, 2e-4, 1e-4, 1e-4, 0.9e-4, 0.5e-4, 0.2e-4]
    past = pd.DataFrame(
        {
            "generation": "gen2", "epoch": range(1, 10), "phase": "Full", "train_loss": 0.1, "val_loss": np.nan,
            "val_auc": [0.5, 0.9, 0.97, 0.99, 0.98, 0.97, 0.96, 0.96, 0.95], "learning_rate": rate,
        }
    )  # fmt: skip
    assert rate_steps(past) == [5], "neither warm-up nor a rate that always changes"
    shown = context.past_training(dataclasses.replace(inputs, past_epochs=past))
    own = set(inputs.training_epochs["generation"])
    assert set(shown.data["generation"]) == {"gen2", *own}
    for text in ("gen2", "0.9900, epoch 4", *own):
        assert text.encode() in shown.picture.content, text


def test_stages_that_read_each_other_are_drawn_in_one_direction() -> None:
    """A training finds the hard negatives that the next is trained on."""
    edges = {("stamp_manifest", "train"), ("stamp_manifest", "hard_negatives"), ("train", "hard_negatives")}
    forward = _forward({*edges, ("hard_negatives", "train")})
    assert forward == {*(edges - {("train", "hard_negatives")}), ("hard_negatives", "train")}
    assert _depths(_reduced(forward)) == {"stamp_manifest": 0, "hard_negatives": 1, "train": 2}
