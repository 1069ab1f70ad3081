"""Import the recorded runs of the reference system into tables, marked historical; the report copies them to MLflow."""

from __future__ import annotations

from lake.store.cards import SURVEY
from modeling.tracking import history
from pipeline.project.context import RunContext


def run(context: RunContext, params: None) -> None:
    where = {"origin": "historical"}
    del context.inputs[SURVEY]  # these runs belong to no survey
    context.write("training_epochs", history.training_epochs(), "historical", where)
    context.write("experiments", history.experiments(), "historical", where)
