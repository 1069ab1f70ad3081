"""The selection-function grid: which injections are made, into which hosts; a pure function of both and a seed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import product

import numpy as np
import pyarrow as pa

from injection.config import GridParams
from injection.hosts import Hosts
from injection.priors import Prior, load_prior
from lake.hashing import key_hash


@dataclass(frozen=True)
class Plan:
    """The injections of a grid."""

    grid_id: str
    grid: GridParams
    prior: Prior
    seed: int
    hosts: Hosts
    rows: pa.Table
    """One row per injection: identifiers, cell, ``host_ids`` (the host, then those to retry with)"""
    empty: pa.Table
    """Cells with fewer injections than asked for: ``cell``, indices, ``hosts``, ``injections``, ``reason``"""


def cell_name(theta_e_index: int, psf_index: int, depth_index: int) -> str:
    return f"t{theta_e_index:02d}p{psf_index}d{depth_index}"


def plan(grid: GridParams, hosts_table: pa.Table, seed: int) -> Plan:
    """Lay out the grid over the hosts.

    Each cell takes its hosts in its own keyed-hash order, round and round, up to ``max_uses_per_host`` times; a cell
    without hosts stays empty and says so.
    """
    prior, hosts = load_prior(grid.prior), Hosts(hosts_table, grid.host_model)
    rows: list[dict[str, object]] = []
    short: list[dict[str, object]] = []
    for t, p, d in product(
        range(len(grid.theta_e_arcsec)), range(len(grid.psf_edges_arcsec) - 1), range(len(grid.depth_edges_mag) - 1)
    ):
        made, cell_hosts = _cell_rows(grid, hosts, seed, (t, p, d))
        rows.extend(made)
        if len(made) < grid.per_cell:
            reason = f"{cell_hosts} hosts in the cell, at most {grid.max_uses_per_host} injections each"
            short.append({**_indices(t, p, d), "hosts": cell_hosts, "injections": len(made), "reason": reason})
    table = pa.Table.from_pylist(rows, schema=PLAN_SCHEMA)
    return Plan(_grid_id(grid, prior, hosts, seed), grid, prior, seed, hosts, table, _empty(short))


PLAN_SCHEMA = pa.schema(
    [
        ("injection_id", pa.string()),
        ("theta_e_index", pa.int32()),
        ("psf_index", pa.int32()),
        ("depth_index", pa.int32()),
        ("cell", pa.string()),
        ("cell_psf_low_arcsec", pa.float64()),
        ("cell_psf_high_arcsec", pa.float64()),
        ("cell_depth_low_mag", pa.float64()),
        ("cell_depth_high_mag", pa.float64()),
        ("lens_theta_e_arcsec", pa.float64()),
        ("host_ids", pa.list_(pa.string())),
    ]
)


def _indices(t: int, p: int, d: int) -> dict[str, object]:
    return {"cell": cell_name(t, p, d), "theta_e_index": t, "psf_index": p, "depth_index": d}


def _cell_rows(
    grid: GridParams, hosts: Hosts, seed: int, index: tuple[int, int, int]
) -> tuple[list[dict[str, object]], int]:
    """Plan rows of one cell, and how many hosts it has."""
    t, p, d = index
    psf = (grid.psf_edges_arcsec[p], grid.psf_edges_arcsec[p + 1])
    depth = (grid.depth_edges_mag[d], grid.depth_edges_mag[d + 1])
    inside = hosts.cell(psf, depth)
    if not len(inside):
        return [], 0
    cell = cell_name(t, p, d)
    ids = hosts.ids.take(pa.array(hosts.ordered(inside, seed, cell))).to_pylist()
    tries = min(1 + grid.host_retries, len(ids))
    common = {
        **_indices(t, p, d),
        "cell_psf_low_arcsec": psf[0],
        "cell_psf_high_arcsec": psf[1],
        "cell_depth_low_mag": depth[0],
        "cell_depth_high_mag": depth[1],
        "lens_theta_e_arcsec": grid.theta_e_arcsec[t],
    }
    count = min(grid.per_cell, len(ids) * grid.max_uses_per_host)
    made = [
        {
            **common,
            "injection_id": f"{cell}-{k:04d}",
            "host_ids": [ids[(k + attempt) % len(ids)] for attempt in range(tries)],
        }
        for k in range(count)
    ]
    return made, len(ids)


def _empty(short: list[dict[str, object]]) -> pa.Table:
    schema = pa.schema(
        [
            ("cell", pa.string()),
            ("theta_e_index", pa.int32()),
            ("psf_index", pa.int32()),
            ("depth_index", pa.int32()),
            ("hosts", pa.int64()),
            ("injections", pa.int64()),
            ("reason", pa.string()),
        ]
    )
    return pa.Table.from_pylist(short, schema=schema)


def _grid_id(grid: GridParams, prior: Prior, hosts: Hosts, seed: int) -> str:
    """Hash of everything that decides what is injected; how many threads or rows at once does not."""
    config = grid.model_dump(mode="json", exclude={"threads", "batch_size", "prior"})
    words = key_hash(seed, hosts.ids)
    facts = np.concatenate([hosts.fwhm_arcsec, hosts.psfdepth_r[:, None]], axis=1).astype("<f8").tobytes()
    text = json.dumps([config, prior.model_dump(mode="json", exclude={"meaning"}), seed], sort_keys=True)
    return hashlib.sha256(text.encode() + words.astype("<u8").tobytes() + facts).hexdigest()[:16]
