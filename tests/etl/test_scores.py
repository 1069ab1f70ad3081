"""Ingestion of grid batches and completeness counts, against plain Python."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions
from scipy.special import expit

from etl.results import batchparts, completeness, ingest
from etl.results.logistic import logistic
from etl.tables import table
from lake import tables
from lake.contract import rules
from lake.contract.fingerprint import fingerprint
from lake.contract.spec import Column
from lake.errors import DataError
from lake.files import storage
from lake.root import DataRoot
from lake.store import delta
from lake.store.parts import publish
from lake.store.writing import Provenance, Target
from tests.lake import stores

pytestmark = pytest.mark.usefixtures("whole_stage")

SPEC = tables.spec("injections")
RUN = batchparts.GridRun("g", "main", "ck", "demo1")
THETA, PSF = (0.5, 1.0, 1.5), ((0.9, 1.2), (1.2, 1.5))


def sample(column: Column) -> Any:
    """A value that the contract allows."""
    if column.allowed:
        return column.allowed[0]
    if column.type == "string":
        return "x"
    if column.type == "boolean":
        return True
    low = column.low if column.low is not None else 0.0
    value = low + 0.5 * (min(column.high, low + 2) - low) if column.high is not None else low + 1
    return int(value) if column.type in ("int", "bigint") else float(value)


def batch(n: int, seed: int = 0, start: int = 0) -> list[dict[str, Any]]:
    """Rows of a grid batch: 3 x 2 x 1 cells of which (2, 1) is never filled; some rows failed."""
    rng = np.random.default_rng(seed)
    base = {c.name: None if c.nullable else sample(c) for c in SPEC.columns if c.role != "lineage"}
    rows = []
    for i in range(start, start + n):
        theta, psf = int(rng.integers(3)), int(rng.integers(2))
        psf = 0 if theta == 2 else psf
        failed = rng.random() < 0.1
        rows.append(
            base
            | {
                "grid_id": "g", "injection_id": f"i{i:05d}", "galaxy_id": f"h{rng.integers(12)}", "prior": "v1",
                "theta_e_index": theta, "psf_index": psf, "depth_index": 0, "src_mag_r": float(rng.uniform(23, 26)),
                "arc_snr": None if failed else float(rng.exponential(10)), "status": "failed" if failed else "scored",
                "reason": "host unreadable" if failed else None, "score": None if failed else float(rng.normal(-1, 3)),
                "host_score": None if failed else float(rng.normal(-4, 1)),
            }
        )  # fmt: skip
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    fields = [pa.field(c.name, c.arrow.type) for c in SPEC.columns if c.role != "lineage" and c.name != "grid_name"]
    schema = pa.schema([*fields, ("score", pa.float64()), ("host_score", pa.float64())])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return str(path)


@dataclass(frozen=True)
class Frames:
    """The parts that were made, as Spark frames, and the rows in quarantine."""

    injections: Any
    injection_scores: Any
    quarantine: pa.Table


def ingested(spark: Any, folder: Path, files: list[str]) -> Frames:
    root = DataRoot.of(folder / "data")
    made = ingest.ingest(spark, root, files, RUN)
    frames = [
        spark.read.parquet(*(f"{root.table(spec.name)}/{part.path}" for part in held.files))
        .withColumns({name: functions.lit(value) for name, value in RUN.where(spec).items()})
        .select(*spec.names)
        for spec, held in ((SPEC, made.injections), (tables.spec("injection_scores"), made.injection_scores))
    ]
    return Frames(*frames, made.quarantine)


CELLS = pa.Table.from_pylist(
    [
        {
            "cell": f"t{t:02d}p{p}d0", "theta_e_index": t, "psf_index": p, "depth_index": 0, "theta_e_arcsec": THETA[t],
            "psf_fwhm_nea_arcsec_low": PSF[p][0], "psf_fwhm_nea_arcsec_high": PSF[p][1], "depth_mag_low": 22.5,
            "depth_mag_high": 23.0,
        }
        for t in range(3) for p in range(2)
    ],
    schema=completeness.CELL_SCHEMA,
)  # fmt: skip


def test_each_row_has_one_verdict_in_both_tables(jobs_spark: Any, tmp_path: Path) -> None:
    rows = batch(60)
    rows[0]["grid_id"] = "other"
    rows[1]["lens_q"] = 1.5
    rows[2] |= {"status": "scored", "score": None, "reason": None}
    rows[3] |= {"status": "scored", "score": float("nan"), "reason": None}
    rows[4] |= {"status": "scored", "score": 2.0, "host_score": float("inf"), "reason": None}
    rows[5] |= {"status": "scored", "score": 2.0, "host_score": -800.0, "reason": None}
    files = [write(tmp_path / "batch-00000.parquet", rows[:30]), write(tmp_path / "batch-00001.parquet", rows[25:])]
    frames = ingested(jobs_spark, tmp_path, files)
    injections = {r["injection_id"]: r for r in frames.injections.toArrow().to_pylist()}
    scored = {r["injection_id"]: r for r in frames.injection_scores.toArrow().to_pylist()}
    bad = frames.quarantine.to_pylist()
    assert set(injections) == set(scored) == {f"i{i:05d}" for i in range(2, 60)}
    assert len(injections) + len(bad) == 65
    reasons = [(b["source_file"], b["row_index"], b["reason"]) for b in bad]
    assert ("batch-00000.parquet", 0, "grid_id must be g, the grid of these batches") in reasons
    assert ("batch-00000.parquet", 1, "'lens_q' must be given, a number, in [0, 1]") in reasons
    repeated = {("batch-00001.parquet", i, "duplicate key (injection_id)") for i in range(5)}
    assert repeated <= set(reasons)
    for i in (2, 3, 4):
        row, score = injections[f"i{i:05d}"], scored[f"i{i:05d}"]
        assert (row["status"], row["reason"], score["status"], score["score"]) == (
            "failed",
            batchparts.UNSCORED,
            "failed",
            None,
        )
    assert scored["i00005"]["probability"] == pytest.approx(1 / (1 + math.exp(-2.0)))
    assert scored["i00005"]["host_probability"] == 0.0
    assert {(s["generation"], s["grid_name"]) for s in scored.values()} == {("demo1", "main")}
    rules.require(SPEC, frames.injections.toArrow())
    rules.require(tables.spec("injection_scores"), frames.injection_scores.toArrow())


def test_what_is_no_batch_is_an_error(jobs_spark: Any, tmp_path: Path) -> None:
    good = write(tmp_path / "batch-00000.parquet", batch(3))
    (tmp_path / "batch-00001.parquet").write_bytes(Path(good).read_bytes()[:500])
    with pytest.raises(DataError, match=r"batch-00001.parquet is not a grid batch"):
        ingested(jobs_spark, tmp_path, [good, str(tmp_path / "batch-00001.parquet")])
    pq.write_table(pa.table({"grid_id": ["g"]}), tmp_path / "batch-00002.parquet")
    with pytest.raises(DataError, match="lacks the columns injection_id"):
        ingested(jobs_spark, tmp_path, [str(tmp_path / "batch-00002.parquet")])
    held = pq.read_table(good)
    column = held.column_names.index("seed")
    pq.write_table(held.set_column(column, "seed", held["seed"].cast(pa.string())), tmp_path / "batch-00003.parquet")
    with pytest.raises(DataError, match=r"batch-00003.parquet is not a grid batch: 'seed' must be int64, got string"):
        ingested(jobs_spark, tmp_path, [good, str(tmp_path / "batch-00003.parquet")])
    twice = held.append_column("score", held["score"])
    pq.write_table(twice, tmp_path / "batch-00004.parquet")
    with pytest.raises(DataError, match=r"batch-00004.parquet is not a grid batch: it has several columns named score"):
        ingested(jobs_spark, tmp_path, [str(tmp_path / "batch-00004.parquet")])
    (tmp_path / "other").mkdir()
    other = write(tmp_path / "other" / "batch-00000.parquet", batch(3, 0, 3))
    for same in (good, other):
        with pytest.raises(DataError, match=f"batches of a grid must have different names, got {good} and {same}"):
            ingested(jobs_spark, tmp_path, [good, same])
    with pytest.raises(DataError, match="no batches"):
        ingested(jobs_spark, tmp_path, [])


@pytest.mark.parametrize("bytes_per_task", [1, 1 << 30])
def test_of_repeated_injections_the_first_good_row_counts(
    jobs_spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bytes_per_task: int
) -> None:
    """However the batches are dealt to the workers."""
    monkeypatch.setattr(ingest, "_BYTES_PER_TASK", bytes_per_task)
    batches = [batch(20), batch(20, 1, 15), batch(20, 2, 30), [*batch(2, 3, 15), *batch(2, 4, 15), *batch(9, 5, 50)]]
    batches[0][15]["lens_q"] = 1.5  # i00015: its first row is none
    files = [write(tmp_path / f"batch-{number}.parquet", rows) for number, rows in enumerate(batches)]
    order = [(f"batch-{n}.parquet", i, row) for n, rows in enumerate(batches) for i, row in enumerate(rows)]
    kept: dict[str, tuple[str, int, dict[str, Any]]] = {}
    repeated = []
    for place in order[:15] + order[16:]:
        if kept.setdefault(place[2]["injection_id"], place) is not place:
            repeated.append(place)
    frames = ingested(jobs_spark, tmp_path, files)
    found = {row["injection_id"]: row["src_mag_r"] for row in frames.injections.collect()}
    assert found == {name: row["src_mag_r"] for name, (_, _, row) in kept.items()}
    assert frames.injections.count() == frames.injection_scores.count() == len(kept)
    refused = {(bad["source_file"], bad["row_index"]): bad for bad in frames.quarantine.to_pylist()}
    assert refused.pop(("batch-0.parquet", 15))["reason"] == "'lens_q' must be given, a number, in [0, 1]"
    assert refused.keys() == {(name, i) for name, i, _ in repeated}
    for name, i, row in repeated:
        bad = refused[name, i]
        assert bad["reason"] == "duplicate key (injection_id)"
        assert bad["record"] == (
            f'{{"grid_id":"g","injection_id":"{row["injection_id"]}","galaxy_id":"{row["galaxy_id"]}"}}'
        )


def test_equal_hashes_are_no_equal_names(jobs_spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "_run", partial(colliding, ingest._run))
    files = [write(tmp_path / f"batch-{n}.parquet", batch(8, n, 6 * n)) for n in range(2)]
    frames = ingested(jobs_spark, tmp_path, files)
    assert frames.injections.count() == 14
    assert [(b["source_file"], b["row_index"]) for b in frames.quarantine.to_pylist()] == [
        ("batch-1.parquet", 0),
        ("batch-1.parquet", 1),
    ]


def colliding(run: Any, *args: Any) -> Any:
    """What tasks answer if all names had one hash."""
    return [
        replace(made, keys=made.keys.set_column(0, "key", pa.repeat(pa.scalar(7, pa.int64()), made.keys.num_rows)))
        for made in run(*args)
    ]


def test_published_parts_are_read_by_spark_and_without(jobs_spark: Any, tmp_path: Path) -> None:
    """With constraints on both tables, and as the fingerprint says; a second run replaces the first."""
    root = DataRoot.of(tmp_path / "data")
    for rows in (batch(50, 3), batch(40, 3)):
        made = ingest.ingest(jobs_spark, root, [write(tmp_path / "batch-0.parquet", rows)], RUN)
        for spec, held in ((SPEC, made.injections), (tables.spec("injection_scores"), made.injection_scores)):
            card = publish(Target(root, spec, "demo1", RUN.where(spec), Provenance("ingest.demo1")), held)
            found = delta.read(root, spec.name)
            assert (card.rows, card.fingerprint) == (len(rows), fingerprint(found, spec))
            assert fingerprint(table.read(jobs_spark, root, spec.name).toArrow(), spec) == card.fingerprint
    seen = table.read(jobs_spark, root, "injections")
    few = seen.where("injection_id < 'i00010' AND src_mag_r > 24 AND detectable IS NULL").count()
    assert few == sum(row["src_mag_r"] > 24 for row in batch(40, 3)[:10])


def test_batches_and_tables_in_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tasks, which this process does itself, read there and write there."""
    rows = batch(30, 6)
    local = write(tmp_path / "batch-0.parquet", rows + rows[:1])
    monkeypatch.setattr(ingest, "_run", lambda _, dealt, *rest: [batchparts.make(share, *rest) for share in dealt])
    with stores.bucket(monkeypatch) as place:
        address = f"{place}/grid/batch-0.parquet"
        storage.upload(Path(local), address)
        root = DataRoot.of(tmp_path / "remote", f"{place}/lake")
        made = ingest.ingest(None, root, [address], RUN)
        target = Target(root, SPEC, "demo1", RUN.where(SPEC), Provenance("ingest.demo1"))
        card = publish(target, made.injections, made.quarantine)
        assert (card.rows, card.fingerprint) == (30, fingerprint(delta.read(root, SPEC.name), SPEC))
        (bad,) = delta.read(root, "quarantine").to_pylist()
        assert (bad["source_file"], bad["row_index"], bad["reason"]) == (
            "batch-0.parquet",
            30,
            "duplicate key (injection_id)",
        )
    assert ingest.ingest(None, DataRoot.of(tmp_path / "data"), [local], RUN).injections.fingerprint == card.fingerprint


def test_batches_that_do_not_add_up_are_an_error(
    jobs_spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [write(tmp_path / f"batch-{n}.parquet", batch(8, n, 8 * n)) for n in range(2)]
    run = ingest._run
    monkeypatch.setattr(ingest, "_run", lambda *args: run(*args)[:1])
    with pytest.raises(DataError, match="the batches have 16 rows: 8 were read, 8 are in 'injections', 0 quarantined"):
        ingested(jobs_spark, tmp_path, files)


def test_the_logistic_function_is_that_of_spark_to_the_last_bit(jobs_spark: Any) -> None:
    rng = np.random.default_rng(5)
    edges = [
        0.0,
        -0.0,
        0.34657359,
        1.03972077,
        -745.13,
        -745.14,
        708.4,
        709.78,
        709.79,
        720.5,
        1e-9,
        -1e-300,
        1e9,
        -1e9,
        *(odd * 2.0**-53 for odd in range(1, 40, 2)),  # from a number to the next where 1 + x is rounded
    ]
    scores = np.concatenate([rng.normal(0, s, 4000) for s in (0.1, 1, 5, 200)] + [edges, -np.array(edges)])
    frame = jobs_spark.createDataFrame(pa.table({"n": np.arange(len(scores)), "x": scores}))
    theirs = frame.selectExpr("n", "1 / (1 + exp(-x)) AS p").toArrow().sort_by("n")["p"].to_numpy()
    assert np.array_equal(theirs.view(np.int64), logistic(scores).view(np.int64))
    np.testing.assert_allclose(logistic(scores), expit(scores), rtol=5e-16, atol=0)
    assert np.isnan(logistic(np.array([np.nan])))


def expected(rows: list[dict[str, Any]], thresholds: dict[str, float]) -> dict[tuple[str, str, str], dict[str, float]]:
    """Counts in plain Python."""
    hosts: dict[tuple[str, str, str], dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        cell = f"t{row['theta_e_index']:02d}p{row['psf_index']}d0"
        mag = f"{int(row['src_mag_r'])}-{int(row['src_mag_r']) + 1}"
        for key in ((c, m, t) for c in (cell, "marginal") for m in (mag, "all") for t in thresholds):
            hosts[key][row["galaxy_id"]].append(row)
    found = {}
    for key, groups in hosts.items():
        n, d, failed, score, snr = [], [], 0, [], []
        for members in groups.values():
            good = [m for m in members if m["status"] == "scored"]
            n.append(len(good))
            d.append(sum(1 / (1 + math.exp(-m["score"])) > thresholds[key[2]] for m in good))
            failed += len(members) - len(good)
            score += [m["score"] for m in good]
            snr += [m["arc_snr"] for m in good]
        found[key] = {
            "n": sum(n), "detected": sum(d), "failed": failed, "hosts": sum(1 for x in n if x),
            "host_detected_sq": sum(x * x for x in d), "host_detected_n": sum(a * b for a, b in zip(d, n, strict=True)),
            "host_n_sq": sum(x * x for x in n), "mean_score": np.mean(score) if score else None,
            "mean_arc_snr": np.mean(snr) if snr else None,
        }  # fmt: skip
    return found


def test_counts_equal_plain_python_and_do_not_depend_on_partitions(jobs_spark: Any, tmp_path: Path) -> None:
    rows = batch(700, 3)
    frames = ingested(jobs_spark, tmp_path, [write(tmp_path / "batch-0.parquet", rows)])
    thresholds = {"p0.3": 0.3, "fpr1e-3": 0.81}
    wanted = expected(rows, thresholds)
    tables_ = []
    for parts in (1, 9):
        made = completeness.summarise(
            jobs_spark, frames.injections.repartition(parts), frames.injection_scores, CELLS, thresholds,
            [23.0, 24.0, 25.0, 26.0], "v1",
        )  # fmt: skip
        tables_.append(
            sorted(made.toArrow().to_pylist(), key=lambda r: (r["cell"], r["threshold_id"], r["source_mag_bin"]))
        )
    assert tables_[0] == tables_[1]
    assert len(tables_[0]) == (6 + 1) * 4 * 2
    for row in tables_[0]:
        truth = wanted.get((row["cell"], row["source_mag_bin"], row["threshold_id"]))
        if truth is None:
            assert row["cell"] == "t02p1d0"
            assert (row["n"], row["detected"], row["failed"], row["hosts"], row["mean_score"]) == (0, 0, 0, 0, None)
            continue
        for name, value in truth.items():
            assert row[name] == (pytest.approx(value, abs=1e-9) if value is not None else None), name
        assert row["threshold"] == thresholds[row["threshold_id"]]
        assert (row["theta_e_arcsec"] is None) == (row["cell"] == "marginal")
    whole = [r for r in tables_[0] if r["cell"] == "marginal" and r["source_mag_bin"] == "all"]
    assert all(r["n"] + r["failed"] == 700 for r in whole)
    names = ("grid_id", "grid_name", "checkpoint_id", "generation", "prior")
    assert tuple(whole[0][name] for name in names) == ("g", "main", "ck", "demo1", "v1")


def test_magnitudes_on_the_edges_and_outside(jobs_spark: Any, tmp_path: Path) -> None:
    rows = batch(5, 1)
    for row, mag in zip(rows, (23.0, 24.0, 26.0, 22.0, 27.0), strict=True):
        row["src_mag_r"] = mag
    frames = ingested(jobs_spark, tmp_path, [write(tmp_path / "batch-0.parquet", rows)])
    edges = [23.0, 24.0, 25.0, 26.0]
    made = completeness.summarise(
        jobs_spark, frames.injections, frames.injection_scores, CELLS, {"p": 0.5}, edges, "v1"
    )
    marginal = {r["source_mag_bin"]: r["n"] + r["failed"] for r in made.collect() if r["cell"] == "marginal"}
    assert marginal == {"23-24": 1, "24-25": 1, "25-26": 1, "all": 5}


def test_mixed_or_stray_rows_are_errors(jobs_spark: Any, tmp_path: Path) -> None:
    rows = batch(20, 2)
    for row in rows[:10]:
        row["prior"] = "d06"
    frames = ingested(jobs_spark, tmp_path, [write(tmp_path / "batch-0.parquet", rows)])
    call = (CELLS, {"p": 0.5}, [23.0, 26.0], "v1")
    with pytest.raises(DataError, match="completeness must be of one prior, got d06, v1"):
        completeness.summarise(jobs_spark, frames.injections, frames.injection_scores, *call)
    one = frames.injections.where("prior = 'v1'")
    with pytest.raises(DataError, match="lie in no planned cell"):
        completeness.summarise(jobs_spark, one, frames.injection_scores, CELLS.slice(4), *call[1:])
    with pytest.raises(DataError, match="completeness must be of one grid_id, got no rows"):
        completeness.summarise(jobs_spark, one.where("false"), frames.injection_scores, *call)


def test_an_injection_without_a_score_row_is_failed(jobs_spark: Any, tmp_path: Path) -> None:
    frames = ingested(jobs_spark, tmp_path, [write(tmp_path / "batch-0.parquet", batch(40, 4))])
    fewer = frames.injection_scores.where("injection_id < 'i00030'")
    made = completeness.summarise(jobs_spark, frames.injections, fewer, CELLS, {"p": 0.5}, [23.0, 26.0], "v1")
    whole = next(r for r in made.collect() if r["cell"] == "marginal" and r["source_mag_bin"] == "all")
    assert whole["n"] + whole["failed"] == 40
    assert whole["failed"] >= 10
