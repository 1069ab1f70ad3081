"""Diagnostics and gates on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_curve as sklearn_curve

from analysis.diagnostics.annulus import annulus_comparison
from analysis.diagnostics.flux_check import flux_check
from analysis.diagnostics.masked_pixels import masked_pixels
from analysis.diagnostics.real_lenses import real_lens_recall
from analysis.diagnostics.realism import Population, frechet, linear_probe, logistic_weights, realism_gate
from analysis.diagnostics.split_balance import split_balance
from analysis.records import Gate, Measure, Outcome, gate_below, merge
from analysis.results.features import features_of
from analysis.results.trivial import Rivalry, baseline, cohen_d, shortcuts
from analysis.statistics.thresholds import fix_thresholds
from lake import tables
from lake.errors import DataError, ParameterError
from tests.analysis.conftest import make_stamps
from tests.analysis.report_inputs import EVALUATE


def status(outcome, name):
    return next(gate.status for gate in outcome.gates if gate.name == name)


# --- records ---
def test_gates_know_their_side():
    sure, unsure = Measure("x", 0.9, 0.88, 0.92), Measure("x", 0.9, 0.80, 0.95)
    assert gate_below("g", sure, 0.95, "r").status == "PASS"
    assert gate_below("g", sure, 0.85, "r").status == "FAIL"
    assert gate_below("g", sure, 0.85, "r", "WARN").status == "WARN"
    assert gate_below("g", unsure, 0.85, "r").status == "BORDERLINE"
    assert gate_below("g", Measure("x", float("nan")), 0.85, "r").status == "NOT MEASURED"
    with pytest.raises(ParameterError, match="'status' must be one of PASS"):
        Gate("g", "MAYBE", 0, 0, 0, 0, "r")


@pytest.mark.parametrize("bounds", [{}, {"low": 0.4}, {"high": 0.6}])
def test_a_value_whose_interval_is_not_known_decides_nothing(bounds):
    assert gate_below("g", Measure("x", 0.5, **bounds), 0.85, "r").status == "NOT MEASURED"


def test_rows_meet_the_gate_contract():
    outcome = merge("x", [masked_pixels([], [], params())])
    spec = tables.spec("gates")
    row = outcome.gates_rows("run")[0]
    assert set(row) == {c.name for c in spec.columns if c.role != "lineage"}
    assert row["value"] is None
    assert row["status"] in spec.column("status").allowed


def test_merged_outcomes_keep_their_diagnostic_and_their_names():
    parts = [Outcome("a", (Measure("x", 1.0),)), Outcome("b", (Measure("y", 2.0),))]
    rows = merge("all", parts).diagnostics_rows("run")
    assert [row["diagnostic"] for row in rows] == ["a", "b"]
    with pytest.raises(ParameterError, match="free of repeated names"):
        merge("all", [parts[0], parts[0]])


# --- masked pixels ---
def params():
    from analysis.config import DiagnoseParams

    return DiagnoseParams.model_construct(max_bad_pixel_fraction=0.05, max_bad_cutout_fraction=0.05)


def test_masked_pixels():
    good = np.zeros(1000)
    assert status(masked_pixels(good, good + 5e-6, params()), "masked_pixels") == "PASS"
    bad = good.copy()
    bad[:100] = 0.5
    assert status(masked_pixels(bad, good, params()), "masked_pixels") == "FAIL"
    assert status(masked_pixels([], [], params()), "masked_pixels") == "NOT MEASURED"


# --- splits ---
FRACTIONS = (0.70, 0.15, 0.15)


def manifest(seed=0, pixels=120):
    rng = np.random.default_rng(seed)
    split = np.repeat(["train", "val", "test"], [84, 18, 18])
    rows = []
    for pixel in range(pixels):
        seeing, depth = rng.normal(1.2, 0.1), rng.normal(200, 20)
        for i in range(40):
            rows.append(
                {
                    "galaxy_id": f"s:{pixel}_{i}",
                    "cutout_path": f"bucket#{pixel}_{i}",
                    "split": split[pixel],
                    "label": int(i < 7),
                    "tier": "A" if i < 2 else ("B" if i < 7 else None),
                    "type_bin": ["SER", "DEV", "REX"][i % 3],
                    "healpix_128": pixel,
                    "psfsize_r": seeing,
                    "psfdepth_r": depth,
                }
            )
    return pd.DataFrame(rows)


def test_balanced_splits_pass(diagnose):
    outcome = split_balance(manifest(), FRACTIONS, diagnose)
    assert {gate.status for gate in outcome.gates} == {"PASS"}
    assert outcome.measure("split/train/positives").value == 84 * 7
    assert outcome.measure("split/val/tier/A/positives").value == 18 * 2
    assert outcome.measure("split/ks_psfsize_r/train_val").n == 84 + 18


def test_shares_have_a_95_percent_interval_of_their_pixels(diagnose):
    share = split_balance(manifest(), FRACTIONS, diagnose).measure("split/val/pixel_share")
    exact = stats.binomtest(18, 120).proportion_ci(0.95, method="exact")
    assert (share.value, share.low, share.high) == pytest.approx((18 / 120, exact.low, exact.high))


def test_shared_pixels_and_galaxies_fail(diagnose):
    rows = manifest()
    rows.loc[0, "split"] = "test"
    rows.loc[5, "healpix_128"] = np.nan
    outcome = split_balance(rows, FRACTIONS, diagnose)
    assert status(outcome, "split/shared_healpix_128") == "FAIL"
    assert status(outcome, "split/shared_galaxy_id") == "PASS"
    assert status(outcome, "split/healpix_known") == "FAIL"


def test_wrong_proportions_and_seeing_fail(diagnose):
    rows = manifest()
    moved = rows[rows["healpix_128"].between(0, 50)].index
    rows.loc[moved, "split"] = "test"
    rows.loc[rows["split"] == "test", "psfsize_r"] += 0.5
    outcome = split_balance(rows, FRACTIONS, diagnose)
    assert status(outcome, "split/train_share") == "FAIL"
    assert status(outcome, "split/psfsize_r_train_test") == "FAIL"


def test_so_few_pixels_that_no_difference_could_fail_are_not_measured(diagnose):
    """Three pixels against three cannot reach p below 0.1: a pass would say nothing."""
    rng = np.random.default_rng(0)
    rows = []
    for split, pixels in (("train", 40), ("val", 3), ("test", 3)):
        for pixel in range(pixels):
            psf = 1.0 if split == "train" else 1.5 if split == "val" else 2.0
            rows.append((split, f"{split}{pixel}", psf + 0.1 * rng.random(), 100.0 + rng.random()))
    manifest = pd.DataFrame(rows, columns=["split", "galaxy_id", "psfsize_r", "psfdepth_r"])
    manifest["healpix_128"], manifest["label"] = np.arange(len(manifest)), np.arange(len(manifest)) % 2
    outcome = split_balance(manifest, FRACTIONS, diagnose)
    assert status(outcome, "split/psfsize_r_val_test") == "NOT MEASURED"
    assert outcome.measure("split/ks_psfsize_r/val_test/p").value == pytest.approx(0.1)
    assert status(outcome, "split/psfsize_r_train_val") == "FAIL"
    assert status(outcome, "split/psfdepth_r_train_val") == "PASS"


def test_a_check_that_has_nothing_to_check_says_so(diagnose):
    """None of these may pass, nor be left out of the list of gates."""
    rows = manifest()
    rows["cutout_path"] = None
    rows.loc[rows["split"] == "val", "psfsize_r"] = np.nan
    outcome = split_balance(rows, FRACTIONS, diagnose)
    assert status(outcome, "split/shared_cutout_path") == "NOT MEASURED"
    assert status(outcome, "split/psfsize_r_train_val") == "NOT MEASURED"
    assert status(outcome, "split/psfsize_r_train_test") == "PASS"
    two = split_balance(rows[rows["split"] != "val"], (0.7, 0.0, 0.3), diagnose)
    assert "split/psfsize_r_train_val" not in {gate.name for gate in two.gates}, "there is no such split"
    lenses = pd.DataFrame({"tier": ["A"], "healpix_128": [1], "probability": [np.nan]})
    assert status(real_lens_recall(lenses, [9], [fixed([0.1])]), "lens_recall/leakage_guard") == "NOT MEASURED"
    features = pd.DataFrame({f"trivial/log_flux_{band}": [0.0, 0.0] for band in "grz"})
    fluxes = pd.DataFrame({"flux_g": [1.0, 1.0], "flux_r": [np.nan, 0.0], "flux_z": [1.0, 1.0]})
    checked = flux_check(features, fluxes, diagnose)
    assert [status(checked, f"flux_ratio/{band}") for band in "grz"] == ["PASS", "NOT MEASURED", "PASS"]
    unknown = np.full(100, np.nan)
    assert status(masked_pixels(unknown, unknown, params()), "masked_pixels") == "FAIL", "unknown pixels are not good"


# --- real lenses ---
def fixed(negatives):
    """The threshold p0.3, judged on some negatives."""
    return fix_thresholds([], negatives, EVALUATE)[0]


def test_recall_by_tier_and_leakage():
    lenses = pd.DataFrame(
        {
            "tier": ["A", "A", "A", "B", "B", "B"],
            "healpix_128": [1, 2, 3, 4, 5, 9],
            "probability": [0.9, 0.2, np.nan, 0.4, 0.3, 0.99],
        }
    )
    point = fixed(np.linspace(0, 1, 100))
    outcome = real_lens_recall(lenses, [9, 10], [point])
    assert outcome.measure("lens_recall/tier_A/p0.3").value == 0.5
    assert outcome.measure("lens_recall/tier_B/p0.3").value == 0.5
    assert outcome.measure("lens_recall/all/p0.3").n == 4
    assert outcome.measure("lens_recall/unscored").value == 1
    assert status(outcome, "lens_recall/leakage_guard") == "FAIL"
    assert status(real_lens_recall(lenses.iloc[:5], [9, 10], [point]), "lens_recall/leakage_guard") == "PASS"


def test_what_an_unknown_training_set_held_is_not_measured():
    point = fixed([0.1])
    lenses = pd.DataFrame({"tier": "A", "healpix_128": [1, 2, 3], "probability": 0.9, "seen_in_training": None})
    outcome = real_lens_recall(lenses, [9], [point])
    assert status(outcome, "lens_recall/leakage_guard") == "NOT MEASURED"
    assert outcome.measure("lens_recall/all/p0.3").n == 3, "a lens is left out only where it is known to be seen"
    told = real_lens_recall(lenses.assign(seen_in_training=[True, None, False]), [9], [point])
    assert status(told, "lens_recall/leakage_guard") == "FAIL"
    assert told.measure("lens_recall/all/p0.3").n == 2


def test_a_lens_without_a_pixel_cannot_be_cleared():
    lenses = pd.DataFrame({"tier": ["A"], "healpix_128": [np.nan], "probability": [0.9]})
    outcome = real_lens_recall(lenses, [1], [fixed([0.1])])
    assert status(outcome, "lens_recall/leakage_guard") == "FAIL"


def test_reference_interval_of_tier_a():
    """100 of 112 Tier A: 89.3 %; exact 95 % interval."""
    lenses = pd.DataFrame({"tier": "A", "healpix_128": range(112), "probability": np.r_[np.ones(100), np.zeros(12)]})
    found = real_lens_recall(lenses, [-1], [fixed([0.1])]).measure("lens_recall/tier_A/p0.3")
    assert (found.value, found.low, found.high) == pytest.approx((0.893, 0.820, 0.943), abs=1e-3)


# --- trivial features ---
@pytest.fixture(scope="module")
def galaxies(diagnose):
    rng = np.random.default_rng(0)
    label = rng.random(320) < 0.4
    flux = np.exp(rng.normal(1.0, 0.5, 320) + 0.9 * label)[:, None] * np.array([0.5, 1.0, 1.6])
    stamps = make_stamps(rng, flux, rng.uniform(3, 6, 320))
    split = np.where(np.arange(320) < 200, "train", "test")
    return features_of([stamps[:160], stamps[160:]], diagnose), label.astype(int), split, flux


def test_brighter_lenses_are_found_by_flux_alone(galaxies):
    features, label, split, _ = galaxies
    outcome = baseline(features, label, split, seed=1)
    assert outcome.measure("trivial/auc").value > 0.75
    assert outcome.measure("trivial/auc").low < outcome.measure("trivial/auc").value
    again = baseline(features, label, split, seed=1)
    assert np.array_equal(outcome.arrays["trivial_scores"], again.arrays["trivial_scores"])


@pytest.fixture(scope="module")
def rivals():
    """Labels, splits and one feature that tells lenses at AUC 0.76; half of each class is for training."""
    rng = np.random.default_rng(2)
    label = np.repeat([1, 0, 1, 0], [200, 400, 200, 400])
    return pd.DataFrame({"trivial/flux": label + rng.normal(size=1200)}), label, np.repeat(["train", "test"], 600)


def test_a_network_is_compared_on_the_same_objects(rivals):
    features, label, split = rivals
    perfect = label + np.random.default_rng(0).normal(scale=0.2, size=len(label))
    rivalry = Rivalry((0.5, 0.05, 0.001), 300)
    assert status(baseline(features, label, split, 1, perfect, rivalry), "beats_trivial_features") == "PASS"
    noise = np.random.default_rng(0).normal(size=len(label))
    assert status(baseline(features, label, split, 1, noise, rivalry), "beats_trivial_features") == "FAIL"
    with pytest.raises(DataError, match="positives and negatives in both train and test"):
        baseline(features, np.zeros(len(label), int), split, 1)


def test_a_network_that_wins_by_auc_and_loses_at_the_rate_reported_does_not_pass(rivals):
    """The gate of the AUC alone would pass: most lenses rank above most negatives, none above the best of them."""
    features, label, split = rivals
    rng = np.random.default_rng(3)
    network = np.where(label == 1, rng.uniform(0.6, 0.9, 1200), rng.uniform(0.0, 0.7, 1200))
    network[(label == 0) & (rng.random(1200) < 0.1)] = 1.0
    outcome = baseline(features, label, split, 1, network, Rivalry((0.05, 0.001), 300))
    gain, auc = outcome.measure("trivial/recall_gain/fpr5e-2"), outcome.measure("trivial/network_gain")
    assert auc.low > 0.0
    assert gain.value < gain.high < 0.0
    test = split == "test"
    found = []
    for scores in (outcome.arrays["trivial_scores"], network[test]):
        fpr, tpr, _ = sklearn_curve(label[test], scores, drop_intermediate=False)
        found.append(tpr[fpr <= 0.05].max())
    assert gain.value == pytest.approx(found[1] - found[0])
    assert status(outcome, "beats_trivial_features/fpr5e-2") == "FAIL"
    assert status(outcome, "beats_trivial_features/fpr1e-3") == "NOT MEASURED"
    assert status(outcome, "beats_trivial_features") == "FAIL"
    tied = baseline(features.gt(0.5).astype(float), label, split, 1, network, Rivalry((0.05,), 300))
    assert np.isnan(tied.measure("trivial/recall_gain/fpr5e-2").value)
    assert status(tied, "beats_trivial_features/fpr5e-2") == "NOT MEASURED", "a baseline of ties is beaten by nothing"
    by_auc = baseline(features, label, split, 1, network)
    assert "PASS" in by_auc.gates[0].rule
    assert by_auc.gates[0].status == "NOT MEASURED", "no rate was compared"


def test_shortcuts_are_seen_and_their_absence_too(galaxies, diagnose):
    features, label, split, _ = galaxies
    outcome = shortcuts(features, label, split, diagnose)
    assert status(outcome, "shortcut/core_only") == "WARN"
    assert status(outcome, "shortcut/core_brightness") == "WARN"
    shuffled = np.random.default_rng(5).permutation(label)
    fair = shortcuts(features, shuffled, split, diagnose)
    assert status(fair, "shortcut/core_only") in ("PASS", "BORDERLINE")


def test_cohen_d():
    rng = np.random.default_rng(0)
    assert cohen_d(rng.normal(0.5, 1, 20_000), rng.normal(0, 1, 20_000)) == pytest.approx(0.5, abs=0.03)
    assert cohen_d(np.ones(3), np.ones(3)) == 0.0


def test_fluxes_are_nanomaggies(galaxies, diagnose):
    features, _, _, flux = galaxies
    catalogue = pd.DataFrame(flux, columns=["flux_g", "flux_r", "flux_z"])
    assert {g.status for g in flux_check(features, catalogue, diagnose).gates} == {"PASS"}
    wrong = flux_check(features, catalogue * 1e3, diagnose)
    assert {g.status for g in wrong.gates} == {"FAIL"}
    assert wrong.measure("flux_ratio/r").value == pytest.approx(1e-3, rel=0.1)


def test_annuli_far_from_the_galaxy_agree(diagnose):
    rng = np.random.default_rng(0)
    stamps = make_stamps(rng, np.full((60, 3), 10.0), np.full(60, 3.0), noise=0.01)
    stamps += rng.normal(0, 0.01, 60).astype(np.float32)[:, None, None, None]
    objects = pd.DataFrame(
        {"label": np.arange(60) % 2, "psfsize_r": rng.normal(1.2, 0.1, 60), "psfdepth_r": rng.normal(200, 9, 60)}
    )
    outcome = annulus_comparison(features_of([stamps], diagnose), objects, diagnose)
    assert status(outcome, "annulus/median") == "PASS"
    wide = make_stamps(rng, np.full((60, 3), 400.0), 8.0 + 4.0 * np.linspace(0, 1, 60), noise=0.01)
    objects["psfsize_r"] = np.linspace(0.9, 1.8, 60)
    material = annulus_comparison(features_of([wide], diagnose), objects, diagnose)
    assert status(material, "annulus/median") == "GO"
    objects["psfsize_r"] = rng.permutation(objects["psfsize_r"])
    assert (
        status(annulus_comparison(features_of([wide], diagnose), objects, diagnose), "annulus/median") == "BORDERLINE"
    )


def test_a_small_shift_of_the_same_stamps_is_seen(diagnose):
    """Every stamp moves by a tenth of the spread between stamps: a test of paired differences sees it, KS does not."""
    rng = np.random.default_rng(4)
    first = rng.normal(0.0, 0.01, 200)
    columns = {"annulus0/median_r": first, "annulus1/median_r": first + rng.normal(0.001, 0.0005, 200)}
    columns |= {f"annulus{i}/mad_r": np.full(200, 0.01) for i in (0, 1)}
    objects = pd.DataFrame({"label": np.arange(200) % 2, "psfsize_r": np.nan, "psfdepth_r": np.nan}, range(200))
    outcome = annulus_comparison(pd.DataFrame(columns), objects, diagnose)
    shift = columns["annulus1/median_r"] - first
    assert outcome.measure("annulus/median/paired_p").value == pytest.approx(stats.wilcoxon(shift).pvalue)
    assert stats.ks_2samp(first, columns["annulus1/median_r"]).pvalue > 0.05
    assert status(outcome, "annulus/median") == "BORDERLINE"
    assert status(outcome, "annulus/mad") == "PASS"


# --- realism ---
def population(rng, n, shift=0.0, per_host=1, prefix="h"):
    hosts = np.repeat([f"{prefix}{i}" for i in range(n // per_host)], per_host)
    return Population(rng.normal(size=(n, 12)) + shift, hosts)


def test_equal_populations_pass_the_probe(diagnose):
    rng = np.random.default_rng(1)
    probe = linear_probe(population(rng, 80, prefix="a"), population(rng, 80, prefix="b"), diagnose, rng)
    assert probe.auc == pytest.approx(0.5, abs=0.12)
    assert probe.p_value > 0.04
    assert probe.low <= probe.auc <= probe.high


def test_different_populations_fail_the_probe(diagnose):
    rng = np.random.default_rng(1)
    pairs = {
        "injections_against_listed_lenses": (population(rng, 80, prefix="a"), population(rng, 80, 0.9, prefix="b")),
        "tier_a_against_tier_b": (population(rng, 80, prefix="a"), population(rng, 60, prefix="b")),
        "too_few": (population(rng, 3), population(rng, 80)),
    }
    outcome = realism_gate(pairs, "injections_against_listed_lenses", "embedding", diagnose, rng)
    assert status(outcome, "realism/linear_probe") == "FAIL"
    assert outcome.measure("realism/injections_against_listed_lenses/probe_p").value < 0.06
    assert not any("too_few" in m.name for m in outcome.measures)
    absent = realism_gate({}, "injections_against_listed_lenses", "embedding", diagnose, rng)
    assert status(absent, "realism/linear_probe") == "NOT MEASURED"


def test_hosts_are_never_split_between_folds(diagnose):
    """Ten stamps of each host look alike: a probe with leaking folds would tell pure noise apart."""
    rng = np.random.default_rng(2)

    def shared(prefix):
        hosts = np.repeat([f"{prefix}{i}" for i in range(12)], 10)
        return Population(
            np.repeat(rng.normal(size=(12, 12)) * 3, 10, axis=0) + rng.normal(size=(120, 12)) * 0.1, hosts
        )

    probe = linear_probe(shared("a"), shared("b"), diagnose, rng)
    assert probe.auc < 0.9
    assert probe.high - probe.low > 0.2


def test_logistic_weights_equal_sklearn():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 5))
    labels = (values[:, 0] + rng.normal(size=200) > 0.8).astype(int)
    model = LogisticRegression(class_weight="balanced", tol=1e-10).fit(values, labels)
    expected = np.r_[model.intercept_, model.coef_[0]]
    assert logistic_weights(values, labels) == pytest.approx(expected, abs=1e-5)


def test_frechet_of_known_gaussians():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40_000, 3)), 2 * rng.normal(size=(40_000, 3)) + np.array([1.0, 0, 0])
    assert frechet(a, b) == pytest.approx(1.0 + 3 * (1 - 2) ** 2, rel=0.03)
    with pytest.raises(DataError, match="must be finite"):
        linear_probe(Population(np.full((40, 12), np.nan), range(40)), population(rng, 40), None, rng)
