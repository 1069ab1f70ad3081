"""Groups of stamps as a finder sees them: scores, embedding, blocks, and texture where it is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from analysis.comparisons.populations import EMBEDDING, TEXTURE, Population, Populations
from analysis.results.features import texture_features
from injection.experiment.setting import Setting
from lake.errors import DataError
from lake.scorer import Scorer
from lake.sky.hashing import key_hash
from modeling.scoring.scorer import LOGIT

Images = NDArray[np.float32]
Floats = NDArray[np.float64]


def described(
    scorer: Scorer, stamps: Images, conditions: Floats | None, hosts: ArrayLike, texture: bool = False
) -> Population:
    """A group of stamps (batch, band, y, x) of hosts; ``conditions`` (batch, name) if the finder needs any."""
    given = (stamps,) if conditions is None else (stamps, conditions)
    spaces: dict[str, Floats] = {}
    if hasattr(scorer, "layers"):
        spaces |= {name: np.asarray(values, dtype=np.float64) for name, values in scorer.layers(*given).items()}
        logits = spaces.pop(LOGIT)
    else:
        logits = np.asarray(scorer.score(*given), dtype=np.float64)
        if hasattr(scorer, "embed"):
            spaces[EMBEDDING] = np.asarray(scorer.embed(*given), dtype=np.float64)
    if texture:
        spaces[TEXTURE] = texture_features(stamps)
    ids = np.asarray(hosts).astype(str)
    return Population(ids, logits, spaces, ids)


def in_hosts(scorer: Scorer, setting: Setting, stamps: Images, ids: Sequence[str], texture: bool = False) -> Population:
    """The same for stamps of hosts of a setting, which bring their conditions."""
    names = scorer.conditions
    conditions = setting.hosts.conditions(names, setting.hosts.rows_of(ids)) if names else None
    return described(scorer, np.asarray(stamps, dtype=np.float32), conditions, ids, texture)


def drawn(scorer: Scorer, setting: Setting, rows: pa.Table, texture: bool = False) -> Population:
    """Injections drawn; DataError if one cannot be injected."""
    made = setting.draw(rows.combine_chunks())
    failed = [reason for reason in made.reasons if reason is not None]
    if failed:
        raise DataError(f"{len(failed)} of {rows.num_rows} injections cannot be made, first: {failed[0]}")
    return in_hosts(scorer, setting, made.images, rows["galaxy_id"].to_pylist(), texture)


def collected(groups: dict[str, Population], absent: dict[str, str], scorer: Scorer) -> Populations:
    """All groups of a finder; those without objects are absent."""
    held = {name: group for name, group in groups.items() if len(group)}
    spaces = next(iter(held.values())).spaces if held else {}
    blocks = tuple(name for name in spaces if name not in (EMBEDDING, TEXTURE))
    return Populations(held, absent, blocks, hasattr(scorer, "embed") or EMBEDDING in spaces)


def keyed_order(seed: int, ids: Sequence[str], weights: Floats | None = None) -> NDArray[np.int64]:
    """Places in an order fixed by (seed, id): with weights, that of drawing without replacement by weight.

    Efraimidis & Spirakis (2006): the smallest of exponential variates of rate ``weights`` first; weight 0 comes last.
    """
    uniform = (key_hash(seed, pa.array(ids, pa.string())).astype(np.float64) + 0.5) / 2.0**64
    if weights is None:
        return np.argsort(uniform, kind="stable")
    with np.errstate(divide="ignore"):
        return np.argsort(np.where(weights > 0.0, -np.log(uniform) / weights, np.inf), kind="stable")
