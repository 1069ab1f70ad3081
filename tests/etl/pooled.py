"""A folder of sweeps and a lake made of them, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from etl.catalogues import pool
from etl.catalogues.partfile import Recipe
from etl.files import sweepfiles
from lake import provenance, tables
from lake.contract.fingerprint import fingerprint
from lake.root import DataRoot
from lake.store import cards, delta, parts, writing
from lake.store.writing import Provenance, Target
from tests.etl.inprocess import Here
from tests.etl.survey_files import SPLIT, params, sources, write_sweep

SPEC = tables.spec("tractor_pool")
LISTED = pa.table({"candidate_id": ["far"], "ra": [180.0], "dec": [80.0]})


def sweep(folder: Path, name: str, first: int, rows: int = 20) -> None:
    """A sweep of sources with consecutive numbers."""
    columns = sources(rows, first)
    columns["OBJID"] += first
    folder.mkdir(exist_ok=True)
    write_sweep(folder / f"sweep-{name}.fits", columns)


class Survey:
    """A folder of sweeps and a lake made of them, step by step."""

    def __init__(self, place: Path, bucket: str | None = None) -> None:
        """In ``place``, or with sweeps and tables in the bucket of that URI and cards in ``place``."""
        self.folder, self.root = (
            place / "sweeps",
            DataRoot.of(place / "data", f"{bucket}/lake" if bucket else None),
        )
        self.sweeps = f"{bucket}/dr10" if bucket else str(self.folder)

    def made(self, here: Here | None = None, **changes: Any) -> pool.Made:
        recipe = self.recipe(**changes)
        return pool.build(here or Here(), sweepfiles.find(self.sweeps), recipe, {}, "code")

    def recipe(self, **changes: Any) -> Recipe:
        table = self.root.table("tractor_pool")
        return Recipe(params("pool", **changes), SPLIT, "c", LISTED, provenance.lineage(), table)

    def published(self, **changes: Any) -> tuple[list[str], cards.Card]:
        """Names of the files that were read, and the card of the pool."""
        here = Here()
        made = self.made(here, **changes)
        target = Target(self.root, SPEC, None, {}, Provenance("pool"))
        card = parts.publish(target, made.parts, made.quarantine)
        rows = delta.read(self.root, "tractor_pool")
        assert card.fingerprint == fingerprint(rows, SPEC)
        return here.seen, card

    def log(self) -> list[dict[str, Any]]:
        history: list[dict[str, Any]] = writing.opened(self.root, SPEC).history()
        return history
