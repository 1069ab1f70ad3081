"""Write the code card of every stage: a stage runs again when its card changes, and not after a comment."""

from __future__ import annotations

import json
import pkgutil
from pathlib import Path

from lake.files import atomic
from pipeline import stages
from pipeline.project.codecards import Code, Source
from pipeline.project.project import Project

NOTHING = "nothing"
"""The card that a network which starts from no other one depends on, in place of a checkpoint."""


def run(project: Project) -> None:
    folder, known = project.data.local / "code", project.data.local / "work" / "code.json"
    code = Code(known=_known(known))
    names = [module.name for module in pkgutil.iter_modules(stages.__path__)]
    cards = {name: code.card(f"pipeline/stages/{name}.py") for name in names}
    for name, card in {**cards, NOTHING: {}}.items():
        atomic.write_text(folder / f"{name}.json", json.dumps(card, indent=1) + "\n")
    atomic.write_text(known, json.dumps(code.sources))


def _known(path: Path) -> dict[str, Source]:
    """What earlier runs read, by content."""
    if not path.exists():
        return {}
    return {key: Source(*values) for key, values in json.loads(path.read_text()).items()}
