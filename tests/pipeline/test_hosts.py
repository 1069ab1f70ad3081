"""Hosts of injections, from tables: which galaxies may be one, and with which conditions."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import astropy.units as u
import numpy as np
import pyarrow as pa
import pytest
from astropy.coordinates import SkyCoord

from injection.config import IM1
from lake.errors import DataError
from lake.root import DataRoot
from lake.sky.survey import PIXEL_SCALE_ARCSEC
from lake.store.stamps import shard_name, write_shard
from pipeline.experiment.surveyhosts import survey_hosts, without_listed
from tests.etl.survey_files import SPLIT

PIXELS = 101
CONDITIONS = [f"{kind}_{band}" for kind in ("psfsize", "psfdepth") for band in "grz"]


class Tables:
    """What a stage reads."""

    survey = SimpleNamespace(audit_manifest="m", split=SPLIT, name="test survey", simulated=True)

    def __init__(self, held: dict[str, pa.Table], root: DataRoot) -> None:
        self.held, self.root = held, root

    def read(self, name: str, columns: list[str], slices: list[str] | None = None, ordered: bool = True) -> pa.Table:
        return self.held[name].select(columns)


def tables(root: DataRoot, listed: tuple[float, float] = (0.0, 80.0), **changes: Any) -> Any:
    """Two hundred galaxies and one listed position."""
    kinds = [("val", 0), ("val", 1), ("train", 0), ("test", 0)] * 50
    rows = [
        {"galaxy_id": f"x:{i:03d}", "shard": 0, "shard_row": i, "sha256": str(i), "split": split, "label": label}
        | {"ra": 1.0 + i, "dec": 0.1 * i, **dict.fromkeys(CONDITIONS, 1.2), **changes}
        for i, (split, label) in enumerate(kinds)
    ]
    catalogue = {"type": "SER", "shape_e1": 0.1, "shape_e2": 0.2, "shape_r": 1.0, "sersic": 4.0}
    catalogue |= {"mag_r": 19.0, "mag_z": 18.5, "nobs_z_bin": "3-5", "brickname": "0001p000"}
    shapes = [{"galaxy_id": row["galaxy_id"], **catalogue} for row in rows]
    write_shard(root.cutouts / shard_name(0), iter([np.zeros((3, PIXELS, PIXELS), np.float32)]), 1, PIXELS)
    held = {"manifest": pa.Table.from_pylist(rows), "tractor_pool": pa.Table.from_pylist(shapes)}
    return Tables(held | {"lens_candidates": pa.table({"ra": [listed[0]], "dec": [listed[1]]})}, root)


def host_table(held: Tables) -> pa.Table:
    return survey_hosts(SimpleNamespace(survey=held.survey, data=held.root), held.read, IM1).table  # type: ignore[arg-type]


def test_hosts_are_validation_negatives_with_the_manifests_conditions(root: DataRoot) -> None:
    found = host_table(tables(root, psfsize_r=1.4))
    places = [int(name.removeprefix("x:")) for name in found["galaxy_id"].to_pylist()]
    assert len(places) > 5
    assert all(place % 4 == 0 for place in places)
    assert set(found["psfsize_r"].to_pylist()) == {1.4}
    assert found["sha256"].to_pylist() == [str(place) for place in places]


@pytest.mark.parametrize("changes", [{"psfsize_r": None}, {"psfdepth_r": 0.0}])
def test_no_host_at_all_says_what_is_missing(root: DataRoot, changes: dict[str, Any]) -> None:
    with pytest.raises(
        DataError, match=r"none of the [0-9]+ validation negatives kept for that has a psfsize_r and a psf"
    ):
        host_table(tables(root, **changes))


def test_a_grid_without_hosts_is_refused(root: DataRoot) -> None:
    with pytest.raises(DataError, match=r"no galaxy can host injections: no validation negatives of .* are kept"):
        host_table(tables(root, split="train"))
    held = tables(root)
    everywhere = held.held["manifest"].select(["ra", "dec"])
    with pytest.raises(DataError, match=r"a listed position lies in the stamp of each of the [0-9]+ validation neg"):
        host_table(Tables(held.held | {"lens_candidates": everywhere}, root))


@pytest.mark.parametrize(
    ("offset", "held"), [((13.0, 0.0), False), ((-13.0, 13.2), False), ((13.6, 0.0), True), ((0.0, -13.6), True)]
)
def test_a_listed_position_in_its_stamp_makes_a_negative_no_host(
    root: DataRoot, offset: tuple[float, float], held: bool
) -> None:
    """The exclusion reaches 11 arcsec, the stamp 13.2."""
    name = host_table(tables(root))["galaxy_id"][3].as_py()
    ra, dec = 1.0 + int(name[2:]), 0.1 * int(name[2:])
    listed = ra + offset[0] / 3600 / np.cos(np.deg2rad(dec)), dec + offset[1] / 3600
    assert (name in host_table(tables(root, listed=listed))["galaxy_id"].to_pylist()) is held


def positions(ra: np.ndarray, dec: np.ndarray) -> pa.Table:
    return pa.table({"galaxy_id": [str(i) for i in range(len(ra))], "ra": ra, "dec": dec})


@pytest.mark.usefixtures("whole_stage")
def test_a_galaxy_whose_stamp_holds_a_listed_position_is_no_host(caplog: pytest.LogCaptureFixture) -> None:
    """Against astropy's offsets: round the sky, at the wrap of right ascension, at high declination."""
    rng = np.random.default_rng(3)
    centres = SkyCoord([0.0003, 359.9998, 120, 240], [0, -30, 75, -85], unit="deg")
    hosts = centres.directional_offset_by(rng.uniform(0, 360, (50, 4)) * u.deg, rng.uniform(0, 40, (50, 4)) * u.arcsec)
    listed = centres.directional_offset_by(rng.uniform(0, 360, (2, 4)) * u.deg, rng.uniform(0, 40, (2, 4)) * u.arcsec)
    with caplog.at_level(logging.INFO):
        kept = without_listed(
            positions(hosts.ra.deg.ravel(), hosts.dec.deg.ravel()),
            positions(listed.ra.deg.ravel(), listed.dec.deg.ravel()),
            PIXELS,
        )
    half = (PIXELS + 1) / 2 * PIXEL_SCALE_ARCSEC
    inside = np.zeros(200, dtype=bool)
    for i, host in enumerate(hosts.ravel()):
        offsets = listed.ravel().transform_to(host.skyoffset_frame())
        east, north = offsets.lon.wrap_at(180 * u.deg).arcsec, offsets.lat.arcsec
        inside[i] = (np.maximum(np.abs(east), np.abs(north)) <= half).any()
    assert kept["galaxy_id"].to_pylist() == [str(i) for i in np.flatnonzero(~inside)]
    assert 20 < inside.sum() < 180
    assert f"{inside.sum()} of 200 galaxies cannot be hosts" in caplog.text


def test_without_a_list_all_are_hosts() -> None:
    nobody = positions(np.array([]), np.array([]))
    assert without_listed(positions(np.array([1.0]), np.array([2.0])), nobody, PIXELS).num_rows == 1
