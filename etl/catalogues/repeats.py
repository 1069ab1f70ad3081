"""Rows of several sweeps with one ``galaxy_id``: the lowest (file, row) stays in its tables, the others leave them."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from etl.catalogues.account import Account
from etl.catalogues.fates import KEPT, NEAR_CUT, POOL, QUARANTINED, REJECTED, record
from etl.tables.partwriter import PartWriter
from lake.contract.fingerprint import Sums, row_hashes
from lake.contract.rules import duplicate_reason
from lake.files import storage
from lake.store import parts, quarantine
from lake.store.parts import Part

log = logging.getLogger(__name__)

_REASON = duplicate_reason(POOL.key)
_SHOWN = ["galaxy_id", "row_index", "ra", "dec", "type"]
Row = dict[str, Any]


def settled(accounts: Sequence[Account], table: str) -> list[Account]:
    """Accounts, given in the order of their files, without surplus rows.

    A part with surplus rows is written anew, under another name, in the folder of the ``table``.
    """
    shared = _shared([account.keys["key"].to_numpy() for account in accounts])
    if not len(shared):
        return list(accounts)
    seen: Counter[str] = Counter()
    made = [_without(account, _surplus(account, shared, seen, table), table) for account in accounts]
    if repeated := sum(often > 1 for often in seen.values()):
        log.warning("%d galaxy_ids are repeated; all but the first row of each are quarantined", repeated)
    return made


def _shared(keys: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Hashes that occur more than once."""
    ordered = np.sort(np.concatenate([np.empty(0, np.int64), *keys]))
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])


def _surplus(account: Account, shared: NDArray[np.int64], seen: Counter[str], table: str) -> list[Row]:
    """Rows of a file whose names were seen before; the names of all its rows then count as seen."""
    keys = account.keys.filter(pc.is_in(account.keys["key"], pa.array(shared)))
    if not keys.num_rows:
        return []
    rows: dict[int, Row] = {}
    for held in (account.near, *_kept(account, table, _SHOWN)):
        mine = held.filter(pc.is_in(held["row_index"], keys["row_index"].combine_chunks()))
        rows.update((row["row_index"], row) for row in mine.select(_SHOWN).to_pylist())
    surplus = []
    for key in sorted(keys.to_pylist(), key=lambda key: int(key["row_index"])):
        row = rows[key["row_index"]]
        seen[row["galaxy_id"]] += 1
        if seen[row["galaxy_id"]] > 1:
            surplus.append({**row, "type": key["renamed"] or row["type"]})
    return surplus


def _kept(account: Account, table: str, columns: list[str] | None = None) -> list[pa.Table]:
    """The rows of an account's part, by row group."""
    if account.part is None:
        return []
    with storage.open_file(f"{table}/{account.part.path}") as source:
        file = pq.ParquetFile(source)
        return [file.read_row_group(number, columns) for number in range(file.num_row_groups)]


def _without(account: Account, surplus: Sequence[Row], table: str) -> Account:
    """An account whose surplus rows are quarantined."""
    if not surplus:
        return account
    places = pa.array([row["row_index"] for row in surplus], pa.int64())
    mine = pc.is_in(account.near["row_index"], places)
    uncut = dict(
        zip(*(account.near.filter(mine)[name].to_pylist() for name in ("row_index", "failed_cut")), strict=True)
    )
    part, dropped = _rewritten(account, places, table)
    kept = set(dropped["row_index"].to_pylist())
    counts = account.counts.copy()
    for place in places.to_pylist():
        counts[(KEPT, "") if place in kept else (REJECTED, uncut[place] or NEAR_CUT)] -= 1
    counts[QUARANTINED, _REASON] += len(surplus)
    refused = [
        {"source_file": account.sweep_file, "row_index": row["row_index"], "reason": _REASON, "record": _record(row)}
        for row in surplus
    ]
    return replace(
        account,
        counts=Counter({fate: rows for fate, rows in counts.items() if rows}),
        part=part,
        sums=account.sums - Sums.of(row_hashes(dropped, POOL)),
        near=account.near.filter(pc.invert(mine)),
        rejected=pa.concat_tables([account.rejected, pa.Table.from_pylist(refused, schema=quarantine.SCHEMA)]),
    )


def _record(row: Mapping[str, Any]) -> str:
    return record(row["galaxy_id"], row["ra"], row["dec"], row["type"])


def _rewritten(account: Account, places: pa.Array, table: str) -> tuple[Part | None, pa.Table]:
    """The part of an account without the rows at ``places``, and these rows."""
    groups = _kept(account, table)
    dropped = [group.filter(pc.is_in(group["row_index"], places)) for group in groups]
    gone = pa.concat_tables([POOL.arrow_schema().empty_table(), *(rows.cast(POOL.arrow_schema()) for rows in dropped)])
    if account.part is None or not gone.num_rows:
        return account.part, gone
    mark = hashlib.sha256(str(gone["row_index"].to_pylist()).encode()).hexdigest()[:16]
    with PartWriter(table, parts.name(str(parts.key_of(account.part.path)), mark), POOL) as part:
        for group in groups:
            part.write(group.filter(pc.invert(pc.is_in(group["row_index"], places))))
        return part.closed(), gone
