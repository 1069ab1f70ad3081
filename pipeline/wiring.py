"""Keeps the code dependencies of DVC's stages equal to what the stage modules import: ``make deps``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.dependencies import PACKAGES, stage_files

FILES = ("dvc.yaml", "demo/dvc.yaml")


def stages(root: Path) -> dict[str, dict[str, Any]]:
    """The body of every stage of every DVC file, by stage name."""
    found: dict[str, dict[str, Any]] = {}
    for name in FILES:
        for stage, body in _load(root / name)["stages"].items():
            found[stage] = body.get("do", body)
    return found


def is_code(dependency: str) -> bool:
    """Whether a dependency is a file of the project (and not data)."""
    return dependency.split("/")[0] in PACKAGES


def update(root: Path) -> None:
    """Write the code dependencies into the DVC files."""
    for name in FILES:
        content = _load(root / name)
        for stage, entry in content["stages"].items():
            body = entry.get("do", entry)
            data = [dependency for dependency in body.get("deps") or [] if not is_code(dependency)]
            body["deps"] = data + stage_files(root, stage)
        with (root / name).open("w") as file:
            _yaml().dump(content, file)


def _load(path: Path) -> Any:
    return _yaml().load(path.read_text())


def _yaml() -> YAML:
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 120
    return yaml


if __name__ == "__main__":
    update(Path(__file__).resolve().parent.parent)
