"""Whether a training can run here, and what it would do; nothing is changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import torch

from lake import tables
from lake.errors import DarkHaloError, DataError
from lake.root import DataRoot
from lake.sky.survey import STAMP_PIXELS, SURVEY
from lake.store import cards, delta
from modeling.config import TrainParams
from modeling.networks import imagenet
from modeling.networks.factory import LensFinder, build, require_side, restored
from modeling.networks.inference import device_of
from modeling.networks.preprocess import resolved
from modeling.scoring.card import CARD
from modeling.scoring.checkpoint import Checkpoint
from modeling.sections import OF_TORCHVISION
from modeling.training.data import fits, is_mapped
from modeling.training.rows import columns, splits
from pipeline.project import simulated
from pipeline.project.generations import Chain
from pipeline.project.project import Project
from pipeline.training.manifests import pixels_of, require_passed, table_of

_STATES = 3
"""A saved state has the weights and two moments of the optimiser; one more with averaged weights."""
_WORKING = 1.5e9
"""Bytes of memory that the program takes besides its stamps and their rows."""
_ROW = 600
"""Bytes of memory that it takes for a row of its manifest."""


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    what: str
    found: str
    good: bool = True

    def line(self) -> str:
        """The line that is printed."""
        return f"{'ok     ' if self.good else 'PROBLEM'} {self.what}: {self.found}"


def readiness(project: Project, chain: Chain) -> list[Finding]:
    """What was found for each generation of the chain, in the order of training."""
    return [each for params in chain.trained.values() for each in _of_generation(project.data, params, chain)]


def summary(found: list[Finding]) -> str:
    """The findings as text, and how many are problems."""
    problems = sum(not each.good for each in found)
    end = (
        f"{problems} of {len(found)} need attention; nothing was changed"
        if problems
        else "it can be trained; nothing was changed"
    )
    return "\n".join([*(each.line() for each in found), end])


def _of_generation(root: DataRoot, params: TrainParams, chain: Chain) -> Iterator[Finding]:
    name = params.generation
    try:
        held = _held(root, params)
    except DarkHaloError as error:
        yield Finding(f"{name}, checkpoint", str(error), good=False)
        return
    if held is not None and name != chain.name:
        yield Finding(name, f"trained with these parameters (checkpoint {held.card.checkpoint_id}); not trained again")
        return
    known = "; trained with these parameters before" if held is not None else ""
    yield Finding(name, _plan(params) + known)
    checks: list[tuple[str, Callable[[], str]]] = [("start", lambda: _start(root, params, chain))]
    rows = _rows(root, params.manifest)
    if rows is None:
        yield _unmade(params, chain)
    else:
        checks.append(("manifest", lambda: _manifest(root, params)))
    if rows:
        checks.append(("stamps", lambda: _stamps(root, params)))
    checks.append(("disk and memory", lambda: _resources(root, params, bool(rows))))
    for what, look in checks:
        try:
            yield Finding(f"{name}, {what}", look())
        except DarkHaloError as error:
            yield Finding(f"{name}, {what}", str(error), good=False)


def _rows(root: DataRoot, manifest: str) -> int | None:
    """Number of rows of a manifest; None if it does not exist yet, 0 if it cannot be read, as its check then says."""
    table = table_of(root, manifest)
    if not (root.cards / f"{cards.stem(table, manifest)}.json").exists():
        return None
    try:
        return cards.read_slice(root, table, manifest).card.rows
    except DarkHaloError:
        return 0


def _unmade(params: TrainParams, chain: Chain) -> Finding:
    """A manifest that does not exist yet: the stages that make it need a bank if its sources are real galaxies."""
    chosen = simulated.stamp_set(chain.values, params.manifest)
    bank = simulated.needed(chain.values)["sets"][chosen]["bank"] if chosen else simulated.NO_FILE
    lacking = simulated.bank_missing(bank)
    told = f"{params.manifest} is not made yet: the stages that make it run first"
    return Finding(f"{params.generation}, manifest", lacking or told, good=lacking is None)


def _held(root: DataRoot, params: TrainParams) -> Checkpoint | None:
    """The checkpoint of a generation, if it was trained with these parameters; DarkHaloError if it was altered."""
    folder = root.checkpoints(params.generation)
    if not (folder / CARD).exists():
        return None
    found = Checkpoint.load(folder)
    return found if found.card.config == params else None


def _plan(params: TrainParams) -> str:
    loop, rate = params.loop, params.optimiser.lr
    stops = f", or {loop.patience} without a better one" if loop.patience else ""
    batch = f"{loop.batch} stamps a step, {loop.micro_batch} at a time"
    return (
        f"{loop.epochs} epochs{stops} of {params.network.name}, {batch}, {params.loss.kind} loss, "
        f"{params.schedule.kind} rate from {rate:g}"
    )


def _start(root: DataRoot, params: TrainParams, chain: Chain) -> str:
    """Initial weights; DataError where they cannot be had, or are those of another network."""
    if params.init is None:
        if not params.network.pretrained:
            return "random weights"
        return f"ImageNet weights, {imagenet.found(OF_TORCHVISION[params.network.name])}"
    parent = chain.trained.get(params.init)
    try:
        held = _held(root, parent) if parent else Checkpoint.load(root.checkpoints(params.init))
    except DarkHaloError as error:
        # Its own check has said what is wrong with a generation of the chain.
        raise DataError(f"it starts from {params.init}, which cannot be used" if parent else str(error)) from error
    weights = held.weights() if held else _network(parent or params).state_dict()
    try:
        restored(params.network, len(SURVEY.bands), weights)
    except DataError as error:
        raise DataError(f"it starts from {params.init}, but {error}") from error
    return f"{params.init} (checkpoint {held.card.checkpoint_id})" if held else f"{params.init}, which is trained first"


def _network(params: TrainParams) -> LensFinder:
    """The network, without memory for its weights."""
    with torch.device("meta"):
        return build(params.network.model_copy(update={"pretrained": False}), len(SURVEY.bands))


def _manifest(root: DataRoot, params: TrainParams) -> str:
    require_passed(root, params)
    table = table_of(root, params.manifest)
    wanted = columns(tables.spec(table).row_schema().names, params)
    parts = splits(delta.read(root, table, wanted, slices=[params.manifest]), params)
    lenses = [int(pc.sum(part["label"]).as_py()) for part in parts]
    told = [
        f"{n:,} lenses and {p.num_rows - n:,} negatives to {w}"
        for n, p, w in zip(lenses, parts, ("train", "select"), strict=True)
    ]
    steps = parts[0].num_rows // params.loop.batch
    return f"{params.manifest}, {' and '.join(told)} on, {steps:,} steps an epoch"


def _stamps(root: DataRoot, params: TrainParams) -> str:
    """Shards that the manifest names, opened but not read."""
    table, store = table_of(root, params.manifest), pixels_of(root, params.manifest)
    shards = np.unique(delta.read(root, table, ["shard"], slices=[params.manifest])["shard"].to_numpy())
    sides = {store.shard(int(number)).shape[-1] for number in shards}
    resolved(params.preprocessing, min(sides))
    require_side(params.network, params.preprocessing.crop_pixels or min(sides))
    return f"{len(shards)} shards of {' and '.join(map(str, sorted(sides)))} pixels"


def _resources(root: DataRoot, params: TrainParams, filled: bool) -> str:
    count, side = _pixels(root, params) if filled else (0, params.preprocessing.crop_pixels or STAMP_PIXELS)
    held = count * len(SURVEY.bands) * side**2 * (2 if params.execution.arrays == "fp16" else 4)
    needed = count * _ROW + _WORKING
    weights = sum(each.numel() for each in _network(params).parameters()) * 4
    state = weights * (_STATES + (params.optimiser.ema_decay > 0))
    kept = 2 + _kept_epochs(params)
    written, device = 2 * kept * state, device_of(params.execution)
    free = shutil.disk_usage(
        next(above for above in (root.local, *root.local.resolve().parents) if above.is_dir())
    ).free
    on_gpu = device.type == "cuda"
    there = on_gpu and fits(held, device)
    mapped = not there and is_mapped(held)
    _require("disk", written + (held if mapped else 0), free)
    _require("memory", needed + (0 if mapped or there else held), psutil.virtual_memory().available)
    on = torch.cuda.get_device_name() if on_gpu else f"the processor, {params.execution.threads} threads"
    where = "in a file, as they would fill the memory, for" if mapped else "on" if there == on_gpu else "in memory for"
    told = f"{held / 1e9:.1f} GB of stamps {where} {on}"
    return f"{told}, {written / 1e9:.1f} GB written; {free / 1e9:.0f} GB of disk are free"


def _kept_epochs(params: TrainParams) -> int:
    """Most states of epochs that a run holds at a time."""
    loop = params.loop
    every = loop.epochs // loop.keep_every_epochs if loop.keep_every_epochs else 0
    return min(every, loop.keep_best_epochs + 1) if loop.keep_best_epochs else every


def _pixels(root: DataRoot, params: TrainParams) -> tuple[int, int]:
    """Number of stamps that a run holds, and their side in pixels."""
    table, store = table_of(root, params.manifest), pixels_of(root, params.manifest)
    rows = delta.read(root, table, ["shard", "split"], slices=[params.manifest])
    held = int(pc.sum(pc.is_in(rows["split"], pa.array(["train", "val"]))).as_py() or 0)
    return held, params.preprocessing.crop_pixels or store.shard(rows["shard"][0].as_py()).shape[-1]


def _require(what: str, wanted: float, free: float) -> None:
    if wanted > free:
        raise DataError(f"about {wanted / 1e9:.1f} GB of {what} are needed and {free / 1e9:.1f} GB are free")
