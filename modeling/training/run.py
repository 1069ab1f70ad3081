"""A training run in its work folder: how it starts, resumes and closes epochs."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lake.errors import DataError, invalid, one_line
from lake.files import atomic
from modeling.config import TrainParams
from modeling.networks.factory import LensFinder, build
from modeling.networks.inference import DTYPES, Arithmetic, BatchedNetwork, choose_dtype, device_of
from modeling.seeds import step_seed
from modeling.training.copies import Copies
from modeling.training.data import TrainingArrays
from modeling.training.log import EpochRow, append_row, read_log
from modeling.training.state import STATE, TrainingState
from modeling.training.steps import Steps

logger = logging.getLogger(__name__)

WEIGHTS_STREAM = 102
BEST, LOG, RUN = "best.safetensors", "epochs.jsonl", "run.json"


@dataclass
class Run:
    """A training run, as the loop uses it."""

    params: TrainParams
    work: Path
    arithmetic: Arithmetic
    state: TrainingState
    log: list[EpochRow]
    """Rows of all logged epochs; after a kill there may be one more than epochs completed."""
    steps_per_epoch: int
    steps: Steps
    evaluated: BatchedNetwork
    """The network whose weights are evaluated and kept"""
    copies: Copies | None = None

    @property
    def epoch(self) -> int:
        """Epochs completed."""
        return self.state.step // self.steps_per_epoch

    @property
    def rows(self) -> list[EpochRow]:
        """Log of the completed epochs."""
        return self.log[: self.epoch]

    @property
    def finished(self) -> bool:
        """Whether all epochs ran, or the metric has not improved for ``patience`` epochs."""
        patience = self.params.loop.patience
        waited = self.epoch - self.state.best_epoch
        return self.epoch >= self.params.loop.epochs or bool(patience and self.epoch and waited >= patience)

    def close_epoch(self, row: EpochRow) -> EpochRow:
        """Log the epoch unless it is logged already, keep the weights if they are the best, save the state.

        Returns the row as it was logged first.
        """
        if row.epoch > len(self.log):
            append_row(self.work / LOG, row)
            self.log.append(row)
        self.state.loss_sum.zero_()
        if self.state.best_metric is None or row.metric > self.state.best_metric:
            self.state.best_metric, self.state.best_epoch = row.metric, row.epoch
            self.state.save(self.work / BEST)
        keep = self.params.loop.keep_every_epochs
        if keep and row.epoch % keep == 0:
            self.state.save(self._of_epoch(row.epoch))
            self._prune(row.epoch)
        self.save()
        return self.log[row.epoch - 1]

    def _of_epoch(self, epoch: int) -> Path:
        return self.work / f"epoch-{epoch:04d}.safetensors"

    def _prune(self, epoch: int) -> None:
        """Delete the states of epochs up to this one that are not among the best."""
        if most := self.params.loop.keep_best_epochs:
            for row in sorted(self.log[:epoch], key=lambda row: (-row.metric, row.epoch))[most:]:
                self._of_epoch(row.epoch).unlink(missing_ok=True)

    def save(self) -> None:
        """Save the state to resume from, and copy it where copies are wanted."""
        self.state.save(self.work / STATE)
        if self.copies is not None:
            self.copies.send()


def open_run(params: TrainParams, training: TrainingArrays, work: Path, ancestor: dict[str, Tensor] | None) -> Run:
    """Start a run in ``work``, or resume the one already there. Seeds torch's generator."""
    if len(training) < params.loop.batch:
        raise invalid("loop.batch", f"at most the {len(training)} training rows", params.loop.batch)
    if (params.init is None) != (ancestor is None):
        raise DataError(f"generation {params.generation} starts from {params.init or 'no other'}: pass those weights")
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(step_seed(params.seed, WEIGHTS_STREAM))
    network = _network(params, training.x.shape[1], fresh=ancestor is None and not (work / STATE).exists())
    if ancestor is not None:
        _inherit(network, ancestor, params)
    dtype = _kept_dtype(params, network, training, work)
    arithmetic = Arithmetic(device_of(params.execution), DTYPES[dtype], params.execution.channels_last)
    state = TrainingState(network, params.optimiser, arithmetic)
    try:
        past = read_log(work / LOG)
    except (OSError, ValueError, TypeError) as error:
        raise _unreadable(work / LOG, error) from error
    steps, evaluated = Steps(params, state, arithmetic, training), BatchedNetwork(state.evaluated, arithmetic)
    run = Run(params, work, arithmetic, state, past, len(training) // params.loop.batch, steps, evaluated)
    if (work / STATE).exists():
        try:
            state.load(work / STATE)
        except (DataError, KeyError, ValueError, RuntimeError) as error:
            raise _unreadable(work / STATE, error) from error
        logger.info("%s resumes after step %d (epoch %d)", params.generation, state.step, run.epoch)
    return run


def _network(params: TrainParams, bands: int, *, fresh: bool) -> LensFinder:
    """The network of a run; only a fresh one starts from ImageNet weights, so no other needs them."""
    pretrained = params.network.pretrained and fresh
    return build(params.network.model_copy(update={"pretrained": pretrained}), bands)


def _inherit(network: LensFinder, weights: dict[str, Tensor], params: TrainParams) -> None:
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(
            f"the weights of {params.init} do not fit network {params.network.name}: {one_line(error)}"
        ) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} of an interrupted run cannot be read ({one_line(error)}): delete {path.parent}, and the "
        "training starts again from the beginning"
    )


def _kept_dtype(params: TrainParams, network: LensFinder, training: TrainingArrays, work: Path) -> str:
    """The arithmetic of the run, chosen at its start and then kept; DataError if the folder belongs to another run."""
    identity = {"science": params.science_digest(), "rows": len(training)}
    path = work / RUN
    if path.exists():
        try:
            kept = dict(json.loads(path.read_text(encoding="utf-8")))
            dtype = kept.pop("dtype")
            DTYPES[dtype]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise _unreadable(path, error) from error
        if kept != identity:
            raise DataError(f"{work} holds the partial work of another run ({kept}, here {identity}); delete it")
        return str(dtype)
    dtype = choose_dtype(params.execution, network, tuple(training.x.shape[1:]), len(params.network.metadata_columns))
    atomic.write_text(path, json.dumps({**identity, "dtype": dtype}))
    return dtype
