"""The experiments of the stage ``trials`` and their parameters: one more is one more entry in each of the two."""

from __future__ import annotations

from injection.experiment.bright_arcs import BrightArcParams, bright_arcs
from injection.experiment.trials import Experiment
from lake.config import Section


class TrialsParams(Section):
    """The experiments of the stage trials, by name."""

    bright_arcs: BrightArcParams
    """Bright arcs at small source offsets."""


def experiments(params: TrialsParams) -> tuple[Experiment, ...]:
    """Every experiment."""
    return (bright_arcs(params.bright_arcs),)
