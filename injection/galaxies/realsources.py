"""Real galaxies as sources: the choice of a galaxy of a bank for each injection, and its lensed light."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from injection.config import Quadrature
from injection.engine import _pack
from injection.engine._image_rays import PART_FIELDS
from injection.engine._pack import Scene
from injection.engine.tracing import Traced, integrated, trace
from injection.galaxies.banks import BANK_COLOURS, SourceBank
from injection.keyed import Keyed
from injection.priors.prior import Prior
from injection.priors.registry import clump_log_density
from injection.scene.lens import Lens, largest_deflection, rotated
from lake.errors import invalid

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BankSources:
    """Source model in which rows may be real galaxies of a bank; other rows are Sersic profiles."""

    bank: SourceBank
    max_pixel_arcsec: float | None = None
    """Largest source-plane size of a stamp's pixels; None for no limit"""
    catalogue_colours: bool = True
    """Whether galaxies have their catalogue's colours, if known, instead of the prior's"""
    path: str = "a bank"
    """File of the galaxies, for captions"""

    @property
    def identity(self) -> list[object]:
        """From the content of the bank, not from its path."""
        return [self.bank.digest, self.catalogue_colours, self.max_pixel_arcsec]

    def describe(self) -> str:
        return f"{len(self.bank.ids)} real galaxies of {Path(self.path).name}"

    def faults(self, rows: pa.Table) -> list[str | None]:
        models, ids, sizes = (rows.column(f"src_{name}").to_pylist() for name in ("model", "stamp_id", "re_arcsec"))
        return [
            self._fault(stamp_id, size) if model == "real" else None
            for model, stamp_id, size in zip(models, ids, sizes, strict=True)
        ]

    def _fault(self, stamp_id: str | None, re_arcsec: float) -> str | None:
        if self.max_pixel_arcsec is not None:
            radii = self.bank.half_light_px
            radius = radii[self.bank.places[stamp_id]] if stamp_id in self.bank.places else radii.max()
            largest = self.max_pixel_arcsec * float(radius)
            if not re_arcsec <= largest:
                allowed = f"at most {largest:.3g} for pixels of its stamp of at most {self.max_pixel_arcsec:g} arcsec"
                return str(invalid("src_re_arcsec", allowed, re_arcsec))
        return None if stamp_id in self.bank.places else str(invalid("src_stamp_id", "a galaxy of the bank", stamp_id))

    def trace(self, rows: pa.Table, stamp_pixels: int, quadrature: Quadrature, pixel_scale_arcsec: float) -> Traced:
        images = np.empty((rows.num_rows, stamp_pixels**2 + 1), dtype=np.float32)
        rays = np.zeros(rows.num_rows, dtype=np.int64)
        real = np.asarray(rows["src_model"]) == "real"
        if real.any():
            galaxies = rows.filter(pa.array(real))
            places = [self.bank.places[stamp_id] for stamp_id in galaxies["src_stamp_id"].to_pylist()]
            scene = _scene(galaxies, self.bank, places, quadrature, pixel_scale_arcsec)
            images[real], rays[real] = integrated(scene, stamp_pixels, [self.bank.images[place] for place in places])
        if not real.all():
            others = rows.filter(pa.array(~real))
            images[~real], rays[~real] = trace(others, stamp_pixels, quadrature, pixel_scale_arcsec)
        return images, rays

    def draw(self, rows: pa.Table, prior: Prior, seed: int) -> pa.Table:
        """Draws of the prior with real galaxies as sources, with the drawn size, position angle, place and magnitude.

        All galaxies of the bank with pixels that are not enlarged too much are equally likely; a row for which no
        galaxy is large enough fails. Colours are the catalogue's if wanted and known, else the drawn ones.
        ``log_prior`` is without the terms of index, axis ratio and clumps, and with that of the choice of the galaxy.
        """
        ids, count = rows.column("injection_id").combine_chunks(), rows.num_rows

        def column(name: str) -> Array:
            return np.asarray(rows.column(name).to_numpy(zero_copy_only=False), dtype=np.float64)

        chosen, among = self._choose(Keyed(seed, ids).uniform("src_stamp_id"), column("src_re_arcsec"))
        gone = clump_log_density(prior, column)
        for name in ("src_n", "src_q"):
            gone = gone + getattr(prior, name).log_density(column(name))
        clumps = [f"src_clump{k}_{part}_arcsec" for k in (1, 2, 3) for part in ("x", "y", "re")]
        changes: dict[str, pa.Array] = dict.fromkeys(("src_n", "src_q", *clumps), pa.nulls(count, pa.float64()))
        changes["src_clumps"] = pa.array(np.zeros(count, np.int32))
        changes["src_clump_fraction"] = pa.array(np.zeros(count))
        changes["src_model"] = pa.array(["real"] * count)
        names = [self.bank.ids[place] if number else None for place, number in zip(chosen, among, strict=True)]
        changes["src_stamp_id"] = pa.array(names, pa.string())
        changes["log_prior"] = pa.array(column("log_prior") - gone - np.log(np.maximum(among, 1)))
        if self.catalogue_colours:
            for place, colour in enumerate(BANK_COLOURS):
                if (name := f"src_{colour}") in rows.column_names:
                    own = self.bank.colours[chosen, place]
                    changes[name] = pa.array(np.where(np.isfinite(own), own, column(name)))
        for name, values in changes.items():
            rows = rows.set_column(rows.column_names.index(name), name, values)
        return rows

    def _choose(self, uniform: Array, re_arcsec: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Place in the bank of each row's galaxy, and how many it was chosen from (0: none is large enough)."""
        order = np.argsort(-self.bank.half_light_px, kind="stable")
        smallest = np.zeros(len(re_arcsec)) if self.max_pixel_arcsec is None else re_arcsec / self.max_pixel_arcsec
        among = np.searchsorted(-self.bank.half_light_px[order], -smallest, side="right")
        return order[np.minimum((uniform * among).astype(np.int64), np.maximum(among - 1, 0))], among


def _scene(
    rows: pa.Table, bank: SourceBank, places: list[int], quadrature: Quadrature, pixel_scale_arcsec: float
) -> Scene:
    """The scene, for the backend, of rows with the galaxies at these places of the bank."""
    lens = Lens.from_rows(rows)
    names = ("x_arcsec", "y_arcsec", "re_arcsec", "pa_rad")
    x, y, half_light, angle = (rows[f"src_{name}"].to_numpy() for name in names)
    u, v = rotated(x - lens.x_arcsec, y - lens.y_arcsec, lens.pa_rad)
    per_arcsec = bank.half_light_px[places] / half_light
    turn, (centre_x, centre_y) = angle - lens.pa_rad, bank.centres_px[places].T
    along, across = per_arcsec * np.cos(turn), per_arcsec * np.sin(turn)
    extent = np.array([np.hypot(*bank.images[place].shape) for place in places]) / per_arcsec
    offset = np.hypot(u, v) + largest_deflection(lens.theta_e_arcsec, lens.q)
    reach = (offset + extent) / (1.0 - np.hypot(lens.gamma1, lens.gamma2)) + pixel_scale_arcsec
    # The backend compares squares of extents in half pixels.
    one, four = 0.25 * quadrature.image_one_ray_below_px**2, 0.25 * quadrature.image_four_rays_below_px**2
    fields = {
        "u": u, "v": v, "along": along, "across": across, "centre_x": centre_x, "centre_y": centre_y,
        "brightness": per_arcsec**2,
    }  # fmt: skip
    return Scene(
        **_pack.lens_fields(lens),
        parts=np.stack([fields[name] for name in PART_FIELDS], axis=1)[:, None].astype(np.float32),
        counts=np.ones(len(places), np.int64),
        reaches=reach[:, None].astype(np.float32),
        scale=np.float32(pixel_scale_arcsec),
        levels=quadrature.levels,
        limits=np.array([one, four, 0.1 * quadrature.negligible_flux], np.float32),
    )
