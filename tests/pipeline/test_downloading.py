"""`dhs download` against a release on this machine: what a region needs, resumed, checked, and politely asked for."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner
from filelock import FileLock

from etl.config import DownloadParams
from etl.web import release
from etl.web.release import Box
from lake.errors import DataError, ParameterError
from pipeline.cli import dhs
from pipeline.project import params as parameters
from pipeline.project.project import Project
from pipeline.verbs import downloading
from tests.webserver import Handler, Server, serving

BRICKS = {"0001p000": (0.125, 0.0), "3598p000": (359.875, 0.0), "0004p000": (0.375, 0.0), "1500p020": (150.0, 2.0)}
SWEEPS = ("sweep-000m005-010p000.fits", "sweep-000p000-010p005.fits", "sweep-350m005-360p000.fits")
SUMS = "sweep/10.1/legacysurvey_dr10_south_sweep_10.1.sha256sum"
WEB = {"requests_per_second": 100.0, "connections": 3, "attempts": 3, "backoff_s": 0.001, "timeout_s": 2.0}


def bricks_table(place: Path) -> bytes:
    names = list(BRICKS)
    ra, dec = (np.array([BRICKS[name][i] for name in names]) for i in (0, 1))
    columns = {"brickname": np.array(names, "S8"), "ra": ra, "dec": dec}
    columns |= {"ra1": ra - 0.125, "ra2": ra + 0.125, "dec1": dec - 0.125, "dec2": dec + 0.125}
    Table(columns).write(place, overwrite=True)
    return gzip.compress(place.read_bytes())


class Release:
    """Files by path, and how they are served."""

    def __init__(self, place: Path) -> None:
        rng = np.random.default_rng(1)
        self.files = {f"/sweep/10.1/{name}": rng.bytes(300_000) for name in SWEEPS}
        for brick in BRICKS:
            for ending in (*(f"{kind}-{band}" for kind in ("image", "invvar") for band in "grz"), "maskbits"):
                path = f"/coadd/{brick[:3]}/{brick}/legacysurvey-{brick}-{ending}.fits.fz"
                self.files[path] = rng.bytes(2_000)
        self.files[f"/{SUMS}"] = self.sums("/sweep/", "*") + b"0" * 64 + b"  sweep-somewhere.txt\n"
        for group in {brick[:3] for brick in BRICKS} - {"150"}:
            name = f"/coadd/{group}/legacysurvey_dr10_south_coadd_{group}.sha256sum"
            self.files[name] = self.sums(f"/coadd/{group}/", " ", f"{group}/")
        self.files["/survey-bricks-dr10-south.fits.gz"] = bricks_table(place / "bricks.fits")
        self.ranges: list[str | None] = []
        self.faults: dict[str, Any] = {}

    def sums(self, below: str, mark: str, folder: str = "") -> bytes:
        lines = [
            f"{hashlib.sha256(content).hexdigest()} {mark}{folder}{path.rpartition('/')[2]}\n"
            for path, content in self.files.items()
            if path.startswith(below) and not path.endswith("sum")
        ]
        return "".join(lines).encode()

    def __call__(self, handler: Handler, query: dict[str, str], count: int) -> None:
        content = self.files.get(handler.path)
        if content is None:
            handler.give(b"", 404)
            return
        fault = self.faults.get(handler.path) if handler.command == "GET" else None
        if fault is not None and fault(handler, content, count):
            return
        tag, wanted = f'"{hashlib.md5(content).hexdigest()}"', handler.headers["Range"]
        self.ranges.append(wanted)
        if wanted and handler.headers["If-Range"] == tag:
            begin = int(wanted.removeprefix("bytes=").rstrip("-"))
            total = len(content)
            handler.give(content[begin:], 206, Content_Range=f"bytes {begin}-{total - 1}/{total}", ETag=tag)
        else:
            handler.give(content, ETag=tag, Content_Type="application/octet-stream")


def test_nothing_is_fetched_into_a_simulated_survey(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    demo = Project(tmp_path, parameters.resolve(root, "demo"))
    values = {**demo.values["download"], "url": "http://127.0.0.1:9", "web": {**WEB, "contact": ""}}
    settings = DownloadParams.load(values, "download")
    with pytest.raises(DataError, match=r"simulated survey 'Demo survey'.* run `dhs params use dr10` first"):
        downloading.planned(demo, settings, None, ["0001p000"], ["sweeps"])
    assert not list(tmp_path.iterdir())


def test_a_survey_that_does_not_answer_is_named_with_what_to_check(tmp_path: Path) -> None:
    project = Project(tmp_path, parameters.resolve(Path(__file__).parents[2], "dr10"))
    values = {**project.values["download"], "url": "http://127.0.0.1:9", "web": {**WEB, "contact": "", "attempts": 1}}
    settings = DownloadParams.load(values, "download")
    with pytest.raises(DataError, match=r"cannot be fetched from http://127.0.0.1:9: .*; check the network and `down"):
        downloading.planned(project, settings, None, ["0001p000"], ["sweeps"])


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Release, Server]]:
    found = Release(tmp_path)
    with serving(found) as server:
        yield found, server


@pytest.fixture
def project(tmp_path: Path, served: tuple[Release, Server]) -> Project:
    root = Path(__file__).parents[2]
    values = parameters.resolve(root, "dr10")
    values["download"] = {**values["download"], "url": served[1].url, "web": {**WEB, "contact": "me@example.org"}}
    (tmp_path / "params.yaml").write_text("")
    parameters.write(tmp_path, values, "dr10")
    return parameters.load(tmp_path)


def get(project: Project, region: Box | None, *bricks: str, what: tuple[str, ...] = ("sweeps", "coadds")) -> Any:
    """Outcomes of everything that is planned."""
    settings = project.section(DownloadParams, "download")
    return downloading.fetched(downloading.planned(project, settings, region, bricks, what), settings)


def content(project: Project, release_: Release) -> None:
    """Every file that is here is the one that is served; nothing else is here."""
    folder = project.folder / "data/dr10"
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in ("survey-bricks.fits", ".download.lock"):
            kind, below = path.relative_to(folder).as_posix().split("/", 1)
            served = f"/sweep/10.1/{below}" if kind == "sweeps" else f"/coadd/{below}"
            assert path.read_bytes() == release_.files[served]


@pytest.mark.usefixtures("whole_stage")
def test_a_region_through_ra_zero_gets_its_sweeps_and_coadds(project: Project, served: tuple[Release, Server]) -> None:
    outcomes = get(project, Box(359.9, 0.1, -0.05, 0.05))
    assert {outcome.state for outcome in outcomes} == {"fetched"}
    places = {outcome.file.place for outcome in outcomes}
    assert {place for place in places if place.startswith("sweeps")} == {f"sweeps/{name}" for name in SWEEPS}
    assert {place.split("/")[2] for place in places if place.startswith("coadds")} == {"0001p000", "3598p000"}
    assert len(places) == 3 + 2 * 7
    assert all(outcome.file.sha256 for outcome in outcomes)
    content(project, served[0])
    assert get(project, Box(359.9, 0.1, -0.05, 0.05)) == []
    (agent,) = served[1].agents
    assert agent.startswith("darkhaloscope/")
    assert agent.endswith("(me@example.org)")


@pytest.mark.usefixtures("whole_stage")
def test_bricks_by_name_and_only_one_kind(project: Project, served: tuple[Release, Server], caplog: Any) -> None:
    outcomes = get(project, None, "1500p020", what=("coadds",))
    assert len(outcomes) == 7
    assert not any(outcome.file.sha256 for outcome in outcomes)
    assert "legacysurvey_dr10_south_coadd_150.sha256sum is not there: coadds" in caplog.text
    content(project, served[0])
    for bad, message in (("1500p021", "bricks of the release"), ("../etc", "names of bricks such as")):
        with pytest.raises(ParameterError, match=message):
            get(project, None, bad)


@pytest.mark.usefixtures("whole_stage")
def test_an_interrupted_file_goes_on_where_it_ended(project: Project, served: tuple[Release, Server]) -> None:
    found, _ = served
    path = f"/sweep/10.1/{SWEEPS[0]}"

    def breaks(handler: Handler, whole: bytes, count: int) -> bool:
        if handler.headers["Range"] is None:
            handler.give(whole[:123_456], length=len(whole), ETag=f'"{hashlib.md5(whole).hexdigest()}"')
            handler.close_connection = True
            return True
        return False

    found.faults[path] = breaks
    get(project, None, "0001p000", what=("sweeps",))
    begun = [int(each.removeprefix("bytes=").rstrip("-")) for each in found.ranges if each]
    assert begun
    assert 0 < begun[0] <= 123_456
    content(project, found)


@pytest.mark.usefixtures("whole_stage")
def test_a_file_that_changed_in_between_is_begun_anew(project: Project, served: tuple[Release, Server]) -> None:
    found, _ = served
    folder = project.folder / "data/dr10/sweeps"
    folder.mkdir(parents=True)
    (folder / f".{SWEEPS[0]}.part").write_bytes(b"of another release")
    (folder / f".{SWEEPS[0]}.version").write_text('"other"')
    (folder / f".{SWEEPS[1]}.part").write_bytes(b"nobody knows of what")
    get(project, None, "0001p000", what=("sweeps",))
    content(project, found)


@pytest.mark.usefixtures("whole_stage")
def test_wrong_pixels_web_pages_and_missing_files_are_not_taken(
    project: Project, served: tuple[Release, Server]
) -> None:
    found, _ = served
    page = {"Content_Type": "text/html"}
    base = "/coadd/000/0001p000/legacysurvey-0001p000"
    found.faults = {
        f"{base}-image-g.fits.fz": lambda handler, whole, count: handler.give(whole[::-1]) or True,
        f"{base}-image-r.fits.fz": lambda handler, whole, count: handler.give(b"<html>", **page) or True,
        f"{base}-image-z.fits.fz": lambda handler, whole, count: count < 3 and (handler.give(b"", 503) or True),
        f"{base}-maskbits.fits.fz": lambda handler, whole, count: handler.give(b"", 404) or True,
    }
    outcomes = get(project, None, "0001p000", what=("coadds",))
    why = {outcome.file.place.rpartition("-0001p000-")[2]: outcome.reason for outcome in outcomes if outcome.reason}
    assert why == {
        "image-g.fits.fz": "it differs from its published checksum (3 attempts)",
        "image-r.fits.fz": "the answer is a web page (3 attempts)",
        "maskbits.fits.fz": "the server answered 404 Not Found",
    }
    told: list[str] = []
    assert not downloading.report(outcomes, told.append)
    assert told[0] == "4 files fetched, 3 failed, 0.00 GB here"
    assert len(told) == 4
    content(project, found)
    found.faults.clear()
    assert {outcome.state for outcome in get(project, None, "0001p000", what=("coadds",))} == {"fetched"}


@pytest.mark.usefixtures("whole_stage")
def test_a_damaged_file_is_fetched_again(project: Project, served: tuple[Release, Server], caplog: Any) -> None:
    get(project, None, "0004p000")
    path = project.folder / "data/dr10/sweeps" / SWEEPS[0]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    (outcome,) = get(project, None, "0004p000")
    assert outcome.file.place == f"sweeps/{SWEEPS[0]}"
    assert "differs from its published checksum and is fetched again" in caplog.text
    content(project, served[0])


@pytest.mark.usefixtures("whole_stage")
def test_a_packed_table_that_the_server_calls_encoded_arrives_as_it_is(
    project: Project, served: tuple[Release, Server]
) -> None:
    """Web servers give .gz files the header Content-Encoding: gzip; unpacked, they have another size than is told."""
    (packed,) = [path for path in served[0].files if path.endswith("bricks-dr10-south.fits.gz")]
    told = {"Content_Encoding": "gzip", "Content_Type": "application/x-gzip"}
    served[0].faults[packed] = lambda handler, whole, count: handler.give(whole, **told) or True
    assert len(get(project, None, "0001p000", what=("coadds",))) == 7
    content(project, served[0])


def test_a_second_download_into_a_folder_is_refused(project: Project) -> None:
    settings = project.section(DownloadParams, "download")
    plan = downloading.planned(project, settings, None, ["0001p000"], ["sweeps"])
    with FileLock(plan.folder / ".download.lock"):
        for action in (
            lambda: downloading.planned(project, settings, None, ["0001p000"], ["sweeps"]),
            lambda: downloading.fetched(plan, settings),
        ):
            with pytest.raises(DataError, match=r"another `dhs download` writes to .*; wait for it or stop it"):
                action()
    assert downloading.report(downloading.fetched(plan, settings), lambda line: None)


def command(project: Project, *arguments: str, **more: Any) -> Any:
    return CliRunner().invoke(dhs, ["download", "--project", str(project.folder), *arguments], **more)


@pytest.mark.usefixtures("whole_stage")
def test_the_command_plans_asks_and_fetches(
    project: Project, served: tuple[Release, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.folder)
    region = ["--ra", "0.3", "0.4", "--dec", "-0.1", "0.1"]
    planned = command(project, *region, "--dry-run").output
    assert "image: 3 files, about 0.00 GB\n" in planned
    assert "sweep: 2 files, about 0.00 GB\n" in planned
    assert "9 files to fetch into" in planned
    assert not list((project.folder / "data/dr10").rglob("sweep-*"))
    values = {**project.values, "download": {**project.values["download"], "confirm_above_gb": 0.0}}
    parameters.write(project.folder, values, "dr10")
    refused = command(project, *region, input="n\n")
    assert refused.exit_code == 1
    assert not list((project.folder / "data/dr10").rglob("sweep-*"))
    done = command(project, *region, "--yes")
    assert done.exit_code == 0, done.output
    assert "9 files fetched, 0 failed" in done.output
    content(project, served[0])
    assert "0 files to fetch" in command(project, *region).output
    assert command(project, "--ra", "1", "2").exit_code == 2
    assert command(project, *region, "--bricks", "0001p000").exit_code == 2


def test_no_room_is_said_before_anything_is_fetched(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = project.section(DownloadParams, "download")
    plan = downloading.planned(project, settings, None, ["0001p000"], ["sweeps"])
    assert plan.bytes == {"sweep": 600_000}
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 500_000})())
    with pytest.raises(DataError, match=r"about 0\.0 GB are needed and 0\.0 GB are free"):
        downloading.require_room(plan)


def test_boxes_meet_where_they_have_a_part_in_common() -> None:
    zero = Box(350, 10, -1, 1)
    assert zero.meets(Box(0, 5, 0, 2))
    assert zero.meets(Box(340, 355, -5, 5))
    assert not zero.meets(Box(10, 340, -1, 1))
    assert not zero.meets(Box(0, 5, 1, 2))
    assert release.sweep_box("sweep-350m005-360p000.fits") == Box(350, 360, -5, 0)
    assert release.sweep_box("sweep-350m005-360p000-pz.fits") is None
    for box in ((10, 10, 0, 1), (-5, 5, 0, 1), (0, 5, 2, 1), (0, 5, 0, 91), (float("nan"), 5, 0, 1)):
        with pytest.raises(ParameterError, match=r"'(ra|dec)' must be two"):
            Box(*box)


@pytest.mark.parametrize("text", ["", "<html>not here</html>", "abc  sweep.fits", f"{'0' * 64} sweep.fits"])
def test_a_list_of_checksums_that_is_none(text: str) -> None:
    with pytest.raises(DataError, match="no list of checksums"):
        release.checksums(text)
