"""Optimiser steps: each batch is assembled in the same memory, and one function does the rest.

On a GPU that function (all micro-batches and the update of the weights) is one CUDA graph, and the processor does not
wait for it.
"""

from __future__ import annotations

import logging
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lake.errors import one_line
from modeling.config import TrainParams
from modeling.networks.augment import augment, sample_seeds
from modeling.networks.inference import Arithmetic
from modeling.networks.recorded import Recorded, on
from modeling.seeds import step_seed
from modeling.training.data import TrainingArrays
from modeling.training.losses import loss_sum
from modeling.training.state import TrainingState

log = logging.getLogger(__name__)

DROPOUT_STREAM = 101
COMPILED = "compiled"


class Steps:
    """The optimiser steps of one run."""

    def __init__(
        self, params: TrainParams, state: TrainingState, arithmetic: Arithmetic, training: TrainingArrays
    ) -> None:
        self._params, self._state, self._arithmetic = params, state, arithmetic
        device, batch = arithmetic.device, params.loop.batch
        self._x = arithmetic.empty((batch, *training.x.shape[1:]))
        self._labels, self._weights = torch.zeros(batch, device=device), torch.zeros(batch, device=device)
        columns = 0 if training.metadata is None else training.metadata.shape[1]
        self._metadata = torch.zeros(batch, columns, device=device) if columns else None
        self._network: Any = torch.compile(state.network, dynamic=False) if params.execution.compile else state.network
        self._trained: bool | None = None
        self._seed = 0
        self.train(head_only=False)

    @property
    def mode(self) -> str:
        """How the last steps ran: eagerly or as a CUDA graph, with the network compiled or not."""
        compiled = self._network is not self._state.network
        return f"{self._run.mode}, {COMPILED}" if compiled else self._run.mode

    def train(self, head_only: bool) -> None:
        """Train only the head, with the backbone's batch statistics fixed too, or everything."""
        network = self._state.network.train()
        if head_only:
            network.eval().head.train()
        network.requires_grad_(not head_only).head.requires_grad_(True)
        if head_only != self._trained:  # a graph holds the gradients that it was recorded with
            self._trained, self._compiles = head_only, self._network is not network
            self._run = Recorded(self._step, self._arithmetic.device, f"training of {self._params.generation}")

    def __call__(self, training: TrainingArrays, samples: NDArray[np.int64], epoch: int, rate: float) -> None:
        """One step on samples (:func:`modeling.training.data.epoch_order`) of epoch ``epoch`` (from 0)."""
        self.fill(training, samples, epoch)
        self._state.set_rate(rate)
        self._seed = step_seed(self._params.seed, DROPOUT_STREAM, self._state.step)
        torch.manual_seed(self._seed)
        self._run()
        self._state.step += 1
        self._state.average()

    def fill(self, training: TrainingArrays, samples: NDArray[np.int64], epoch: int) -> None:
        params, count, device = self._params.augmentation, len(training), self._arithmetic.device
        seeds, rows = sample_seeds(params.seed, samples, epoch, count), samples % count
        self._x.copy_(augment(training.batches.brought(training.x, rows, device), params, seeds, epoch))
        which = on(rows, device)
        torch.index_select(training.labels, 0, which, out=self._labels)
        torch.index_select(training.weights, 0, which, out=self._weights)
        if self._metadata is not None:
            torch.index_select(cast(Tensor, training.metadata), 0, which, out=self._metadata)

    def _step(self) -> None:
        if self._compiles:
            self._compiles = False
            self._accumulate_compiled()
        else:
            self._accumulate()
        self._state.optimiser.step()

    def _accumulate(self) -> None:
        """Gradients of the batch, in micro-batches."""
        state, loop = self._state, self._params.loop
        state.optimiser.zero_grad(set_to_none=True)
        for start in range(0, loop.batch, loop.micro_batch):
            part = slice(start, start + loop.micro_batch)
            metadata = None if self._metadata is None else self._metadata[part]
            logits = self._arithmetic.forward(self._network, self._x[part], metadata)
            loss = loss_sum(logits, self._labels[part], self._weights[part], self._params.loss) / loop.batch
            loss.backward()
            state.loss_sum += loss.detach()

    def _accumulate_compiled(self) -> None:
        """The same with a network that is compiled in its first run; if that fails, it runs again uncompiled."""
        state = self._state
        before = [(held, held.clone()) for held in (state.loss_sum, *state.network.buffers())]
        try:
            self._accumulate()
        except (RuntimeError, OSError) as error:  # an error of the network itself is raised again below
            log.warning("%s is trained without compiling, more slowly: %s", self._params.generation, one_line(error))
            for held, kept in before:
                held.copy_(kept)
            self._network = state.network
            torch.manual_seed(self._seed)
            self._accumulate()
