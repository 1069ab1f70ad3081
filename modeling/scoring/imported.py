"""A network trained elsewhere becomes a checkpoint: its weights alone are read, and nothing in its file is executed."""

from __future__ import annotations

import hashlib
import json
import pickletools
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from lake.errors import DataError
from lake.files.publishing import replacing_folder
from modeling.config import TrainParams
from modeling.networks.factory import restored
from modeling.networks.preprocess import resolved
from modeling.scoring.card import CARD, CheckpointCard, config_sha256
from modeling.scoring.checkpoint import EPOCHS, SEEN, Checkpoint, checkpoint_id, file_sha256, nothing_seen
from modeling.sections import NetworkParams
from modeling.training.run import BEST
from modeling.training.state import HEADER

_HOLDERS = ("ema_state_dict", "model_state_dict", "state_dict", "model", "network", "weights")
"""Entries under which training programs save the weights, most useful first."""
_PREFIX = re.compile(r"(module|_orig_mod|model|net|network)\.")
"""What wrappers put before the name of every weight."""
_AUC = ("best_val_auc", "best_auc", "val_auc", "auc", "auroc", "best_metric")
_MOST_EPOCHS, _NAMED, _NAME_LENGTH = 10**6, 8, 40
"""Most epochs that are believed; how many entries of a file without weights are named, and how long a name is."""
SAFE_PROTOCOL = 2
"""The pickle protocol that PyTorch's safe reader knows."""
_MAKERS: tuple[Any, ...] = (np.zeros(1).__reduce__()[0], np.float64(0).__reduce__()[0])
_PLAIN: list[Any] = [
    *(np.ndarray, np.dtype, *{type(np.dtype(code)) for code in "?bBhHiIlLfd"}),
    *((made, f"numpy.{core}.multiarray.{made.__name__}") for core in ("core", "_core") for made in _MAKERS),
]
"""What makes NumPy's numbers and arrays, in files of NumPy 1 and 2: a metric, the state of a random generator."""


@dataclass(frozen=True)
class Weights:
    """What is read from a file."""

    tensors: Mapping[str, Tensor]
    epoch: int | None
    val_auc: float | None


def read_weights(path: Path) -> Weights:
    """Weights in a file of ``torch.save`` or safetensors; DataError where something in it would have to be run."""
    held = _loaded(path)
    if not isinstance(held, Mapping):
        raise DataError(f"{path} holds a {type(held).__name__} instead of weights: save model.state_dict()")
    inside = next((held[name] for name in _HOLDERS if isinstance(held.get(name), Mapping)), held)
    tensors = {str(name): value for name, value in inside.items() if isinstance(value, Tensor)}
    if not tensors:
        entries = ", ".join(repr(name)[:_NAME_LENGTH] for name in list(held)[:_NAMED]) + ", ..." * (len(held) > _NAMED)
        raise DataError(f"{path} holds no weights: none of its entries ({entries}) is a state_dict")
    while all(_PREFIX.match(name) for name in tensors):
        tensors = {_PREFIX.sub("", name, count=1): value for name, value in tensors.items()}
    aucs = (float(held[name]) for name in _AUC if isinstance(held.get(name), float | np.floating))
    return Weights(tensors, _epoch(held.get("epoch")), next((auc for auc in aucs if 0 <= auc <= 1), None))


def _epoch(value: object) -> int | None:
    """What a file says of its epoch, where it can be one."""
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return value if is_count and 0 <= value <= _MOST_EPOCHS else None  # type: ignore[operator, return-value]


def _loaded(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with torch.serialization.safe_globals(_PLAIN), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols: what cannot be read is an error all the same
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise errors of any kind for files that are not their own
        cure = "save model.state_dict() with torch.save (without `pickle_protocol`) or safetensors"
        raise DataError(f"{path} is not read: {_why_not(path, error)}; {cure}") from error


def _why_not(path: Path, error: Exception) -> str:
    """Why a file is not read. Torch's own text also tells how to read it regardless."""
    if named := re.search(r"GLOBAL (\S+)", str(error)):
        return f"reading it would run code that it names ({named[1]})"
    if (protocol := _pickle_protocol(path)) > SAFE_PROTOCOL:
        return (
            f"it has pickle protocol {protocol}, and PyTorch reads weights safely from protocol {SAFE_PROTOCOL} alone"
        )
    return "it is not a file of plain weights"


def _pickle_protocol(path: Path) -> int:
    """The pickle protocol of a file of ``torch.save``; 0 if it holds no whole pickle. Nothing in it is run."""
    try:
        with zipfile.ZipFile(path) as archive:
            content = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    except (OSError, zipfile.BadZipFile, StopIteration):
        content = path.read_bytes() if path.is_file() else b""
    try:
        return max([0, *(int(value or 0) for code, value, _ in pickletools.genops(content) if code.name == "PROTO")])
    except ValueError:
        return 0


def named_as_here(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under this project's names; torchvision's are changed, and the last layer must have one output."""
    if any(name.startswith("head.") for name in tensors):
        return dict(tensors)
    last = [name for name, value in tensors.items() if value.ndim == 2 and value.shape[0] == 1]
    if len(last) != 1:
        raise DataError(f"the weights have {len(last)} linear layers with one output, and a lens finder ends with one")
    end = last[0].removesuffix("weight")
    return {
        f"head.1.{name.removeprefix(end)}" if name.startswith(end) else f"features.{name}": value
        for name, value in tensors.items()
    }


def _fitting(tensors: Mapping[str, Tensor], network: NetworkParams, bands: int) -> dict[str, Tensor]:
    """The weights in memory of their own, in float32; DataError where they do not fit, or are no finite numbers.

    Sizes are compared before memory is taken: a file of a few bytes can claim an array of terabytes.
    """
    for name, value in tensors.items():
        is_array = value.layout is torch.strided and not (value.is_meta or value.is_quantized or value.is_nested)
        if not is_array or value.is_complex():
            raise DataError(f"the weight {name!r} is not an array of real numbers")
    restored(network, bands, {name: value.to("meta") for name, value in tensors.items()})
    weights = {name: value.detach().contiguous().clone() for name, value in tensors.items()}
    weights = {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
    for name, value in weights.items():
        if not value.isfinite().all() or (name.endswith("running_var") and (value < 0).any()):
            raise DataError(f"the weight {name!r} is not finite, or is a negative variance")
    return weights


def import_weights(
    path: Path, params: TrainParams, bands: tuple[str, ...], stamp_pixels: int, folder: Path, listed: Mapping[str, str]
) -> Checkpoint:
    """Publish the weights in a file as a checkpoint of the network, preprocessing and arithmetic of ``params``
    for stamps of these bands and side.

    ``listed`` holds further files of the checkpoint, by name: what it was trained on, where that is known. DataError
    if the weights are those of another network; nothing is written then.
    """
    found = read_weights(path)
    weights = _fitting(named_as_here(found.tensors), params.network, len(bands))
    with replacing_folder(folder) as draft:
        counters = {"step": 0, "best_metric": found.val_auc, "best_epoch": found.epoch or 0}
        named = {f"network.{name}": value for name, value in weights.items()}
        save_file(named, draft / BEST, metadata={HEADER: json.dumps(counters)})
        (draft / EPOCHS).write_text("[]\n", encoding="utf-8")
        nothing_seen(draft / SEEN)
        for name, text in listed.items():
            (draft / name).write_text(text, encoding="utf-8")
        preprocessing = resolved(params.preprocessing, stamp_pixels)
        dtype = "bfloat16" if params.execution.dtype == "bf16" else "float32"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        card = CheckpointCard(
            checkpoint_id=checkpoint_id(weights, params, preprocessing, stamp_pixels, dtype),
            run_id=f"{params.generation}-{digest[:12]}",
            config=params,
            config_sha256=config_sha256(params),
            preprocessing=preprocessing,
            stamp_pixels=stamp_pixels,
            bands=bands,
            dtype=dtype,
            best_epoch=found.epoch or 0,
            best_metric=found.val_auc or 0.0,
            best_val_auc=found.val_auc,
            epochs_run=0,
            manifest_id="unknown",
            manifest_fingerprint="unknown",
            ancestors=(),
            files={each.name: file_sha256(each) for each in sorted(draft.iterdir())},
            imported_from=f"{path.name}, SHA-256 {digest}",
            seen_known=False,
            card_sha256="",
        ).sealed()
        (draft / CARD).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return Checkpoint.load(folder)
