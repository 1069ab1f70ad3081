"""Real input through the whole product: real lens candidates scored, real galaxies as hosts of injections."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.csv
import pytest

from lake.root import DataRoot
from lake.store import delta
from tests.pipeline.checkout import Checkout

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("whole_stage")]


def test_real_dr10_candidates_are_imported_and_scored(finished: Checkout, real_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    folder = real_data / "cutouts" / "dr10_lens_candidates"
    finished.dhs("score", str(folder), "--generation", "demo1", "--out", str(out))
    rows = pyarrow.csv.read_csv(out)
    assert rows.num_rows == 3
    assert pc.all(pc.is_finite(rows["score"])).as_py()
    assert set(rows["galaxy_id"].to_pylist()) == {
        "ls-dr10:0001m060_2396",
        "ls-dr10:0003m005_293",
        "ls-dr10:0006p270_2574",
    }


def test_real_des_galaxies_become_hosts(twin: Callable[[], Checkout], real_data: Path) -> None:
    copy = twin()
    hosts = real_data / "cutouts" / "des_grizY_46_hosts"
    copy.dhs("inject", str(hosts), "--generation", "demo1", "--per-radius", "250")
    root = DataRoot.of(copy.folder / "data")
    injections = delta.read(root, "injections", slices=["demo1-des46"])
    scores = delta.read(root, "injection_scores", slices=["demo1-des46"])
    assert injections.num_rows == scores.num_rows == 500
    assert len(set(injections["galaxy_id"].to_pylist())) == 46
    scored = pc.sum(pc.equal(scores["status"], "scored")).as_py()
    assert scored >= 490
    cells = delta.read(root, "completeness", slices=["demo1-des46"]).to_pandas()
    marginal = cells[(cells.cell == "marginal") & (cells.source_mag_bin == "all") & (cells.threshold_id == "p0.5")]
    assert marginal.n.item() == scored
    assert marginal.hosts.item() == 46
    assert (copy.folder / "data" / "grid" / "demo1-des46" / "contact-sheet.png").stat().st_size > 50_000
    assert copy.dhs("run", "report").returncode == 0


def test_injections_into_the_surveys_own_hosts_are_drawn_and_validated(finished: Checkout, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    finished.dhs("render", "--n", "4", "--host-selection", "early", "--lens-shape", "conditioned", "--out", str(sheet))
    assert sheet.stat().st_size > 50_000
    done = finished.dhs("validate-injection", "--n", "60", "--out", str(tmp_path), check=False)
    numbers = json.loads((tmp_path / "validation.json").read_text())
    failed = [gate["name"] for gate in numbers["gates"] if gate["status"] == "FAIL"]
    assert done.returncode == (1 if failed else 0)
    assert set(failed) <= {"saturation"}
    assert numbers["generation"] == "demo1"
    found = {measure["name"]: measure for measure in numbers["measures"]}
    assert found["arcs_found/real_lenses"]["n"] > 20
    assert found["arcs_found/real_lenses"]["value"] > found["arcs_found/bare_hosts"]["value"]
