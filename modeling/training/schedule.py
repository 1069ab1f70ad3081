"""The learning rate: a pure function of the step, so a resumed run follows the same schedule."""

from __future__ import annotations

import math

from modeling.sections import ScheduleParams


def learning_rate(step: int, steps_per_epoch: int, peak: float, params: ScheduleParams) -> float:
    """Rate of optimiser step ``step`` (from 0) when ``peak`` is the configured rate."""
    epochs_done = step // steps_per_epoch if params.unit == "epoch" else step / steps_per_epoch
    return peak * factor(epochs_done, params)


def factor(epochs_done: float, params: ScheduleParams) -> float:
    """Fraction of the peak rate after ``epochs_done`` epochs.

    Drops and the cosine count from the start of the run, warm-up included, but do not apply during it.
    """
    if epochs_done < params.warmup_epochs:
        return params.warmup_start + (1 - params.warmup_start) * epochs_done / params.warmup_epochs
    if params.kind == "step":
        return params.gamma ** math.floor(epochs_done / params.step_epochs)
    if params.kind == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(epochs_done / params.cosine_epochs, 1.0)))
    return 1.0


def phase(epochs_done: float, frozen_epochs: int, params: ScheduleParams) -> str:
    """Name of an epoch's phase, for logs."""
    parts = []
    if epochs_done < frozen_epochs:
        parts.append("frozen")
    if epochs_done < params.warmup_epochs:
        parts.append("warm-up")
    return " + ".join(parts) or params.kind
