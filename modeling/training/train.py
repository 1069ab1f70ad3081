"""The training loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lake.errors import DataError
from lake.progress import track
from modeling.config import TrainParams
from modeling.networks.inference import threads
from modeling.training.copies import Copies
from modeling.training.data import TrainingArrays, epoch_order
from modeling.training.log import EpochRow
from modeling.training.losses import loss_sum
from modeling.training.run import Run, open_run
from modeling.training.schedule import learning_rate, phase
from modeling.training.selection import auc, measured_tpr, saturated_fraction, selection_metric

logger = logging.getLogger(__name__)

CHECK_STEPS = 100
"""Optimiser steps between checks that the loss is finite (a check waits for the GPU)."""


def train(
    params: TrainParams,
    training: TrainingArrays,
    validation: TrainingArrays,
    work: Path,
    ancestor: dict[str, Tensor] | None = None,
    on_epoch: Callable[[EpochRow], None] | None = None,
    copies: Copies | None = None,
) -> Run:
    """Train, or continue training, in the folder ``work``; on a CPU a resumed run equals an uninterrupted one bitwise.

    ``ancestor`` holds the weights of generation ``params.init`` (:meth:`Checkpoint.weights`). ``on_epoch`` gets every
    row, including those of epochs before a resumption. Every saved state goes to ``copies``.
    """
    report = on_epoch or (lambda row: None)
    with threads(params.execution.threads), torch.random.fork_rng():
        run = open_run(params, training, work, ancestor)
        run.copies = copies
        training, validation = training.to(run.arithmetic.device), validation.to(run.arithmetic.device)
        for row in run.rows:
            report(row)
        while not run.finished:
            started = time.perf_counter()
            done = run.state.step - run.epoch * run.steps_per_epoch
            position = (params.generation, run.epoch + 1, params.loop.epochs, done, run.steps_per_epoch)
            logger.info("%s epoch %d/%d: step %d of %d", *position)
            hard = train_epoch(run, training)
            row = replace(evaluate(run, validation), hard_negatives=hard)
            row = replace(row, epoch_seconds=time.perf_counter() - started)
            report(run.close_epoch(row))
            logger.info("%s epoch %d/%d: %s", params.generation, row.epoch, params.loop.epochs, row.summary())
    return run


def train_epoch(run: Run, training: TrainingArrays) -> int:
    """Run the epoch's remaining steps; rows left over after the last whole batch are dropped.

    Returns how many hard negatives are among the epoch's samples.
    """
    loop, state, epoch = run.params.loop, run.state, run.epoch
    order = epoch_order(training.labels.cpu().numpy(), loop, run.params.seed, epoch)
    run.steps.train(head_only=epoch < loop.frozen_epochs)
    first = state.step - epoch * run.steps_per_epoch
    for position in track(range(first, run.steps_per_epoch), f"{run.params.generation} epoch {epoch + 1}"):
        optimise(run, training, order[position * loop.batch : (position + 1) * loop.batch], epoch)
        saves = loop.save_every_steps and state.step % loop.save_every_steps == 0 and position + 1 < run.steps_per_epoch
        if saves or state.step % CHECK_STEPS == 0:
            _refuse_non_finite(run.state.loss_sum, "loss", run, epoch + 1)
        if saves:
            run.save()
    _refuse_non_finite(run.state.loss_sum, "loss", run, epoch + 1)
    if training.hard is None:
        return 0
    return int(training.hard[order[: run.steps_per_epoch * loop.batch] % len(training)].sum())


def optimise(run: Run, training: TrainingArrays, samples: NDArray[np.int64], epoch: int) -> None:
    """One optimiser step on the given samples; the processor does not wait for a GPU."""
    rate = learning_rate(run.state.step, run.steps_per_epoch, run.params.optimiser.lr, run.params.schedule)
    run.steps(training, samples, epoch, rate)


def evaluate(run: Run, validation: TrainingArrays) -> EpochRow:
    """Validation metrics of the epoch that just ended."""
    params, state = run.params, run.state
    logits_tensor = run.evaluated.logits(validation.x, validation.metadata).cpu()
    targets, weights = validation.labels.cpu().double(), validation.weights.cpu().double()
    loss = loss_sum(logits_tensor, targets, weights, params.loss) / len(targets)
    _refuse_non_finite(loss, "validation loss", run, run.epoch)
    logits, labels = logits_tensor.numpy(), targets.numpy()
    value = auc(logits, labels)
    return EpochRow(
        epoch=run.epoch,
        train_loss=float(state.loss_sum) / run.steps_per_epoch,
        val_loss=float(loss),
        val_auc=value,
        best_val_auc=max([value, *(row.val_auc for row in run.log[: run.epoch - 1])]),
        tpr_at_fpr_1e_4=measured_tpr(logits, labels, 1e-4),
        tpr_at_fpr_1e_3=measured_tpr(logits, labels, 1e-3),
        tpr_at_fpr_1e_2=measured_tpr(logits, labels, 1e-2),
        binary_score_frac=saturated_fraction(logits),
        metric=selection_metric(logits, labels, params.loop),
        learning_rate=learning_rate(state.step - 1, run.steps_per_epoch, params.optimiser.lr, params.schedule),
        images=run.steps_per_epoch * params.loop.batch,
        phase=phase(run.epoch - 1, params.loop.frozen_epochs, params.schedule),
        epoch_seconds=0.0,
    )


def _refuse_non_finite(value: Tensor, what: str, run: Run, epoch: int) -> None:
    if not torch.isfinite(value):
        raise DataError(
            f"the {what} of {run.params.generation} is not finite in epoch {epoch} (step {run.state.step}); "
            "lower optimiser.lr, or look for stamps with bad pixels"
        )
