"""Which results count: the committed records of invalidated runs, and what was made from such runs.

A *run* is what one kind of work made for one finder (``evaluate-demo1``): slices of tables, a checkpoint, a grid. Its
record, ``data/registry/status/<run>.json``, lists every decision about it with date and reason; without one it is
valid. What was made from invalid results, by the inputs in the pins, is invalid too, unless its own run was restored
after they were invalidated.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from lake.contract.rules import Dialect, in_list, literal
from lake.contract.spec import TableSpec
from lake.errors import LakeError
from lake.files import atomic
from lake.names import checked_name, run_name
from lake.provenance import git_commit
from lake.root import DataRoot
from lake.store import cards, delta
from lake.store.cards import Slice

log = logging.getLogger(__name__)

_STRICT = ConfigDict(strict=True, extra="forbid")
_EVALUATED = ("scores", "thresholds", "calibrations", "ungraded_scores")
_GRID = ("injections", "injection_scores", "completeness")
_IMPORTED = ("imports", "import_disagreements", "foreign_objects")
REGISTRY = "experiments"
"""The table whose rows are runs, with their status."""
JUDGED = ("diagnostics", "gates", "findings", "figure_points")
"""Tables whose slices are named after runs."""


@checked_dataclass(frozen=True, config=_STRICT)
class Decision:
    """That a run is invalid, or that it counts again."""

    action: Literal["invalidated", "restored"]
    reason: str
    date: str
    """UTC, to the millisecond."""
    commit: str
    """Commit of the code when it was decided."""
    results: Mapping[str, str]
    """Fingerprint of each of the run's slices at that time."""

    @property
    def moment(self) -> datetime:
        """The date as a time. ValueError if it is none."""
        return datetime.fromisoformat(self.date).astimezone(UTC)


@checked_dataclass(frozen=True, config=_STRICT)
class Record:
    """All decisions about a run, oldest first."""

    run: str
    decisions: list[Decision]

    @property
    def last(self) -> Decision:
        return self.decisions[-1]


@dataclass(frozen=True)
class Reading:
    """The slices that a question is about: as pinned now or at a git revision, invalid ones only if asked for."""

    root: DataRoot
    at: str | None = None
    invalid_too: bool = False

    @cached_property
    def known(self) -> Mapping[str, Invalid]:
        """What does not count, see :func:`invalid_results`."""
        return invalid_results(self.root, self.at)

    def slices(self, table: str) -> list[Slice]:
        """The slices of a table to read; none where all that were made are invalid. LakeError where none was made.

        A warning names each that is left out.
        """
        found = cards.slices(self.root, table, self.at)
        out = [] if self.invalid_too else [one.name for one in found if one.name in self.known]
        for name in out:
            log.warning("left out: %s, because %s", name, self.known[name].text)
        valid = [one.card.slice for one in found if one.name not in out]
        return delta.chosen(self.root, table, valid if found else None, self.at) if valid or not found else []


@dataclass(frozen=True)
class Invalid:
    """Why a result does not count."""

    run: str
    """The run that was invalidated: its own, or one that it was made from."""
    reason: str
    since: datetime

    @property
    def text(self) -> str:
        return f"{self.run} is invalidated: {self.reason}"

    def of(self, run: str) -> str:
        """The reason as that of a run."""
        return self.reason if run == self.run else f"made from {self.run}, which is invalidated: {self.reason}"


@contextmanager
def deciding(root: DataRoot) -> Iterator[None]:
    """Hold the registry while its records are read and one is added; it may be held already by this thread."""
    from filelock import FileLock  # late: only decisions need it

    (root.local / "work").mkdir(parents=True, exist_ok=True)
    with FileLock((root.local / "work" / "registry.lock").resolve(), is_singleton=True):
        yield


def decide(root: DataRoot, run: str, action: Literal["invalidated", "restored"], reason: str) -> Record:
    """Add a decision to a run's record: the file is replaced at once, so a kill leaves it as it was."""
    path = root.registry / "status" / f"{checked_name(run, 'run')}.json"
    with deciding(root):
        known = records(root).get(run)
        earlier = [decision.moment for decision in known.decisions] if known else []
        now = max([datetime.now(UTC), *earlier]).isoformat(timespec="milliseconds")  # where a clock was set back, too
        made = Decision(action, reason, now, git_commit(), fingerprints(root, run))
        record = Record(run, [*(known.decisions if known else []), made])
        atomic.write_text(path, json.dumps(asdict(record), indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    return record


def records(root: DataRoot, at: str | None = None) -> dict[str, Record]:
    """The records by run; ``at`` a git revision: as committed there. LakeError where one cannot be understood."""
    folder = root.registry / "status"
    return {name: _parsed(f"{folder / name}.json", name, text) for name, text in cards.texts(folder, at).items()}


def _parsed(file: str, name: str, text: str) -> Record:
    if any(line.startswith(cards.MERGE_MARKS) for line in text.splitlines()):
        raise LakeError(f"{file} contains git merge markers: keep the decisions of both sides, in the order of dates")
    try:
        record = TypeAdapter(Record).validate_json(text)
        moments = [decision.moment for decision in record.decisions]
    except (ValidationError, ValueError) as error:
        raise LakeError(f"{file} is not the record of a run: restore it (`git checkout -- {file}`)") from error
    if record.run != name or not record.decisions:
        raise LakeError(f"{file} is not the record of '{name}': restore it (`git checkout -- {file}`)")
    if moments != sorted(moments):
        raise LakeError(f"{file} does not have its decisions in the order of their dates: sort them, the oldest first")
    return record


def runs(root: DataRoot) -> dict[str, list[str]]:
    """The runs that have results, and the stems (``table.slice``) of their slices."""
    found: dict[str, list[str]] = {}
    for stem, (run, _) in _made(root, None).items():
        if run is not None:
            found.setdefault(run, []).extend([] if ":" in stem else [stem])
    return found


def fingerprints(root: DataRoot, run: str) -> dict[str, str]:
    """Fingerprint of each slice of a run."""
    slices = {entry.name: entry.card.fingerprint for entry in cards.all_slices(root)}
    return {stem: slices[stem] for stem in runs(root).get(run, [])}


def invalid_runs(root: DataRoot, at: str | None = None) -> dict[str, Invalid]:
    """The runs whose results do not count."""
    made, found = _made(root, at), invalid_results(root, at)
    whole = {run: found[stem] for stem, (run, _) in made.items() if run is not None and stem in found}
    return {**whole, **_decided(root, at, "invalidated")}


def invalid_results(root: DataRoot, at: str | None = None) -> dict[str, Invalid]:
    """Slices (``table.slice``), checkpoints (``checkpoint:name``), grids and audits of cut-outs that do not count.

    ``at`` is a git revision whose pins are read: what is known today counts too.
    """
    decided, restored = _decided(root, at, "invalidated"), _decided(root, at, "restored")
    if not decided:
        return {}
    made = _made(root, at)
    causes = {stem: {run} if run in decided else set() for stem, (run, _) in made.items()}
    grown = True
    while grown:
        grown = False
        for stem, (run, inputs) in made.items():
            inherited = {cause for name in inputs for cause in causes.get(name, ())} - causes[stem]
            if run is not None and (new := {c for c in inherited if not _excused(decided[c], restored.get(run))}):
                causes[stem] |= new
                grown = True
    return {stem: _first(decided, why, made[stem][0]) for stem, why in causes.items() if why}


def _excused(cause: Invalid, restored: Invalid | None) -> bool:
    """Whether a run was restored since something that it was made from was invalidated."""
    return restored is not None and restored.since >= cause.since


def _first(decided: Mapping[str, Invalid], causes: Iterable[str], own: str | None) -> Invalid:
    """The run itself, or the invalid run decided first."""
    return min((decided[cause] for cause in causes), key=lambda why: (why.run != own, why.since, why.run))


def _decided(root: DataRoot, at: str | None, action: str) -> dict[str, Invalid]:
    """The runs whose last decision is this; one that is invalid now is so at any revision."""
    known = {**(records(root, at) if at is not None else {}), **records(root)}
    last = {run: record.last for run, record in known.items()}
    return {run: Invalid(run, one.reason, one.moment) for run, one in last.items() if one.action == action}


def _made(root: DataRoot, at: str | None) -> dict[str, tuple[str | None, list[str]]]:
    """Every slice, checkpoint and grid with the run that made it (if any did) and what it was made from."""
    entries = cards.all_slices(root, at)
    imported = {str(e.card.slice) for e in entries if e.card.table == "imports"}
    trained = {str(e.card.slice) for e in entries if e.card.table == "training_epochs"}
    found: dict[str, tuple[str | None, list[str]]] = {}
    for entry in entries:
        inputs = [name.removeprefix("table:") for name in entry.pin.inputs]
        if (of_set := entry.pin.inputs.get(cards.SET)) is not None:
            inputs.append(f"audit:{of_set}")
            found.setdefault(f"audit:{of_set}", (run_name("audit", of_set), []))
        found[entry.name] = (_run_of(entry.card.table, str(entry.card.slice), imported), inputs)
        for name in inputs:
            kind, _, finder = name.partition(":")
            if kind == "checkpoint":
                run = run_name("train" if finder in trained else "audit", finder)
                found.setdefault(name, (run, [f"training_epochs.{finder}"]))
            elif kind == "grid":
                found.setdefault(name, (run_name("grid", finder), list(_inputs_of_grid(root, finder))))
    return found


def _run_of(table: str, part: str, imported: set[str]) -> str | None:
    """The run that made a slice of a table."""
    if table in JUDGED:
        kind, _, finder = part.partition("-")
        return run_name("grid", finder) if kind == "completeness" else part  # measured with the counts of a grid
    if part in imported and table in (*_IMPORTED, "completeness"):
        return run_name("import", part)
    own = {"training_epochs": "train", "training_runs": "train", "trials": "trials"}
    own |= {"finder_pairs": "pairs", "test_lenses": "diagnose"}
    kinds = {**own, **dict.fromkeys(_EVALUATED, "evaluate"), **dict.fromkeys(_GRID, "grid")}
    if table not in kinds or part == "historical":
        return None
    return run_name(kinds[table], part)


def _inputs_of_grid(root: DataRoot, name: str) -> Iterator[str]:
    """What a grid was made from: as recorded with it, or, where its folder is absent, the checkpoint of its name."""
    path = root.grid(name) / "lineage.json"
    if not path.exists():
        yield f"checkpoint:{name}"
        return
    yield from (key.removeprefix("table:") for key in json.loads(path.read_text(encoding="utf-8"))["inputs"])


def require_counts(root: DataRoot, table: str, part: str) -> None:
    """Refuse a slice whose results do not count. LakeError says why, and how to see it nevertheless."""
    why = invalid_results(root).get(cards.stem(table, part))
    if why is not None:
        cure = "`dhs query --invalid` shows its rows, `dhs registry restore` lets it count"
        raise LakeError(f"{table} of {part} does not count: {why.text} ({cure})")


def registered(sql: str, spec: TableSpec, invalid: Mapping[str, Invalid], dialect: Dialect) -> str:
    """A query on rows of ``experiments`` with the status that their runs have now."""
    runs = {stem.partition(":")[2]: why.text for stem, why in invalid.items() if stem.startswith("checkpoint:")}
    if not runs:
        return sql
    said = " ".join(f"WHEN {literal(n, dialect)} THEN {literal(t, dialect)}" for n, t in runs.items())
    now = {
        "status": f"CASE WHEN origin IN ({in_list(list(runs), dialect)}) THEN 'invalidated' ELSE status END",
        "status_reason": f"CASE origin {said} ELSE status_reason END",
    }
    columns = ", ".join(f"{now[name]} AS {name}" if name in now else name for name in spec.names)
    return f"SELECT {columns} FROM ({sql}) AS registered"
