"""Generations as overlays: what differs from what, and new ones of a project's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from pydantic import BaseModel

from lake.errors import invalid, not_one_of
from lake.files import atomic
from lake.names import generation_name
from modeling.config import Own, TrainParams, base_values, based_on, changed, generations, resolve_generation
from pipeline.project import params
from pipeline.project.generations import require_manifest, setting
from pipeline.project.project import Project

_UNCOMPARED = {"generation", "description", "reference"}


def overview(folder: Path) -> pa.Table:
    """Every generation, shipped and own, with what it is based on and what differs from that."""
    own = params.own_generations(folder)
    rows = []
    for name in (*generations(), *own):
        base = based_on(name, own)
        here, below = _flat_values(name, own), _flat_values(base, own)
        changes = [f"{key}={_shown(value)}" for key, value in here.items() if below[key] != value]
        rows.append({"generation": name, "based_on": base or "base", "differs": ", ".join(changes)})
    return pa.Table.from_pylist(rows)


def compared(folder: Path, names: Sequence[str]) -> pa.Table:
    """Parameters that differ between generations, one row each; of a single generation, all."""
    own = params.own_generations(folder)
    held = {name: _flat_values(name, own) for name in names}
    keys = [
        key
        for key in next(iter(held.values()))
        if len(held) == 1 or len({_shown(one[key]) for one in held.values()}) > 1
    ]
    columns = {name: [_shown(values[key]) for key in keys] for name, values in held.items()}
    return pa.table({"parameter": keys, **columns})


def make(project: Project, name: str, base: str, settings: Sequence[str], description: str | None) -> Path:
    """Write a generation of the project's own, checked; returns its file. Nothing that exists is overwritten."""
    own = params.own_generations(project.folder)
    path = params.own_generation(project.folder, generation_name(name, "name"))
    if base not in {*generations(), *own}:
        raise not_one_of("based-on", sorted({*generations(), *own}), base)
    if name in {*generations(), *own, *project.trained, *project.audited, *project.data.finders()} or path.exists():
        raise invalid("name", "one that no generation or finder has", name)
    told = description or f"{base} with {', '.join(settings) or 'no changes'}."
    overlay = {"based_on": base, "description": told, **changed({}, dict(setting(text) for text in settings))}
    require_manifest(project, resolve_generation(name, own={**own, name: overlay}))
    head = f"# Made by `dhs new`. `dhs generations {name}` shows all parameters, `dhs train {name}` trains it.\n"
    atomic.write_text(path, head + yaml.safe_dump(overlay, sort_keys=False, width=110))
    return path


def _flat_values(name: str | None, own: Own) -> dict[str, Any]:
    """Parameters by dotted key; without a name, those of the base."""
    values = (
        resolve_generation(name, own=own) if name else TrainParams.load({**base_values(), "generation": "base"}, "base")
    )
    return {key: value for key, value in _flat(values) if key.partition(".")[0] not in _UNCOMPARED}


def _flat(section: BaseModel, above: str = "") -> Iterator[tuple[str, Any]]:
    """Parameters of a section and of those in it, also those that are left out of dumps where they are neutral."""
    dumped = section.model_dump(mode="json")
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", dumped.get(name, value)


def _shown(value: Any) -> str:
    """A value as it is written in a setting."""
    return str(yaml.safe_dump(value, default_flow_style=True, width=1000)).removesuffix("\n").removesuffix("\n...")
