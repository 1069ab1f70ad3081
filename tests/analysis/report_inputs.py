"""A whole set of made-up report inputs, two generations on one grid."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.config import EvaluateParams, ReportParams
from analysis.diagnostics.masked_pixels import masked_pixels
from analysis.records import Gate, Measure, Outcome, gate_below, merge
from analysis.reporting.inputs import Gallery, GenerationInputs, ReportInputs
from analysis.results.discoveries import ranked_candidates
from analysis.results.evaluation import evaluate
from analysis.statistics.completeness import completeness_table
from analysis.statistics.thresholds import bootstrap_thresholds, fix_thresholds, threshold_rows, unlisted_ends
from analysis.statistics.uncertain import joint_intervals, unlisted_ranges
from lake.sky.survey import SURVEY
from tests.analysis.galaxies import make_stamps

EVALUATE = EvaluateParams(
    bootstrap_replicates=100,
    fpr_points=(1e-3, 5e-2),
    partial_auc_fprs=(1e-2, 5e-2),
    tpr_point=0.85,
    probability_thresholds=(0.3, 0.5),
    selective_fpr_max=0.1,
    unlisted_lenses_per_negative=(0.0, 0.01),
    sky_lens_share=None,
    calibration_bins=15,
    positive_region_above=0.01,
    saturated_below=0.01,
    saturated_above=0.99,
    condition_bins=3,
    min_stratum_positives=10,
)
FIXING = 1 / (1 + np.exp(-(np.random.default_rng(8).normal(size=400) * 1.36 - 2)))
"""Probabilities of the negatives that fix thresholds."""


def scores(name, gain):
    shared = np.random.default_rng(0)
    label = (np.arange(840) < 140).astype(int)
    score = shared.normal(size=840) * 1.3 - 2 + (3.4 + gain) * label + 0.4 * np.random.default_rng(9).normal(size=840)
    return pd.DataFrame(
        {
            "checkpoint_id": f"c-{name}",
            "galaxy_id": [f"ls-dr10:0003m005_{i}" for i in range(840)],
            "label": label,
            "score": score,
            "probability": 1 / (1 + np.exp(-score)),
            "split": "test",
            "seen_in_training": False,
            "tier": np.where(label == 1, np.where(np.arange(840) % 4 == 0, "A", "B"), None),
            "type_bin": shared.choice(["SER", "DEV", "REX"], 840),
        }
    )


def injections(gain):
    """Rows per injection on a small grid, hosts reused across Einstein radii."""
    rng = np.random.default_rng(3)
    rows = []
    for psf in range(3):
        for depth in range(2):
            hosts = [] if (psf, depth) == (2, 0) else rng.normal(size=12)
            for theta in np.arange(0.5, 3.01, 0.5):
                for k, host in enumerate(np.repeat(hosts, 3)):
                    mag = rng.uniform(23, 26)
                    logit = -0.6 + 1.2 * np.log(theta) + 0.5 * depth - 0.5 * psf + host - 1.1 * (mag - 24) + gain
                    logit += rng.normal()
                    rows.append((theta, psf, depth, f"h{psf}{depth}{k // 3}", mag, 1 / (1 + np.exp(-logit))))
    frame = pd.DataFrame(rows, columns=["theta", "psf", "depth", "galaxy_id", "mag", "probability"])
    frame["injection_id"] = [f"i{i}" for i in range(len(frame))]
    frame["grid_id"], frame["status"] = "9f21c0", "scored"
    return frame


def described(frame):
    """The columns that a joined row of `injections` and `injection_scores` has."""
    rng = np.random.default_rng(4)
    return frame.assign(
        lens_theta_e_arcsec=frame["theta"],
        src_mag_r=frame["mag"],
        src_beta_frac=np.sqrt(rng.uniform(0.01, 1, len(frame))),
        host_psf_fwhm_nea_r_arcsec=0.95 + 0.15 * frame["psf"],
        host_depth_r_mag=23.6 + 0.5 * frame["depth"] + 0.01 * frame["galaxy_id"].str[-1].astype(int),
        host_probability=0.05,
        detectable=frame["mag"] < 24.5,
    )


def points(table):
    """Thresholds of one model: fixed on `FIXING`, judged on the negatives of the reported split."""
    return fix_thresholds(FIXING, table.loc[table["label"] == 0, "probability"], EVALUATE)


def counts(frame, name, thresholds):
    """What the SQL answers: cells x thresholds x magnitude bins with sums over hosts, and marginals; with intervals."""
    bins = {"23-24": (23, 24), "24-25": (24, 25), "25-26": (25, 26), "all": (0, 99)}
    rows = []
    for threshold_id, threshold in ((point.threshold_id, point.threshold) for point in thresholds):
        for mag_bin, (low, high) in bins.items():
            part = frame[frame["mag"].between(low, high, inclusive="left")].assign(
                hit=lambda f, t=threshold: f["probability"] > t
            )
            keys = {"threshold_id": threshold_id, "threshold": threshold, "source_mag_bin": mag_bin}
            cells = dict(list(part.groupby(["theta", "psf", "depth"])))
            for theta in sorted(frame["theta"].unique()):
                for psf in range(3):
                    for depth in range(2):
                        edges = {
                            "cell": f"{theta}/{psf}/{depth}",
                            "theta_e_arcsec": theta,
                            "psf_fwhm_nea_arcsec_low": 0.9 + 0.15 * psf,
                            "psf_fwhm_nea_arcsec_high": 1.05 + 0.15 * psf,
                            "depth_mag_low": 23.5 + 0.5 * depth,
                            "depth_mag_high": 24.0 + 0.5 * depth,
                        }
                        rows.append(keys | edges | sums(cells.get((theta, psf, depth), part.head(0))))
            rows.append(keys | {"cell": "marginal"} | sums(part))
    derived = [point for point in thresholds if point.status == "measured"]
    drawn = {point.threshold_id: bootstrap_thresholds(FIXING, point.target_fpr) for point in derived}
    ends = {point.threshold_id: unlisted_ends(FIXING, point) for point in derived}
    edges = (23.0, 24.0, 25.0, 26.0)
    placed = frame.assign(
        cell=[f"{t}/{p}/{d}" for t, p, d in zip(frame["theta"], frame["psf"], frame["depth"], strict=True)],
        src_mag_r=frame["mag"],
    )
    joint = joint_intervals(placed, drawn, edges, SURVEY).merge(unlisted_ranges(placed, ends, edges, SURVEY))
    same = {"grid_id": "9f21c0", "grid_name": "main", "generation": name}
    same |= {"checkpoint_id": f"c-{name}", "weighting_id": "v1", "prior": "v1"}
    whole = pd.DataFrame(rows).assign(**same)
    return whole.merge(joint.drop(columns="n"), on=["cell", "source_mag_bin", "threshold_id"], how="left")


def sums(part):
    hosts, of_host = np.unique(part["galaxy_id"].to_numpy(dtype=str), return_inverse=True)
    n = np.bincount(of_host, minlength=len(hosts)).astype(float)
    k = np.bincount(of_host, weights=part["hit"].to_numpy(dtype=float), minlength=len(hosts))
    return {
        "n": len(part),
        "detected": int(part["hit"].sum()),
        "failed": 1,
        "hosts": len(hosts),
        "host_detected_sq": float((k * k).sum()),
        "host_detected_n": float((k * n).sum()),
        "host_n_sq": float((n * n).sum()),
        "mean_score": -1.0,
        "mean_arc_snr": 12.0,
    }


def generation(name, gain, annulus):
    table = scores(name, gain)
    extra = Outcome(
        "diagnose",
        (
            Measure("trivial/auc", 0.742, 0.70, 0.78, 840, "", "the better: boosting"),
            Measure("realism/injections_against_listed_lenses/probe_auc", 0.91, 0.87, 0.94, 400, "", "embedding"),
            Measure("realism/tier_a_against_tier_b/probe_auc", 0.56, 0.48, 0.63, 140, "", "embedding"),
            Measure("split/train/positives", 620.0),
        ),
        (
            gate_below(
                "realism/linear_probe",
                Measure("p", 0.91, 0.87, 0.94),
                0.85,
                "linear-probe AUC < 0.85",
            ),
            Gate("beats_trivial_features", "PASS", 0.95, 0.93, 0.97, 0.742, "lower bound above trivial features"),
            Gate("annulus/median", "BORDERLINE", 1e-5, np.nan, np.nan, 0.001, "KS p and correlation"),
        ),
    )
    params = type("P", (), {"max_bad_pixel_fraction": 0.05, "max_bad_cutout_fraction": 0.05})()
    masked = masked_pixels(np.zeros(900), np.full(900, 5e-6), params)
    named = points(table)
    outcome = merge("all", [evaluate(table, named, EVALUATE, np.random.default_rng(0)), extra, masked])
    placed = injections(gain)
    counted = counts(placed, name, [point for point in named if point.measurable])
    stored = pd.DataFrame(threshold_rows(named, f"c-{name}", name))
    rates = stored[["threshold_id", "fpr_reached", "fpr_low", "fpr_high", "fpr_unlisted_low", "fpr_unlisted_high"]]
    return GenerationInputs(
        name=name,
        checkpoint_id=f"c-{name}",
        lens_share=0.3,
        lens_share_origin="set by its sampler",
        facts={"network": "cpu_small (235k parameters)", "annulus (pixels)": annulus, "best epoch": "11 of 14"},
        scores=table,
        fixing=pd.DataFrame({"galaxy_id": np.arange(len(FIXING)), "probability": FIXING}),
        diagnostics=pd.DataFrame(outcome.diagnostics_rows(name)),
        gates=pd.DataFrame(outcome.gates_rows(name)),
        completeness=completeness_table(counted.merge(rates, on="threshold_id", how="left")).to_pandas(),
        thresholds=stored,
        injections=described(placed),
    )


def manifest():
    rng = np.random.default_rng(0)
    n = 5400
    label = (rng.random(n) < 1 / 6).astype(int)
    return pd.DataFrame(
        {
            "split": rng.choice(["train", "val", "test"], n, p=[0.7, 0.15, 0.15]),
            "label": label,
            "tier": np.where(label == 1, np.where(rng.random(n) < 0.2, "A", "B"), None),
            "pool": np.where(label == 1, "P", np.where(rng.random(n) < 0.85, "N1", "N2")),
            "type_bin": rng.choice(["SER", "DEV", "REX"], n),
            "nobs_z_bin": rng.choice(["3-5", "6-10", "11+"], n),
            "healpix_128": rng.integers(0, 120, n),
        }
    )


def galleries():
    rng = np.random.default_rng(0)
    hosts = make_stamps(rng, rng.uniform(5, 40, (6, 1)) * np.array([[0.5, 1.0, 1.7]]), rng.uniform(3, 5, 6), 0.006)
    rings = hosts.copy()
    y, x = np.indices((101, 101)) - 50
    radius = np.hypot(x, y)
    for i, theta in enumerate(np.linspace(4, 12, 6)):
        rings[i] += (np.exp(-0.5 * ((radius - theta) / 1.8) ** 2) * (x + 0.3 * y > 0))[None] * np.array(
            [0.10, 0.07, 0.04]
        )[:, None, None].astype(np.float32)
    rows = (
        ("hosts", hosts, [f"p {0.01 * i:.2f}" for i in range(6)]),
        ("injected", rings, [f'{0.5 + 0.5 * i:.1f}", p {0.1 + 0.15 * i:.2f}' for i in range(6)]),
    )
    return (Gallery("Hosts and the same hosts with an injected arc", "Drawn at random by injection identifier.", rows),)


def make_inputs(simulated=True):
    generations = (generation("demo1", 0.0, "20-32"), generation("demo2", 0.25, "32.5-45"))
    last = generations[-1].scores
    positions = last[["galaxy_id"]].assign(ra=np.linspace(0, 3, 840), dec=np.linspace(-1, 1, 840))
    epochs = pd.DataFrame(
        {
            "generation": ["demo1"] * 8 + ["demo2"] * 3,
            "epoch": [*range(1, 9), *range(1, 4)],
            "train_loss": np.r_[np.geomspace(0.6, 0.2, 8), 0.21, 0.19, 0.18],
            "val_loss": np.r_[np.geomspace(0.6, 0.25, 8), 0.25, 0.24, 0.24],
            "val_auc": np.r_[1 - np.geomspace(0.4, 0.06, 8), 0.935, 0.94, 0.941],
            "learning_rate": np.r_[np.geomspace(1e-3, 1e-5, 8), 1e-4, 5e-5, 1e-5],
        }
    )
    ingest = pd.DataFrame(
        [
            ("pool", "sweep-000m005-010p000.fits", "kept", "", 41_200),
            ("pool", "sweep-000m005-010p000.fits", "rejected", "type", 8_111),
            ("pool", "sweep-000m005-010p000.fits", "quarantined", "duplicate key", 17),
        ],
        columns=["stage", "source_file", "outcome", "reason", "rows"],
    )
    experiments = pd.DataFrame(
        {
            "run_id": ["gen4", "D03"],
            "kind": ["training", "diagnostic"],
            "source": "historical",
            "status": ["valid", "invalidated"],
            "status_reason": [None, "clamp bug"],
            "network": ["efficientnet_v2_s", None],
            "best_val_auc": [0.9921, None],
            "best_epoch": [1, None],
            "run_date": [None, "2026-02-14"],
            "key_finding": ["AUC 0.9921", "818 / 110,000 = 0.74 %"],
        }
    )
    return ReportInputs(
        params=ReportParams(
            title="Dark Halo Scope",
            contact_sheet_rows=2,
            calibration_bins=15,
            candidates_shown=5,
            headline_generation="demo2",
            headline_threshold_id="fpr5e-2@val",
            population="collett2015",
            population_min_support=0.5,
        ),
        survey_name="demo sky",
        simulated=simulated,
        imaging=SURVEY,
        generations=generations,
        headline="demo2",
        manifest=manifest(),
        ingest_counts=ingest,
        quarantine=pd.DataFrame({"stage": ["pool"] * 2, "reason": ["duplicate key"] * 2}),
        training_epochs=epochs,
        experiments=experiments,
        candidates=ranked_candidates(last, positions, 20, pd.DataFrame()),
        grids={"9f21c0": {"hosts": "all", "lens shape": "independent", "injections per cell": "36"}},
        baseline=generations[0]
        .scores[["label"]]
        .assign(score=np.random.default_rng(1).normal(size=840) + last["label"]),
        galleries=galleries(),
        provenance={"commands": "dhs repro", "code commit": "a69bc0b", "configuration": "1f0e7d", "seed": "42"},
        tables=pd.DataFrame(
            {"table": ["scores"], "slice": ["demo1"], "version": [3], "rows": [840], "fingerprint": ["ab12"]}
        ),
    )
