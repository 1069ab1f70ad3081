"""What a command injects: the options of ``dhs render`` and ``dhs validate-injection`` on top of params.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from injection.config import GridParams
from injection.engine.render import Sources
from injection.experiment.grid import grid_sources
from pipeline.experiment.hostsets import Conditions, HostSet, host_set
from pipeline.experiment.sourcebanks import real_sources
from pipeline.project import params


@dataclass(frozen=True)
class Setting:
    """Everything injections are made from, but their parameters."""

    grid: GridParams
    hosts: HostSet
    sources: Sources
    seed: int


@dataclass(frozen=True)
class Choice:
    """Options of a command; None is what params.yaml says."""

    prior: str | None
    source_model: str | None
    min_source_snr: float
    hosts: str
    host_model: str | None
    psf_fwhm_nea: float
    depth: tuple[float, float, float]
    psf_model: str | None
    psf_beta: tuple[float, ...] | None
    poisson_gain: float | None
    core_suppression_radius: float | None
    seed: int | None

    def setting(self) -> Setting:
        """The parameters, hosts and sources that the options name; refused by name where they are impossible."""
        grid = self.grid()
        seed = params.survey().seed if self.seed is None else self.seed
        sources = grid_sources(grid)
        return Setting(grid, host_set(self.hosts, grid, Conditions(self.psf_fwhm_nea, self.depth), seed), sources, seed)

    def grid(self) -> GridParams:
        """The grid's parameters with the options in their place."""
        given = {
            "prior": self.prior,
            "host_model": self.host_model,
            "psf_model": self.psf_model,
            "psf_moffat_beta": self.psf_beta,
            "poisson_gain_e_per_nmgy": self.poisson_gain,
            "core_suppression_radius_arcsec": self.core_suppression_radius,
        }
        own = params.typed(GridParams, "grid").model_dump(mode="json")
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if self.source_model is not None:
            chosen = real_sources(self.source_model, self.min_source_snr)
            changes["real_sources"] = None if chosen is None else chosen.model_dump(mode="json")
        return GridParams.load({**own, **changes}, "grid")
