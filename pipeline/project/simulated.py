"""Simulated stamps in params.yaml: which manifests are of them, and what the generations in ``train`` need of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

NO_FILE = "data/code/nothing.json"
"""A file that never changes, as the DVC dependency of stages that need none."""


def stamp_set(values: Mapping[str, Any], manifest: str) -> str | None:
    """The set whose stamps a manifest of simulated stamps has; None for manifests of cut-outs."""
    plain, base = values.get("stamp_manifest", {}).get("manifests", {}), unmined(values, manifest)
    return str(plain[base]["set_name"]) if base in plain else None


def unmined(values: Mapping[str, Any], manifest: str) -> str:
    """The manifest from which one with hard negatives of simulated stamps is made; any other manifest unchanged."""
    hardened, seen = values.get("hard_negatives", {}).get("manifests", {}), set()
    while manifest in hardened and manifest not in seen:
        seen.add(manifest)
        manifest = str(hardened[manifest]["base"])
    return manifest


def bank_missing(bank: str) -> str | None:
    """Why a set cannot be rendered with a bank (its entry in :func:`needed`), or None."""
    return None if bank == NO_FILE or Path(bank).exists() else f"{bank} is missing: `dhs bank build` makes it"


def hard_scorer(values: Mapping[str, Any], manifest: str) -> str | None:
    """The finder whose scores choose the hard negatives of a manifest of simulated stamps; None for other manifests."""
    found = values.get("hard_negatives", {}).get("manifests", {}).get(manifest)
    return None if found is None else str(found["scorer"])


def needed(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Simulated stamps that the generations in ``train`` need, and manifests that are made without one: DVC's files
    make stages of these alone.

    ``bank`` of a set is the file of real galaxies that it is rendered with, or one that never changes.
    """
    trained = (values.get("train") or {}).values()
    wanted = {entry["parameters"]["manifest"] for entry in trained if "parameters" in entry}
    wanted |= set(values.get("stamp_manifest", {}).get("made_anyway", ()))
    hard: dict[str, Any] = {}
    while (more := _held(values, "hard_negatives", "manifests", wanted)) != hard:
        hard, wanted = more, wanted | {entry["base"] for entry in more.values()}
    plain = _held(values, "stamp_manifest", "manifests", wanted)
    sets = _held(values, "stamps", "sets", {entry["set_name"] for entry in plain.values()})
    for entry in sets.values():
        entry["bank"] = values["stamps"]["rendering"]["bank"]["path"] if entry["sources"] == "bank" else NO_FILE
    plans = _held(values, "plan", "plans", {entry["plan"] for entry in sets.values()})
    return {"plans": plans, "sets": sets, "manifests": plain, "hard_negatives": hard}


def _held(values: Mapping[str, Any], section: str, key: str, names: Collection[str]) -> dict[str, Any]:
    return {name: dict(entry) for name, entry in values.get(section, {}).get(key, {}).items() if name in names}
