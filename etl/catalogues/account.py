"""The account of a sweep: what became of each of its rows, kept in a file next to the part of the pool made from it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from etl.files.sweeps import Facts
from etl.tables.arrowbytes import packed, unpacked
from lake import tables
from lake.contract.fingerprint import Sums
from lake.files import storage
from lake.store import quarantine
from lake.store.parts import Part

KEYS = pa.schema([("key", pa.int64()), ("row_index", pa.int64()), ("renamed", pa.string())])
_TABLES = {
    "near": tables.spec("tractor_near_candidates").row_schema(),
    "rejected": quarantine.SCHEMA,
    "keys": KEYS,
}


@dataclass
class Account:
    """What became of the rows of a file."""

    sweep_file: str
    facts: Facts = field(default_factory=Facts)
    read: int = 0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Rows by outcome and reason."""
    renamed: Counter[str] = field(default_factory=Counter)
    """Rows by the type of an older release that they have."""
    part: Part | None = None
    """The rows that are kept."""
    sums: Sums = field(default_factory=Sums)
    near: pa.Table = field(default_factory=_TABLES["near"].empty_table)
    rejected: pa.Table = field(default_factory=quarantine.SCHEMA.empty_table)
    keys: pa.Table = field(default_factory=KEYS.empty_table)
    """Of each row in a table: hash of its galaxy_id, its number, and the type of an older release that it had."""

    @property
    def lasting(self) -> bool:
        """Whether a later run may rely on it: not if the file could not be read, which may pass."""
        return self.facts.problem is None or self.facts.sha256 is not None

    def save(self, place: str) -> None:
        """Write it, whole or not at all."""
        facts = {
            "sweep_file": self.sweep_file,
            "facts": asdict(self.facts),
            "read": self.read,
            "counts": [[*fate, rows] for fate, rows in self.counts.items()],
            "renamed": dict(self.renamed),
            "part": asdict(self.part) if self.part else None,
            "sums": [str(value) for value in asdict(self.sums).values()],
        }
        held = {"facts": json.dumps(facts).encode(), **{name: packed(getattr(self, name)) for name in _TABLES}}
        with storage.writing(place) as file:
            file.write(packed(pa.table({name: pa.array([value], pa.binary()) for name, value in held.items()})))

    @classmethod
    def load(cls, place: str) -> Account:
        with storage.open_file(place) as file:
            held: dict[str, bytes] = unpacked(file.read()).to_pylist()[0]
        facts: dict[str, Any] = json.loads(held["facts"])
        known: dict[str, Any] = facts["facts"] | {name: tuple(facts["facts"][name]) for name in ("missing", "derived")}
        return cls(
            sweep_file=facts["sweep_file"],
            facts=Facts(**known),
            read=facts["read"],
            counts=Counter({(outcome, reason): rows for outcome, reason, rows in facts["counts"]}),
            renamed=Counter(facts["renamed"]),
            part=Part(**facts["part"]) if facts["part"] else None,
            sums=Sums(*(int(value) for value in facts["sums"])),
            **{name: unpacked(held[name]) for name in _TABLES},
        )
