"""Cut-outs of two bricks of noise, made as the stage makes them but without Spark."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from etl.cutouts import packing
from etl.cutouts.cutting import Coadds, Sources
from tests.etl.survey_files import params

SIZE = 120
PARAMS = params("cutouts", stamp_pixels=21, coadd_pixels=SIZE, buckets=3)
BRICKS = {"1000p000": (100.0, 0.0), "1001p000": (100.3, 0.0)}


class Tasks:
    """A stand-in for a Spark session that does the tasks here, one after the other."""

    def createDataFrame(self, rows: Sequence[tuple[Any, ...]], ddl: str) -> Tasks:  # noqa: N802
        names = [field.split()[0] for field in ddl.split(", ")]
        self._rows = [pa.RecordBatch.from_pylist([dict(zip(names, row, strict=True))]) for row in rows]
        return self

    def repartition(self, parts: int) -> Tasks:
        return self

    def mapInArrow(self, job: Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]], ddl: str) -> Tasks:  # noqa: N802
        self._job = job
        return self

    def collect(self) -> list[pa.RecordBatch]:
        return list(self._job(iter(self._rows)))


def cut(survey: str, folder: Path, work: str | None = None) -> pa.Table:
    """The packed index of twelve sources of each brick, as the stage makes it; shards in ``cutouts`` of the folder."""
    steps = np.linspace(-0.003, 0.003, 12)
    ra = np.concatenate([ra + steps for ra, _ in BRICKS.values()])
    dec = np.concatenate([dec + steps[::-1] for _, dec in BRICKS.values()])
    names = np.repeat(list(BRICKS), 12)
    ids = np.array([f"x:{name}_{i:02d}" for i, name in enumerate(names)], object)
    wanted = Sources(ids, ra, dec, names, np.zeros(24, bool)).in_bricks(survey, PARAMS)
    coadds = Coadds(Tasks, survey, PARAMS, "x", "code", work)
    index = packing.completed(coadds, wanted, folder / "stamps", packing.PACKED_SCHEMA.empty_table())
    return packing.packed(index, folder / "stamps", folder / "none", folder / "cutouts", PARAMS)
