"""Ensembles: finders and a meta-learner on their logits, in one file, as one finder that any audit takes; also a single
network, averaged over orientations.

The file is JSON, ``NAME.ensemble``: nothing in it is executed. Members are folders of checkpoints or of users' own
finders, relative to the file, each with the identity that the meta-learner was fitted with.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lake.config import Section
from lake.errors import DataError, one_line
from lake.scorer import Scorer
from modeling.sections import Conditions

SUFFIX = ".ensemble"

Floats = NDArray[np.float64]


class Member(Section):
    """A finder of an ensemble."""

    folder: str
    """Where it is, relative to the ensemble's file."""
    checkpoint_id: str
    """Its identity when the meta-learner was fitted; if ``averaged``, that of the averaged network."""
    averaged: bool = False
    """Whether its logits are means over the eight orientations of a stamp."""


class EnsembleFile(Section):
    """Content of an ensemble's file."""

    members: tuple[Member, ...] = Field(min_length=1)
    conditions: Conditions = ()
    """Observing conditions that the meta-learner takes after the members' logits, as logarithms."""
    mean: tuple[float, ...]
    """Subtracted from each input before it is divided by ``scale``."""
    scale: tuple[float, ...]
    layers: tuple[tuple[tuple[tuple[float, ...], ...], tuple[float, ...]], ...] = Field(min_length=1)
    """Weights (input, output) and biases (output) of each layer; all but the last are followed by a rectifier."""

    @property
    def words(self) -> str:
        """What it is."""
        names = [f"{Path(one.folder).name}{', averaged over orientations' * one.averaged}" for one in self.members]
        return names[0] if len(names) == 1 else f"an ensemble of {', '.join(names)}"


def averaged(folder: str, checkpoint_id: str) -> str:
    """The file of one averaged network, whose logits are used unchanged."""
    alone = Member(folder=folder, checkpoint_id=checkpoint_id, averaged=True)
    content = EnsembleFile(members=(alone,), mean=(0.0,), scale=(1.0,), layers=((((1.0,),), (0.0,)),))
    return json.dumps(content.model_dump(mode="json"), indent=1) + "\n"


@dataclass(frozen=True)
class MetaLearner:
    """Layers on standardised inputs: one layer is a logistic regression."""

    mean: Floats
    scale: Floats
    layers: Sequence[tuple[Floats, Floats]]

    def logits(self, inputs: Floats) -> Floats:
        """Logits (batch,) of inputs (batch, member and condition)."""
        values = (inputs - self.mean) / self.scale
        for place, (weights, biases) in enumerate(self.layers):
            values = _summed(values if place == 0 else np.maximum(values, 0.0), weights, biases)
        return values[:, 0]


def _summed(values: Floats, weights: Floats, biases: Floats) -> Floats:
    """``values @ weights + biases``, in an order of summation that does not depend on the batch, as that of a product
    of matrices does."""
    total = np.tile(biases, (len(values), 1))
    for column, row in zip(values.T, weights, strict=True):
        total += column[:, None] * row
    return total


def inputs_of(logits: Sequence[Floats], conditions: Floats | None) -> Floats:
    """Inputs of a meta-learner: the members' logits, and the logarithms of positive conditions (batch, column)."""
    columns = list(logits) if conditions is None else [*logits, *np.log(conditions).T]
    return np.stack(columns, axis=1).astype(np.float64)


class Ensemble:
    """The finder in an ensemble's file."""

    output = "logits"
    accepts_nan = True
    """Its members treat unobserved pixels each in their own way."""

    def __init__(self, path: Path) -> None:
        from modeling.scoring.scorer import load_scorer

        content = read_ensemble(path)
        self._own = content.conditions
        self._learner = MetaLearner(
            np.array(content.mean), np.array(content.scale), [(np.array(w), np.array(b)) for w, b in content.layers]
        )
        self._members: list[Scorer] = []
        for member in content.members:
            scorer = load_scorer(path.parent / member.folder, averaged=member.averaged)
            if scorer.checkpoint_id != member.checkpoint_id:
                how = (
                    "audit it again with `dhs audit --average`"
                    if member.averaged
                    else "fit it again with `dhs ensemble`"
                )
                raise DataError(
                    f"{path} was fitted to {member.folder} as it was ({member.checkpoint_id}), which is now "
                    f"{scorer.checkpoint_id}: {how}"
                )
            self._members.append(scorer)
        sides = [scorer.stamp_pixels for scorer in self._members]
        self.stamp_pixels = max((side for side in sides if side is not None), default=None)
        self.bands = next((scorer.bands for scorer in self._members if scorer.bands), None)
        self.conditions = tuple(dict.fromkeys([*(n for s in self._members for n in s.conditions), *self._own]))

    def score(self, stamps: NDArray[np.float32], conditions: NDArray[Any] | None = None) -> Floats:
        """Logits (batch,) of stamps (batch, band, y, x) and what members and meta-learner need of ``conditions``."""
        logits = [scorer.score(stamps, self._some(conditions, scorer.conditions)) for scorer in self._members]
        return self._learner.logits(inputs_of(logits, self._some(conditions, self._own)))

    def _some(self, conditions: NDArray[Any] | None, names: Sequence[str]) -> Floats | None:
        if conditions is None or not names:
            return None
        return np.asarray(conditions[:, [self.conditions.index(name) for name in names]], dtype=np.float64)


def kind_of(finder: str) -> str:
    """What a finder of ``scorer.json`` is, in words."""
    path = Path(finder)
    return read_ensemble(path).words if path.suffix == SUFFIX else "a user's own finder"


def read_ensemble(path: Path) -> EnsembleFile:
    """Content of an ensemble's file, whose shapes fit together."""
    try:
        content = EnsembleFile.load(json.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as an ensemble: {one_line(error)}") from error
    sizes = [len(content.members) + len(content.conditions)]
    for weights, biases in content.layers:
        if len(weights) != sizes[-1] or any(len(row) != len(biases) for row in weights):
            raise DataError(f"{path} is damaged: a layer of {len(weights)} inputs follows {sizes[-1]} values")
        sizes.append(len(biases))
    if sizes[-1] != 1 or len(content.mean) != sizes[0] or len(content.scale) != sizes[0]:
        raise DataError(f"{path} is damaged: its layers do not lead from {sizes[0]} inputs to one logit")
    return content
