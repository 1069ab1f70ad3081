"""The generations the package ships: overlays on one base, resolved into the parameters of a run."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

import yaml

from lake.errors import ParameterError, invalid
from modeling.config import TrainParams


def generations() -> tuple[str, ...]:
    """Names of the generations the package ships."""
    folder = resources.files("modeling") / "generations"
    names = (entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    return tuple(sorted(name for name in names if name != "base"))


def resolve_generation(name: str, overrides: Mapping[str, Any] | None = None) -> TrainParams:
    """Resolve a generation: base, overlays along ``based_on``, then ``overrides`` (nested, or with dotted keys)."""
    values = _overlay_chain(name)
    for key, value in (overrides or {}).items():
        values = _merge(values, _nested(key, value))
    return TrainParams.load({**values, "generation": name}, f"generation {name}")


def _overlay_chain(name: str) -> dict[str, Any]:
    if name not in generations():
        raise invalid("generation", f"one of {', '.join(generations())}", name)
    overlay = _read(name)
    parent = overlay.pop("based_on", None)
    below = _overlay_chain(parent) if parent else _read("base")
    if parent:
        below["reference"] = None
    return _merge(below, overlay)


def _read(name: str) -> dict[str, Any]:
    text = (resources.files("modeling") / "generations" / f"{name}.yaml").read_text(encoding="utf-8")
    values = yaml.safe_load(text)
    if not isinstance(values, dict):
        raise ParameterError(f"generations/{name}.yaml must hold a mapping")
    return values


def _nested(key: str, value: Any) -> dict[str, Any]:
    head, _, rest = key.partition(".")
    return {head: _nested(rest, value) if rest else value}


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
