"""Cut-outs from the survey's service: right ones become stamps, everything else a row with its reason."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from etl.config import CutoutsParams
from etl.cutouts import cutting, packing
from etl.cutouts import service as module
from etl.cutouts.cutting import Sources
from etl.cutouts.service import Service
from etl.web.polite import Polite
from lake import tables
from lake.contract import rules
from lake.errors import DataError
from lake.store.stamps import StampStore
from tests.etl.survey_files import params
from tests.webserver import Handler, cube, serving, sky

SIZE = 41
WEB = {
    "requests_per_second": 100.0,
    "connections": 8,
    "attempts": 3,
    "backoff_s": 0.001,
    "timeout_s": 0.5,
    "contact": "me@example.org",
}


def asking(url: str, **web: Any) -> CutoutsParams:
    found: CutoutsParams = params(
        "cutouts",
        stamp_pixels=SIZE,
        buckets=3,
        source="service",
        service={"url": f"{url}/fits-cutout", "layer": "ls-dr10", "web": {**WEB, **web}},
    )
    return found


def sources(count: int) -> Sources:
    """Sources at RA 10, 11, ..."""
    ids = np.array([f"x:{i:03d}" for i in range(count)], dtype=object)
    return Sources(ids, 10.0 + np.arange(count), np.full(count, 2.0), np.full(count, "b"), np.zeros(count, bool))


def pixels(ra: float, size: int = SIZE) -> np.ndarray:
    return sky({"ra": f"{ra:.7f}", "dec": "2.0000000", "size": str(size)})


def made(settings: CutoutsParams, wanted: Sources, place: Path, known: pa.Table | None = None) -> pa.Table:
    """Packed index, as the stage makes it."""
    known = packing.PACKED_SCHEMA.empty_table() if known is None else known
    index = packing.completed(Service(settings, "x"), wanted, place / "work", known)
    return packing.packed(index, place / "work", place / "old", place / "shards", settings)


def reasons(rows: pa.Table) -> dict[str, str | None]:
    return dict(zip(rows["galaxy_id"].to_pylist(), rows["reason"].to_pylist(), strict=True))


def good(handler: Handler, query: dict[str, str], count: int) -> None:
    handler.give(cube(query))


def test_answers_become_stamps_and_rows_like_those_of_coadds(tmp_path: Path) -> None:
    with serving(good) as server:
        settings = asking(server.url)
        index = made(settings, sources(12), tmp_path)
    rows = packing.rows(index)
    rules.require(tables.spec("cutouts"), rows)
    assert rows["status"].to_pylist() == ["ok"] * 12
    stamps = StampStore(tmp_path / "shards").get(rows)
    np.testing.assert_array_equal(stamps, np.stack([pixels(10.0 + i) for i in range(12)]))
    assert np.abs(rows["x_offset_px"].to_numpy()).max() < 1e-6
    version = set(rows["cutout_version"].to_pylist())
    assert version == {Service(settings, "x").version}
    assert version != {cutting.version(settings, "x")}
    assert Service(asking("http://elsewhere"), "x").version not in version
    assert Service(asking(server.url, attempts=9), "x").version in version
    assert server.agents.pop().startswith("darkhaloscope/")
    assert set(server.asked.values()) == {1}


def cut_short(handler: Handler, query: dict[str, str]) -> None:
    handler.give(cube(query)[:5000], length=len(cube(query)))
    handler.close_connection = True


def stalled(handler: Handler, query: dict[str, str]) -> None:
    handler.send_response(200)
    handler.end_headers()
    time.sleep(0.6)


def without(query: dict[str, str], *holes: Any) -> bytes:
    """A cube that is zero in places."""
    planes = sky(query)
    planes[holes] = 0
    return cube(query, planes)


FAULTS: dict[int, Callable[[Handler, dict[str, str]], None]] = {
    3: lambda handler, query: handler.give(b"no such thing", 404),
    4: lambda handler, query: handler.give(b"<html>Sorry, an error occurred</html>"),
    5: cut_short,
    6: lambda handler, query: handler.give(cube(query)[:8000]),
    7: lambda handler, query: handler.give(cube({**query, "size": "39"})),
    8: lambda handler, query: handler.give(cube(query, CRVAL2=2.001)),
    9: lambda handler, query: handler.give(cube(query, CD1_1=0.262 / 3600)),
    10: lambda handler, query: handler.give(cube(query, CD1_1=-0.3 / 3600)),
    11: lambda handler, query: handler.give(cube(query, sky(query)[:2], BANDS="gr")),
    12: stalled,
    13: lambda handler, query: handler.give(without(query, 2)),
    14: lambda handler, query: handler.give(cube(query) + bytes(1 << 20)),
    15: lambda handler, query: handler.give(b""),
    16: lambda handler, query: handler.give(without(query, slice(None), slice(2), slice(10))),
    18: lambda handler, query: handler.give(b"", 302, Location=handler.path),
}
"""What is wrong with the answer for each position."""
PASSING = {1: (2, 503), 2: (1, 429)}
"""Positions whose first few answers are only a status."""


def faulty(handler: Handler, query: dict[str, str], count: int) -> None:
    """Each position has a fault of its own; some of them pass."""
    which = round(float(query["ra"])) - 10
    times, status = PASSING.get(which, (0, 200))
    if count <= times:
        handler.give(b"busy", status, Retry_After="0")
    else:
        FAULTS.get(which, lambda handler, query: handler.give(cube(query)))(handler, query)


def test_an_answer_that_the_server_packs_is_unpacked(tmp_path: Path) -> None:
    def packed(handler: Handler, query: dict[str, str], count: int) -> None:
        handler.give(gzip.compress(cube(query)), Content_Encoding="gzip")

    with serving(packed) as server:
        index = made(asking(server.url), sources(2), tmp_path)
    assert packing.rows(index)["status"].to_pylist() == ["ok", "ok"]


@pytest.mark.usefixtures("whole_stage")
def test_a_server_that_fails_stalls_truncates_and_lies(tmp_path: Path) -> None:
    with serving(faulty) as server:
        rows = packing.rows(made(asking(server.url), sources(19), tmp_path))
    why = list(reasons(rows).values())
    three = r" (3 attempts)"
    for place, expected in {
        3: "the service: the server answered 404 Not Found",
        4: f"the service: the answer is no FITS file: '<html>Sorry, an error occurred</html>'{three}",
        6: "the service: the answer cannot be read: its header declares 20172 bytes of data",
        7: f"the service: the answer must be 41 px wide, got 39{three}",
        8: "the service: the answer's pixel grid is off by up to 13.7 px from the one that was asked for",
        9: "the service: the answer's pixel grid is off by up to 41 px",
        10: "the service: the answer: the pixel scale must be 0.262 arcsec, got 0.2804",
        11: "the service: the answer cannot be read: its 2 planes must be the bands g, r, z",
        12: f"the service: the server sent nothing for 0.5 s{three}",
        13: "no data in band z",
        14: "the service: the answer is longer than",
        15: f"the service: the answer is no FITS file: ''{three}",
        18: f"the service: the server redirects in a circle{three}",
    }.items():
        assert str(why[place]).startswith(expected), (place, why[place])
    assert "payload" in str(why[5])
    assert [place for place, reason in enumerate(why) if reason is None] == [0, 1, 2, 16, 17]
    assert rows["nan_fraction"][16].as_py() == pytest.approx(20 / SIZE**2)
    assert server.asked["11.0000000"] == 3
    assert server.asked["13.0000000"] == 1
    rules.require(tables.spec("cutouts"), rows)


FAILED = {f"{10 + place}.0000000" for place in FAULTS if place not in (13, 16)}


@pytest.mark.usefixtures("whole_stage")
def test_a_repeated_run_asks_again_only_for_what_was_not_given(tmp_path: Path) -> None:
    with serving(faulty) as server:
        made(asking(server.url), sources(19), tmp_path)
        server.asked.clear()
        server.answer = good
        again = made(asking(server.url), sources(19), tmp_path)
    assert set(server.asked) == FAILED
    assert [r for r in reasons(again).values() if r] == ["no data in band z"]


@pytest.mark.usefixtures("whole_stage")
def test_a_later_batch_keeps_what_earlier_ones_gave(tmp_path: Path) -> None:
    """Rows and shards of the first run, without its partial work; what was not given is asked for again."""
    memory = tmp_path / "made.parquet"
    with serving(faulty) as server:
        settings = asking(server.url)
        packing.remember(memory, made(settings, sources(18), tmp_path), tmp_path / "shards", settings)
        (tmp_path / "shards").rename(tmp_path / "old")
        (tmp_path / "work").rename(tmp_path / "gone")
        server.asked.clear()
        server.answer = good
        known = packing.earlier(memory, tmp_path / "old", settings)
        rows = packing.rows(made(settings, sources(20), tmp_path, known))
    assert set(server.asked) == FAILED | {"28.0000000", "29.0000000"}
    rows = rows.filter(pc.equal(rows["status"], "ok"))
    expected = np.stack([pixels(10.0 + int(name[2:])) for name in rows["galaxy_id"].to_pylist()])
    found = StampStore(tmp_path / "shards").get(rows)
    assert len(found) == 19
    np.testing.assert_array_equal(np.where(np.isnan(found), expected, found), expected)


@pytest.mark.usefixtures("whole_stage")
def test_a_service_out_of_order_ends_the_run_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH", 5)
    monkeypatch.setattr(module, "_MOST_IN_A_ROW", 4)

    def breaks(handler: Handler, query: dict[str, str], count: int) -> None:
        if float(query["ra"]) < 15:
            good(handler, query, count)
        else:
            handler.give(b"", 500)

    with serving(breaks) as server:
        settings = asking(server.url, attempts=2)
        with pytest.raises(DataError, match=r"gave none of the last \d cut-outs .*500.*run again when it works"):
            made(settings, sources(40), tmp_path)
        assert len(server.asked) < 15
        server.asked.clear()
        server.answer = good
        assert set(made(settings, sources(40), tmp_path)["status"].to_pylist()) == {"ok"}
        assert len(server.asked) == 35


def test_requests_keep_their_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the loop's own clock: one after another at the declared rate, and later if the server asks for a pause."""
    waits: list[float] = []

    async def recorded(seconds: float) -> None:
        waits.append(seconds)

    async def run() -> None:
        polite = Polite(asking("http://nowhere", requests_per_second=0.5, backoff_s=8.0).service.web)
        for _ in range(5):
            await polite._turn()
        polite._hold("100")
        polite._hold("Fri, 27 Nov 2026 12:00:00 GMT")
        await polite._turn()
        for attempt, most in ((1, 8.0), (2, 16.0), (3, 32.0), (30, 300.0)):
            pauses = [polite._pause(attempt) for _ in range(50)]
            assert most / 2 <= min(pauses) < max(pauses) <= most

    monkeypatch.setattr("etl.web.polite.asyncio.sleep", recorded)
    asyncio.run(run())
    assert waits == pytest.approx([0, 2, 4, 6, 8, 100], abs=0.5)


def test_a_killed_run_goes_on_where_it_was(whole_stage: None, tmp_path: Path) -> None:
    """SIGKILL while batches are fetched: what was written is not asked for again, and the rows are the same."""
    script = (
        "import sys; from pathlib import Path; from etl.cutouts import service; service._BATCH = 4\n"
        "from tests.etl.test_service import asking, made, sources\n"
        "made(asking(sys.argv[1]), sources(40), Path(sys.argv[2]))\n"
    )

    def slow(handler: Handler, query: dict[str, str], count: int) -> None:
        if float(query["ra"]) >= 30:
            handler.server.halfway.wait(20)  # type: ignore[attr-defined]
        good(handler, query, count)

    with serving(slow) as server:
        server.halfway = threading.Event()  # type: ignore[attr-defined]
        command = [sys.executable, "-c", script, server.url, str(tmp_path)]
        child = subprocess.Popen(command, cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONPATH": "."})
        while len(list((tmp_path / "work").glob("service-*.parquet"))) < 5 and child.poll() is None:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.wait()
        server.halfway.set()  # type: ignore[attr-defined]
        server.asked.clear()
        rows = packing.rows(made(asking(server.url), sources(40), tmp_path))
        assert len(server.asked) == 20
        (tmp_path / "fresh").mkdir()
        assert rows.equals(packing.rows(made(asking(server.url), sources(40), tmp_path / "fresh")))
