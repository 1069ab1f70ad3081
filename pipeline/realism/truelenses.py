"""The listed lenses of a simulated survey whose truth is known, as injections: their parameters, hosts and images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analysis.results.untouched import new_to, refusal
from demo.truth import BARE_HOSTS, galaxy_ids
from injection.config import IM1
from injection.engine.tracing import Images
from injection.experiment.hostset import HostSet
from injection.optics import declared
from injection.scene.conventions import from_lenstronomy_source
from injection.scene.sources import MAX_CLUMPS
from lake.errors import DataError
from lake.root import DataRoot
from lake.sky.hashing import key_hash
from lake.sky.survey import BANDS, PIXEL_SCALE_ARCSEC, SURVEY
from lake.store.stamps import PLACE
from pipeline.project.project import Project

_HALF_TURN = np.pi
_HOST_COLUMNS = [f"{kind}_{band}" for kind in ("psfsize", "psfdepth") for band in BANDS]


def require_truth(project: Project) -> None:
    """Refuse to work on a simulated survey whose truth is gone: its lenses would pass for unknown ones."""
    truth = project.data.truth
    if project.survey.simulated and not (truth / BARE_HOSTS).exists():
        raise DataError(
            f"{truth}, which holds the lenses of the {project.survey.name}, is missing (an interrupted run removes "
            "it): `dhs repro` makes it again"
        )


@dataclass(frozen=True)
class TrueLenses:
    """Lenses of which everything is known, row by row."""

    truth: pd.DataFrame
    """Rows of the truth with `galaxy_id`, conditions, the finder's `probability` of the lens as painted, and `seen`:
    whether it is known to have trained or selected on the lens"""
    rows: pa.Table
    """The same lenses as injections, centred on the stamp as those of a grid"""
    bare: NDArray[np.float32]
    """Their hosts without the arcs: stamps (lens, band, y, x) nMgy, a memory map indexed by `bare_row`"""

    @classmethod
    def of(cls, root: DataRoot, objects: pd.DataFrame, collection: str) -> TrueLenses | None:
        """Listed lenses outside the training split, of the scored ``objects`` of a survey, whose PSF and depth are
        known; None if there are none, or without a truth."""
        if not (root.truth / BARE_HOSTS).exists():
            return None
        truth = pq.read_table(root.truth / "lenses.parquet").to_pandas()
        truth["galaxy_id"] = galaxy_ids(collection, truth["brickname"], truth["objid"])
        conditions = pq.read_table(root.truth / "bricks.parquet").to_pandas()
        listed = objects[(objects["label"] == 1) & (objects["split"] != "train")]
        held = listed[["galaxy_id", "probability", *PLACE, *_HOST_COLUMNS]]
        found = truth[truth["bare_row"].notna()].merge(held, on="galaxy_id", validate="one_to_one")
        found = found.merge(conditions.drop(columns="split"), on="brickname", suffixes=("", "_brick"))
        found = found[declared.usable(_as_hosts(found), SURVEY)].sort_values("galaxy_id", ignore_index=True)
        bare = np.load(root.truth / BARE_HOSTS, mmap_mode="r")
        found["seen"] = ~found["galaxy_id"].isin(new_to(listed)["galaxy_id"])
        return cls(found, injections(found), bare) if len(found) else None

    @property
    def refusal(self) -> str | None:
        """Why the finder is not measured on these lenses: it has seen too many; None if the others are enough."""
        return refusal(int(self.truth["seen"].sum()), len(self.truth), "lenses outside the training split")

    @property
    def untouched(self) -> TrueLenses:
        """Those that the finder has not seen."""
        return self._kept(np.flatnonzero(~self.truth["seen"]))

    def first(self, count: int, seed: int) -> TrueLenses:
        """At most ``count`` of the lenses, by keyed hash, in their order."""
        order = np.argsort(key_hash(seed, pa.array(self.truth["galaxy_id"])), kind="stable")
        return self._kept(np.sort(order[:count]))

    def _kept(self, places: NDArray[np.int64]) -> TrueLenses:
        return TrueLenses(self.truth.iloc[places].reset_index(drop=True), self.rows.take(pa.array(places)), self.bare)

    def in_place(self) -> pa.Table:
        """Injections at the lenses' true places, off the centres of their stamps by less than a pixel."""
        moved = self.rows
        for axis in ("x", "y"):
            place = self.truth[f"{axis}_px"].to_numpy()
            shift = (place - np.round(place)) * PIXEL_SCALE_ARCSEC
            for name in (f"lens_{axis}_arcsec", f"src_{axis}_arcsec"):
                values = pa.array(moved[name].to_numpy() + shift)
                moved = moved.set_column(moved.column_names.index(name), name, values)
        return moved.append_column("galaxy_id", pa.array(self.truth["galaxy_id"]))

    def hosts(self, painted: Images) -> HostSet:
        """The lenses' own hosts without their arcs; pixels masked in the ``painted`` stamps are masked here too."""
        place = {galaxy_id: row for row, galaxy_id in enumerate(self.truth["galaxy_id"])}
        bare_row = self.truth["bare_row"].to_numpy().astype(np.int64)

        def load(galaxy_ids: Sequence[str]) -> Images:
            rows = [place[galaxy_id] for galaxy_id in galaxy_ids]
            stamps = self.bare[bare_row[rows]]
            return np.where(np.isfinite(painted[rows]), stamps, np.nan).astype(np.float32)

        table = _as_hosts(self.truth)
        return HostSet("lens hosts without their arcs", table, load, self.bare.shape[-1], IM1, SURVEY)


def _as_hosts(truth: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(truth[["galaxy_id", *_HOST_COLUMNS]], preserve_index=False)


def injections(truth: pd.DataFrame) -> pa.Table:
    """Truth of lenses, in lenstronomy's parameters, as rows of injections in ours, with sources without clumps.

    The shear of the truth acts about the host's centre and ours about the lens's: the source moves by the difference.
    """
    turned = 2.0 * truth["shear_angle_rad"]
    gamma1, gamma2 = truth["shear"] * np.cos(turned), truth["shear"] * np.sin(turned)
    x, y = truth["lens_x_arcsec"], truth["lens_y_arcsec"]
    src_x, src_y = truth["src_x_arcsec"] + gamma1 * x + gamma2 * y, truth["src_y_arcsec"] + gamma2 * x - gamma1 * y
    profiles = zip(truth["src_radius_arcsec"], truth["src_index"], strict=True)
    columns: dict[str, Any] = {
        "injection_id": truth["galaxy_id"],
        "lens_theta_e_arcsec": truth["theta_e_arcsec"],
        "lens_q": truth["lens_q"],
        "lens_pa_rad": _within_half_turn(truth["lens_angle_rad"]),
        "lens_x_arcsec": x,
        "lens_y_arcsec": y,
        "lens_gamma1": gamma1,
        "lens_gamma2": gamma2,
        "src_mag_r": truth["src_mag_r"],
        "src_g_minus_r": truth["src_g_minus_r"],
        "src_r_minus_z": truth["src_r_minus_z"],
        "src_beta_frac": np.hypot(src_x - x, src_y - y) / truth["theta_e_arcsec"],
        "src_re_arcsec": [_half_light(radius, index) for radius, index in profiles],
        "src_n": truth["src_index"],
        "src_q": truth["src_q"],
        "src_pa_rad": _within_half_turn(truth["src_angle_rad"]),
        "src_x_arcsec": src_x,
        "src_y_arcsec": src_y,
        "src_clumps": np.zeros(len(truth), np.int32),
        "src_clump_fraction": np.zeros(len(truth)),
    }
    nothing = pa.nulls(len(truth), pa.float64())
    clumps = {f"src_clump{k}_{p}_arcsec": nothing for k in range(1, MAX_CLUMPS + 1) for p in ("x", "y", "re")}
    others = {"src_model": pa.array(["sersic"] * len(truth)), "src_stamp_id": pa.nulls(len(truth), pa.string())}
    return pa.table({name: pa.array(np.asarray(values)) for name, values in columns.items()} | clumps | others)


def _within_half_turn(angle: pd.Series) -> NDArray[np.float64]:
    """Angles of axes between -pi/2 and pi/2."""
    return np.asarray((angle + _HALF_TURN / 2.0) % _HALF_TURN - _HALF_TURN / 2.0)


def _half_light(radius_arcsec: float, index: float) -> float:
    """Half-light radius (arcsec) of lenstronomy's profile, whose own radius is only nearly that."""
    values = {"amp": 1.0, "R_sersic": radius_arcsec, "n_sersic": index}
    parts, _ = from_lenstronomy_source([{**values, "e1": 0.0, "e2": 0.0, "center_x": 0.0, "center_y": 0.0}])
    return float(parts.re_arcsec[0, 0])
