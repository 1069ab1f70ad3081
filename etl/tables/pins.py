"""Who wrote a commit, and the card and pin that publish it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from etl.tables.table import Written
from lake.root import DataRoot
from lake.store import cards
from lake.store.cards import Card, Pin


@dataclass(frozen=True)
class Provenance:
    """The stage (with its slice, ``scores.demo1``), its code, and the inputs it read, by name and fingerprint."""

    stage: str
    code: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def note(self) -> dict[str, object]:
        """What goes into the table's own history."""
        return {"stage": self.stage, "code": dict(self.code), "inputs": dict(self.inputs)}


def pin(card: Card, written: Written, root: DataRoot, provenance: Provenance) -> None:
    """Publish a card with the commit that holds its rows."""
    held = Pin(written.version, written.table_id, card.fingerprint, dict(provenance.code), dict(provenance.inputs))
    cards.publish(root, card, held)
