"""Simulated skies in memory: the lenses and the unlensed galaxies of a few bricks, as the pipeline would find them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from demo.brick import Plan, Scene, generator, make_scene
from demo.catalogue import Rows, catalogue, with_arcs
from demo.config import DemoParams, LensParams
from demo.density import THETA_E_SHAPE as BETA
from demo.listing import brick_truth, lens_truth
from demo.survey import plan_survey
from demo.truth import galaxy_ids
from injection.config import IM1
from injection.experiment.hostset import HostSet, in_memory
from injection.experiment.setting import Setting
from injection.keyed import Keyed
from lake.config import SplitParams
from lake.scorer import Scorer
from lake.sky.photometry import magnitude_from_flux
from lake.sky.survey import BANDS, STAMP_PIXELS, SURVEY
from pipeline.realism.closure import rendered
from pipeline.realism.lenspopulation import Drawn
from pipeline.realism.truelenses import TrueLenses, injections

Images = NDArray[np.float32]
Floats = NDArray[np.float64]

_POOL_TYPES = ("SER", "DEV", "REX")
_FAINTEST_Z_MAG = 20.0
_CONDITIONS = [f"{kind}_{band}" for kind in ("psfsize", "psfdepth") for band in BANDS]


@dataclass(frozen=True)
class Sky:
    """Everything of a few bricks that closure needs."""

    lenses: TrueLenses
    """Listed lenses; their `probability` is not known yet"""
    painted: Images
    """Their stamps (lens, band, y, x) nMgy as painted"""
    catalogue: pd.DataFrame
    """Rows of the sweep of the lenses (`label` 1) and of pool galaxies without one in their stamp, by `galaxy_id`"""
    stamps: Images
    """Stamps of the pool galaxies (galaxy, band, y, x) nMgy"""

    def hosts(self) -> HostSet:
        """The pool galaxies as hosts of injections."""
        table = self.catalogue[self.catalogue["label"] == 0]
        held = pa.Table.from_pandas(table, preserve_index=False)
        load = in_memory(self.stamps, table["galaxy_id"].tolist())
        return HostSet("galaxies of a simulated sky", held, load, STAMP_PIXELS, IM1, SURVEY)


def make_sky(params: DemoParams, split: SplitParams, seed: int, collection: str = "sim") -> Sky:
    """The sky of a seed: all its bricks, whatever their split.

    Pixels are not masked: the parameters should ask for no bad pixels, bright stars or missing bands.
    """
    plans = plan_survey(params, split, seed)
    parts = [_brick(params, plan, seed, collection) for plan in plans]
    lenses, painted, bare, catalogues, stamps = (list(each) for each in zip(*parts, strict=True))
    truth = pd.concat(lenses, ignore_index=True).assign(bare_row=lambda frame: np.arange(len(frame)))
    rows = pd.concat(catalogues, ignore_index=True)
    conditions = brick_truth(plans).to_pandas().drop(columns="split")
    truth = truth.merge(conditions, on="brickname", suffixes=("", "_brick"))
    truth = truth.merge(rows[["galaxy_id", *_CONDITIONS]], on="galaxy_id", validate="one_to_one")
    known = TrueLenses(truth.assign(probability=np.nan, seen=False), injections(truth), np.concatenate(bare))
    return Sky(known, np.concatenate(painted), rows, np.concatenate(stamps))


def injected(setting: Setting, scorer: Scorer, lens: LensParams, per_host: int) -> tuple[Drawn, Floats]:
    """Injections of the setting's prior into each host, with Einstein radii as the generator draws them in its seeing,
    and the finder's probabilities."""
    hosts = setting.hosts
    ids = np.repeat(np.asarray(hosts.ids.to_pylist()), per_host)
    width = np.repeat(hosts.fwhm_nea_arcsec[:, hosts.imaging.reference], per_host)
    names = pa.array([f"{galaxy}|{number}" for number, galaxy in enumerate(ids)])
    low = np.maximum(lens.theta_e_range_arcsec[0], lens.theta_e_over_psfsize_min * width)
    radii = low + (lens.theta_e_range_arcsec[1] - low) * BETA.ppf(Keyed(setting.seed, names).uniform("theta_e"))
    wanted = pa.table({"injection_id": names, "galaxy_id": ids, "lens_theta_e_arcsec": radii})
    rows = setting.parameters(wanted)
    found = rendered(setting, scorer, rows)
    sigma = hosts.pixel_sigma_nmgy[hosts.rows_of(ids.tolist()), hosts.imaging.reference]
    measured = {f"arc_flux_{band}_nmgy": found[f"arc_flux_{band}"] for band in hosts.imaging.bands}
    measured["arc_snr"] = found[f"arc_norm_{hosts.imaging.reference_band}"] / sigma
    rows = pa.table({**{name: rows[name] for name in rows.column_names}, **measured})
    return Drawn(rows, hosts, setting.prior, setting.grid), found["probability"]


def _brick(
    params: DemoParams, plan: Plan, seed: int, collection: str
) -> tuple[pd.DataFrame, Images, Images, pd.DataFrame, Images]:
    """Truth of the lenses, their stamps with and without arcs, catalogue rows, stamps of the pool galaxies."""
    scene = make_scene(params, plan, seed)
    rng = generator(seed, plan, 3)
    frame = _columns(catalogue(rng, plan, scene, with_arcs(rng, scene)))
    frame["galaxy_id"] = galaxy_ids(collection, [plan.brick.name] * len(frame), frame["objid"])
    lensed = [index for index in scene.lensed if scene.sources[index].role.startswith("tier")]
    truth = pd.DataFrame([row for row in lens_truth(plan, scene) if row["objid"] in lensed])
    truth["galaxy_id"] = galaxy_ids(collection, truth["brickname"], truth["objid"])
    pool = _pool(frame, scene)
    rows = pd.concat([frame.iloc[lensed].assign(label=1), frame.iloc[pool].assign(label=0)])
    image, bare = (_stamps(pixels, scene, lensed) for pixels in (scene.image, scene.bare))
    return truth, image, bare, rows, _stamps(scene.image, scene, pool)


def _columns(rows: Rows) -> pd.DataFrame:
    """Plain columns of sweep rows, in lower case, with the magnitudes and colours of the pool."""
    held = {name.lower(): rows[name] for name in rows.dtype.names or () if rows[name].ndim == 1}
    native = {name: values.astype(values.dtype.newbyteorder("=")) for name, values in held.items()}
    frame = pd.DataFrame(native).assign(type=[each.decode().strip() for each in rows["TYPE"].tolist()])
    with np.errstate(divide="ignore", invalid="ignore"):
        mag = {band: magnitude_from_flux(frame[f"flux_{band}"].to_numpy()) for band in ("g", "r", "z", "w1")}
        pairs = zip(("g", "r", "z"), ("r", "z", "w1"), strict=True)
        colours = {f"{one}_minus_{two}": mag[one] - mag[two] for one, two in pairs}
    return frame.assign(mag_r=mag["r"], mag_z=mag["z"], **colours)


def _pool(frame: pd.DataFrame, scene: Scene) -> list[int]:
    """Places of unlensed galaxies that the pool would hold and whose stamp has no listed object, nor an edge."""
    half = STAMP_PIXELS // 2
    place = np.array([source.position for source in scene.sources])
    listed = place[[source.role != "field" for source in scene.sources]]
    inside = (np.round(place).min(axis=1) >= half) & (np.round(place).max(axis=1) + half < scene.image.shape[-1])
    apart = np.abs(place[:, None] - listed[None]).max(axis=2).min(axis=1, initial=np.inf)
    bright = frame["mag_z"].to_numpy()[: len(place)] < _FAINTEST_Z_MAG
    good = inside & (apart > half + 1) & bright & frame["type"].iloc[: len(place)].isin(_POOL_TYPES).to_numpy()
    return np.flatnonzero(good & (np.array([source.role for source in scene.sources]) == "field")).tolist()


def _stamps(pixels: Images, scene: Scene, indices: list[int]) -> Images:
    half, found = STAMP_PIXELS // 2, np.zeros((len(indices), len(BANDS), STAMP_PIXELS, STAMP_PIXELS), np.float32)
    for row, index in enumerate(indices):
        x, y = np.round(scene.sources[index].position).astype(int) - half
        found[row] = pixels[:, y : y + STAMP_PIXELS, x : x + STAMP_PIXELS]
    return found
