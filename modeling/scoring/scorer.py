"""Scorers take stamps in nMgy and return logits; they are checkpoints of this project or a user's own finder."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lake.errors import DataError, invalid
from modeling.networks.augment import SYMMETRIES, apply_symmetries
from modeling.networks.blocks import pooled_blocks
from modeling.networks.factory import restored
from modeling.networks.inference import BATCH, DTYPES, Arithmetic, BatchedNetwork, device_of, threads
from modeling.networks.preprocess import centre_crop, normalise
from modeling.networks.recorded import Staged
from modeling.scoring.card import CARD, FINDER
from modeling.scoring.checkpoint import Checkpoint
from modeling.scoring.finder import ExternalScorer, FinderParams, Output, read_finder
from modeling.scoring.modelfiles import SUFFIXES, is_model_file
from modeling.training.run import BEST

EMBEDDING, LOGIT = "embedding", "logit"
"""Names of the last layer's input and output among the layers."""
AT = "@"
"""Stands between a checkpoint's name and the epoch whose weights are meant."""
CHUNK = 512
"""Stamps normalised and scored at a time, unless the device takes more at once."""


class CheckpointScorer:
    """A checkpoint with its own preprocessing.

    Any other preprocessing (``foreign``), the mean logit over the eight orientations of a stamp (``averaged``), and the
    weights of another ``epoch`` that was kept must be asked for, and each gives the scorer another identity.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        foreign: dict[str, Any] | None = None,
        averaged: bool = False,
        epoch: int | None = None,
    ) -> None:
        card = checkpoint.card
        self.preprocessing = card.preprocessing
        if foreign:
            values = {**card.preprocessing.model_dump(), **foreign}
            self.preprocessing = type(card.preprocessing).load(values, "preprocessing")
        weights = checkpoint.weights() if epoch is None else checkpoint.weights_of(epoch)
        self.name = card.config.generation + ("" if epoch is None else f"{AT}{epoch}")
        self.checkpoint_id = checkpoint.identity(weights, self.preprocessing)
        self.averaged = averaged
        if averaged:
            self.checkpoint_id = hashlib.sha256(f"{self.checkpoint_id} averaged".encode()).hexdigest()[:16]
        self.stamp_pixels = card.stamp_pixels
        self.bands = card.bands
        self.conditions = card.config.network.metadata_columns
        execution = card.config.execution
        self._threads = execution.threads
        self._network = restored(card.config.network, len(card.bands), weights)
        dtype = DTYPES["bf16" if card.dtype == "bfloat16" else "fp32"]
        self._arithmetic = Arithmetic(device_of(execution), dtype, execution.channels_last)
        self._arithmetic.place(self._network)
        self._batched = BatchedNetwork(self._network, self._arithmetic)
        self._staged, self._lock = Staged(self._arithmetic.device), threading.Lock()

    @property
    def on_gpu(self) -> bool:
        """Whether the network runs on a GPU."""
        return self._arithmetic.device.type == "cuda"

    @property
    def mode(self) -> str:
        """How batches run: eagerly or as a CUDA graph."""
        return self._batched.mode

    @property
    def minimum_pixels(self) -> int:
        """Side of the smallest stamp that holds the annulus and the crop."""
        if self.preprocessing.crop_pixels == 0:
            return self.stamp_pixels
        radii = self.preprocessing.annulus
        around = 0 if radii == "auto" else 2 * int(np.ceil(radii[1])) - 1
        return max(self.preprocessing.crop_pixels, around)

    def score(self, stamps: NDArray[np.float32], conditions: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Logits (batch,); a stamp's logit is the same in any batch (bitwise, on one machine and thread count)."""
        return score_together([self], torch.from_numpy(np.ascontiguousarray(stamps)), [conditions])[0]

    def embed(self, stamps: NDArray[np.float32], conditions: NDArray[np.float64] | None = None) -> NDArray[np.float32]:
        """Features (batch, feature) before the last layer."""
        tensor = torch.from_numpy(np.ascontiguousarray(stamps))
        with threads(self._threads), torch.inference_mode():
            parts = [
                self._network.eval().embed(x, extra).float().cpu().numpy()
                for x, extra in self._chunks(tensor, conditions, CHUNK)
            ]
        return np.concatenate(parts)

    def layers(
        self, stamps: NDArray[np.float32], conditions: NDArray[np.float64] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """All that the network makes of stamps in one pass: the mean activation (batch, channel) of each block, from
        first to last, the embedding, and the logits (batch,), which may differ in the last digit from those of `score`.
        """
        tensor, parts = torch.from_numpy(np.ascontiguousarray(stamps)), []
        with threads(self._threads), torch.inference_mode(), pooled_blocks(self._network) as pooled:
            for x, extra in self._chunks(tensor, conditions, CHUNK):
                embedding = self._network.eval().embed(x, extra)
                ends = {EMBEDDING: embedding, LOGIT: self._network.head(embedding).squeeze(1)}
                parts.append({**pooled, **{name: values.float().cpu().numpy() for name, values in ends.items()}})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _chunks(
        self, stamps: Tensor, conditions: NDArray[np.float64] | None, chunk: int
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Normalised stamps and their conditions on the network's device, ``chunk`` at a time."""
        self.check(tuple(stamps.shape))
        device, seen = self._arithmetic.device, self.seen_through(conditions, len(stamps))
        for start in range(0, len(stamps), chunk):
            x = self.normalised(stamps[start : start + chunk])
            yield x, None if seen is None else seen[start : start + chunk].to(device)

    @property
    def sees(self) -> tuple[Any, ...]:
        """What the network's input depends on besides the stamps: equal for scorers that share it."""
        return (self.preprocessing, self.stamp_pixels, self._arithmetic.device)

    @property
    def chunk(self) -> int:
        """Stamps normalised and scored at a time."""
        return max(CHUNK, BATCH[self._arithmetic.device.type])

    def normalised(self, stamps: Tensor) -> Tensor:
        """The network's input on its device."""
        with self._lock:
            x = self._staged.brought(stamps)
            return normalise(centre_crop(x, min(self.stamp_pixels, x.shape[-1])), self.preprocessing)

    def logits(self, x: Tensor, conditions: Tensor | None) -> Tensor:
        """Logits (batch,) float64 of normalised stamps, on the network's device; if ``averaged``, the mean over the
        eight orientations of training."""
        with threads(self._threads):
            if not self.averaged:
                return self._batched.logits(x, conditions)
            turned = (apply_symmetries(x, np.full(len(x), code)) for code in range(SYMMETRIES))
            return torch.stack([self._batched.logits(each, conditions) for each in turned]).mean(dim=0)

    def seen_through(self, conditions: NDArray[np.float64] | None, count: int) -> Tensor | None:
        """Observing conditions as the network was trained on them: logarithms, float32 (row, column)."""
        if not self.conditions:
            return None
        names = ", ".join(self.conditions)
        if conditions is None:
            raise DataError(
                f"{self.name} needs the observing conditions of each stamp ({names}), which are not known here"
            )
        if conditions.shape != (count, len(self.conditions)):
            raise invalid("conditions", f"({count}, {len(self.conditions)}) for {self.name}", conditions.shape)
        values = torch.from_numpy(conditions.astype(np.float32))
        bad = int((~((values > 0) & values.isfinite()).all(dim=1)).sum())
        if bad:
            raise DataError(f"{self.name} needs {names}, but {bad} of {count} stamps lack positive values")
        return values.log()

    def check(self, shape: tuple[int, ...]) -> None:
        count = len(self.bands)
        if len(shape) != 4 or shape[1] != count or shape[2] != shape[3] or shape[3] < self.minimum_pixels:
            raise invalid("stamps", f"(batch, {count}, n, n) with n >= {self.minimum_pixels} for {self.name}", shape)


def score_together(
    scorers: Sequence[CheckpointScorer], stamps: Tensor, conditions: Sequence[NDArray[np.float64] | None]
) -> NDArray[np.float64]:
    """Logits (scorer, batch) of several checkpoints in one pass: stamps are normalised once for each preprocessing.

    ``conditions`` are those of each scorer (:meth:`CheckpointScorer.score`); a logit is the same as if it were alone.
    """
    for scorer in scorers:
        scorer.check(tuple(stamps.shape))
    more = [scorer.seen_through(given, len(stamps)) for scorer, given in zip(scorers, conditions, strict=True)]
    found: list[list[Tensor]] = [[torch.empty(0, dtype=torch.float64)] for _ in scorers]
    size = scorers[0].chunk
    for start in range(0, len(stamps), size):
        part, held = slice(start, start + size), dict[tuple[Any, ...], Tensor]()
        for place, scorer in enumerate(scorers):
            if scorer.sees not in held:
                held[scorer.sees] = scorer.normalised(stamps[part])
            extra = more[place]
            found[place].append(scorer.logits(held[scorer.sees], None if extra is None else extra[part]))
    # the processor waits for a GPU only here, after all batches are launched
    return np.stack([torch.cat([logits.cpu() for logits in parts]).numpy() for parts in found])


def load_scorer(
    source: str | Path,
    foreign: dict[str, Any] | None = None,
    output: Output | None = None,
    declares: dict[str, Any] | None = None,
    averaged: bool = False,
) -> CheckpointScorer | ExternalScorer:
    """A scorer from a checkpoint (its folder, or the weights in it), a folder with ``scorer.json``, a TorchScript or
    ONNX file, or ``package:object``.

    The weights of an epoch that was kept are NAME@EPOCH. ``foreign`` replaces keys of a checkpoint's preprocessing and
    ``averaged`` asks for the mean over eight orientations, at the caller's explicit request; ``output`` and
    ``declares`` declare for a file or ``package:object`` what it does not declare itself.
    """
    folder = Path(source)
    if folder.suffix == ".safetensors":
        if folder.name != BEST:
            allowed = f"a checkpoint's folder, {BEST} in it, or FOLDER{AT}EPOCH for the weights of an epoch"
            raise invalid("scorer", allowed, str(source))
        folder = folder.parent
        if not (folder / CARD).exists():
            raise DataError(
                f"{source} has no {CARD} beside it, which says what network its weights are of: give the folder of a "
                "checkpoint, or bring in weights trained elsewhere with `dhs import checkpoint`"
            )
    named, _, epoch = folder.name.partition(AT)
    if epoch.isdecimal() and not folder.exists():
        return CheckpointScorer(Checkpoint.load(folder.with_name(named)), foreign, averaged, int(epoch))
    if (folder / FINDER).exists():
        if averaged:
            raise invalid("averaged", "asked for a checkpoint, not for a user's finder", str(source))
        return ExternalScorer(read_finder(folder))
    if folder.is_dir():
        return CheckpointScorer(Checkpoint.load(folder), foreign, averaged)
    if ":" in str(source) or is_model_file(source):
        return ExternalScorer(FinderParams(finder=str(source), output=output, declares=declares or {}))
    kinds = f"a checkpoint folder, a folder with scorer.json, a file ({', '.join(SUFFIXES)}), or package:object"
    raise invalid("scorer", kinds, str(source))
