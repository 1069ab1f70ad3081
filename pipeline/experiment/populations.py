"""The number of lenses that a declared population predicts for a finder, beside the number of listed candidates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from injection.priors.population import SHIPPED, Population, shipped
from lake.errors import invalid
from lake.files import strictyaml
from lake.root import DataRoot
from lake.sky.survey import PIXEL_SCALE_ARCSEC
from lake.store import delta
from lake.tables.lens_candidates import MATCHED
from pipeline.experiment.reweighting import Asked, Filled, counting
from pipeline.project.project import Project

_BRICK_DEG2 = 0.25**2
"""Nominal area of a brick of the Legacy Surveys; coadds overlap beyond it."""


def load_population(name: str) -> Population:
    """A population by its shipped name or its file. ParameterError with the reason if it is not one."""
    if name in SHIPPED:
        return Population.load(shipped(name), f"population {name}")
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        raise invalid("population", f"one of {', '.join(SHIPPED)}, or a path to a .yaml file", name)
    return Population.load(strictyaml.read_mapping(path), f"population {path}")


def expected(
    project: Project,
    name: str,
    generation: str | None,
    threshold: str | None,
    area_deg2: float | None,
    min_support: float,
) -> pa.Table:
    """Expected and listed lenses, by thresholds. ParameterError where the injections cover too little."""
    if area_deg2 is not None and not (np.isfinite(area_deg2) and area_deg2 > 0):
        raise invalid("area", "above 0", area_deg2)
    filled = Filled.of(project.data, counting(project, generation), threshold)
    if filled.stored.of_set:
        raise invalid("generation", "a finder of the survey, not an audit of cut-outs", filled.stored.name)
    area = footprint_deg2(project) if area_deg2 is None else area_deg2
    counts = predicted(filled, name, area, min_support)
    return pa.Table.from_pandas(counts.assign(**_listed(project.data)), preserve_index=False)


def predicted(filled: Filled, name: str, area_deg2: float, min_support: float) -> pd.DataFrame:
    """Expected lenses of a population in an area, by thresholds of a filled grid."""
    population, asked = load_population(name), Asked(theta_e="prior", min_support=min_support)
    found = pd.DataFrame(filled.towards(population.prior(Path(name).stem, filled.drawn), asked))
    rows = found[["threshold_id", "fpr_reached", "completeness", "low_95", "high_95", "support", "n_eff"]]
    return counted(rows, population, area_deg2)


def counted(rows: pd.DataFrame, population: Population, area_deg2: float) -> pd.DataFrame:
    """Expected lenses from rows with `completeness`, `low_95`, `high_95` and `support`, in an area.

    Lenses that no injection represents count as missed in the low and the central number, and as found in the high one.
    """
    support = rows["support"]
    low, central, high = (
        area_deg2 * density * share
        for density, share in zip(population.lenses_per_deg2.ends, population.in_pool.ends, strict=True)
    )
    return rows.assign(
        area_deg2=area_deg2,
        lenses_low=low,
        lenses=central,
        lenses_high=high,
        expected_low=low * support * rows["low_95"],
        expected=central * support * rows["completeness"],
        expected_high=high * (support * rows["high_95"] + 1.0 - support),
    )


def footprint_deg2(project: Project) -> float:
    """Area of the bricks that hold galaxies of the pool; what is masked in them is not taken off."""
    coadd_pixels = float(project.values["cutouts"]["coadd_pixels"])  # its class belongs to the Spark jobs
    side = coadd_pixels * PIXEL_SCALE_ARCSEC / 3600.0
    bricks = delta.read(project.data, "tractor_pool", ["brickname"], ordered=False)["brickname"].unique()
    return len(bricks) * min(_BRICK_DEG2, side**2)


def _listed(root: DataRoot) -> dict[str, int]:
    """Listed candidates that match a galaxy of the survey, by grade."""
    listed = delta.read(root, "lens_candidates", ["tier", "match_reason"], ordered=False).to_pandas()
    tiers = listed.loc[listed["match_reason"] == MATCHED, "tier"].value_counts()
    return {f"listed_{tier.lower()}": int(tiers.get(tier, 0)) for tier in ("A", "B")}
