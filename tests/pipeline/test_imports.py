"""Selection functions that others measured: what is imported, what disagrees, what is refused, what is exported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy import stats

from analysis.comparisons import foreign_cells
from analysis.comparisons.disagreements import disagreements
from analysis.statistics.completeness import completeness_table
from lake import tables
from lake.errors import DataError, ParameterError
from lake.store import cards, writing
from lake.store.query import query
from lake.store.writing import Provenance, Target
from pipeline.cli import dhs
from pipeline.experiment.storedgrid import StoredGrid
from pipeline.finders.importing import Given, export_cells, forget_import, import_cells, import_objects, imported
from pipeline.project.project import Project
from pipeline.tables import verifying
from tests.analysis.cells import cells
from tests.pipeline.checkout import project_in
from tests.pipeline.foreigntables import DECLARED, N, facts, reference_rows, write

Rows = list[dict[str, Any]]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return project_in(tmp_path)


def imported_from(project: Project, rows: Rows, name: str = "ref", **meta: Any) -> str:
    table, about = write(project.folder, rows, facts(**{**DECLARED, **meta}), name)
    return import_cells(project, Given.of(table, about, None, {}), name)


def asked(project: Project, text: str) -> pd.DataFrame:
    frame: pd.DataFrame = query(project.data, text).to_pandas()
    return frame


def read(folder: Path, rows: Rows, **meta: Any) -> tuple[foreign_cells.Cells, Given]:
    """A file as it is read, without a lake."""
    table, about = write(folder, rows, facts(**{**DECLARED, **meta}))
    given = Given.of(table, about, None, {})
    return foreign_cells.understood(foreign_cells.read_table(table), given.declared(foreign_cells.Declared)), given


def judged(folder: Path, rows: Rows, **meta: Any) -> tuple[foreign_cells.Cells, pd.DataFrame]:
    """The same with its disagreements."""
    found, given = read(folder, rows, **meta)
    counts = foreign_cells.counts(found, given.identity("ref", given.declared(foreign_cells.Declared)))
    return found, disagreements(found, counts[counts["cell"] == "marginal"], given.meta)


def disagreeing(project: Project) -> pd.DataFrame:
    return asked(project, "select * from import_disagreements where import_name = 'ref' order by number")


@pytest.fixture(scope="module")
def reference(whole_stage: None, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with one import, which tests only read."""
    made = project_in(tmp_path_factory.mktemp("reference"))
    imported_from(made, reference_rows())
    return made


def test_marginals_are_sums_over_cells_and_families_stay_apart(reference: Project) -> None:
    found = asked(reference, "select * from completeness where cell = 'marginal' and threshold_id = 'p0.3'")
    found = found.set_index("source_mag_bin")
    rows = pd.DataFrame(reference_rows())
    for name, part in rows[rows["threshold"] == 0.3].groupby("source_mag_bin"):
        assert found.loc[name, "n"] == part["n_injections"].sum()
        assert found.loc[name, "detected"] == part["n_detected"].sum()
    families = found["source_mag_family"]
    assert families["23-24"] == "unlensed"
    assert families["lensed_18-20"] == "lensed r magnitude"
    assert pd.isna(families["all"])
    assert found.loc["all", "n"] == 7 * N


def test_hosts_are_not_known_so_no_interval_is_host_clustered(reference: Project) -> None:
    found = asked(reference, "select hosts, host_clustered_95_low, jeffreys_95_low, n from completeness")
    assert found["hosts"].isna().all()
    assert found["host_clustered_95_low"].isna().all()
    assert found.loc[found["n"] > 0, "jeffreys_95_low"].notna().all()


def test_intervals_without_edge_rules_are_named_and_only_differ_where_none_or_all_are_found(reference: Project) -> None:
    found = disagreeing(reference)
    bounds = found[found["figure"].str.startswith("ci")]
    assert bounds["explanation"].str.contains("without its rules for none and all found").all()
    rows = pd.DataFrame(reference_rows())
    lines = rows.iloc[bounds["row_index"].to_numpy() - 2]
    assert lines["n_detected"].isin([0]).all()
    at_edge = rows[(rows["n_injections"] > 0) & (rows["n_detected"] == 0)]
    assert len(bounds) == 2 * len(at_edge)
    assert (bounds["stated"] - bounds["expected"]).abs().max() == pytest.approx(0.016, abs=1e-3)


def test_partitions_that_do_not_hold_all_injections_are_listed(reference: Project) -> None:
    found = disagreeing(reference)
    lost = found[found["figure"] == "n_injections"]
    assert set(lost["explanation"]) == {"sum over the bins of family 'lensed r magnitude', against 'all'"}
    assert (lost["stated"] < lost["expected"]).all()
    assert lost["row_index"].eq(-1).all()


def test_imports_do_not_enter_the_view_of_our_own_grids(reference: Project) -> None:
    target = Target(reference.data, tables.spec("experiments"), "x", {"origin": "x"}, Provenance("test"))
    writing.write_slice(target, target.spec.table([]))
    assert asked(reference, "select count(*) as n from completeness where origin = 'foreign'")["n"][0] > 0
    assert asked(reference, "select count(*) as n from completeness_main")["n"][0] == 0


def test_an_import_has_no_injections_to_weight_and_says_where_its_completeness_is(reference: Project) -> None:
    with pytest.raises(DataError, match=r"ref was imported, without injections: .* where generation = 'ref'"):
        StoredGrid.of(reference.data, "ref")


def test_the_declarations_and_the_whole_file_of_facts_are_kept(reference: Project) -> None:
    row = asked(reference, "select * from imports").iloc[0]
    assert (row["prior"], row["psf_width"], row["rows_read"]) == ("not recorded", "not recorded", 114)
    assert pd.isna(row["prior_content"])
    assert json.loads(row["meta"])["checkpoint"] == "gen4/best.pt"
    assert row["disagreements"] == len(disagreeing(reference))


def changed(rows: Rows, place: int, **values: Any) -> Rows:
    return [{**row, **values} if number == place else row for number, row in enumerate(rows)]


def jeffreys(rows: Rows) -> Rows:
    """The same rows with our edge rules, so that only deliberate faults disagree."""
    made = []
    for row in rows:
        if row["source_mag_bin"].startswith("lensed"):
            continue
        low = {"ci68_lo": 0.0, "ci95_lo": 0.0} if row["n_injections"] and row["n_detected"] == 0 else {}
        made.append({**row, **low})
    return made


def wilson(k: int, n: int) -> float:
    z, p = stats.norm.ppf(0.975), k / n
    half = z * np.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    return float((p + z * z / 2 / n - half) / (1 + z * z / n))


@pytest.mark.parametrize(("values", "meta", "figure", "expected", "said"), [
    ({"completeness": 0.9}, {}, "completeness", None, "n_detected / n_injections"),
    ({"sufficient": False}, {}, "sufficient", 1.0, "at least 50 injections in a cell"),
    ({"ci95_lo": wilson(8, N), "n_detected": 8, "completeness": 0.16}, {}, "ci95_lo", None, "agrees with Wilson's"),
    ({"ci95_hi": 0.99}, {}, "ci95_hi", None, "nor another known one"),
    ({}, {"total_injections_ok": 400}, "meta:total_injections_ok", 350.0, "counted in the rows 'all'"),
    ({}, {"n_empty_cells": 0}, "meta:n_empty_cells", 1.0, "counted in the rows 'all'"),
    ({}, {"grid": {"theta_e": [1.0, 1.25, 1.5]}}, "meta:grid.theta_e", 2.0, "counted in the rows 'all'"),
])  # fmt: skip
def test_each_figure_that_does_not_follow_from_the_counts_is_listed(
    tmp_path: Path, values: dict[str, Any], meta: dict[str, Any], figure: str, expected: float | None, said: str
) -> None:
    _, told = judged(tmp_path, changed(jeffreys(reference_rows()), 0, **values), **meta)
    found = told.set_index("figure")
    assert said in found.loc[figure, "explanation"]
    if expected is not None:
        assert found.loc[figure, "expected"] == expected


def test_a_consistent_file_has_no_disagreement(tmp_path: Path) -> None:
    assert judged(tmp_path, jeffreys(reference_rows()))[1].empty


def test_injections_that_change_with_the_threshold_are_listed(tmp_path: Path) -> None:
    rows = [{**row, "source_mag_bin": "all"} for row in reference_rows() if row["source_mag_bin"] == "all"]
    _, found = judged(tmp_path, changed(rows, 0, n_injections=N - 1))
    assert "the same cell and bin at another threshold" in found["explanation"].to_list()


@pytest.mark.usefixtures("whole_stage")
def test_stated_marginals_are_compared_and_not_stored(project: Project) -> None:
    rows = [row for row in jeffreys(reference_rows()) if row["source_mag_bin"] == "all"]
    nothing = dict.fromkeys(("theta_e", "psf_fwhm", "depth_5sig", "sufficient", "ci68_lo", "ci68_hi"), "")
    total = sum(row["n_detected"] for row in rows if row["threshold"] == 0.3)
    stated = {**rows[0], **nothing, "n_injections": 7 * N, "n_detected": total + 5, "n_failed": 14}
    imported_from(project, [*rows, {**stated, "completeness": (total + 5) / (7 * N)}])
    found = disagreeing(project).set_index("figure")
    assert found.loc["n_detected", "expected"] == total
    assert found.loc["completeness", "expected"] == pytest.approx(total / (7 * N))
    marginal = asked(project, "select detected from completeness where cell = 'marginal' and threshold_id = 'p0.3'")
    assert marginal["detected"].to_list() == [total]


@pytest.mark.parametrize(("values", "reason"), [
    ({"n_detected": N + 1}, "more detected than injected"),
    ({"n_injections": "many"}, "'n_injections' is not a number"),
    ({"n_injections": 3.5, "n_detected": 0}, "'n_injections' is not a count"),
    ({"n_detected": -1}, "'n_detected' is not a count"),
    ({"n_failed": ""}, "'n_failed' is not a count"),
    ({"psf_fwhm": ""}, "only some of theta_e, psf_fwhm, depth_5sig are given"),
    ({"threshold": 1.5}, "'threshold' is not a probability"),
    ({"source_mag_bin": "bright"}, "'source_mag_bin' is not 'all' or low-high"),
    ({"threshold_type": "FPR=1.0e-03"}, "a derived threshold without its rate"),
    ({"fpr_target": 0.001}, "a fixed threshold with a rate"),
    ({"threshold_type": "FPR=1.0e-03", "fpr_target": 0.01}, "'threshold_type' and 'fpr_target' give different rates"),
    ({"threshold_type": "at 1 %", "fpr_target": 0.01}, "'threshold_type' is neither 'fixed' nor FPR=rate"),
    ({"theta_e": -1.0}, "'theta_e' is not positive"),
    ({"psf_fwhm": 0}, "'psf_fwhm' is not positive"),
    ({"n_injections": 1e30}, "'n_injections' is not a count"),
    ({"source_mag_bin": "24-23"}, "'source_mag_bin' is not 'all' or low-high"),
    ({"source_mag_bin": "23-23"}, "'source_mag_bin' is not 'all' or low-high"),
])  # fmt: skip
def test_a_row_that_cannot_be_used_is_counted_with_its_reason(
    tmp_path: Path, values: dict[str, Any], reason: str
) -> None:
    rows = reference_rows()
    found, _ = read(tmp_path, changed(rows, 0, **values))
    assert found.rejected[["row_index", "reason"]].to_numpy().tolist() == [[2, reason]]
    assert len(found.kept) == len(rows) - 1


@pytest.mark.usefixtures("whole_stage")
def test_of_equal_rows_one_counts_and_of_different_ones_none(project: Project) -> None:
    rows = reference_rows()
    first, second = rows[0], rows[8]
    said = imported_from(project, [*rows, first, {**second, "n_detected": second["n_detected"] + 1}])
    assert "3 rows cannot be used (table quarantine, stage import.ref)" in said
    found = asked(project, "select row_index, target_table, reason from quarantine order by row_index")
    assert set(found["target_table"]) == {"completeness"}
    assert found["reason"].to_list() == [
        "contradicts other rows of the same cell, first in line 10",
        "repeats the row of line 2",
        "contradicts other rows of the same cell, first in line 10",
    ]
    kept = asked(project, "select count(*) as n from completeness where cell <> 'marginal'")["n"][0]
    assert kept == len(rows) - 1


def test_what_is_not_declared_or_lacks_columns_is_refused_and_leaves_nothing(project: Project) -> None:
    rows = reference_rows()
    with pytest.raises(DataError, match="lacks the columns n_detected, n_failed; it has theta_e"):
        imported_from(project, [{k: v for k, v in row.items() if k not in ("n_detected", "n_failed")} for row in rows])
    with pytest.raises(ParameterError, match=r"'source_mag_families' must be declared for each prefix .*, here lensed"):
        imported_from(project, rows, source_mag_families={})
    with pytest.raises(ParameterError, match=r"'prior' must be declared by --prior or a key of .*'not recorded'"):
        imported_from(project, rows, prior=None)
    with pytest.raises(ParameterError, match=r"'meta.selection' must be '>', '>=' or 'not recorded', got 'above'"):
        imported_from(project, rows, selection="above")
    with pytest.raises(DataError, match="none of the 2 rows can be used; the first: more detected than injected"):
        imported_from(project, [{**rows[0], "n_detected": 99}, {**rows[1], "n_detected": 99}])
    with pytest.raises(DataError, match="none of the 2 rows can be used; the first: contradicts other rows"):
        imported_from(project, [rows[0], {**rows[0], "n_injections": 49}])
    with pytest.raises(DataError, match="none of the 1 rows can be used; the first: it has no theta_e and no psf_fwhm"):
        imported_from(project, [{**rows[0], "theta_e": "", "psf_fwhm": "", "depth_5sig": ""}])
    mixed = [{**row, "source_mag_bin": "23-24.5"} if row["source_mag_bin"] == "23-24" else row for row in rows]
    with pytest.raises(DataError, match=r"the bins 23-24\.5 and 24-25 \(unlensed\) overlap: give those of"):
        imported_from(project, mixed)
    with pytest.raises(DataError, match="threshold 'fpr1e-3@unknown' has more than one value"):
        imported_from(project, changed(rows, 8, threshold=0.82))
    for prior in ("", {}):
        with pytest.raises(ParameterError, match=r"'prior' must be declared by --prior or a key of .*'not recorded'"):
            imported_from(project, rows, prior=prior)
    with pytest.raises(ParameterError, match=r"'prior' must be a name, a .yaml file or the distributions, got 5"):
        imported_from(project, rows, prior=5)
    with pytest.raises(ParameterError, match=r"'meta.source_mag_families' must be a valid dictionary, got 'lensed'"):
        imported_from(project, rows, source_mag_families="lensed")
    with pytest.raises(ParameterError, match=r"'source_mag_families' must be declared for each prefix"):
        imported_from(project, rows, source_mag_families=None)
    with pytest.raises(ParameterError, match=r"'meta.threshold_sample' must be a string with at least 1 character"):
        imported_from(project, rows, threshold_sample="")
    assert cards.tables(project.data) == []


@pytest.mark.parametrize(("text", "said"), [
    ('{"prior": "v1", "prior": "anchored"}', "cannot be read as JSON: the key 'prior' occurs more than once"),
    ("[" * 100_000, "cannot be read as JSON: maximum recursion depth exceeded"),
])  # fmt: skip
def test_facts_that_would_be_read_differently_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "facts.json").write_text(text)
    with pytest.raises(DataError, match=said):
        Given.of(tmp_path / "table.csv", tmp_path / "facts.json", None, {})


@pytest.mark.usefixtures("whole_stage")
def test_a_registered_prior_is_kept_with_its_content(project: Project) -> None:
    table, about = write(project.folder, reference_rows(), facts(source_mag_families={"lensed": "lensed r magnitude"}))
    import_cells(project, Given.of(table, about, "v1", {}), "ref")
    row = asked(project, "select prior, prior_content from imports").iloc[0]
    assert row["prior"] == "v1"
    assert json.loads(row["prior_content"])["src_mag_r"] == {"kind": "uniform", "low": 23.0, "high": 26.0}


def own_slice(project: Project, name: str) -> pd.DataFrame:
    """A slice as the stage `completeness` writes it."""
    counts = cells()
    by = ["threshold_id", "source_mag_bin"]
    sums = counts.groupby(by, as_index=False)[["n", "detected", "failed", "hosts"]].sum()
    same = counts[["grid_id", "grid_name", "generation", "checkpoint_id", "weighting_id", "prior", "threshold"]].iloc[0]
    whole = pd.concat([counts, sums.assign(cell="marginal", **same)], ignore_index=True)
    rates = {
        "fpr_reached": 0.05,
        "fpr_low": 0.04,
        "fpr_high": 0.06,
        "fpr_unlisted_low": 0.03,
        "fpr_unlisted_high": 0.05,
    }
    share = whole["detected"] / whole["n"]
    rows = completeness_table(whole.assign(**rates, unlisted_low=0.9 * share, unlisted_high=1.2 * share))
    where = {column: rows[column][0].as_py() for column in tables.spec("completeness").slice_by}
    writing.write_slice(Target(project.data, tables.spec("completeness"), name, where, Provenance("test")), rows)
    return rows.to_pandas()


@pytest.mark.usefixtures("whole_stage")
def test_our_own_table_comes_back_from_its_export_without_a_disagreement(project: Project) -> None:
    own = own_slice(project, "demo1")
    table = project.folder / "own.csv"
    rows, meta = export_cells(project, "demo1", table)
    assert rows == len(own) - own["cell"].eq("marginal").sum()
    import_cells(project, Given.of(table, meta, None, {}), "ref")
    assert disagreeing(project).empty
    text = """select a.n = b.n and a.detected = b.detected and a.jeffreys_95_high = b.jeffreys_95_high as same
        from completeness a join completeness b on a.theta_e_arcsec is not distinct from b.theta_e_arcsec
        and a.threshold_id = b.threshold_id and a.source_mag_bin = b.source_mag_bin
        where a.origin = 'own' and b.origin = 'foreign'"""
    same = asked(project, text)["same"]
    assert len(same) == len(own)
    assert same.all()
    back = asked(project, "select * from completeness where origin = 'foreign'")
    keys = ["theta_e_arcsec", "source_mag_bin"]
    ours, theirs = (frame.sort_values(keys, ignore_index=True) for frame in (own, back))
    unknown = {
        "hosts",
        "n_eff",
        "psf_fwhm_nea_arcsec_low",
        "psf_fwhm_nea_arcsec_high",
        "depth_mag_low",
        "depth_mag_high",
    }
    identity = {"grid_id", "grid_name", "checkpoint_id", "generation", "origin", "cell"}
    of_hosts = {
        name for name in own if name.startswith(("host_clustered", "joint", "field_clustered", "unlisted_bound"))
    }
    kept = [name for name in own if name not in unknown | identity | of_hosts]
    assert {"fpr_reached", "fpr_unlisted_high", "unlisted_low", "jeffreys_68_low", "mean_arc_snr"} < set(kept)
    cell = ours["theta_e_arcsec"].notna()
    for name in kept:
        some = cell if name.startswith("mean_") or name.endswith("centre_mag") else cell | True
        pd.testing.assert_series_equal(ours.loc[some, name], theirs.loc[some, name], rtol=1e-12)


@pytest.mark.parametrize("text", ["1.5", "-0.1", "many"])
def test_a_rate_that_is_no_share_is_refused(tmp_path: Path, text: str) -> None:
    rows = [{**row, "fpr_reached": text if place == 3 else 0.01} for place, row in enumerate(reference_rows())]
    found, _ = read(tmp_path, rows)
    (reason,) = found.rejected["reason"]
    assert reason.startswith("'fpr_reached' is not a ")


def test_the_rate_of_a_threshold_is_that_of_all_its_cells_or_none(tmp_path: Path) -> None:
    rows = [{**row, "fpr_reached": 0.01 + row["threshold"] * (row["theta_e"] == 1.0) / 9} for row in reference_rows()]
    table, about = write(tmp_path, rows, facts(**DECLARED))
    given = Given.of(table, about, None, {})
    declared = given.declared(foreign_cells.Declared)
    cells_of = foreign_cells.understood(foreign_cells.read_table(table), declared)
    counted = foreign_cells.counts(cells_of, given.identity("ref", declared))
    assert counted.loc[counted["cell"] == "marginal", "fpr_reached"].isna().all()
    assert counted.loc[counted["cell"] != "marginal", "fpr_reached"].nunique() == 3


@pytest.mark.usefixtures("whole_stage")
def test_names_of_ours_are_not_taken_and_an_import_can_be_forgotten(project: Project) -> None:
    own_slice(project, "demo9")
    for name in ("demo9", "main", project.audited[0]):
        with pytest.raises(ParameterError, match="'name' must be one that no finder, generation or grid"):
            imported_from(project, reference_rows(), name)
    imported_from(project, reference_rows(), "ref")
    removed = forget_import(project.data, "ref")
    assert set(removed) == {"imports.ref", "import_disagreements.ref", "completeness.ref", "quarantine.import.ref"}
    assert imported(project.data) == []
    assert asked(project, "select distinct generation from completeness")["generation"].to_list() == ["demo1"]


@pytest.mark.usefixtures("whole_stage")
def test_a_lost_import_is_imported_again_since_no_stage_makes_it(project: Project) -> None:
    imported_from(project, reference_rows())
    shutil.rmtree(project.data.table("completeness"))
    findings = verifying.check(project, deep=False)
    assert ["completeness.ref" in finding.sentence for finding in findings] == [True]
    assert verifying.repair(project, findings) == ["dvc repro", "dhs import ... --name ref"]


def objects(folder: Path, meta: dict[str, Any], text: str, missed: str | None = None) -> tuple[Given, Path | None]:
    table, about, lost = folder / "list.csv", folder / "list.json", folder / "missed.csv"
    table.write_text(text)
    about.write_text(json.dumps(meta))
    if missed is not None:
        lost.write_text(missed)
    return Given.of(table, about, None, {}), lost if missed is not None else None


LISTED = {"prior": "not recorded", "threshold": 0.5, "simulated": 4}


@pytest.mark.usefixtures("whole_stage")
def test_a_complete_list_becomes_completeness_and_rows(project: Project) -> None:
    text = "id,found,score,theta_e,src_mag\na,true,0.9,1.2,23.5\nb,no,0.1,1.7,24.5\nc,1,0.4,1.3,24.5\nd,no,,1.4,23\n"
    meta = {**LISTED, "theta_e_edges": [1, 1.5, 2], "src_mag_edges": [23, 24, 25]}
    import_objects(project, *objects(project.folder, meta, text), "lists")
    found = asked(project, "select cell, source_mag_bin, n, detected from completeness order by cell, source_mag_bin")
    counted = {(c, b): (n, k) for c, b, n, k in found.itertuples(index=False)}
    assert counted[("marginal", "all")] == (4, 2)
    assert counted[("t00", "all")] == (3, 2)
    assert counted[("t00", "23-24")] == (2, 1)
    assert counted[("t01", "23-24")] == (0, 0)
    bad = asked(project, "select row_index, stated, expected, explanation from import_disagreements").iloc[0]
    assert (bad["row_index"], bad["stated"], bad["expected"]) == (4, 1.0, 0.0)
    assert bad["explanation"] == "score of c against the threshold 0.5"
    assert asked(project, "select count(*) as n from foreign_objects where found")["n"][0] == 2


@pytest.mark.usefixtures("whole_stage")
def test_two_lists_are_joined(project: Project) -> None:
    given, lost = objects(project.folder, LISTED, "id\na\nb\nc\n", "id,score\nd,0.2\n")
    import_objects(project, given, lost, "lists")
    row = asked(project, "select n, detected, threshold_id from completeness").iloc[0]
    assert tuple(row) == (4, 3, "p0.5")


@pytest.mark.parametrize(("meta", "text", "missed", "said"), [
    (LISTED, "id,found\na,true\nb,true\nc,false\n", None, "holds 3 lenses and 4 were simulated: 1 are missing"),
    ({"prior": "x", "threshold": 0.5}, "id,found\na,true\n", None, "'meta.simulated' is missing"),
    ({"prior": "x", "simulated": 1}, "id,found\na,true\n", None, "'meta.threshold' is missing"),
    (LISTED, "id\na\nb\n", None, r"lacks the columns found"),
    (LISTED, "id\na\nb\n", "id\nb\nc\n", "1 lenses are both found and missed, first: b"),
    (LISTED, "id,found\na,true\na,true\nb,true\nc,true\n", None, "1 lenses occur more than once, first: a"),
    (LISTED, "id,found\na,true\nb,\nc,true\nd,true\n", None, "1 lenses have no result, first '' of lens b in line 3"),
    (LISTED, "id,found,score\na,true,x\nb,1,1\nc,1,1\nd,1,1\n", None, "'score in line 2' must be a number, got 'x'"),
    (LISTED, "id,found,score\na,true,2.2\nb,1,1\nc,1,1\nd,1,1\n", None, "'score in line 2' must be a finite number fr"),
    (LISTED, "id,found,theta_e\na,1,1\nb,1,-1\nc,1,1\nd,1,1\n", None, "'theta_e in line 3' must be a finite number f"),
    (LISTED, "id,found,src_mag\na,1,inf\nb,1,1\nc,1,1\nd,1,1\n", None, "'src_mag in line 2' must be a finite number, "),
    (LISTED, "id,found\na,true\nb,false\n", "id\nc\nd\n", "the list of found lenses has a column 'found': give one"),
    (LISTED, "id\na\nb\n", "id,found\nc,true\nd,false\n", "the list of missed lenses has a column 'found': give one"),
    (LISTED, "id,found\n1,a,true\n2,b,false\n", None, "has 2 names in its first line, and more cells in the others"),
    ({**LISTED, "theta_e_edges": [1, 2]}, "id,found\na,1\nb,1\nc,1\nd,1\n", None, "4 lenses have no theta_e within"),
])  # fmt: skip
def test_an_incomplete_list_is_refused(
    project: Project, meta: dict[str, Any], text: str, missed: str | None, said: str
) -> None:
    with pytest.raises((DataError, ParameterError), match=said):
        import_objects(project, *objects(project.folder, meta, text, missed), "lists")
    assert cards.tables(project.data) == []


@pytest.mark.usefixtures("whole_stage")
def test_the_commands_take_what_the_file_of_facts_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_text((Path(__file__).parents[2] / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    table, about = write(tmp_path, reference_rows(), facts())
    words = ["import", "completeness", str(table), "--meta", str(about), "--name", "gen4", "--prior", "not recorded"]
    run = CliRunner().invoke(dhs, [*words, "--family", "lensed=lensed r magnitude"], standalone_mode=False)
    assert run.exception is None, run.exception
    assert "gen4: 114 rows, 8 cells, 2 thresholds" in run.output
    run = CliRunner().invoke(dhs, ["export", "completeness", "gen4", "--out", "out.csv"], standalone_mode=False)
    assert "114 rows written to" in run.output
    assert (tmp_path / "out_meta.json").exists()
    wrong = CliRunner().invoke(dhs, [*words, "--family", "lensed"], standalone_mode=False)
    assert "'family' must be PREFIX=MEANING" in str(wrong.exception)
