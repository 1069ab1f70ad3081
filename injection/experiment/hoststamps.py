"""Stamps of hosts as they are injected into, and why some cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from injection.engine.tracing import Images
from injection.experiment.hostset import LoadStamps
from injection.experiment.setting import Setting
from lake.errors import DarkHaloError, ShardError

Reasons = list[str | None]


def host_stamps(setting: Setting, galaxy_ids: list[str]) -> tuple[Images, Reasons]:
    """Stamps (batch, band, y, x) of hosts, and why some cannot be used; those are zero."""
    side, bands = setting.hosts.stamp_pixels, setting.hosts.imaging.bands
    stamps, reasons = _together(_load(galaxy_ids, setting.hosts.load), galaxy_ids, (len(bands), side, side))
    counts = np.zeros((len(stamps), len(bands) + 1), np.int64)
    _count_finite(stamps, counts)
    finite = counts / side**2
    damaged = (1.0 - finite[:, -1] > setting.grid.max_host_bad_fraction) | (finite == 0.0).any(axis=1)
    if damaged.any():
        stamps = stamps.copy()  # the loader may keep its own
    for row in np.flatnonzero(damaged).tolist():
        reasons[row], stamps[row] = _damage(finite[row], galaxy_ids[row], setting), 0.0
    return stamps, reasons


def _load(galaxy_ids: list[str], load_hosts: LoadStamps) -> Images | Sequence[Images | str]:
    """Stamps, or why a host has none; if loading together fails, each host is loaded alone."""
    try:
        return load_hosts(galaxy_ids)
    except ShardError:
        raise
    except DarkHaloError as error:
        if len(galaxy_ids) == 1:
            return [str(error)]
        return [stamp for galaxy_id in galaxy_ids for stamp in _load([galaxy_id], load_hosts)]


def _together(
    loaded: Images | Sequence[Images | str], galaxy_ids: list[str], shape: tuple[int, ...]
) -> tuple[Images, Reasons]:
    """Stamps of one shape in one array, zero where a host has none, and why."""
    if isinstance(loaded, np.ndarray) and loaded.shape == (len(galaxy_ids), *shape):
        return np.ascontiguousarray(loaded, np.float32), [None] * len(loaded)
    stamps, reasons = np.zeros((len(galaxy_ids), *shape), np.float32), Reasons()
    for row, (stamp, galaxy_id) in enumerate(zip(loaded, galaxy_ids, strict=True)):
        if isinstance(stamp, str):
            reasons.append(stamp)
        elif stamp.shape != shape:
            reasons.append(f"host {galaxy_id} has shape {stamp.shape} instead of {shape}")
        else:
            reasons.append(None)
            stamps[row] = stamp
    return stamps, reasons


@njit(cache=True, nogil=True, error_model="numpy")
def _count_finite(stamps: Any, counts: Any) -> None:
    """Numbers of finite pixels of each stamp: in each band, and in all bands at once."""
    bands = stamps.shape[1]
    for row in range(len(stamps)):
        for y in range(stamps.shape[2]):
            for x in range(stamps.shape[3]):
                every = 1
                for band in range(bands):
                    finite = int(np.isfinite(stamps[row, band, y, x]))
                    counts[row, band] += finite
                    every *= finite
                counts[row, bands] += every


def _damage(finite: NDArray[np.float64], galaxy_id: str, setting: Setting) -> str:
    """Why a host cannot be used, from its shares of finite pixels: in each band, and in all bands at once."""
    for band, share in zip(setting.hosts.imaging.bands, finite[:-1], strict=True):
        if share == 0.0:
            return f"host {galaxy_id} has no finite pixel in {band}"
    most = setting.grid.max_host_bad_fraction
    return f"host {galaxy_id} has {1.0 - finite[-1]:.1%} non-finite pixels, more than {most:.1%}"
