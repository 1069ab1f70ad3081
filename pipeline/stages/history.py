"""Import the recorded runs of the reference system, marked historical, into tables and MLflow."""

from __future__ import annotations

from modeling import history, tracking
from pipeline.context import RunContext


def run(context: RunContext, params: None) -> None:
    where = {"origin": "historical"}
    context.write("training_epochs", history.training_epochs(), "historical", where)
    context.write("experiments", history.experiments(), "historical", where)
    tracking.import_history(context.root)
