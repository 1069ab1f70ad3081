"""What the tables know of each run of this project: what it was made from, and its finding in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from deltalake.exceptions import DeltaError

from analysis.statistics.completeness import ALL, MARGINAL
from lake.errors import LakeError
from lake.root import DataRoot
from lake.store import cards, delta
from lake.store.cards import Slice
from modeling.scoring.card import CARD, read_card
from modeling.tracking import history

_SHOWN = "p0.5"
"""The threshold of the completeness in a grid's finding, where it was measured."""
_MARGINALS = ["cell", "source_mag_bin", "weighting_id", "threshold_id", "completeness", "n", "prior", "extracted_at"]
_MANIFESTS = ("table:manifest", "table:stamp_manifest")
_ROWS = ["run_id", "origin", "kind", "generation", "config_hash", "checkpoint_id", "key_finding", "extracted_at"]


@dataclass
class Facts:
    """Columns of a run."""

    date: str = ""
    config_hash: str = ""
    checkpoint: str = ""
    data: str = ""
    finding: str = ""
    disagreements: list[str] = field(default_factory=list)
    """Every value on which records of the run contradict each other."""


class Source:
    """Reads facts from cards, pins and small tables."""

    def __init__(self, root: DataRoot) -> None:
        self._root = root

    @cached_property
    def _slices(self) -> dict[str, Slice]:
        return {one.name: one for one in cards.all_slices(self._root)}

    @cached_property
    def _registered(self) -> dict[str, dict[str, Any]]:
        """Rows of ``experiments`` of this project, by finder."""
        names = [one.card.slice for one in self._slices.values() if one.card.table == "experiments"]
        own = [name for name in names if name != history.ORIGIN]
        rows = delta.read(self._root, "experiments", slices=own).to_pylist() if own else []
        return {row["origin"]: row for row in rows}

    def aliases(self, name: str) -> list[str]:
        """Runs whose row in ``experiments`` has this identifier."""
        found = [row for row in self._registered.values() if row["run_id"] == name]
        return [f"{'train' if row['kind'] == 'training' else 'audit'}-{row['origin']}" for row in found]

    def of(self, run: str, kind: str, finder: str, stems: list[str]) -> Facts:
        """The facts of one run."""
        inputs: dict[str, str] = {}
        for stem in stems:
            inputs |= self._slices[stem].pin.inputs
        facts = Facts(
            config_hash=inputs.get("parameters", ""),
            checkpoint=inputs.get(f"checkpoint:{finder}", ""),
            data=", ".join(sorted(name.removeprefix("table:") for name in inputs if name.startswith(_MANIFESTS))),
        )
        findings: dict[str, Callable[[Facts, str, str], None]] = {
            "train": self._of_training,
            "audit": self._of_training,
            "evaluate": self._of_evaluation,
            "diagnose": self._of_gates,
            "diagnostic": self._of_gates,
            "grid": self._of_completeness,
            "trials": self._of_trials,
            "pairs": self._of_pairs,
            "import": self._of_completeness,
        }
        if kind in findings:
            try:
                findings[kind](facts, run, finder)
            except LakeError as error:  # the registry lists what is damaged, too
                facts.finding = str(error)
        return facts

    def _of_training(self, facts: Facts, run: str, finder: str) -> None:
        row, path = self._registered.get(finder), self._root.checkpoints(finder)
        if row is not None:
            facts.finding, facts.date = row["key_finding"], _day(row)
            facts.config_hash = row["config_hash"] or facts.config_hash
            facts.checkpoint = row["checkpoint_id"] or ""
        if not (path / CARD).exists():
            return
        card = read_card(path)
        if row is None:
            facts.finding = card.finding()
            facts.config_hash, facts.checkpoint = card.config_sha256[:16], card.checkpoint_id
        elif row["checkpoint_id"] != card.checkpoint_id:
            facts.disagreements.append(
                f"checkpoint {row['checkpoint_id']} in the table, {card.checkpoint_id} in {path}"
            )

    def _of_evaluation(self, facts: Facts, run: str, finder: str) -> None:
        rows = {row["name"]: row for row in self._rows("diagnostics", run)}
        if (area := rows.get("auc")) is not None and area["value"] is not None:
            bounds = "" if area["low"] is None else f" [{area['low']:.4f}, {area['high']:.4f}]"
            facts.finding = f"AUC {area['value']:.4f}{bounds} on {area['n']:,} objects"
            facts.date = _day(area)

    def _of_gates(self, facts: Facts, run: str, finder: str) -> None:
        rows = self._rows("gates", run)
        counts: dict[str, int] = {}
        for row in rows:
            counts[row["status"]] = counts.get(row["status"], 0) + 1
            facts.date = _day(row)
        facts.finding = "gates: " + ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))

    def _of_completeness(self, facts: Facts, run: str, finder: str) -> None:
        rows = [row for row in self._rows("completeness", finder, _MARGINALS) if _is_marginal(row)]
        row = next((row for row in rows if row["threshold_id"] == _SHOWN), rows[0] if rows else None)
        if row is not None and row["completeness"] is not None:
            facts.date = _day(row)
            facts.finding = (
                f"completeness at {row['threshold_id']} {100 * row['completeness']:.1f} % of {row['n']:,} injections, "
                f"prior {row['prior']}"
            )

    def _of_trials(self, facts: Facts, run: str, finder: str) -> None:
        rows = self._rows("trials", finder, ["experiment", "trial_id", "status", "extracted_at"])
        names = sorted({row["experiment"] for row in rows})
        failed = sum(row["status"] == "failed" for row in rows)
        facts.finding = f"{len(rows):,} injections ({failed:,} failed) of the experiments {', '.join(names)}"
        facts.date = _day(rows[0]) if rows else ""

    def _of_pairs(self, facts: Facts, run: str, finder: str) -> None:
        rows = self._rows("finder_pairs", finder, ["other", "quantity", "verdict", "extracted_at"])
        said = [f"{row['other']} {row['verdict']}" for row in rows if row["quantity"] == "other_ceiling"]
        facts.finding = f"ceiling of bright arcs beside other finders: {', '.join(said) or 'there is none'}"
        facts.date = _day(rows[0]) if rows else ""

    def _rows(self, table: str, part: str, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        if cards.stem(table, part) not in self._slices:
            return []
        rows: list[dict[str, Any]] = delta.read(self._root, table, columns, slices=[part]).to_pylist()
        return rows

    def replaced(self) -> list[dict[str, Any]]:
        """Rows of ``experiments`` in earlier versions whose checkpoint is no longer their finder's, oldest first."""
        now = self._registered
        found: dict[tuple[str, str], dict[str, Any]] = {}
        if not now:
            return []
        for row in self._earlier():
            current = now.get(row["origin"])
            if current is None or row["checkpoint_id"] in (None, current["checkpoint_id"]):
                continue
            known = {**row, "date": _day(row), "replaced_by": current["checkpoint_id"]}
            found.setdefault((row["origin"], row["checkpoint_id"]), known)
        return list(found.values())

    def _earlier(self) -> Iterator[dict[str, Any]]:
        """Every row that ``experiments`` has held, as far as its files are still there."""
        try:
            newest = delta.at(self._root.table("experiments"))
        except (DeltaError, OSError):
            return
        seen: set[str] = set()
        for version in range(newest.version()):
            try:
                table = delta.at(self._root.table("experiments"), version)
                files = set(table.file_uris())
                rows = [] if files <= seen else table.to_pyarrow_table(filesystem=delta.arrow_files(table)).to_pylist()
            except (DeltaError, OSError):  # versions that were cleaned up
                continue
            seen |= files
            yield from ({name: row.get(name) for name in _ROWS} for row in rows)


def _is_marginal(row: Mapping[str, Any]) -> bool:
    return row["cell"] == MARGINAL and row["source_mag_bin"] == ALL and row["weighting_id"] == row["prior"]


def _day(row: Mapping[str, Any]) -> str:
    return str(row["extracted_at"].date())
