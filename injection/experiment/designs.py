"""The experiments of the stage ``trials`` and their parameters: one more is one more entry in each of the two."""

from __future__ import annotations

from injection.experiment.bright_arcs import BrightArcParams, bright_arcs
from injection.experiment.host_pairs import HostPairParams, host_pairs
from injection.experiment.sensitivity import SensitivityParams, sensitivity
from injection.experiment.trials import Experiment
from lake.config import Section


class TrialsParams(Section):
    """The experiments of the stage trials, by name."""

    bright_arcs: BrightArcParams
    """Bright arcs at small source offsets."""
    sensitivity: SensitivityParams
    """The grid's draws with one assumption changed at a time."""
    host_pairs: HostPairParams
    """Hosts of any type and early types, with independent and conditioned lens shapes."""


def experiments(params: TrialsParams) -> tuple[Experiment, ...]:
    """Every experiment."""
    return bright_arcs(params.bright_arcs), sensitivity(params.sensitivity), host_pairs(params.host_pairs)
