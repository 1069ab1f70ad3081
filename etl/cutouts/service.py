"""Cut-outs from the survey's own service (``fits-cutout`` of its viewer): requested, checked, and kept in batches.

https://www.legacysurvey.org/viewer answers ``?ra=&dec=&size=&layer=&pixscale=&bands=`` with a FITS cube (band, y, x) in
nMgy, resampled to a grid that is centred on the position. It comes without weights: exact zeros are missing pixels.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from etl.config import CutoutsParams
from etl.cutouts import qa, stampfiles
from etl.cutouts.bricks import Tan
from etl.cutouts.cutter import INDEX_SCHEMA, hashed, write
from etl.cutouts.cutting import Sources, version
from etl.web.polite import FaultyError, Polite, UnansweredError, body
from lake.errors import DataError
from lake.progress import watch
from lake.sky.survey import BANDS, PIXEL_SCALE_ARCSEC
from lake.store.stamps import stamp_hash

log = logging.getLogger(__name__)

_BATCH = 100
_OFF_PX = 0.6
"""A cube whose grid departs anywhere by more than this (in pixels) from the requested one is refused."""
_SPARE_BYTES = 64 << 10
_MOST_IN_A_ROW = 25
"""After this many failures in a row the service is taken to be out of order."""

Stamp = NDArray[np.float32]


@dataclass
class Service:
    """The service, as the parameters describe it; ``source`` is the collection whose galaxies are cut out."""

    params: CutoutsParams
    source: str
    version: str = field(init=False)

    def __post_init__(self) -> None:
        asked = self.params.service
        self.version = f"service-{version(self.params, f'{self.source} {asked.url} {asked.layer}')}"

    def made_from(self, wanted: Sources) -> list[str]:
        """For each source, a hash of what its cut-out is made from."""
        return [hashed([self.version, *place]) for place in zip(wanted.ra.tolist(), wanted.dec.tolist(), strict=True)]

    def make(self, wanted: Sources, folder: Path) -> pa.Table:
        """Index (``INDEX_SCHEMA``) of all sources ``wanted``; stamps lie in ``folder``.

        Cut-outs that an interrupted run received are not requested again; one that the service does not deliver after
        all attempts is a row with the reason. DataError if the service stops answering; what it sent is kept for the
        next run.
        """
        folder.mkdir(parents=True, exist_ok=True)
        made_from = dict(zip(wanted.ids.tolist(), self.made_from(wanted), strict=True))
        held = _held(folder, made_from)
        have = set(held["galaxy_id"].to_pylist())
        left = wanted.where(np.array([name not in have for name in wanted.ids], dtype=bool))
        log.info("%d cut-outs to ask the service for, %d are here", len(left), len(have))
        run = _Run(self, folder, made_from)
        with watch(lambda: run.done, "cut-outs from the service", len(left)):
            lost = asyncio.run(run.all(left)) if len(left) else []
        return pa.concat_tables([_held(folder, made_from), pa.Table.from_pylist(lost, schema=INDEX_SCHEMA)])

    def query(self, ra_deg: float, dec_deg: float) -> dict[str, str]:
        """The query for a position."""
        return {
            "ra": f"{ra_deg:.7f}",
            "dec": f"{dec_deg:.7f}",
            "size": str(self.params.stamp_pixels),
            "layer": self.params.service.layer,
            "pixscale": str(PIXEL_SCALE_ARCSEC),
            "bands": "".join(BANDS),
        }

    def stamp(self, content: bytes, ra_deg: float, dec_deg: float) -> tuple[Stamp, float, float]:
        """Stamp (band, y, x) of an answer, NaN where it is zero, and where the position lies from the centre (x, y in
        pixels); FaultyError if it is not a cube of this position.
        """
        if not content.startswith(b"SIMPLE"):
            raise FaultyError(f"the answer is no FITS file: {content[:40].decode('ascii', 'replace')!r}")
        with NamedTemporaryFile(suffix=".fits") as file:
            file.write(content)
            file.flush()
            try:
                planes, projection = stampfiles.cube(Path(file.name), "the answer")
            except DataError as error:
                raise FaultyError(str(error)) from error
        size = self.params.stamp_pixels
        if planes.shape[-1] != size:
            raise FaultyError(f"the answer must be {size} px wide, got {planes.shape[-1]}")
        middle = (size - 1) / 2
        apart = _grid(ra_deg, dec_deg, middle).apart_px(projection, size)
        if not apart <= _OFF_PX:
            raise FaultyError(f"the answer's pixel grid is off by up to {apart:.3g} px from the one that was asked for")
        x, y = projection.pixels(np.array([ra_deg]), np.array([dec_deg]))
        return np.where(planes == 0, np.float32(np.nan), planes), float(x[0] - middle), float(y[0] - middle)

    @property
    def most_bytes(self) -> int:
        """Bytes of the longest valid answer."""
        return len(BANDS) * 8 * self.params.stamp_pixels**2 + _SPARE_BYTES


def _grid(ra_deg: float, dec_deg: float, middle: float) -> Tan:
    """The requested grid: north up, east left, the position at its centre."""
    step = 3600 / PIXEL_SCALE_ARCSEC
    return Tan(ra_deg, dec_deg, middle, middle, np.diag([-step, step]))


def _held(folder: Path, made_from: dict[str, str]) -> pa.Table:
    """Rows that an earlier run left of the sources that are wanted, made from the same."""
    parts = [pq.read_table(path, schema=INDEX_SCHEMA) for path in sorted(folder.glob("service-*.parquet"))]
    rows = pa.concat_tables([INDEX_SCHEMA.empty_table(), *parts])
    names = zip(rows["galaxy_id"].to_pylist(), rows["made_from"].to_pylist(), strict=True)
    return rows.filter(pa.array([made_from.get(name) == made for name, made in names], pa.bool_()))


@dataclass
class _Run:
    """Asking for many cut-outs."""

    service: Service
    folder: Path
    made_from: dict[str, str]
    done: int = 0
    in_a_row: int = 0

    async def all(self, wanted: Sources) -> list[dict[str, object]]:
        """Write batches of what is answered; rows of what is not."""
        lost: list[dict[str, object]] = []
        async with Polite(self.service.params.service.web) as polite:
            for batch in _batches(wanted):
                lost += await self._batch(batch, polite)
        return lost

    async def _batch(self, wanted: Sources, polite: Polite) -> list[dict[str, object]]:
        places = zip(wanted.ids.tolist(), wanted.ra.tolist(), wanted.dec.tolist(), strict=True)
        answers = await asyncio.gather(*(self._one(polite, *place) for place in places))
        named = list(zip(wanted.ids.tolist(), answers, strict=True))
        if got := [(name, answer) for name, answer in named if not isinstance(answer, str)]:
            self._write(got)
        lost = [(name, answer) for name, answer in named if isinstance(answer, str)]
        if self.in_a_row >= _MOST_IN_A_ROW:
            raise DataError(
                f"the service {self.service.params.service.url} gave none of the last {self.in_a_row} cut-outs "
                f"({lost[0][1]}); run again when it works: what it gave so far is kept"
            )
        same = {"status": "rejected", "cutout_version": self.service.version}
        return [{"galaxy_id": name, "reason": f"the service: {why}", **same} for name, why in lost]

    async def _one(self, polite: Polite, name: str, ra: float, dec: float) -> tuple[Stamp, float, float] | str:
        """The stamp of a position and its offset, or why there is none."""
        if self.in_a_row >= _MOST_IN_A_ROW:
            return "not asked any more"
        service = self.service
        try:
            found = await polite.ask(
                service.params.service.url,
                lambda answer: self._taken(answer, ra, dec),
                service.query(ra, dec),
                limit_s=service.params.service.web.timeout_s,
            )
        except UnansweredError as error:
            self.in_a_row += 1
            return str(error)
        finally:
            self.done += 1
        self.in_a_row = 0
        return found

    async def _taken(self, answer: object, ra: float, dec: float) -> tuple[Stamp, float, float]:
        content = await body(answer, self.service.most_bytes)  # type: ignore[arg-type]
        return await asyncio.to_thread(self.service.stamp, content, ra, dec)

    def _write(self, got: list[tuple[str, tuple[Stamp, float, float]]]) -> None:
        """Judge and write a batch."""
        stamps = np.stack([stamp for _, (stamp, _, _) in got])
        verdicts = qa.judged(stamps, None, self.service.params)
        rows: list[dict[str, object]] = []
        kept: list[int] = []
        for place, ((name, (stamp, x, y)), verdict) in enumerate(zip(got, verdicts, strict=True)):
            row = {"galaxy_id": name, "cutout_version": self.service.version, "made_from": self.made_from[name]}
            rows.append({**row, **verdict, "x_offset_px": x, "y_offset_px": y})
            if verdict["status"] == "ok":
                rows[-1] |= {"file_row": len(kept), "sha256": stamp_hash(stamp)}
                kept.append(place)
        names = hashlib.sha256("\n".join(name for name, _ in got).encode()).hexdigest()[:16]
        write(str(self.folder / f"service-{names}.parquet"), stamps[kept], rows)


def _batches(wanted: Sources) -> Iterator[Sources]:
    for start in range(0, len(wanted), _BATCH):
        yield wanted.where(np.arange(start, min(start + _BATCH, len(wanted))))
