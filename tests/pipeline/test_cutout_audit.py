"""A finder is audited on anybody's labelled cut-outs, in a project without a survey: tables, thresholds, page."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from scipy.special import expit, logit

from analysis.fitted import emulator
from analysis.page.report import Page
from analysis.records import Outcome
from analysis.results.gridtable import counted
from analysis.statistics.completeness import with_intervals
from analysis.statistics.uncertain import share_interval
from injection.experiment import stream
from lake import yamltext
from lake.errors import DataError, LakeError, ParameterError
from lake.sky.survey import SURVEY
from lake.store import cards, delta
from lake.store.query import query
from modeling.scoring import finder as finders
from pipeline.cli import dhs
from pipeline.experiment import grids
from pipeline.experiment.emulating import completeness_at, emulator_compared
from pipeline.experiment.planning import measured
from pipeline.experiment.populations import expected
from pipeline.experiment.reweighting import Asked, completeness_under
from pipeline.experiment.storedgrid import StoredGrid
from pipeline.finders import cutoutaudit
from pipeline.finders.audit import TrainedOn, forget
from pipeline.finders.cutoutaudit import Made, Request, audit_cutouts
from pipeline.finders.cutouttables import audited_sets
from pipeline.project import params
from pipeline.project.outputs import grid_batches, grid_facts
from pipeline.project.project import Project
from pipeline.reporting.results import scored
from tests.cutoutsets import described, write_set
from tests.fulldisk import no_file_over
from tests.pipeline.checkout import Checkout, project_in

pytestmark = pytest.mark.usefixtures("whole_stage")

COUNT, LENSES = 96, 30
INDICES = ["theta_e_index", "psf_index", "depth_index"]
HERE = __name__


class Blue:
    """A finder of two bands: the bluest light in the middle."""

    bands, version = ("g", "i"), "1"

    def score(self, stamps: NDArray[np.float32]) -> NDArray[np.float64]:
        middle = stamps[:, :, 10:31, 10:31].astype(np.float64)
        return np.asarray((middle[:, 0] - 0.22 * middle[:, 1]).max(axis=(1, 2)) * 150 - 5)


class ByNumbers(Blue):
    """The same, with the seeing and a number that is negative."""

    conditions, version = ("seeing", "ebv"), "2"
    given: NDArray[np.float32]

    def score(self, stamps: NDArray[np.float32], more: NDArray[np.float32]) -> NDArray[np.float64]:  # type: ignore[override]
        type(self).given = more
        return super().score(stamps) + more[:, 0] - 0.8


class Chances(Blue):
    def score(self, stamps: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(expit(super().score(stamps)))


class Column(Blue):
    def score(self, stamps: NDArray[np.float32]) -> Any:
        return super().score(stamps)[:, None].tolist()


class Fails(Blue):
    def score(self, stamps: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.where(np.arange(len(stamps)) == 3, np.nan, super().score(stamps))


def project(folder: Path) -> Project:
    values = project_in(folder).values
    own = {"evaluate": {**values["evaluate"], "fpr_points": [0.01]}}
    params.write(folder, {**values, **own}, "test")
    return params.load(folder)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Audits without diagnostics and page, which one test sees."""
    monkeypatch.setattr(cutoutaudit, "diagnosed", lambda *given: Outcome("diagnose"))
    monkeypatch.setattr(cutoutaudit, "rendered", lambda inputs, folder: Page("", {}))


def fingerprints(at: Project) -> dict[tuple[str, str | None], str]:
    held = [entry.card for table in cards.tables(at.data) for entry in cards.slices(at.data, table)]
    return {(card.table, card.slice): card.fingerprint for card in held}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Path, Made]:
    """One audit: of a set with two bad files and an object that the table lacks."""
    place = tmp_path_factory.mktemp("audited")
    path = write_set(place / "set", COUNT, LENSES)
    table = pd.read_csv(place / "set" / "objects.csv")
    table[table["id"] != "o090"].to_csv(place / "set" / "objects.csv", index=False)
    (place / "set" / "older.h5").write_bytes(b"")
    made = audit_cutouts(project(place), Request(f"{HERE}:Blue", place / "set", path, "blue"))
    return project(place), path, made


def rows(at: Project, table: str, name: str = "blue-own") -> pd.DataFrame:
    return delta.read(at.data, table, slices=[name]).to_pandas()


def test_a_full_disk_names_the_file_of_the_stamps_and_publishes_nothing(tmp_path: Path) -> None:
    path, at = write_set(tmp_path / "set", 24, 6), project(tmp_path)
    asked = Request(f"{HERE}:Blue", tmp_path / "set", path, "blue")
    with no_file_over(50_000), pytest.raises(OSError, match=r"File too large: '.*/data/work/audit/.*/stamps\.f32'"):
        audit_cutouts(at, asked)
    assert fingerprints(at) == {}


def test_negatives_fix_thresholds_host_injections_or_are_tested(done: tuple[Project, Path, Made]) -> None:
    at, _, made = done
    scores, injections = rows(at, "scores"), rows(at, "set_injections")
    assert made.name == "blue-own"
    uses = scores.loc[scores["label"] == 0, "negative_use"].value_counts().to_dict()
    assert uses == {"threshold": 22, "host": 22, "test": 21}
    hosts = set(scores.loc[scores["negative_use"] == "host", "galaxy_id"])
    assert set(injections["galaxy_id"]) <= hosts
    points = rows(at, "thresholds").set_index("threshold_id")
    by_use = {use: part["probability"].to_numpy() for use, part in scores.groupby("negative_use")}
    derived = points.loc["fpr5e-1@val"]  # the lowest round rate that 22 negatives can measure
    assert derived["threshold"] == np.sort(by_use["threshold"])[::-1][11]
    assert derived["fpr_reached"] == (by_use["test"] > derived["threshold"]).mean()
    assert points.loc["fpr1e-2@val", "status"] == "not measurable"
    assert scores["seen_in_training"].isna().all()
    gates = rows(at, "gates", "evaluate-blue-own").set_index("name")["status"]
    assert gates["untouched_test_set"] == "NOT MEASURED", "nobody knows what the finder was trained on"
    noise = rows(at, "gates", "diagnose-blue-own").set_index("name").loc["host_noise"]
    assert noise["status"] == "PASS"
    assert noise["value"] == pytest.approx(1.0, abs=0.1)
    assert points["lenses_high"].isna().all(), "the range of the survey's negatives is not that of the set's"


def test_completeness_counts_the_stored_injections(done: tuple[Project, Path, Made]) -> None:
    at, _, _ = done
    injections, answers = rows(at, "set_injections"), rows(at, "injection_scores")
    both = injections.merge(answers[["injection_id", "probability", "host_probability"]], on="injection_id")
    assert len(both) == 48
    completeness = rows(at, "completeness")
    for row in completeness.to_dict("records"):
        part = both[both["status"] == "scored"]
        if row["cell"] != "marginal":
            part = part[part["lens_theta_e_arcsec"] == row["theta_e_arcsec"]]
        if row["source_mag_bin"] != "all":
            low, high = map(float, row["source_mag_bin"].split("-"))
            part = part[(part["src_mag"] >= low) & (part["src_mag"] < high)]
        assert row["n"] == len(part)
        assert row["detected"] == (part["probability"] > row["threshold"]).sum()
        assert row["hosts"] == part["galaxy_id"].nunique()
        assert row["grid_name"] == "own"
    along = query(at.data, "select * from set_completeness_by_theta_e where population = 'all'").to_pandas()
    cells = completeness[(completeness["cell"] != "marginal") & (completeness["source_mag_bin"] == "all")]
    both_ways = cells.merge(along, left_on=["threshold_id", "theta_e_arcsec"], right_on=["threshold_id", "theta_e"])
    assert len(both_ways) == len(along) > 0
    for name in ("n", "detected", "hosts", "completeness"):
        np.testing.assert_allclose(both_ways[f"{name}_x"], both_ways[f"{name}_y"])
    marginal = completeness[(completeness["cell"] == "marginal") & (completeness["source_mag_bin"] == "all")]
    assert 0 < marginal.set_index("threshold_id").loc["fpr5e-1@val", "joint_95_low"] < 1
    assert (both["probability"] - both["host_probability"]).mean() > 0.05
    known = json.loads(both["by_band"][0])
    assert set(known) == {
        "g_minus_i", "host_psf_fwhm_nea_arcsec", "arc_flux_nmgy", "arc_peak_nmgy_arcsec2",
    }  # fmt: skip
    assert known["arc_flux_nmgy"]["i"] == both["arc_flux_nmgy"][0]
    magnitudes = -2.5 * np.log10(both["arc_flux_nmgy"] / both["magnification"]) + 22.5
    np.testing.assert_allclose(magnitudes, both["src_mag"], atol=0.1)


def test_stored_injections_of_a_set_are_reweighted_and_answer_at_a_point(
    done: tuple[Project, Path, Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of the survey's grids do, under the names of the set's own bands."""
    at, path, _ = done
    drawn = pa.concat_tables([pq.read_table(each) for each in grid_batches(at.data, "blue-own")]).to_pandas()
    stored = StoredGrid.of(at.data, "blue-own")
    held = stored.injections().to_pandas().set_index("injection_id").loc[drawn["injection_id"]]
    names = ("src_mag_i", "src_g_minus_i", "host_depth_i_mag", "host_psf_fwhm_nea_i_arcsec", "lens_theta_e_arcsec")
    np.testing.assert_allclose(held[list(names)], drawn[list(names)], rtol=1e-6)

    own = completeness_under(at, Asked(generation="blue-own", threshold="p0.3", by=("theta_e",))).to_pandas()
    found = (drawn["score"] > logit(0.3)).groupby(drawn["lens_theta_e_arcsec"])
    assert own.set_index("theta_e")["completeness"].to_dict() == found.mean().to_dict()
    other = path.parent / "brighter.yaml"
    other.write_text((path.parent / "prior.yaml").read_text().replace("high: 24.0", "high: 23.0"))
    asked = Asked([str(other)], generation="blue-own", threshold="p0.3")
    assert completeness_under(at, asked)["completeness"][0].as_py() == pytest.approx(
        (drawn["score"] > logit(0.3))[drawn["src_mag_i"] < 23].mean()
    )

    monkeypatch.setattr(emulator, "_LEAST", 10)
    rows = completeness_at(at, [{"theta_e": 1.0, "src_mag_i": 22.1}, {"src_mag": 23.9}], "blue-own", "p0.3")
    bright, faint = rows.to_pandas()[["completeness", "low_95", "high_95"]].to_numpy()
    assert bright[0] > faint[0]
    assert bright[1] < bright[0] < bright[2]
    assert emulator_compared(at, "blue-own", "p0.3").num_rows == 2
    assert measured(at, "blue-own", "p0.3")[0] == (drawn["score"] > logit(0.3)).mean()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"weight": "survey"}, "'weight' must be 'grid' for an audit of cut-outs, which are in no catalogue"),
        ({"hosts": "lenses"}, "'hosts' must be 'drawn' for an audit of cut-outs, which are in no catalogue"),
        ({"by": ("host_type",)}, "'by' must be one of theta_e, beta_frac, src_mag, depth, seeing, got 'host_type'"),
        ({"priors": ["v1"]}, "'prior' must be one with src_mag_i, src_g_minus_i, for the bands of own"),
    ],
)
def test_what_a_set_cannot_answer_is_refused(
    done: tuple[Project, Path, Made], asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(ParameterError, match=re.escape(said)):
        completeness_under(done[0], Asked(generation="blue-own", **asked))


def test_a_set_has_no_footprint_for_a_population_of_lenses(done: tuple[Project, Path, Made]) -> None:
    with pytest.raises(ParameterError, match="'generation' must be a finder of the survey, not an audit of cut-outs"):
        expected(done[0], "collett2015", "blue-own", None, None, 0.95)


def test_injections_of_one_field_are_one_cluster_of_a_statement_about_the_sky(
    tmp_path: Path, done: tuple[Project, Path, Made], quick: None
) -> None:
    path, at = write_set(tmp_path / "set", 24, 0), project(tmp_path)
    table = pd.read_csv(path.parent / "objects.csv")
    table["field"] = [f"tile{row % 3}" for row in range(len(table))]
    table.to_csv(path.parent / "objects.csv", index=False)
    audit_cutouts(at, Request(f"{HERE}:Blue", path.parent, path, "blue"))
    marginal = rows(at, "completeness").query("cell == 'marginal' and source_mag_bin == 'all'")
    row = marginal.set_index("threshold_id").loc["p0.3"]
    both = rows(at, "set_injections").merge(rows(at, "injection_scores")[["injection_id", "probability"]])
    field = both["galaxy_id"].map(dict(zip("own:" + table["id"], table["field"], strict=True)))
    expected = share_interval(field, both["probability"], (np.array([row["threshold"]]), np.ones(1)), 0.95)
    assert (row["field_clustered_95_low"], row["field_clustered_95_high"]) == pytest.approx(expected)
    assert rows(done[0], "completeness")["field_clustered_95_low"].isna().all(), "a set without fields has none"


def test_what_is_not_used_is_counted_and_the_page_shows_the_results(done: tuple[Project, Path, Made]) -> None:
    at, _, made = done
    lost = rows(at, "quarantine", "audit.blue-own").set_index("source_file")["reason"].to_dict()
    assert lost == {"older.h5": "older.h5: it matches no declared path", "stamps.h5": "o090: it is not in objects.csv"}
    counts = rows(at, "ingest_counts", "audit.blue-own").set_index("outcome")["rows"]
    assert counts["kept"] == COUNT - 1
    assert counts["quarantined"].sum() == made.rejected == 2
    page = made.page.read_text()
    assert made.page == at.data.local / "audits" / "blue-own.html"
    for words in (
        "the cut-outs own",
        "fpr5e-1@val",
        "Injections with their hosts",
        "30 lenses, 65 negatives",
        "probe_auc",
    ):
        assert words in page, words
    assert "<td colspan" not in page, "sections of a survey that a set does not have are left out"
    figures = made.page.with_name("blue-own-figures")
    linked = set(re.findall(r'href="blue-own-figures/([^"]+)"', page))
    assert {"answer.csv", "completeness-curves.csv", "roc.csv"} <= linked
    assert all((figures / name).stat().st_size for name in linked)
    measures = pd.concat([rows(at, "diagnostics", f"{run}-blue-own") for run in ("evaluate", "diagnose")])
    values = measures.set_index("name")["value"]
    assert 0.6 < values["auc"] <= 1
    assert {"trivial/auc", "realism/injections_against_listed_lenses/probe_auc", "masked/nonfinite_max"} <= set(
        values.index
    )


def test_the_same_audit_again_gives_the_same_tables_and_another_name_its_own(
    done: tuple[Project, Path, Made], quick: None
) -> None:
    at, path, _ = done
    before = fingerprints(at)
    again = audit_cutouts(at, Request(f"{HERE}:ByNumbers", path.parent, path, "numbers"))
    audit_cutouts(at, Request(f"{HERE}:Blue", path.parent, path, "blue"))
    after = fingerprints(at)
    differ = {table for (table, name), text in before.items() if after[table, name] != text}
    assert differ == {"diagnostics", "gates", "findings", "figure_points"}, "the diagnostics were left out"
    assert ByNumbers.given.shape[1] == 2
    assert (ByNumbers.given[:, 1] == np.float32(-0.1)).all()
    assert audited_sets(at.data) == ["blue-own", "numbers-own"]
    with pytest.raises(LakeError, match="'scores' has not been made yet"):  # by the survey
        scored(at.data)
    assert "set_injections.numbers-own" in forget(at, again.name)
    assert fingerprints(at) == {key: after[key] for key in before}
    assert not again.page.exists()
    assert not at.data.grid("numbers-own").exists()


def test_an_audit_that_is_cut_off_leaves_no_table_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    path, at, made = write_set(tmp_path / "set", 24, 0), project(tmp_path), []
    real = stream.run_batch

    def interrupted(*given: Any) -> Any:
        made.append(len(made))
        if len(made) == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(grids, "run_batch", interrupted)
    request = Request(f"{HERE}:Blue", path.parent, path, "blue")
    with pytest.raises(KeyboardInterrupt):
        audit_cutouts(at, request)
    assert cards.tables(at.data) == []
    assert not at.data.grid("blue-own").exists()
    monkeypatch.setattr(grids, "run_batch", lambda *given: made.append(-1) or real(*given))
    audit_cutouts(at, request)
    assert made == [0, 1, -1], "the first of two batches was kept"
    assert rows(at, "completeness")["n"].max() == 48
    assert not (at.data.local / "work" / "audit").exists() or not any((at.data.local / "work" / "audit").iterdir())


@pytest.mark.parametrize(
    ("finder", "said"),
    [
        ("Fails", r"returned 1 of \d+ logits that are not finite"),
        ("Chances", r"within \[0, 1\].* output = \"probabilities\""),
    ],
)
def test_a_finder_with_a_fault_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finder: str, said: str
) -> None:
    monkeypatch.setattr(finders, "SUSPECT_ANSWERS", 40)
    path, at = write_set(tmp_path / "set", 24, 0), project(tmp_path)
    with pytest.raises(DataError, match=said):
        audit_cutouts(at, Request(f"{HERE}:{finder}", path.parent, path, "mine"))
    assert cards.tables(at.data) == []


def test_probabilities_columns_and_lists_of_training_objects_are_taken(tmp_path: Path, quick: None) -> None:
    path, at = write_set(tmp_path / "set", 76, 6), project(tmp_path)
    (tmp_path / "seen.csv").write_text("galaxy_id\no000\no010\n")
    listed = TrainedOn(tmp_path / "seen.csv", 1.0)
    audit_cutouts(at, Request(f"{HERE}:Column", path.parent, path, "column", trained_on=listed))
    scores = rows(at, "scores", "column-own").set_index("galaxy_id")
    assert sorted(scores.index[scores["seen_in_training"]]) == ["own:o000", "own:o010"]
    assert not set(rows(at, "set_injections", "column-own")["galaxy_id"]) & {"own:o000", "own:o010"}
    told = rows(at, "diagnostics", "evaluate-column-own").set_index("name")["value"]
    assert told.filter(regex="^exposure/.*/trained_on$").sum() == 2
    declared = {"finder": {"output": "probabilities"}, "unlisted_lenses_per_negative": [0.0, 0.05]}
    path.write_text(yamltext.text(described(**declared)))
    audit_cutouts(at, Request(f"{HERE}:Chances", path.parent, path, "chances"))
    points = rows(at, "thresholds", "chances-own")
    assert (points["fpr_unlisted_low"].dropna() <= points["fpr_reached"].dropna()).all()
    assert points["lenses_high"].gt(0).all()
    derived = points.loc[points["status"] == "measured", "threshold_id"].to_list()
    completeness = rows(at, "completeness", "chances-own")
    counted = completeness[completeness["threshold_id"].isin(derived) & (completeness["n"] > 0)]
    assert len(counted)
    assert (counted["unlisted_low"] <= counted["completeness"]).all()
    assert (counted["completeness"] <= counted["unlisted_high"]).all()
    np.testing.assert_allclose(
        rows(at, "scores", "chances-own").set_index("galaxy_id")["score"], scores["score"], rtol=1e-6
    )


def test_sets_that_cannot_be_audited_say_why(tmp_path: Path) -> None:
    at = project(tmp_path)
    path = write_set(tmp_path / "set2", 12, 2, grid={"prior": "v1"})
    with pytest.raises(ParameterError, match="'prior' must be one with src_mag_i, src_g_minus_i, for the bands of own"):
        audit_cutouts(at, Request(f"{HERE}:Blue", path.parent, path, "mine"))
    path = write_set(tmp_path / "set3", 12, 2, bands=["g", "r"], reference_band="r", grid={"prior": "v1"})
    with pytest.raises(ParameterError, match=r"'bands of .*Blue' must be those of own \(g, r\), got 'g, i'"):
        audit_cutouts(at, Request(f"{HERE}:Blue", path.parent, path, "mine"))


def test_the_only_negatives_of_a_set_are_its_hosts(tmp_path: Path, words_only: None) -> None:
    """No rate is measured, and none is printed; without negatives nothing is injected, and lenses are still found."""
    path, at = write_set(tmp_path / "set", 4, 2), project(tmp_path)
    made = audit_cutouts(at, Request(f"{HERE}:Blue", path.parent, path, "blue"))
    assert set(rows(at, "set_injections")["galaxy_id"]) == {"own:o002", "own:o003"}
    assert set(rows(at, "scores")["negative_use"].dropna()) == {"host"}
    assert rows(at, "completeness")["fpr_reached"].isna().all()
    assert "at a false-positive rate that is not measured" in made.page.read_text()

    table = pd.read_csv(path.parent / "objects.csv")
    table.assign(kind="lens").to_csv(path.parent / "objects.csv", index=False)
    made = audit_cutouts(at, Request(f"{HERE}:Blue", path.parent, path, "blue"))
    measures = rows(at, "diagnostics", "evaluate-blue-own").set_index("name")
    assert measures.loc["recall/p0.5", ["value", "n"]].to_list() == [0.5, 4]
    assert measures.loc["auc", "method"] == "not measurable with 4 lenses and 0 negatives, needs both"
    held = {
        table for table in cards.tables(at.data) if "blue-own" in {e.card.slice for e in cards.slices(at.data, table)}
    }
    assert held & {"scores", "set_injections", "injection_scores", "completeness"} == {"scores"}
    assert not at.data.grid("blue-own").exists()
    assert "its completeness is not measured" in made.page.read_text()
    with pytest.raises(DataError, match="blue-own has no injections: none of its cut-outs could host them"):
        completeness_under(at, Asked(generation="blue-own"))


def test_a_set_of_which_no_object_has_what_the_finder_needs_is_refused(tmp_path: Path) -> None:
    path, at = write_set(tmp_path / "set", 12, 4), project(tmp_path)
    table = pd.read_csv(path.parent / "objects.csv").assign(seeing="good")
    table.to_csv(path.parent / "objects.csv", index=False)
    said = "none of the 12 objects of own can be used: own:o000: it lacks seeing or ebv, which the finder needs"
    with pytest.raises(DataError, match=said):
        audit_cutouts(at, Request(f"{HERE}:ByNumbers", path.parent, path, "blue"))


def test_an_object_without_a_number_that_is_needed_is_counted(tmp_path: Path, quick: None) -> None:
    profile = {"kind": "fwhm", "profile": "moffat", "beta": 3.0, "includes_pixel": True, "arcsec": "seeing"}
    noise = {"kind": "pixel_sigma", "value": 0.5}
    path, at = write_set(tmp_path / "set", 24, 4, psf=profile, noise=noise), project(tmp_path)
    table = pd.read_csv(path.parent / "objects.csv")
    table.loc[[1, 9, 12], "seeing"] = np.nan
    table.loc[15, "ebv"] = np.nan
    table.to_csv(path.parent / "objects.csv", index=False)
    audit_cutouts(at, Request(f"{HERE}:Blue", path.parent, path, "blue"))
    lost = rows(at, "quarantine", "audit.blue-own")["reason"].to_list()
    reason = "its PSF or noise is not known: it has no positive 'seeing'"
    assert lost == [f"own:o{row:03d}: {reason}" for row in (9, 12)]
    injections = rows(at, "set_injections")
    assert injections["host_psf_fwhm_nea_arcsec"].between(0.7, 1.4).all()
    sigma = 0.5 * 10 ** (0.4 * (22.5 - 27.0))
    area = np.pi * injections["host_psf_fwhm_nea_arcsec"] ** 2 / (2 * np.log(2)) / 0.2**2
    depth = 22.5 - 2.5 * np.log10(5 * sigma * np.sqrt(area))
    np.testing.assert_allclose(injections["host_depth_mag"], depth, atol=1e-6)
    audit_cutouts(at, Request(f"{HERE}:ByNumbers", path.parent, path, "numbers"))
    lost = rows(at, "quarantine", "audit.numbers-own")["reason"].to_list()
    lacking = [f"own:o{row:03d}: it lacks seeing or ebv, which the finder needs" for row in (1, 15)]
    assert len(lost) == 4
    assert set(lacking) < set(lost)


def test_an_injection_that_no_table_can_hold_is_counted_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    path, at, whole = write_set(tmp_path / "set", 24, 4), project(tmp_path), cutoutaudit.contract_rows

    def wrong(*given: Any, rows: int = 1) -> pa.Table:
        made = whole(*given)
        ratios = [2.0] * rows + made["lens_q"].to_pylist()[rows:]
        return made.set_column(made.column_names.index("lens_q"), "lens_q", pa.array(ratios))

    monkeypatch.setattr(cutoutaudit, "contract_rows", wrong)
    made = audit_cutouts(at, Request(f"{HERE}:Blue", path.parent, path, "blue"))
    lost = rows(at, "quarantine", "audit.blue-own")
    assert made.rejected == len(lost) == 1
    assert "'lens_q' must be given, a number, in [0, 1]" in lost["reason"][0]
    completeness = rows(at, "completeness")
    marginal = (completeness["cell"] == "marginal") & (completeness["source_mag_bin"] == "all")
    assert set(completeness[marginal]["n"]) == {len(rows(at, "set_injections"))} == {47}
    forget(at, "blue-own")
    monkeypatch.setattr(cutoutaudit, "contract_rows", partial(wrong, rows=48))
    with pytest.raises(DataError, match=r"none of the 48 injections of own can be used: 'lens_q' must be given, a"):
        audit_cutouts(at, Request(f"{HERE}:Blue", path.parent, path, "blue"))
    assert cards.slices(at.data, "scores") == []


def test_the_command_says_what_to_look_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    path, at = write_set(tmp_path / "set", 24, 4), project(tmp_path)
    params.write(tmp_path, at.values, "test")
    monkeypatch.chdir(tmp_path)
    words = ["audit", f"{HERE}:Blue", "--name", "blue", "--cutouts", str(path.parent)]
    refused = CliRunner().invoke(dhs, words)
    assert isinstance(refused.exception, ParameterError | SystemExit)
    assert "'--cutouts and --describe' must be given together" in f"{refused.exception}{refused.output}"
    said = CliRunner().invoke(dhs, [*words, "--describe", str(path)], standalone_mode=False, catch_exceptions=False)
    assert "report: data/audits/blue-own.html" in said.output
    assert "0 files, objects or injections not used" in said.output


def test_counts_are_those_that_spark_makes_of_the_surveys_grid(finished: Checkout) -> None:
    root = params.load(finished.folder).data
    facts, stored = grid_facts(root, "demo1"), delta.read(root, "completeness", slices=["demo1"]).to_pandas()
    answers = delta.read(root, "injection_scores", slices=["demo1"]).to_pandas()
    injections = delta.read(root, "injections", slices=["demo1"]).to_pandas().drop(columns=["status"])
    known = ["injection_id", "status", "score", "probability"]
    cells = pd.DataFrame(facts["cells"])[["cell", *INDICES]]
    every = injections.merge(answers[known], on="injection_id").merge(cells, on=INDICES)
    thresholds = dict(zip(stored["threshold_id"], stored["threshold"], strict=True))
    counts = counted(every, facts["cells"], thresholds, (23.0, 24.0, 25.0, 26.0), SURVEY)
    both = stored.merge(counts, on=["cell", "source_mag_bin", "threshold_id"], suffixes=("", "_here"), validate="1:1")
    assert len(both) == len(stored) == len(counts)
    for name in ("n", "detected", "failed", "hosts"):
        assert both[name].to_list() == both[f"{name}_here"].to_list()
    for name in ("mean_score", "mean_arc_snr"):
        np.testing.assert_allclose(both[f"{name}_here"].to_numpy(float), both[name].to_numpy(float), rtol=1e-6)
    low = with_intervals(counts).set_index(["cell", "source_mag_bin", "threshold_id"])["host_clustered_95_low"]
    former = stored.set_index(low.index.names)["host_clustered_95_low"]
    pd.testing.assert_series_equal(low.sort_index(), former.sort_index(), check_dtype=False)
