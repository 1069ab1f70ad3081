"""The schedule against torch's schedulers and against the logs of the reference system."""

from __future__ import annotations

import pytest
import torch

from modeling.config import resolve_generation
from modeling.sections import ScheduleParams
from modeling.tracking import history
from modeling.training.schedule import factor, learning_rate, phase

BASE = resolve_generation("gen1").schedule


def rates(scheduler_of, epochs: int) -> list[float]:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = scheduler_of(optimiser)
    out = []
    for _ in range(epochs):
        out.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return out


def test_step_repeats_like_torch() -> None:
    params = BASE.model_copy(update={"step_epochs": 7})
    expected = rates(lambda o: torch.optim.lr_scheduler.StepLR(o, 7, 0.5), 30)
    assert [factor(e, params) for e in range(30)] == pytest.approx(expected)


def test_cosine_like_torch() -> None:
    params = BASE.model_copy(update={"kind": "cosine", "cosine_epochs": 20})
    expected = rates(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20), 20)
    assert [factor(e, params) for e in range(20)] == pytest.approx(expected)


def test_warmup_like_torch() -> None:
    params = BASE.model_copy(update={"warmup_epochs": 5})
    expected = rates(lambda o: torch.optim.lr_scheduler.LinearLR(o, 0.01, total_iters=5), 10)
    assert [factor(e, params) for e in range(10)] == pytest.approx(expected)


def test_unit_epoch_holds_the_rate_within_an_epoch() -> None:
    per_step = ScheduleParams(**{**BASE.model_dump(), "kind": "cosine", "unit": "step"})
    per_epoch = ScheduleParams(**{**BASE.model_dump(), "kind": "cosine", "unit": "epoch"})
    assert learning_rate(19, 10, 1.0, per_epoch) == learning_rate(10, 10, 1.0, per_epoch)
    assert learning_rate(19, 10, 1.0, per_step) < learning_rate(10, 10, 1.0, per_step)


@pytest.mark.parametrize(
    ("run_id", "epochs"), [("gen2", 160), ("gen3", 160), ("gen4", 60), ("resnet-gen1", 160), ("resnet18", 38)]
)
def test_the_recorded_rate_of_every_historical_epoch(run_id: str, epochs: int) -> None:
    """The logs give the rate after the scheduler's step, to three digits: that of the next epoch."""
    params, logged = resolve_generation(run_id), [row for row in history.epochs() if row["run_id"] == run_id]
    assert len(logged) == epochs
    for row in logged:
        rate = learning_rate(row["epoch"], 1, params.optimiser.lr, params.schedule)
        assert rate == pytest.approx(row["learning_rate"], rel=6e-3, abs=1e-20), row


def test_phase_names() -> None:
    params = BASE.model_copy(update={"warmup_epochs": 5})
    assert phase(0, 5, params) == "frozen + warm-up"
    assert phase(5, 5, params) == "step"
