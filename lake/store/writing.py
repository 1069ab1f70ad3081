"""Writing Delta tables: made to their contract by delta-rs, replaced a slice at a time, pinned."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from lake.contract import rules
from lake.contract.fingerprint import fingerprint
from lake.contract.spec import TableSpec
from lake.errors import LakeError
from lake.root import DataRoot
from lake.store import cards
from lake.store.cards import Card, Pin
from lake.store.delta import at, storage_options, where_sql

log = logging.getLogger(__name__)

TABLE_PROPERTIES = {
    "delta.enableDeletionVectors": "false",
    "delta.logRetentionDuration": "interval 3650 days",
    "delta.deletedFileRetentionDuration": "interval 3650 days",
    "delta.enableExpiredLogCleanup": "false",
    "delta.minWriterVersion": "3",
}
"""Pinned versions must outlive any clean-up, and delta-rs cannot write deletion vectors. Writers know constraints from
version 3 on."""
_CONSTRAINT = "delta.constraints."
_METADATA_CHANGED = re.compile("(metadata|protocol)[ _]?changed", re.IGNORECASE)
_DISTURBANCES = 8
T = TypeVar("T")


@dataclass(frozen=True)
class Provenance:
    """Who writes: the stage (with its slice, ``scores.demo1``), its code, and the inputs it read, by name."""

    stage: str
    code: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def note(self) -> dict[str, object]:
        """The entry in the table's own history."""
        return {"stage": self.stage, "code": dict(self.code), "inputs": dict(self.inputs)}


@dataclass(frozen=True)
class Target:
    """The slice of a table that one run replaces (the rows that meet ``where``, or all), and who replaces it."""

    root: DataRoot
    spec: TableSpec
    slice_name: str | None
    where: Mapping[str, str]
    who: Provenance

    def __post_init__(self) -> None:
        if set(self.where) != set(self.spec.slice_by):
            given = sorted(self.where)
            raise LakeError(f"a slice of '{self.spec.name}' is given by {list(self.spec.slice_by)}, got {given}")


def write_slice(target: Target, rows: pa.Table) -> Card:
    """Replace one slice of a table by rows that all meet its contract, and publish card and pin."""
    kept = rules.require(target.spec, rows, target.where)
    table = replace(target.root, target.spec, kept, target.where, target.who)
    return pin(target, table, fingerprint(kept, target.spec))


def pin(target: Target, table: DeltaTable, text: str) -> Card:
    """Publish card and pin of rows with the fingerprint ``text``, which ``table`` holds at its version."""
    spec, who = target.spec, target.who
    card = Card(spec.name, target.slice_name, int(text.partition(":")[0]), spec.schema_hash(), text, dict(target.where))
    held = Pin(int(table.version()), str(table.metadata().id), text, dict(who.code), dict(who.inputs))
    cards.publish(target.root, card, held)
    return card


def report(target: Target, good: int, rejected: Mapping[str, int]) -> None:
    """Log how many rows are written, and how many are quarantined for which reason."""
    name = cards.stem(target.spec.name, target.slice_name)
    log.info("%s: %d rows written", name, good)
    for reason, rows in sorted(rejected.items()):
        log.warning("%s: %d rows quarantined: %s", name, rows, reason)


def replace(root: DataRoot, spec: TableSpec, rows: pa.Table, where: Mapping[str, str], who: Provenance) -> DeltaTable:
    """Replace the rows that meet ``where`` (all if it is empty) in one commit; returns the table at that version."""

    def write() -> DeltaTable:
        with enforced(root, spec) as table:
            write_deltalake(
                table,
                rows,
                mode="overwrite",
                predicate=where_sql(where) or None,
                commit_properties=CommitProperties(custom_metadata={"provenance": json.dumps(who.note)}),
            )
            return table

    with refusals(root.table(spec.name)):
        return undisturbed(write)


def _of_metadata(error: Exception) -> bool:
    """Whether a commit was refused because a table was made, or its rules changed, between its begin and its end."""
    return _METADATA_CHANGED.search(str(error)) is not None  # Spark's errors have classes of their own


def undisturbed(write: Callable[[], T], disturbed: Callable[[Exception], bool] = _of_metadata) -> T:
    """Call ``write``, again if others disturbed it meanwhile, and return its result."""
    for _ in range(_DISTURBANCES):
        try:
            return write()
        except Exception as error:
            if not disturbed(error):
                raise
            log.info("others changed a table meanwhile, so the write begins anew")
    return write()


def opened(root: DataRoot, spec: TableSpec) -> DeltaTable:
    """The last version of a table that exists."""
    return at(root.table(spec.name))


@contextmanager
def enforced(root: DataRoot, spec: TableSpec) -> Iterator[DeltaTable]:
    """The table, which is made if it does not exist, with its contract's constraints, for the block to write.

    Rules that changed are dropped before the block and added after it, since it may replace the rows that break them.
    """
    wanted, table = _wanted(spec), made(root, spec)
    for name in _constraints(table) - set(wanted):
        table.alter.drop_constraint(name, raise_if_not_exists=False)
    yield table
    if not wanted.keys() <= _constraints(table):
        undisturbed(lambda: _add_constraints(root, spec, wanted), lambda error: isinstance(error, CommitFailedError))


def made(root: DataRoot, spec: TableSpec) -> DeltaTable:
    """The table, which is made if it does not exist."""
    uri = root.table(spec.name)
    if not DeltaTable.is_deltatable(uri, storage_options=storage_options(uri)):
        comments = ({"comment": c.meaning + (f" [{c.unit}]" if c.unit else "")} for c in spec.columns)
        fields = [pa.field(c.name, c.arrow.type, metadata=m) for c, m in zip(spec.columns, comments, strict=True)]
        create = partial(
            DeltaTable.create,
            uri,
            pa.schema(fields),
            mode="ignore",
            partition_by=list(spec.slice_by),
            description=spec.meaning,
            configuration=TABLE_PROPERTIES | {f"{_CONSTRAINT}{name}": sql for name, sql in _wanted(spec).items()},
            raise_if_key_not_exists=False,  # constraints are none of the properties that delta-rs knows by name
            storage_options=storage_options(uri),
        )
        table = undisturbed(create)
    else:
        table = opened(root, spec)
    if [field.name for field in table.schema().fields] != list(spec.names):
        raise LakeError(
            f"table '{spec.name}' in the lake has other columns than its contract: delete {uri} and run `dhs repro`"
        )
    return table


def _constraints(table: DeltaTable) -> set[str]:
    return {n.removeprefix(_CONSTRAINT) for n in table.metadata().configuration if n.startswith(_CONSTRAINT)}


def _wanted(spec: TableSpec) -> dict[str, str]:
    """The constraints by a name that changes with the rule: engines store its text each in their own way."""
    named = spec.constraints().items()
    return {f"{name}_{hashlib.sha256(sql.encode()).hexdigest()[:8]}".lower(): sql for name, sql in named}


def _add_constraints(root: DataRoot, spec: TableSpec, wanted: Mapping[str, str]) -> None:
    """Add those that are missing. They are checked on all rows, also those that others wrote."""
    table = opened(root, spec)
    missing = {name: sql for name, sql in wanted.items() if name not in _constraints(table)}
    try:
        if missing:
            table.alter.add_constraint(missing)
    except CommitFailedError:
        raise
    except DeltaError as error:
        raise LakeError(
            f"other slices of '{spec.name}' break its new rules {', '.join(missing)}: "
            "run the stages that make them first"
        ) from error


@contextmanager
def refusals(place: str) -> Iterator[None]:
    """Raise an error of the operating system (disk full, read-only) as such, since delta-rs only reports it as text,
    and a commit that came too late as a LakeError.
    """
    try:
        yield
    except (DeltaError, OSError) as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is not None:
            raise OSError(int(number[1]), os.strerror(int(number[1])), place) from error
        if isinstance(error, CommitFailedError) and ("concurrent" in str(error) or _of_metadata(error)):
            raise LakeError(f"{place} was changed by another run that wrote at the same time; run it again") from error
        raise
