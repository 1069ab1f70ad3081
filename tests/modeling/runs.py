"""A training that a process of its own can run, and what it leaves."""

from __future__ import annotations

from pathlib import Path

import torch

from modeling.config import resolve_generation
from modeling.training.copies import Copies
from modeling.training.run import Run
from modeling.training.state import read
from modeling.training.train import train
from tests.modeling.conftest import SMALL, arrays

RESUMED = {**SMALL, "loop": {**SMALL["loop"], "epochs": 4}}


def whole_run(folder: Path, save_every: int, place: str | None = None) -> Run:
    """Train, or go on training, four epochs on ring stamps; with copies at a place of an object store."""
    params = resolve_generation("demo1", RESUMED)
    params = params.model_copy(update={"loop": params.loop.model_copy(update={"save_every_steps": save_every})})
    data = (arrays(folder / "t", params, 240, 1), arrays(folder / "v", params, 30, 2))
    copies = Copies(folder / "work", place) if place else None
    if copies:
        copies.fetch()
    return train(params, *data, folder / "work", copies=copies)


def tensors(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a state file."""
    return read(path)[0]


def same(a: Path, b: Path) -> bool:
    """Whether two state files hold the same tensors, bit for bit."""
    left, right = tensors(a), tensors(b)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
