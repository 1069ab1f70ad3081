"""Grid batches made into Parquet parts of ``injections`` and ``injection_scores``: what a Spark task does."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.results.logistic import logistic
from etl.tables.arrowbytes import packed, unpacked
from etl.tables.partwriter import PartWriter
from etl.tables.scan import batches
from lake import tables
from lake.contract.asking import ask
from lake.contract.fingerprint import Sums
from lake.contract.rules import conform, duplicate_reason, literal, reason_sql
from lake.contract.spec import TableSpec
from lake.errors import ContractError
from lake.sky.hashing import hash_strings
from lake.store import parts, quarantine
from lake.store.parts import Part

INJECTIONS, SCORES = tables.spec("injections"), tables.spec("injection_scores")
SCHEMA = pa.schema(
    [
        *(each for each in INJECTIONS.row_schema() if each.name != "grid_name"),
        ("score", pa.float64()),
        ("host_score", pa.float64()),
    ]
)
"""Columns of a batch."""
ANSWER = "facts string, keys binary, rejected binary"
UNSCORED = "no finite score"
_HIGHEST = 1e9
"""Scores beyond it count as infinite."""
_ROWS = 65_536
_SHOWN = ("grid_id", "injection_id", "galaxy_id")
KEYS = pa.schema([("key", pa.int64()), ("source_file", pa.string()), ("row_index", pa.int64())])


@dataclass(frozen=True)
class GridRun:
    """Which grid was scored, and by which finder: identities and readable names."""

    grid_id: str
    grid_name: str
    checkpoint_id: str
    generation: str

    def where(self, spec: TableSpec) -> dict[str, str]:
        """The slice of a table that its rows are."""
        return {name: str(getattr(self, name)) for name in spec.slice_by}


@dataclass(frozen=True)
class Recipe:
    """What every task needs: whose scores, lineage, and the folder of each table by name."""

    scored: GridRun
    lineage: Mapping[str, Any]
    folders: Mapping[str, str]


@dataclass
class Made:
    """What became of the rows of some batches."""

    read: int = 0
    parts: dict[str, Part | None] = field(default_factory=dict)
    """The part of each table, by its name; None without rows."""
    sums: dict[str, Sums] = field(default_factory=dict)
    keys: pa.Table = field(default_factory=KEYS.empty_table)
    """Of each row in the tables: hash of its injection_id, and where it came from."""
    rejected: pa.Table = field(default_factory=quarantine.SCHEMA.empty_table)

    def enter(self, rows: pa.Table, good: pa.Table) -> None:
        """Enter judged rows, of which some are good."""
        self.read += rows.num_rows
        bad = rows.filter(pc.is_valid(rows["broken_rule"]))
        records = pa.array([_record(row) for row in bad.select(_SHOWN).to_pylist()], pa.string())
        refused = [bad["source_file"], bad["row_index"], bad["broken_rule"], records]
        self.rejected = pa.concat_tables([self.rejected, pa.table(refused, schema=quarantine.SCHEMA)])
        keys = [
            pa.array(hash_strings(good["injection_id"]).view(np.int64)),
            *(good[name] for name in KEYS.names[1:]),
        ]
        self.keys = pa.concat_tables([self.keys, pa.table(keys, schema=KEYS)])

    def answer(self) -> pa.RecordBatch:
        """As a row of ``ANSWER``."""
        facts = {
            "read": self.read,
            "parts": {name: part and asdict(part) for name, part in self.parts.items()},
            "sums": {name: asdict(sums) for name, sums in self.sums.items()},
        }
        values = {"facts": json.dumps(facts), "keys": packed(self.keys), "rejected": packed(self.rejected)}
        return pa.RecordBatch.from_pylist([values])

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Made:
        facts = json.loads(answer["facts"])
        return cls(
            read=facts["read"],
            parts={name: part and Part(**part) for name, part in facts["parts"].items()},
            sums={name: Sums(**sums) for name, sums in facts["sums"].items()},
            **{name: unpacked(bytes(answer[name])) for name in ("keys", "rejected")},
        )


def _record(row: Mapping[str, Any]) -> str:
    known = {name: value for name, value in row.items() if value is not None}
    return json.dumps(known, separators=(",", ":"), ensure_ascii=False)


def run(
    shares: Iterator[pa.RecordBatch],
    dealt: Sequence[Sequence[str]],
    surplus: Mapping[str, Sequence[int]],
    recipe: Recipe,
) -> Iterator[pa.RecordBatch]:
    """``mapInArrow`` function: numbers of shares -> what was made of the batches in each."""
    for batch in shares:
        for number in batch["id"].to_pylist():
            yield make(dealt[number], surplus, recipe).answer()


def make(paths: Sequence[str], surplus: Mapping[str, Sequence[int]], recipe: Recipe) -> Made:
    """Write the parts of some batches, without the rows of each file that are ``surplus``."""
    made = Made()
    with ExitStack() as stack:
        writers = [stack.enter_context(_part(spec, recipe)) for spec in (INJECTIONS, SCORES)]
        for rows in _regrouped(_located(paths, surplus)):
            judged = _judged(rows, recipe.scored)
            good = judged.filter(pc.is_null(judged["broken_rule"]))
            made.enter(judged, good)
            for writer, mine in zip(writers, (good, _scored(good, recipe.scored)), strict=True):
                writer.write(_complete(writer.spec, mine, recipe.lineage))
        for writer in writers:
            made.parts[writer.spec.name], made.sums[writer.spec.name] = writer.closed(), writer.sums
    return made


def _part(spec: TableSpec, recipe: Recipe) -> PartWriter:
    """A part with a new name: whatever a run that was killed has left, nothing refers to it."""
    name = parts.folder(recipe.scored.where(spec)) + parts.name(uuid.uuid4().hex)
    return PartWriter(recipe.folders[spec.name], name, spec)


def _located(paths: Sequence[str], surplus: Mapping[str, Sequence[int]]) -> Iterator[pa.Table]:
    """The rows of batches with where they come from, and whether they are surplus."""
    for path in paths:
        name, first = file_name(path), 0
        for rows in batches(path, SCHEMA.names):
            places = np.arange(first, first + rows.num_rows)
            first += rows.num_rows
            rows = rows.cast(SCHEMA).append_column("source_file", pa.repeat(name, rows.num_rows))
            rows = rows.append_column("row_index", pa.array(places))
            yield rows.append_column("surplus", pa.array(np.isin(places, surplus.get(name, ()))))


def file_name(path: str) -> str:
    return path.rpartition("/")[2]


def _regrouped(found: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables that are large enough to be judged and written together."""
    waiting: list[pa.Table] = []
    for rows in found:
        waiting.append(rows)
        if sum(each.num_rows for each in waiting) >= _ROWS:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def _judged(rows: pa.Table, scored: GridRun) -> pa.Table:
    """Rows with their status according to their scores, and in ``broken_rule`` why they cannot be used."""
    finite = np.logical_and(*(np.abs(rows[name].to_numpy()) < _HIGHEST for name in ("score", "host_score")))
    unscored = pc.and_(pc.fill_null(pc.equal(rows["status"], "scored"), False), pa.array(~finite))
    for name, value in {"reason": UNSCORED, "status": "failed"}.items():
        place = rows.column_names.index(name)
        rows = rows.set_column(place, name, pc.if_else(unscored, value, rows[name]))
    rows = rows.append_column("grid_name", pa.repeat(scored.grid_name, rows.num_rows))
    grid, other, again = (
        literal(text, "duckdb")
        for text in (
            scored.grid_id,
            f"grid_id must be {scored.grid_id}, the grid of these batches",
            duplicate_reason(["injection_id"]),
        )
    )
    broken = f"""
        CASE WHEN grid_id IS DISTINCT FROM {grid} THEN {other} WHEN surplus THEN {again}
        ELSE {reason_sql(INJECTIONS, "duckdb", lineage=False)} END"""
    return rows.append_column("broken_rule", _asked(broken, rows))


def _asked(expression: str, rows: pa.Table) -> pa.ChunkedArray:
    query = f"SELECT {expression} AS answer FROM rows"
    return ask(query, {"rows": rows}, threads=1, memory_limit="256MB")["answer"].cast(pa.string())


def _scored(good: pa.Table, scored: GridRun) -> pa.Table:
    """Rows of ``injection_scores``; one that breaks its contract is an error."""
    failed = pc.not_equal(good["status"], "scored").combine_chunks()
    values = {name: good[name] for name in SCORES.row_schema().names if name in good.column_names}
    values |= {name: pa.repeat(getattr(scored, name), good.num_rows) for name in ("checkpoint_id", "generation")}
    for name, probability in {"score": "probability", "host_score": "host_probability"}.items():
        values[name] = pc.if_else(failed, None, good[name])
        values[probability] = pc.if_else(failed, None, pa.array(logistic(good[name].to_numpy())))
    rows = pa.table([values[name] for name in SCORES.row_schema().names], schema=SCORES.row_schema())
    broken = pc.drop_null(_asked(reason_sql(SCORES, "duckdb", lineage=False), rows))
    if len(broken):
        raise ContractError(f"'{SCORES.name}': {len(broken)} of {rows.num_rows} rows break the contract: {broken[0]}")
    return rows


def _complete(spec: TableSpec, rows: pa.Table, lineage: Mapping[str, Any]) -> pa.Table:
    """Rows with their lineage."""
    rows = rows.select(spec.row_schema().names)
    for name, value in lineage.items():
        rows = rows.append_column(name, pa.repeat(pa.scalar(value, spec.column(name).arrow.type), rows.num_rows))
    return conform(spec, rows)
