"""The selection-function grid: which injections are made, into which hosts; a pure function of both and a seed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import product

import numpy as np
import pyarrow as pa

from injection.config import GridParams
from injection.engine.render import PARAMETRIC, Sources
from injection.experiment.hosts import Hosts
from injection.galaxies.banks import load_bank
from injection.galaxies.realsources import BankSources
from injection.priors.registry import Prior, draw, load_prior
from lake.errors import invalid
from lake.sky.hashing import key_hash


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
    sources: Sources = PARAMETRIC
    """What the rows' light is rendered with"""

    def drawn(self, rows: pa.Table) -> pa.Table:
        """Parameters of some of the plan's rows, whichever are asked for: see ``injection.priors.registry.draw``."""
        places = rows.column("sobol_place").to_numpy() if self.grid.drawing == "sobol" else None
        fixed = {"lens_theta_e_arcsec": rows.column("lens_theta_e_arcsec").to_numpy()}
        ids = rows.column("injection_id").combine_chunks()
        found = draw(self.prior, ids, self.seed, fixed, places)
        if self.grid.real_sources is None or not isinstance(self.sources, BankSources):
            return found
        return self.sources.draw(found, self.prior, self.seed, self.grid.real_sources.catalogue_colours)


def cell_name(theta_e_index: int, psf_index: int, depth_index: int) -> str:
    return f"t{theta_e_index:02d}p{psf_index}d{depth_index}"


def plan(grid: GridParams, hosts_table: pa.Table, seed: int) -> Plan:
    """Lay out the grid over the hosts.

    Each cell takes its hosts in its own keyed-hash order, round and round, up to ``max_uses_per_host`` times; a cell
    without hosts stays empty and says so.
    """
    prior, hosts = load_prior(grid.prior), Hosts(hosts_table, grid.host_model)
    sources = grid_sources(grid)
    if grid.sky_noise == "psfdepth" and np.isnan(hosts.psfdepth).all(axis=0).any():
        raise invalid("grid.sky_noise", "none or annulus if hosts lack psfdepth in some band", grid.sky_noise)
    rows: list[dict[str, object]] = []
    short: list[dict[str, object]] = []
    for t, p, d in product(
        range(len(grid.theta_e_arcsec)),
        range(len(grid.psf_fwhm_nea_edges_arcsec) - 1),
        range(len(grid.depth_edges_mag) - 1),
    ):
        made, cell_hosts = _cell_rows(grid, hosts, seed, (t, p, d))
        rows.extend(made)
        if len(made) < grid.per_cell:
            reason = f"{cell_hosts} hosts in the cell, at most {grid.max_uses_per_host} injections each"
            short.append({**_indices(t, p, d), "hosts": cell_hosts, "injections": len(made), "reason": reason})
    table = pa.Table.from_pylist(rows, schema=PLAN_SCHEMA)
    grid_id = _grid_id(grid, prior, sources, hosts, seed)
    return Plan(grid_id, grid, prior, seed, hosts, table, _empty(short), sources)


def grid_sources(grid: GridParams) -> Sources:
    """What the light of a grid's injections is rendered with: profiles, or real galaxies too."""
    if grid.real_sources is None:
        return PARAMETRIC
    return BankSources(load_bank(grid.real_sources), grid.real_sources.max_pixel_arcsec)


PLAN_SCHEMA = pa.schema(
    [
        ("injection_id", pa.string()),
        ("theta_e_index", pa.int32()),
        ("psf_index", pa.int32()),
        ("depth_index", pa.int32()),
        ("cell", pa.string()),
        ("cell_psf_fwhm_nea_low_arcsec", pa.float64()),
        ("cell_psf_fwhm_nea_high_arcsec", pa.float64()),
        ("cell_depth_low_mag", pa.float64()),
        ("cell_depth_high_mag", pa.float64()),
        ("lens_theta_e_arcsec", pa.float64()),
        ("host_ids", pa.list_(pa.string())),
        ("sobol_place", pa.int64()),
    ]
)


def _indices(t: int, p: int, d: int) -> dict[str, object]:
    return {"cell": cell_name(t, p, d), "theta_e_index": t, "psf_index": p, "depth_index": d}


def _cell_rows(
    grid: GridParams, hosts: Hosts, seed: int, index: tuple[int, int, int]
) -> tuple[list[dict[str, object]], int]:
    """Plan rows of one cell, and how many hosts it has."""
    t, p, d = index
    psf = (grid.psf_fwhm_nea_edges_arcsec[p], grid.psf_fwhm_nea_edges_arcsec[p + 1])
    depth = (grid.depth_edges_mag[d], grid.depth_edges_mag[d + 1])
    inside = hosts.cell(psf, depth)
    if not len(inside):
        return [], 0
    cell = cell_name(t, p, d)
    ids = hosts.ids.take(pa.array(hosts.ordered(inside, seed, cell))).to_pylist()
    tries = min(1 + grid.host_retries, len(ids))
    common = {
        **_indices(t, p, d),
        "cell_psf_fwhm_nea_low_arcsec": psf[0],
        "cell_psf_fwhm_nea_high_arcsec": psf[1],
        "cell_depth_low_mag": depth[0],
        "cell_depth_high_mag": depth[1],
        "lens_theta_e_arcsec": grid.theta_e_arcsec[t],
    }
    count = min(grid.per_cell, len(ids) * grid.max_uses_per_host)
    shape = (len(grid.theta_e_arcsec), len(grid.psf_fwhm_nea_edges_arcsec) - 1, len(grid.depth_edges_mag) - 1)
    first = int(np.ravel_multi_index(index, shape)) * grid.per_cell
    made = [
        {
            **common,
            "injection_id": f"{cell}-{k:04d}",
            "host_ids": [ids[(k + attempt) % len(ids)] for attempt in range(tries)],
            "sobol_place": first + k,
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


def _grid_id(grid: GridParams, prior: Prior, sources: Sources, hosts: Hosts, seed: int) -> str:
    """Hash of everything that decides what is injected; how many threads or rows at once, or where, does not.

    A prior and a bank count by what is in them, not by where they lie.
    """
    config = grid.model_dump(mode="json", exclude={"threads", "batch_size", "device", "prior", "real_sources"})
    if grid.real_sources is not None and isinstance(sources, BankSources):
        chosen = grid.real_sources
        config["real_sources"] = [sources.bank.digest, chosen.catalogue_colours, chosen.max_pixel_arcsec]
    words = key_hash(seed, hosts.ids)
    shapes = hosts.shapes(np.arange(len(hosts.ids))) if grid.host_model == "IM2" else ()
    known = [hosts.fwhm_nea_arcsec, hosts.psfdepth, *(shape[:, None] for shape in shapes)]
    facts = np.concatenate(known, axis=1).astype("<f8").tobytes()
    text = json.dumps([config, prior.model_dump(mode="json", exclude={"meaning"}), seed], sort_keys=True)
    return hashlib.sha256(text.encode() + words.astype("<u8").tobytes() + facts).hexdigest()[:16]
