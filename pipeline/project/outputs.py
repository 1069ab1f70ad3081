"""A finished grid (``grid.json`` and its batches) and the report, with the checksums that show changed bytes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lake.errors import LakeError, one_line
from lake.files import atomic
from lake.root import DataRoot

SUMS = "SHA256SUMS"
GRID, BATCHES = "grid.json", "batch-*.parquet"
_SEAL = re.compile(r"<!-- sha256 of what is above: ([0-9a-f]{64}) -->\n\Z")


def grid_facts(root: DataRoot, generation: str) -> dict[str, Any]:
    """Identity, scorer, parameters and planned cells of a finder's grid."""
    path = root.grid(generation) / GRID
    again = f"run `dvc repro grid@{generation}` (or `dhs inject`, if that made it)"
    if not path.exists():
        raise LakeError(f"the grid of {generation} is missing, {path} does not exist: {again}")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise LakeError(f"{path} cannot be read ({one_line(error)}): {again}") from error


def grid_batches(root: DataRoot, generation: str) -> list[Path]:
    """The score batches of a finder's grid, in order."""
    found = sorted(root.grid(generation).glob(BATCHES))
    if not found:
        raise LakeError(f"{root.grid(generation)} contains no score batches; run `dvc repro grid@{generation}`")
    return found


def write_grid_facts(folder: Path, facts: Mapping[str, object]) -> None:
    """Write ``grid.json`` with the checksums of its batches and its own."""
    batches = {path.name: _digest(path.read_bytes()) for path in sorted(folder.glob(BATCHES))}
    sealed = {**facts, "batches": batches}
    atomic.write_text(folder / GRID, _text({**sealed, "sha256": _digest(_text(sealed).encode())}))


def grid_problems(folder: Path) -> dict[Path, str]:
    """Files of a grid that are missing or changed, with what is wrong."""
    path = folder / GRID
    if not path.exists():
        return {path: f"{path} is missing"}
    try:
        facts = json.loads(path.read_bytes())
        own, batches = facts.pop("sha256"), facts["batches"]
        known = _digest(_text(facts).encode()) == own
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        known, batches = False, {}
    if not known:
        return {path: f"{path} has changed since it was written"}
    found = {}
    for name, digest in batches.items():
        batch = folder / name
        if not batch.exists():
            found[batch] = f"{batch} is missing"
        elif _digest(batch.read_bytes()) != digest:
            found[batch] = f"{batch} has changed since it was written"
    return found


def sealed(page: str) -> str:
    """A page that ends with its own checksum."""
    return f"{page}\n<!-- sha256 of what is above: {_digest(page.encode())} -->\n"


def write_figures(folder: Path, files: Mapping[str, bytes]) -> None:
    """Pictures and data of a page's figures, by name, with their checksums."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    sums = "".join(f"{_digest(content)}  {name}\n" for name, content in sorted(files.items()))
    (folder / SUMS).write_text(sums, encoding="utf-8")


def figure_problems(folder: Path) -> dict[Path, str]:
    """Files of a page's figures that are missing or changed; nothing if the page was never made."""
    if not folder.exists():
        return {}
    try:
        lines = [line.split("  ", 1) for line in (folder / SUMS).read_text(encoding="utf-8").splitlines()]
        known = {folder / name: digest for digest, name in lines}
    except (OSError, ValueError):
        return {folder / SUMS: f"{folder / SUMS} is missing or has changed"}
    found = {place: f"{place} is missing" for place in known if not place.exists()}
    changed = (place for place in set(known) - set(found) if _digest(place.read_bytes()) != known[place])
    return found | {place: f"{place} has changed since it was written" for place in sorted(changed)}


def page_problems(path: Path) -> dict[Path, str]:
    """What is wrong with a page whose checksum is missing or wrong; nothing if the page was never made."""
    if not path.exists():
        return {}
    text = path.read_bytes().decode(errors="replace")
    seal = _SEAL.search(text)
    if seal and _digest(text[: seal.start() - 1].encode()) == seal[1]:
        return {}
    return {path: f"{path} has changed since it was written"}


def _text(facts: Mapping[str, object]) -> str:
    return json.dumps(facts, indent=1, sort_keys=True) + "\n"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
