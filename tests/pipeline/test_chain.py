"""The whole chain through DVC: it ends, it does nothing twice, it heals, and its tables agree with each other."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from urllib.request import Request, urlopen

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest

from analysis.statistics.thresholds import from_rows, threshold_at_fpr
from lake.errors import LakeError
from lake.root import DataRoot
from lake.sky.healpix import pixel
from lake.store import cards, delta
from pipeline.experiment.trainedon import LISTED
from pipeline.project import params
from pipeline.project.context import RunContext
from pipeline.reporting import lensshares
from pipeline.reporting.report_inputs import reported
from tests.pipeline.checkout import Checkout

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("whole_stage")]


def test_a_second_run_does_nothing(finished: Checkout) -> None:
    before = finished.digest("cards/*.json")
    assert re.findall("Running stage '([^']+)'", finished.run("dvc", "repro").stdout) == ["listing"]
    assert finished.digest("cards/*.json") == before


def test_a_docstring_runs_no_stage_again(twin: Callable[[], Checkout]) -> None:
    copy = twin()
    module = copy.folder / "lake" / "sky" / "hashing.py"
    module.write_text(module.read_text().replace('"""', '"""In other words: ', 1) + "\n# and a comment\n")
    assert re.findall("Running stage '([^']+)'", copy.run("dvc", "repro").stdout) == ["code", "listing"]


def test_every_sweep_row_is_accounted_for(finished: Checkout) -> None:
    from astropy.io import fits

    counts = delta.read(DataRoot.of(finished.folder / "data"), "ingest_counts", slices=["pool"]).to_pandas()
    counted = counts[~counts.outcome.str.startswith("column")].groupby("source_file")["rows"].sum()
    for path in (finished.folder / "data" / "survey" / "sweeps").glob("*.fits"):
        assert counted[path.name] == fits.getheader(path, 1)["NAXIS2"]


def test_scores_injections_and_completeness_agree(finished: Checkout) -> None:
    root = DataRoot.of(finished.folder / "data")
    injections, scores = delta.read(root, "injections"), delta.read(root, "injection_scores")
    assert injections.num_rows == scores.num_rows > 0
    cells = delta.read(root, "completeness").to_pandas()
    whole = cells[(cells.source_mag_bin == "all") & (cells.threshold_id == "p0.5")]
    summed, marginal = whole[whole.cell != "marginal"], whole[whole.cell == "marginal"]
    scored = pc.sum(pc.equal(scores["status"], "scored")).as_py()
    assert summed.n.sum() == marginal.n.sum() == scored
    assert summed.failed.sum() == marginal.failed.sum() == scores.num_rows - scored
    found = pc.sum(pc.greater(scores["probability"], 0.5)).as_py()
    assert summed.detected.sum() == marginal.detected.sum() == found


def test_thresholds_hosts_and_tests_share_no_galaxy_and_no_pixel(finished: Checkout) -> None:
    root = DataRoot.of(finished.folder / "data")
    rows = delta.read(root, "scores").to_pandas().merge(delta.read(root, "manifest").to_pandas(), on="galaxy_id")
    uses = {name: set(part.galaxy_id) for name, part in rows.groupby("negative_use")}
    assert set(uses) == {"threshold", "host", "test"}
    for table in ("injections", "trials"):
        assert set(delta.read(root, table)["galaxy_id"].to_pylist()) <= uses["host"]
    pixels = [set(pixel(part.ra, part.dec, 4096)) for _, part in rows.groupby("negative_use")]
    assert sum(map(len, pixels)) == len(set.union(*pixels))


def test_a_threshold_has_one_value_wherever_it_is_used(finished: Checkout) -> None:
    """Fixed on one sample, judged on another, and the same in completeness and in the recall of listed lenses."""
    root = DataRoot.of(finished.folder / "data")
    points = delta.read(root, "thresholds").to_pandas().set_index("threshold_id")
    scores = delta.read(root, "scores").to_pandas()
    negatives = {use: part.probability.to_numpy() for use, part in scores.groupby("negative_use")}
    refused = points[points.status == "not measurable"]
    assert refused.index.tolist() == ["fpr5e-2@val"]
    assert refused.negatives.item() < refused.negatives_needed.item() == 200
    derived = points.loc["fpr8e-1@val"]
    assert derived.threshold == np.sort(negatives["threshold"])[::-1][int(0.8 * len(negatives["threshold"]) + 1e-9)]
    usable = points[points.status != "not measurable"]
    for name, point in usable.iterrows():
        assert point.test_above == (negatives["test"] > point.threshold).sum(), name
        assert point.fpr_reached == point.test_above / len(negatives["test"])
    cells = delta.read(root, "completeness").to_pandas()
    assert set(cells.threshold_id) == set(usable.index)
    for column in ("threshold", "fpr_reached", "fpr_low", "fpr_high"):
        assert (cells[column] == cells.threshold_id.map(usable[column])).all()
    joint = cells[cells.threshold_id == "fpr8e-1@val"]
    assert joint.joint_95_low.isna().equals(joint.n == 0)
    assert (joint.joint_95_low.dropna() <= joint.completeness.dropna()).all()
    sky = cells[cells["field_clustered_95_low"].notna()]
    assert set(sky["cell"]) == {"marginal"}
    assert (sky.field_clustered_95_low <= sky.completeness).all()
    assert (sky.completeness <= sky.field_clustered_95_high).all()
    assert (joint.joint_95_high.dropna() >= joint.completeness.dropna()).all()
    assert cells[cells.threshold_id == "p0.5"].joint_95_low.isna().all()
    measures = delta.read(root, "diagnostics").to_pandas().set_index("name")["value"]
    for name in usable.index:
        assert measures[f"recall/{name}"] == measures[f"lens_recall/all/{name}"]
    page = (finished.folder / "data" / "report" / "index.html").read_text()
    assert f"not measurable with {refused.negatives.item()} negatives, needs 200" in page


def test_ranges_over_unlisted_lenses_hold_what_the_truth_gives_without_them(finished: Checkout) -> None:
    """The truth of the simulated sky says which negatives are lenses."""
    root = DataRoot.of(finished.folder / "data")
    truth = pd.read_parquet(root.local / "truth" / "sources.parquet")[["brickname", "objid", "is_lens"]]
    pool = delta.read(root, "tractor_pool", ["galaxy_id", "brickname", "objid"]).to_pandas()
    lenses = set(pool.merge(truth[truth.is_lens], on=["brickname", "objid"]).galaxy_id)
    scores = delta.read(root, "scores").to_pandas()
    clean = {use: part.probability[~part.galaxy_id.isin(lenses)] for use, part in scores.groupby("negative_use")}
    removed = {use: part.galaxy_id.isin(lenses).sum() for use, part in scores.groupby("negative_use")}
    answers = delta.read(root, "injection_scores").to_pandas().query("status == 'scored'").probability
    cells = delta.read(root, "completeness").to_pandas().query("cell == 'marginal' and source_mag_bin == 'all'")
    cells = cells.set_index("threshold_id")
    for point in from_rows(delta.read(root, "thresholds").to_pandas()):
        assert removed["threshold"] <= point.lenses_high
        if not point.measurable:
            continue
        assert removed["test"] <= point.test_lenses_high
        rate = (clean["test"] > point.threshold).mean()
        assert point.fpr_unlisted_low <= rate <= point.fpr_unlisted_high
        if point.status == "measured":
            cleaned = threshold_at_fpr(clean["threshold"], point.target_fpr)[0]
            row = cells.loc[point.threshold_id]
            assert row.unlisted_low <= (answers > cleaned).mean() <= row.unlisted_high
            assert row.unlisted_low <= row.completeness <= row.unlisted_high


def test_no_galaxy_of_the_test_split_was_trained_or_selected_on(finished: Checkout) -> None:
    scores = delta.read(DataRoot.of(finished.folder / "data"), "scores").to_pandas()
    assert scores[scores.split != "test"].seen_in_training.all()
    assert not scores[scores.split == "test"].seen_in_training.any()


def test_the_report_is_self_contained_and_says_simulated(finished: Checkout) -> None:
    page = (finished.folder / "data" / "report" / "index.html").read_text()
    assert "imulated" in page
    assert not any(mark in page for mark in ("<script src", "<link rel", 'src="http', "@import"))


def test_the_commands_of_the_readme_answer(finished: Checkout) -> None:
    assert "tractor_pool" in finished.dhs("tables").stdout
    by_duckdb = finished.dhs("query", "select count(*) as n from manifest", "--out", "n.csv").stdout
    assert "1 rows written to n.csv" in by_duckdb
    count = (finished.folder / "n.csv").read_text().splitlines()[1]
    finished.dhs("sql", "select count(*) as n from manifest", "--out", "spark.csv")
    assert (finished.folder / "spark.csv").read_text().splitlines()[1] == count
    finished.dhs("query", "select galaxy_id, ra, dec from tractor_pool", "--out", "pool.fits")
    from astropy.table import Table

    assert set(Table.read(finished.folder / "pool.fits").colnames) == {"galaxy_id", "ra", "dec"}
    lineage = finished.dhs("lineage", "completeness").stdout
    for part in ("checkpoint demo1", "table manifest", "sweeps in data/survey/sweeps", "commit"):
        assert part in lineage
    ranked = finished.dhs("discoveries", "--top", "3").stdout
    assert len(re.findall(r"https://www\.legacysurvey\.org/viewer\?ra=[\d.]+&dec=-?[\d.]+&", ranked)) == 3
    assert "hosts_per_cell" in finished.dhs("plan-injections", "--width", "30", "--threshold", "fpr8e-1@val").stdout
    assert finished.dhs("verify", "--deep").returncode == 0


def test_the_mlflow_page_serves_these_runs_beside_those_of_the_reference_system(finished: Checkout) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = finished.start("ui", "--port", str(port))
    try:
        log = finished.folder / "killed.log"
        finished.wait_for(process, lambda: "startup complete" in log.read_text())
        found = re.search(
            rf"http://127.0.0.1:{port}/#/experiments/(\d+)/runs\?workflowType=machine_learning", log.read_text()
        )
        assert found
        wanted = json.dumps({"experiment_ids": [found[1]]}).encode()
        request = Request(
            f"http://127.0.0.1:{port}/api/2.0/mlflow/runs/search", wanted, {"Content-Type": "application/json"}
        )
        with urlopen(request, timeout=60) as answer:
            runs = [run["data"] for run in json.load(answer)["runs"]]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    sources = Counter(tag["value"] for run in runs for tag in run["tags"] if tag["key"] == "source")
    assert sources["trained"] >= 6, "the generation, its training, evaluation, grid, completeness and diagnoses"
    assert sources["historical"] > 20


def test_the_share_of_lenses_behind_a_probability_is_what_the_checkpoint_recorded(
    finished: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = RunContext("report", None, params.load(finished.folder))
    assert lensshares.lens_share(context, "demo1") == (0.3, "set by its sampler")
    card = lensshares.read_card(context.root.checkpoints("demo1"))
    loop = card.config.loop.model_copy(update={"positive_fraction": 0.0})
    config = card.config.model_copy(update={"loop": loop})
    monkeypatch.setattr(lensshares, "read_card", lambda _: card.model_copy(update={"config": config}))
    manifest = delta.read(context.root, "manifest", slices=[card.manifest_id]).to_pandas()
    natural = manifest[manifest.split == "train"].label.mean()
    assert 0.05 < natural < 0.3
    assert lensshares.lens_share(context, "demo1") == (pytest.approx(natural), "as in its training split")
    other = {"config": config, "manifest_fingerprint": "0"}
    monkeypatch.setattr(lensshares, "read_card", lambda _: card.model_copy(update=other))
    assert lensshares.lens_share(context, "demo1") == (None, "")


_THEIR_FINDER = """
import numpy as np


class BlueAround:
    stamp_pixels = 64

    def __call__(self, stamps):
        assert stamps.shape[1:] == (3, 64, 64)
        around = np.nan_to_num(stamps[:, 0])
        around[:, 28:37, 28:37] = 0
        return around.sum(axis=(1, 2))


finder = BlueAround()
"""


def test_somebody_elses_finder_is_audited_like_ours_and_forgotten(
    finished: Checkout, twin: Callable[[], Checkout], caplog: pytest.LogCaptureFixture
) -> None:
    copy = twin()
    (copy.folder / "their_finder.py").write_text(_THEIR_FINDER)
    copy.dhs("audit", "their_finder:finder", "--name", "theirs")
    root = DataRoot.of(copy.folder / "data")
    rows = {name: delta.read(root, "injection_scores", slices=[name]).to_pandas() for name in ("demo1", "theirs")}
    assert sorted(rows["theirs"].injection_id) == sorted(rows["demo1"].injection_id)
    assert (rows["theirs"].status == "scored").all()
    assert (rows["theirs"].score > rows["theirs"].host_score).mean() > 0.9, "arcs are light around the centre"
    assert len(delta.read(root, "injections")) == len(rows["theirs"]), "the same injections for both finders"
    cells = delta.read(root, "completeness", slices=["theirs"]).to_pandas()
    whole = cells[(cells.source_mag_bin == "all") & (cells.threshold_id == "p0.5") & (cells.cell == "marginal")]
    assert whole.n.item() == len(rows["theirs"])
    assert whole.detected.item() == (rows["theirs"].probability > 0.5).sum()
    assert delta.read(root, "scores", slices=["theirs"])["seen_in_training"].null_count == len(
        delta.read(root, "scores", slices=["demo1"])
    )
    gates = delta.read(root, "gates", slices=["evaluate-theirs", "diagnose-theirs"]).to_pandas().set_index("name")
    for name in ("untouched_test_set", "lens_recall/leakage_guard"):
        assert gates.status[name] == "NOT MEASURED"
    assert "theirs" in (copy.folder / "data" / "report" / "index.html").read_text()
    _check_that_a_list_measures_leakage(copy, root)
    context = RunContext("report", None, params.load(copy.folder))
    assert reported(context) == ["demo1", "theirs"]
    shutil.rmtree(root.grid("theirs"))
    assert reported(context) == ["demo1"]
    assert (
        f"its run is not complete (missing: a complete {root.grid('theirs')}); `dvc repro` completes it" in caplog.text
    )
    stopped = copy.dhs("run", "ingest", "--generation", "theirs", check=False)
    assert "the grid of theirs is missing" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    copy.dhs("forget", "theirs")
    assert copy.cards() == finished.cards()
    assert not any(root.local.glob("*/theirs*"))
    assert "theirs" not in (copy.folder / "params.yaml").read_text()


def _check_that_a_list_measures_leakage(copy: Checkout, root: DataRoot) -> None:
    """A list that names one object of the test split, and another by its position, is what the finder has seen."""
    columns, name = ["galaxy_id", "ra", "dec", "split"], params.load(copy.folder).survey.audit_manifest
    manifest = delta.read(root, "manifest", columns, slices=[name]).to_pandas()
    test = manifest[manifest["split"] == "test"].head(2)
    one, other = test.to_dict("records")
    text = f"galaxy_id,ra,dec\n{one['galaxy_id']},,\n,{other['ra']},{other['dec']}\n"
    (root.checkpoints("theirs") / LISTED).write_text(text)
    copy.dhs("run", "evaluate", "--generation", "theirs")
    scores = delta.read(root, "scores", slices=["theirs"]).to_pandas()
    assert set(scores[scores["seen_in_training"].astype(bool)]["galaxy_id"]) == set(test["galaxy_id"])
    gates = delta.read(root, "gates", slices=["evaluate-theirs"]).to_pandas().set_index("name")
    assert gates.status["untouched_test_set"] == "FAIL"
    told = delta.read(root, "diagnostics", slices=["evaluate-theirs"]).to_pandas().set_index("name")
    assert told.value["exposure/test_galaxies/trained_on"] == 2
    _check_that_figures_on_known_galaxies_are_refused(copy, root, manifest[manifest["split"] == "test"])


def _check_that_figures_on_known_galaxies_are_refused(copy: Checkout, root: DataRoot, test: pd.DataFrame) -> None:
    """A finder trained on the whole test split has no figure on it, and no completeness without a rate."""
    (root.checkpoints("theirs") / LISTED).write_text("galaxy_id\n" + "\n".join(test["galaxy_id"]) + "\n")
    for stage in ("evaluate", "completeness", "diagnose"):
        copy.dhs("run", stage, "--generation", "theirs")
    copy.dhs("run", "report")
    why = f"refused: {len(test)} of {len(test)} test galaxies were trained or selected on"
    told = delta.read(root, "diagnostics", slices=["evaluate-theirs", "diagnose-theirs"]).to_pandas().set_index("name")
    for name in ("auc", "calibration/ece", "trivial/network_gain"):
        assert np.isnan(told.value[name])
        assert told.method[name] == why
    points = delta.read(root, "thresholds", slices=["theirs"]).to_pandas()
    assert set(points["status"]) <= {"refused", "not measurable"}
    assert points[["threshold", "fpr_reached"]].isna().all(axis=None)
    assert points["reason"].notna().all()
    assert delta.read(root, "completeness", slices=["theirs"]).num_rows == 0
    by_view = copy.dhs("query", "select count(*) as n from completeness_by_depth where generation = 'theirs'").stdout
    assert re.search(r"^\W*0\W*$", by_view, re.MULTILINE)
    shown = json.loads((root.metrics / "theirs.json").read_text())
    assert shown["auc"] == why
    assert shown["completeness"].startswith("refused: ")
    assert why in (copy.folder / "data" / "report" / "index.html").read_text()
    assert why in copy.dhs("compare").stdout
    stopped = copy.dhs("completeness", "--generation", "theirs", check=False)
    assert "theirs has no completeness: p0.3 is refused: " in stopped.stderr


def test_an_unknown_suffix_and_a_bad_query_are_errors_in_a_sentence(finished: Checkout) -> None:
    done = finished.dhs("query", "select 1 as one", "--out", "x.xlsx", check=False)
    assert done.returncode == 1
    assert "'out' must be a file ending in .parquet, .csv, .fits" in done.stderr
    done = finished.dhs("query", "select * from nowhere", check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_a_deleted_table_is_made_again(finished: Checkout, twin: Callable[[], Checkout]) -> None:
    copy = twin()
    shutil.rmtree(copy.folder / "data" / "lake" / "negatives")
    done = copy.dhs("query", "select count(*) from negatives", check=False)
    assert "does not hold" in done.stderr
    status = copy.run("dvc", "status", "--json", check=False)
    assert "negatives" in json.loads(status.stdout)
    copy.run("dvc", "repro", "negatives")
    assert copy.cards() == finished.cards()


def test_a_table_rolled_back_or_recreated_is_noticed(twin: Callable[[], Checkout]) -> None:
    copy = twin()
    log = copy.folder / "data" / "lake" / "negatives" / "_delta_log"
    for commit in sorted(log.glob("*.json"))[1:]:
        commit.unlink()
    for checksum in log.glob("*.crc"):
        checksum.unlink()
    done = copy.dhs("verify", check=False)
    assert done.returncode == 1
    assert "'negatives' is pinned at version" in done.stderr
    copy.dhs("verify", "--repair")
    assert "negatives" in json.loads(copy.run("dvc", "status", "--json", check=False).stdout)


def test_a_finder_measured_on_an_earlier_state_of_the_survey_is_not_reported(
    twin: Callable[[], Checkout], caplog: pytest.LogCaptureFixture
) -> None:
    context = RunContext("report", None, params.load(twin().folder))
    root = context.root
    assert reported(context) == ["demo1"]
    for folder in (root.grid("demo1"), root.checkpoints("demo1")):
        shutil.copytree(folder, folder.with_name("older"))
    for table in cards.tables(root):
        for entry in cards.slices(root, table):
            if entry.card.slice in ("demo1", "evaluate-demo1", "diagnose-demo1"):
                inputs = {
                    name: value if name == cards.SURVEY else f"1{value}" for name, value in entry.pin.inputs.items()
                }
                older = entry.card.slice.replace("demo1", "older")
                cards.publish(root, replace(entry.card, slice=older), replace(entry.pin, inputs=inputs))
    assert reported(context) == ["demo1"]
    assert "older is left out of the report: it was evaluated on a different version of" in caplog.text
    cards.remove(root, "completeness", "demo1")
    with pytest.raises(LakeError, match=r"no finder has been audited on the current 'manifest\.audit_70_15_15'"):
        reported(context)
