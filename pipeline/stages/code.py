"""Write the code card of every stage: a stage runs again when its card changes, and not after a comment."""

from __future__ import annotations

import json
import pkgutil

from lake.files import atomic
from pipeline import stages
from pipeline.project.codecards import Code
from pipeline.project.project import Project

NOTHING = "nothing"
"""An empty card: a network that starts from random weights depends on it instead of a checkpoint."""


def run(project: Project) -> None:
    code = Code()
    names = [module.name for module in pkgutil.iter_modules(stages.__path__)]
    cards = {name: code.card(f"pipeline/stages/{name}.py") for name in names}
    for name, card in {**cards, NOTHING: {}}.items():
        atomic.write_text(project.data.local / "code" / f"{name}.json", json.dumps(card, indent=1) + "\n")
