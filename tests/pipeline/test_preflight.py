"""`dhs preflight`: a line for everything that a run needs; it fails if something is missing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from etl.config import CutoutsParams
from etl.cutouts.cutting import Sources
from lake.store import cards
from pipeline.cli import dhs
from pipeline.project import params as parameters
from pipeline.project.project import Project
from pipeline.verbs import preflight
from tests.etl.survey_files import sources, write_brick, write_bricks, write_sweep

SIZE = 150


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A survey of one sweep, three bricks of which two are there, and a list."""
    values = parameters.resolve(Path(__file__).parents[2], "dr10")
    values["survey"] = {**values["survey"], "folder": "sky"}
    values["cutouts"] = {**values["cutouts"], "stamp_pixels": 41, "coadd_pixels": SIZE}
    (tmp_path / "params.yaml").write_text("")
    parameters.write(tmp_path, values, "dr10")
    folder = tmp_path / "sky"
    (folder / "sweeps").mkdir(parents=True)
    write_sweep(folder / "sweeps" / "sweep-000m005-010p000.fits", sources(20))
    (folder / "candidates.csv").write_text("name,ra,dec,grading\na,1,2,confident\nb,2,3,probable\nc,3,4,odd\n")
    places = {f"100{i}p000": (100 + 0.3 * i, 0.0) for i in range(3)}
    write_bricks(folder, places)
    for name in list(places)[:2]:
        write_brick(folder, name, *places[name], {band: np.ones((SIZE, SIZE), np.float32) for band in "grz"})
    return parameters.load(tmp_path)


def wanted(*bricks: int) -> Sources:
    """A source in the middle of each of these bricks."""
    ra, names = 100 + 0.3 * np.array(bricks), np.array([f"100{i}p000" for i in bricks])
    ids = np.array([f"x:{i}" for i in range(len(bricks))], dtype=object)
    return Sources(ids, ra, np.zeros(len(bricks)), names, np.zeros(len(bricks), dtype=bool))


def said(project: Project, sources: Sources | None, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(preflight, "_wanted", lambda project: sources)
    return {each.what: (each.good, each.found) for each in preflight.findings(project)}


def test_a_survey_that_is_complete(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    found = said(project, wanted(0, 1, 1), monkeypatch)
    assert found["sweeps"] == (True, "1 files, 0.00 GB")
    assert found["candidates"] == (True, "3 positions, 1 of tier A, 1 of tier B")
    assert found["bricks"] == (True, "2 of 2 are there for 3 of 3 sources")
    assert found["sources"] == (True, "Sersic profiles with clumps")
    assert found["disk"][0]
    later = said(project, None, monkeypatch)
    assert later["cut-outs"] == (None, "which bricks are needed is known after `dhs repro candidates negatives`")
    assert later["disk"][1].endswith("GB are needed without cut-outs, whose number is not known yet")


def test_what_lacks_is_a_problem(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project.folder / "sky"
    (folder / "sweeps" / "notes.txt").write_text("x")
    (folder / "candidates.csv").unlink()
    found = said(project, wanted(0, 2), monkeypatch)
    assert found["sweeps"] == (False, "notes.txt is not read: not a table, by its name")
    assert found["candidates"][0] is False
    assert found["bricks"] == (
        False, "1 of 2 are there for 1 of 2 sources; 1002p000 lack one of image-g, image-r, image-z",
    )  # fmt: skip
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 1_000})())
    assert said(project, wanted(0), monkeypatch)["disk"][0] is False
    bank = {"path": "nowhere", "max_pixel_arcsec": 0.1, "catalogue_colours": False}
    values = {**project.values, "grid": {**project.values["grid"], "real_sources": bank}}
    assert said(Project(project.folder, values), wanted(0), monkeypatch)["sources"][0] is False


def test_the_service_stands_in_for_bricks_and_takes_its_time(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for source, there in (("coadds, then service", True), ("service", False)):
        values = {**project.values, "cutouts": {**project.values["cutouts"], "source": source}}
        CutoutsParams.load(values["cutouts"], "cutouts")
        found = said(Project(project.folder, values), wanted(*[0, 2] * 9000), monkeypatch)
        assert ("bricks" in found) is there
        assert found.get("bricks", (True,))[0] is True
        assert found["service"][1].endswith("at least 0.5 hours" if there else "at least 1.0 hours")


def test_the_command_prints_a_table_and_fails_where_something_lacks(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.folder)
    done = CliRunner().invoke(dhs, ["preflight", "--project", str(project.folder)])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[0] == "ok       sweeps      1 files, 0.00 GB"
    (project.folder / "sky" / "candidates.csv").unlink()
    done = CliRunner().invoke(dhs, ["preflight", "--project", str(project.folder)])
    assert done.exit_code == 1
    assert "PROBLEM  candidates  the candidate list" in done.output


def test_the_bank_of_a_set_of_simulated_stamps(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    bank = project.folder / "bank.h5"
    plain = {"plan": "unpaired", "bank": "data/code/nothing.json"}
    needed = {"sets": {"unpaired": plain, "cosmos": {"plan": "unpaired", "bank": str(bank)}}}
    asked = Project(project.folder, {**project.values, "simulated": needed})
    found = said(asked, wanted(0), monkeypatch)
    assert found["stamps cosmos"] == (False, f"{bank} is missing: `dhs bank build` makes it")
    assert "stamps unpaired" not in found
    bank.write_bytes(b"")
    assert said(asked, wanted(0), monkeypatch)["stamps cosmos"] == (True, f"real galaxies of {bank}")


def test_the_room_for_simulated_stamps(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sets of a plan of a million stamps: 64 x 64 pixels of four bytes in three bands, three times."""
    sets = {name: {"plan": "unpaired", "bank": "data/code/nothing.json"} for name in ("gaussian", "moffat")}
    asked = Project(project.folder, {**project.values, "simulated": {"sets": sets}})
    told = "without simulated stamps, whose number is not known yet"
    assert said(asked, wanted(0), monkeypatch)["disk"][1].endswith(told)
    real = cards.slices
    plan = SimpleNamespace(card=SimpleNamespace(slice="unpaired", rows=1_000_000))
    monkeypatch.setattr(
        cards, "slices", lambda root, table: [plan] if table == "injection_manifest" else real(root, table)
    )
    assert "about 294.9 GB are needed" in said(asked, wanted(0), monkeypatch)["disk"][1]
