"""Expectations that were registered before there was a result, committed as text next to the cards."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from lake.errors import LakeError
from lake.files import atomic
from lake.root import DataRoot
from lake.store import cards

Expect = Literal["above", "below", "between"]


@checked_dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class Expectation:
    """What a measure of a run is expected to be, and how that is decided."""

    run: str
    measure: str
    """A name in `diagnostics`, or `completeness/<threshold>`."""
    expect: Expect
    threshold: float
    upper: float | None = None
    """Upper end, of `between` only."""
    against: str | None = None
    """Another run: what is expected is this run's figure minus that one's."""
    test: str = ""
    """How figure and threshold are compared, in words."""
    note: str = ""
    """Why it is expected."""
    date: str = ""
    """UTC, to the second; empty for the reference system's, which recorded none."""
    commit: str = ""
    """Commit of the code when it was registered."""
    pins: str = ""
    """Hash of all pins when it was registered (:func:`pins_hash`)."""

    @property
    def words(self) -> str:
        """The expectation in words."""
        figure = self.measure if self.against is None else f"{self.measure} minus that of {self.against}"
        if self.expect == "between":
            return f"{figure} between {self.threshold:g} and {self.upper:g}"
        return f"{figure} {self.expect} {self.threshold:g}"

    @property
    def name(self) -> str:
        """The name of its file."""
        other = f".against.{self.against}" if self.against else ""
        return f"{self.run}.{re.sub(r'[^A-Za-z0-9_-]+', '-', self.measure)}{other}"


def pins_hash(root: DataRoot) -> str:
    """SHA-256 of every slice's name, version and fingerprint: which results there were."""
    entries = sorted((one.name, one.pin.version, one.card.fingerprint) for one in _slices(root))
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()


def _slices(root: DataRoot) -> list[cards.Slice]:
    return cards.all_slices(root.of_any_survey)


def write(root: DataRoot, expectation: Expectation) -> None:
    """Store an expectation: a file of its own, replaced at once."""
    text = json.dumps(asdict(expectation), indent=1, sort_keys=True, ensure_ascii=False)
    atomic.write_text(root.registry / "expected" / f"{expectation.name}.json", text + "\n")


def records(root: DataRoot) -> list[Expectation]:
    """The registered expectations, oldest first. LakeError where a file cannot be understood."""
    folder = root.registry / "expected"
    found = [_parsed(f"{folder / name}.json", text) for name, text in cards.texts(folder, None).items()]
    return sorted(found, key=lambda one: (one.date, one.name))


def _parsed(file: str, text: str) -> Expectation:
    try:
        return TypeAdapter(Expectation).validate_json(text)
    except ValidationError as error:
        raise LakeError(f"{file} is not a registered expectation: restore it (`git checkout -- {file}`)") from error
