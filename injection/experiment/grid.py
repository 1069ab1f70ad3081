"""The selection-function grid: its injections and their hosts, a pure function of the setting."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
import pyarrow as pa

from injection.config import INDICES, GridParams
from injection.experiment.hostset import HostSet
from injection.experiment.setting import Setting
from injection.optics.declared import assumed_exponents
from lake.errors import invalid
from lake.sky.hashing import key_hash
from lake.sky.survey import identity


@dataclass(frozen=True)
class Plan:
    """The injections of a grid: a setting and rows."""

    setting: Setting
    grid_id: str
    rows: pa.Table
    """One row per injection: identifiers, cell, ``host_ids`` (the host, then those for retries)"""
    empty: pa.Table
    """Cells with fewer injections than requested: ``cell``, indices, ``hosts``, ``injections``, ``reason``"""


_INDEX_FIELDS = [(name, pa.int32()) for name in INDICES]
_PLACES = [("lens_theta_e_arcsec", pa.float64()), ("host_ids", pa.list_(pa.string())), ("sobol_place", pa.int64())]
_COUNTS = [("hosts", pa.int64()), ("injections", pa.int64()), ("reason", pa.string())]
PLAN_SCHEMA = pa.schema([("injection_id", pa.string()), *_INDEX_FIELDS, ("cell", pa.string()), *_PLACES])
_SHORT_SCHEMA = pa.schema([("cell", pa.string()), *_INDEX_FIELDS, *_COUNTS])


def cells(grid: GridParams) -> list[dict[str, Any]]:
    """All cells with name, indices and edges, with or without hosts."""
    psf, depth = (list(pairwise(edges)) for edges in (grid.psf_fwhm_nea_edges_arcsec, grid.depth_edges_mag))
    return [
        {
            "cell": f"t{t:02d}p{p}d{d}",
            **dict(zip(INDICES, (t, p, d), strict=True)),
            "theta_e_arcsec": theta_e,
            "psf_fwhm_nea_arcsec_low": psf[p][0],
            "psf_fwhm_nea_arcsec_high": psf[p][1],
            "depth_mag_low": depth[d][0],
            "depth_mag_high": depth[d][1],
        }
        for (t, theta_e), p, d in product(enumerate(grid.theta_e_arcsec), range(len(psf)), range(len(depth)))
    ]


def plan(setting: Setting) -> Plan:
    """Lay out the grid over the hosts.

    Each cell takes its hosts in its own keyed-hash order, each up to ``max_uses_per_host`` times. Cells
    without enough hosts are listed in ``empty``. A prior or PSF profile for other bands than the hosts' is an error.
    """
    grid, hosts = setting.grid, setting.hosts
    setting.prior.direct(hosts.imaging)
    assumed_exponents(hosts.imaging, grid)
    if grid.sky_noise == "psfdepth" and np.isnan(hosts.psfdepth).all(axis=0).any():
        raise invalid("grid.sky_noise", "none or annulus if hosts lack psfdepth in some band", grid.sky_noise)
    rows: list[dict[str, Any]] = []
    short: list[dict[str, Any]] = []
    for number, cell in enumerate(cells(grid)):
        ids = _cell_hosts(setting, cell)
        made = _cell_rows(grid, cell, ids, number * grid.per_cell)
        rows.extend(made)
        if len(made) < grid.per_cell:
            reason = f"{len(ids)} hosts in the cell, at most {grid.max_uses_per_host} injections each"
            short.append({**cell, "hosts": len(ids), "injections": len(made), "reason": reason})
    return Plan(
        setting,
        _grid_id(setting),
        pa.Table.from_pylist(rows, schema=PLAN_SCHEMA),
        pa.Table.from_pylist(short, schema=_SHORT_SCHEMA),
    )


def one_cell(grid: GridParams, hosts: HostSet, per_radius: int) -> GridParams:
    """The grid's Einstein radii, ``per_radius`` injections each, in one cell of seeing and depth for all hosts."""
    width, depth = hosts.fwhm_nea_arcsec[:, hosts.imaging.reference], hosts.depth_mag
    changes = {
        "psf_fwhm_nea_edges_arcsec": (float(width.min()) * 0.99, float(width.max()) * 1.01),
        "depth_edges_mag": (float(depth.min()) - 0.01, float(depth.max()) + 0.01),
        "per_cell": per_radius,
        "max_uses_per_host": -(-per_radius // len(width)),
    }
    return GridParams.load({**grid.model_dump(mode="json"), **changes}, "grid")


def _cell_hosts(setting: Setting, cell: dict[str, Any]) -> list[str]:
    """The hosts of one cell, in the order of the cell."""
    hosts = setting.hosts
    inside = hosts.cell(
        (cell["psf_fwhm_nea_arcsec_low"], cell["psf_fwhm_nea_arcsec_high"]),
        (cell["depth_mag_low"], cell["depth_mag_high"]),
    )
    if not len(inside):
        return []
    ids: list[str] = hosts.ids.take(pa.array(hosts.ordered(inside, setting.seed, cell["cell"]))).to_pylist()
    return ids


def _cell_rows(grid: GridParams, cell: dict[str, Any], ids: list[str], first: int) -> list[dict[str, Any]]:
    """Plan rows of one cell, whose part of the Sobol sequence starts at ``first``."""
    tries = min(1 + grid.host_retries, len(ids))
    return [
        {
            **cell,
            "lens_theta_e_arcsec": cell["theta_e_arcsec"],
            "injection_id": f"{cell['cell']}-{k:04d}",
            "host_ids": [ids[(k + attempt) % len(ids)] for attempt in range(tries)],
            "sobol_place": first + k,
        }
        for k in range(min(grid.per_cell, len(ids) * grid.max_uses_per_host))
    ]


def _grid_id(setting: Setting) -> str:
    """Hash of everything that the injections depend on; threads and batch size are left out.

    A prior or source model counts by its content, not its path.
    """
    grid, hosts, seed = setting.grid, setting.hosts, setting.seed
    config = grid.model_dump(mode="json", exclude={"threads", "batch_size", "prior", "real_sources", "source_model"})
    if setting.sources.identity is not None:
        config["real_sources"] = setting.sources.identity
    words = key_hash(seed, hosts.ids)
    shapes = hosts.shapes(np.arange(len(hosts.ids))) if grid.lens_shape == "conditioned" else ()
    known = [hosts.fwhm_nea_arcsec, hosts.psfdepth, *(shape[:, None] for shape in shapes)]
    facts = np.concatenate(known, axis=1).astype("<f8").tobytes()
    if (own := identity(hosts.imaging)) is not None:
        config["imaging"] = own
        facts += hosts.psf_images
    text = json.dumps([config, setting.prior.model_dump(mode="json", exclude={"meaning"}), seed], sort_keys=True)
    return hashlib.sha256(text.encode() + words.astype("<u8").tobytes() + facts).hexdigest()[:16]
