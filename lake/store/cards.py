"""Cards and pins: what a commit says about a table.

A *card* ``<table>[.<slice>].json`` says what the slice holds (rows, schema hash, fingerprint, where): downstream stages
depend on it. A *pin* next to it says which Delta version holds it, and what it was made from. A *witness* inside the
table's own folder vanishes with the table, and DVC sees the loss (with tables in an object store it is a plain
local file, and `dhs verify` is what sees the loss).
"""

from __future__ import annotations

import io
import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from lake.errors import LakeError, invalid
from lake.files import atomic
from lake.root import DataRoot

SURVEY = "survey"
"""The input by which a pin says whose rows it pins; rows without one belong to every survey."""
SET = "audit of cut-outs"
"""The input of a pin that names the audit on a set of cut-outs its rows come from."""
_NO_REPOSITORY = 128
_STRICT = ConfigDict(strict=True, extra="forbid")
MERGE_MARKS = ("<<<<<<<", "=======", ">>>>>>>", "|||||||")


@checked_dataclass(frozen=True, config=_STRICT)
class Card:
    """The content of a slice of a table; equal inputs and code give an equal card."""

    table: str
    slice: str | None
    rows: int
    schema_hash: str
    fingerprint: str
    where: Mapping[str, str]


@checked_dataclass(frozen=True, config=_STRICT)
class Pin:
    """The Delta version with a card's content, and its lineage."""

    version: int
    table_id: str
    fingerprint: str
    code: Mapping[str, str]
    inputs: Mapping[str, str]


@dataclass(frozen=True)
class Slice:
    """A card with its pin."""

    card: Card
    pin: Pin

    @property
    def name(self) -> str:
        """The name that card and pin share."""
        return stem(self.card.table, self.card.slice)


Kind = TypeVar("Kind", Card, Pin)


def stem(table: str, slice_name: str | None) -> str:
    """The name a slice's card and pin share."""
    return table if slice_name is None else f"{table}.{slice_name}"


def publish(root: DataRoot, card: Card, pin: Pin) -> None:
    """Write pin, witness and, last, the card."""
    name = stem(card.table, card.slice)
    atomic.write_text(root.cards / f"{name}.pin.json", _render(asdict(pin)))
    attest(root, card)
    atomic.write_text(root.cards / f"{name}.json", _render(asdict(card)))


def attest(root: DataRoot, card: Card) -> None:
    """Write the witness of a slice that the lake holds."""
    atomic.write_text(root.witness(card.table, card.slice), _render({"fingerprint": card.fingerprint}))


def read_slice(root: DataRoot, table: str, slice_name: str | None = None) -> Slice:
    """The committed card and pin of one slice."""
    name = stem(table, slice_name)
    card, pin = root.cards / f"{name}.json", root.cards / f"{name}.pin.json"
    if not card.exists() or not pin.exists():
        raise LakeError(f"table '{name}' has no card in {root.cards}: it has not been made; run `dvc repro`")
    found = parse(root.cards / name, card.read_text(errors="replace"), pin.read_text(errors="replace"))
    if not _belongs(root, found):
        raise missing(root, f"'{name}'", [found])
    return found


def slices(root: DataRoot, table: str, at: str | None = None) -> list[Slice]:
    """The slices of a table that belong to the root's survey, by name; ``at`` a git revision: as committed there."""
    return [entry for entry in _every_slice(root, table, at) if _belongs(root, entry)]


def of_survey(root: DataRoot, table: str) -> list[Slice]:
    """The slices that do not come from an audit on a set of cut-outs."""
    return [entry for entry in slices(root, table) if SET not in entry.pin.inputs]


def foreign(root: DataRoot, table: str, at: str | None = None) -> list[Slice]:
    """The slices of a table that were made for another survey than the root's."""
    return [entry for entry in _every_slice(root, table, at) if not _belongs(root, entry)]


_MADE_BY = {
    "set_injections": "`dhs audit` of labelled cut-outs (`--cutouts`) makes it",
    **dict.fromkeys(("imports", "import_disagreements", "foreign_objects"), "`dhs import` makes it"),
}
"""How tables come about that no stage of DVC makes."""


def missing(root: DataRoot, what: str, made: Iterable[Slice]) -> LakeError:
    """The error of rows that have not been made, or that were ``made`` for another survey."""
    others = sorted({f"'{entry.pin.inputs[SURVEY]}'" for entry in made})
    if not others:
        cure = _MADE_BY.get(what.split("'")[1], "run `dvc repro`")
        return LakeError(f"table {what} has not been made yet; {cure}")
    return LakeError(
        f"table {what} was made for the survey {' and '.join(others)}, and params.yaml names '{root.survey_name}': "
        "run `dvc repro` to make it for that, or return to the other with `dhs params use`"
    )


def _belongs(root: DataRoot, entry: Slice) -> bool:
    return root.survey_name is None or entry.pin.inputs.get(SURVEY, root.survey_name) == root.survey_name


def all_slices(root: DataRoot, at: str | None = None) -> list[Slice]:
    """The slices of all tables that belong to the root's survey, by table and name."""
    return [entry for entry in _every_slice(root, None, at) if _belongs(root, entry)]


def _every_slice(root: DataRoot, table: str | None, at: str | None) -> list[Slice]:
    """The slices of a table, or of all."""
    found = texts(root.cards, at, table)
    mine = [name for name in found if not name.endswith(".pin")]
    alone = [name for name in sorted(mine) if f"{name}.pin" not in found]
    if alone and (
        at is not None or not (root.cards / f"{alone[0]}.pin.json").exists()
    ):  # the pin is written first and removed last: this one was lost, and with it would go rows without a word
        raise LakeError(
            f"{root.cards / alone[0]}.pin.json is missing: restore it (`git checkout -- "
            f"{root.cards / alone[0]}.pin.json`), or delete {root.cards / alone[0]}.json and run `dvc repro`"
        )
    return [parse(root.cards / name, found[name], found[f"{name}.pin"]) for name in sorted(mine) if name not in alone]


def tables(root: DataRoot, at: str | None = None) -> list[str]:
    """Names of the tables that have a card that belongs to the root's survey."""
    if root.survey_name is None:
        return sorted({name.split(".")[0] for name in _names(root.cards, at)})
    return sorted({entry.card.table for entry in all_slices(root, at)})


def distinct(found: list[Slice]) -> list[Slice]:
    """One slice per ``where``: several models that share injections publish the same rows, and must agree on them."""
    best: dict[str, Slice] = {}
    for entry in found:
        place = json.dumps(dict(entry.card.where), sort_keys=True)
        known = best.get(place)
        if known is not None and known.card.fingerprint != entry.card.fingerprint:
            names = f"'{known.card.slice}' and '{entry.card.slice}'"
            raise LakeError(f"slices {names} of '{entry.card.table}' claim the same rows but differ; run `dvc repro`")
        if known is None or entry.pin.version > known.pin.version:
            best[place] = entry
    return list(best.values())


def parse(place: Path, card: str, pin: str) -> Slice:
    """A slice from the texts of its card and pin, which are at ``place`` (without suffix) and must belong together."""
    entry = Slice(_checked(place, "json", card, Card), _checked(place, "pin.json", pin, Pin))
    if entry.card.fingerprint != entry.pin.fingerprint:
        raise LakeError(f"card and pin of '{entry.name}' belong to different runs; restore both or run `dvc repro`")
    return entry


@lru_cache(maxsize=4096)
def _checked(place: Path, suffix: str, text: str, kind: type[Kind]) -> Kind:
    """A card or pin; any other text, such as a half-merged file, is an error that says how to restore it.

    A command reads the same few hundred again and again.
    """
    file, both = f"{place}.{suffix}", f"{place}.json {place}.pin.json"
    if any(line.startswith(MERGE_MARKS) for line in text.splitlines()):
        raise LakeError(
            f"{file} contains git merge markers: take one side of card and pin "
            f"(`git checkout --ours -- {both}`, or --theirs) and run `dvc repro`"
        )
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        raise LakeError(
            f"{file} is not a {kind.__name__.lower()} of a table: restore it (`git checkout -- {both}`), "
            "or delete both and run `dvc repro`"
        ) from error


def remove(root: DataRoot, table: str, slice_name: str | None) -> None:
    """Forget a slice: the stage that makes it will run again."""
    name = stem(table, slice_name)
    for path in (root.cards / f"{name}.json", root.cards / f"{name}.pin.json", root.witness(table, slice_name)):
        path.unlink(missing_ok=True)


def texts(folder: Path, at: str | None, table: str | None = None) -> dict[str, str]:
    """The JSON files of a folder by name, without the suffix, all or those of a table.

    ``at`` is a git revision: as committed there.
    """
    if at is not None:
        return {name: text for name, text in _committed_in(folder, at).items() if _is_of(name, table)}
    names = [name for name in _names(folder, None) if _is_of(name, table)]
    return {name: (folder / f"{name}.json").read_text(errors="replace") for name in names}


def _is_of(name: str, table: str | None) -> bool:
    return table is None or name == table or name.startswith(f"{table}.")


def _names(folder: Path, at: str | None) -> list[str]:
    if at is not None:
        return list(_committed_in(folder, at))
    try:
        held = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    return sorted(name.removesuffix(".json") for name in held if name.endswith(".json") and not name.startswith("."))


def _committed_in(folder: Path, at: str) -> Mapping[str, str]:
    folder = folder.resolve()
    place = next(above for above in (folder, *folder.parents) if above.is_dir())
    return _committed(place, _commit(place, at), os.path.relpath(folder, place))


@lru_cache(maxsize=4)
def _committed(place: Path, commit: str, folder: str) -> Mapping[str, str]:
    """The JSON files of a folder in one commit, by one process of git for all: a query asks for each table's again."""
    listing = _git(place, "ls-tree", "-z", commit, f"{folder}/")
    entries = (line.split("\t") for line in listing.decode(errors="replace").split("\0") if line.endswith(".json"))
    blobs = {Path(name).name.removesuffix(".json"): about.split()[2] for about, name in entries}
    given = "".join(f"{blob}\n" for blob in blobs.values()).encode()
    answer = io.BytesIO(_git(place, "cat-file", "--batch", given=given))
    found: dict[str, str] = {}
    for name in blobs:  # a line that ends with the size, the file, a line end
        size = int(answer.readline().split()[2])
        found[name] = answer.read(size).decode(errors="replace")
        answer.readline()
    return found


def _commit(place: Path, revision: str) -> str:
    """The commit of a revision; an unknown one, or one that git could take for an option, is refused."""
    named = ["git", "-C", str(place), "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"]
    done = subprocess.run(named, capture_output=True, text=True, check=False)
    if done.returncode == _NO_REPOSITORY and not revision.startswith("-"):
        raise LakeError("revisions need a git repository, and this folder is in none: work in a clone of the project")
    if done.returncode or revision.startswith("-"):
        raise invalid("at", "a commit, branch or tag of this repository (`git log --oneline` lists commits)", revision)
    return done.stdout.strip()


def _git(place: Path, *arguments: str, given: bytes = b"") -> bytes:
    done = subprocess.run(["git", "-C", str(place), *arguments], input=given, capture_output=True, check=False)
    if done.returncode:
        raise LakeError(f"git {' '.join(arguments)}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _render(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=1, sort_keys=True) + "\n"
