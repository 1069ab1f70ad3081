"""The stages as DVC's files describe them, and MLproject, which ``make deps`` writes from that."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lake import yamltext
from lake.errors import not_one_of

FILES = ("params/demo/dvc.yaml", "params/simulated/dvc.yaml", "dvc.yaml")
MLPROJECT = Path("MLproject")

_INTRODUCTION = """\
# `mlflow run . -e train --env-manager local -P generation=NAME` trains any generation of docs/training.md after what it
# needs; `mlflow run . -e <stage> --env-manager local` runs a stage in the environment that `make setup` made.
# Written by `make deps` from dvc.yaml.
name: darkhaloscope

entry_points:
"""
_DEFAULTS = {"generation": "demo1", "setting": '""', "manifest": "audit_70_15_15"}


def stages(root: Path) -> dict[str, dict[str, Any]]:
    """The body of every stage of every DVC file, by stage name; none in a folder without DVC's files."""
    files = [root / name for name in FILES if (root / name).exists()]
    found = [yamltext.values(path.read_text(encoding="utf-8"))["stages"] for path in files]
    return {stage: body.get("do", body) for held in found for stage, body in held.items()}


def body(root: Path, stage: str) -> dict[str, Any]:
    """The body of one stage."""
    bodies = stages(root)
    if stage not in bodies:
        raise not_one_of("stage", list(bodies), stage)
    return bodies[stage]


def outputs(body: dict[str, Any], name: str | None) -> list[str]:
    """Paths of what a stage makes, metrics included, for the finder or manifest ``name``."""
    outs = [out for kind in ("outs", "metrics") for out in body.get(kind) or []]
    return _named([out if isinstance(out, str) else next(iter(out)) for out in outs], name)


def blobs(body: dict[str, Any], name: str | None) -> list[str]:
    """Paths of what a stage reads of the project's data besides tables, listings and hashes of code."""
    paths = [path for path in body.get("deps") or [] if re.match(r"data/(?!cards/|code/|listing/)", path)]
    return _named(paths, name)


def _named(paths: list[str], name: str | None) -> list[str]:
    return [re.sub(r"\$\{(item\.\w+|key)\}", name or "", path) for path in paths]


def cards(root: Path, stage: str, name: str | None) -> list[str]:
    """Names of the cards (table or table.slice) that a stage makes."""
    paths = outputs(body(root, stage), name)
    found = (re.fullmatch(r"data/cards/([^/]+?)(?<!\.pin)\.json", path) for path in paths)
    return [match[1] for match in found if match]


def per_finder(root: Path) -> dict[str, dict[str, Any]]:
    """The stages that measure one finder."""
    return {stage: body for stage, body in stages(root).items() if "matrix" in body}


def of_one_finder(root: Path) -> list[str]:
    """Those of them that read nothing of other finders."""
    found = per_finder(root).items()
    return [stage for stage, body in found if any("${item.generation}" in path for path in body["deps"])]


def made_for(root: Path, finder: str) -> list[Path]:
    """What the stages that measure one finder make for it."""
    bodies = per_finder(root).values()
    return [root / path for body in bodies for path in outputs(body, finder) if path not in outputs(body, None)]


def mlproject(root: Path) -> str:
    """The text of MLproject: one entry point for each stage."""
    return _INTRODUCTION + "".join(_entry(stage, body) for stage, body in stages(root).items())


def _entry(stage: str, body: dict[str, Any]) -> str:
    command, names = f"dhs run {stage}", []
    if stage == "train":  # trains what the generation starts from, too
        command, names = "dhs train {generation} {setting}", ["generation", "setting"]
    elif "--named" in body["cmd"]:
        names = ["generation" if "matrix" in body else "manifest" if stage == "manifest" else "name"]
        command += f" --{names[0]} {{{names[0]}}}"
    default = {name: f", default: {_DEFAULTS[name]}" if name in _DEFAULTS else "" for name in names}
    parameters = [f"      {name}: {{type: string{default[name]}}}" for name in names]
    lines = [f"  {stage}:", *(["    parameters:", *parameters] if names else []), f'    command: "{command}"', ""]
    return "\n".join(lines)


if __name__ == "__main__":
    MLPROJECT.write_text(mlproject(Path()))
