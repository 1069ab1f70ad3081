"""Scorers: whatever takes stamps in nMgy and gives logits; our checkpoints are one kind, a user's finder another."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lake.config import Section
from lake.errors import DataError, invalid
from lake.survey import BANDS, STAMP_PIXELS
from modeling.card import FINDER
from modeling.checkpoint import Checkpoint
from modeling.hardware import DTYPES, device_of
from modeling.inference import Arithmetic, logits_of, threads
from modeling.networks import restored
from modeling.preprocess import centre_crop, normalise

CHUNK = 512
"""Stamps normalised and scored at a time."""


@runtime_checkable
class Scorer(Protocol):
    """Takes stamps (batch, band, y, x) float32 nMgy, gives one logit each."""

    name: str
    scorer_id: str
    stamp_pixels: int

    def score(self, stamps: NDArray[np.float32]) -> NDArray[np.float64]:
        """Logits (batch,) of stamps (batch, band, y, x)."""
        ...


class FinderParams(Section):
    """``scorer.json`` of a folder that stands for somebody's own finder."""

    finder: str
    """Import path ``package:object`` of a scorer, a class that makes one, or a function of stamps."""
    stamp_pixels: int
    """Side of the stamps it takes."""
    version: str | None = None
    """Its version; the source file's hash where it declares none."""


class CheckpointScorer:
    """A checkpoint with its own preprocessing.

    Another preprocessing than the model's own must be asked for (``foreign``); the scorer then has another identity.
    """

    def __init__(self, checkpoint: Checkpoint, foreign: dict[str, Any] | None = None) -> None:
        card = checkpoint.card
        self.preprocessing = card.preprocessing
        if foreign:
            values = {**card.preprocessing.model_dump(), **foreign}
            self.preprocessing = type(card.preprocessing).load(values, "preprocessing")
        weights = checkpoint.weights()
        self.name = card.config.generation
        self.scorer_id = checkpoint.identity(weights, self.preprocessing)
        self.stamp_pixels = card.stamp_pixels
        if card.config.network.metadata_columns:
            raise DataError(f"{self.name} needs observing conditions beside the pixels; a scorer takes pixels only")
        execution = card.config.execution
        self._threads = execution.threads
        self._network = restored(card.config.network, weights)
        dtype = DTYPES["bf16" if card.dtype == "bfloat16" else "fp32"]
        self._arithmetic = Arithmetic(device_of(execution), dtype, execution.channels_last)
        self._arithmetic.place(self._network)

    @property
    def minimum_pixels(self) -> int:
        """Side of the smallest stamp that holds the annulus and the crop."""
        if self.preprocessing.crop_pixels == 0:
            return self.stamp_pixels
        radii = self.preprocessing.annulus
        around = 0 if radii == "auto" else 2 * int(np.ceil(radii[1])) - 1
        return max(self.preprocessing.crop_pixels, around)

    def score(self, stamps: NDArray[np.float32]) -> NDArray[np.float64]:
        """Logits (batch,); the same for a stamp in any batch (bitwise on one machine and thread count)."""
        return self.score_tensor(torch.from_numpy(np.ascontiguousarray(stamps)))

    def score_tensor(self, stamps: Tensor) -> NDArray[np.float64]:
        """Logits (batch,) of a tensor on any device."""
        self._check(tuple(stamps.shape))
        parts = [np.empty(0)]
        with threads(self._threads):
            for chunk in stamps.split(CHUNK):
                parts.append(logits_of(self._network, self._arithmetic, self._prepared(chunk)).numpy())
        return np.concatenate(parts)

    def embed(self, stamps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features (batch, feature) before the last layer."""
        self._check(stamps.shape)
        parts = []
        with threads(self._threads), torch.inference_mode():
            for chunk in torch.from_numpy(np.ascontiguousarray(stamps)).split(CHUNK):
                x = self._prepared(chunk).to(self._arithmetic.device)
                parts.append(self._network.eval().embed(x).float().cpu().numpy())
        return np.concatenate(parts)

    def _prepared(self, stamps: Tensor) -> Tensor:
        x = stamps.to(self._arithmetic.device)
        return normalise(centre_crop(x, min(self.stamp_pixels, x.shape[-1])), self.preprocessing)

    def _check(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 4 or shape[1] != len(BANDS) or shape[2] != shape[3] or shape[3] < self.minimum_pixels:
            raise invalid(
                "stamps", f"(batch, {len(BANDS)}, n, n) with n >= {self.minimum_pixels} for {self.name}", shape
            )


class ExternalScorer:
    """A user's own finder: its answers are checked, its identity is its declared version or its source."""

    def __init__(self, params: FinderParams) -> None:
        finder = _imported(params.finder)
        self.name = str(getattr(finder, "name", params.finder.replace(":", ".")))
        self.stamp_pixels = int(getattr(finder, "stamp_pixels", params.stamp_pixels))
        version = params.version or getattr(finder, "version", None) or _source_hash(finder)
        self.scorer_id = hashlib.sha256(f"{params.finder} {version}".encode()).hexdigest()[:16]
        self._score = getattr(finder, "score", finder)
        if not callable(self._score):
            raise invalid("finder", "a scorer, a class that makes one, or a function of stamps", params.finder)

    def score(self, stamps: NDArray[np.float32]) -> NDArray[np.float64]:
        """Logits (batch,), as the finder answers them; of larger stamps it is given the middle."""
        if stamps.shape[-1] > self.stamp_pixels:
            stamps = np.ascontiguousarray(centre_crop(torch.from_numpy(stamps), self.stamp_pixels).numpy())
        logits = np.asarray(self._score(stamps), dtype=np.float64)
        if logits.shape != (len(stamps),):
            raise DataError(
                f"finder {self.name} must answer {len(stamps)} logits, got an array of shape {logits.shape}"
            )
        if not np.isfinite(logits).all():
            raise DataError(
                f"finder {self.name} answered {int((~np.isfinite(logits)).sum())} logits that are not finite"
            )
        return logits


def load_scorer(source: str | Path, foreign: dict[str, Any] | None = None) -> Scorer:
    """A scorer from a checkpoint folder, a folder with ``scorer.json``, or ``package:object``.

    ``foreign`` replaces keys of a checkpoint's preprocessing, on the caller's explicit wish.
    """
    folder = Path(source)
    if (folder / FINDER).exists():
        values = json.loads((folder / FINDER).read_text(encoding="utf-8"))
        return ExternalScorer(FinderParams.load(values, str(folder / FINDER)))
    if folder.is_dir():
        return CheckpointScorer(Checkpoint.load(folder), foreign)
    if ":" in str(source):
        return ExternalScorer(FinderParams(finder=str(source), stamp_pixels=STAMP_PIXELS))
    raise invalid("scorer", "a checkpoint folder, a folder with scorer.json, or package:object", str(source))


def _imported(path: str) -> Any:
    module_name, _, attribute = path.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise DataError(
            f"the finder '{path}' cannot be imported: {error}; install its package, or put it into {here}"
        ) from error
    return found() if inspect.isclass(found) else found


def _source_hash(finder: Any) -> str:
    described = finder if inspect.isfunction(finder) else type(finder)
    try:
        return hashlib.sha256(Path(inspect.getfile(described)).read_bytes()).hexdigest()
    except (TypeError, OSError) as error:
        raise DataError(f"finder {finder!r} has no source file to identify it; give it a 'version'") from error
