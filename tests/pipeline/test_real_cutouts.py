"""Finders are audited on real cut-outs of other surveys, most of which hold a handful of objects."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter

from lake import yamltext
from lake.errors import DataError
from lake.store import cards, delta
from pipeline.experiment.emulating import completeness_at
from pipeline.finders.cutoutaudit import Made, Request, audit_cutouts
from pipeline.project import params
from pipeline.project.project import Project
from tests.cutoutsets import write_fits
from tests.pipeline.checkout import project_in

pytestmark = pytest.mark.usefixtures("whole_stage")

HERE = __name__
PRIOR = {"base": "v1", "meaning": "flat spectra"}
SMALL = {"per_cell": 16, "theta_e_arcsec": [1.0, 2.0]}
FLAT = {"kind": "normal", "mean": 0.0, "sigma": 0.1}


class Bluest:
    """A finder: how blue the light beside the middle is."""

    bands: tuple[str, ...]
    version, output = "1", "logits"

    def score(self, stamps: NDArray[np.float32]) -> NDArray[np.float64]:
        side = stamps.shape[-1]
        y, x = np.mgrid[:side, :side] - side // 2
        ring = (np.hypot(x, y) > side / 40) & (np.hypot(x, y) < side / 6)
        blue, red = (np.nan_to_num(stamps[:, band], nan=0.0)[:, ring].astype(np.float64) for band in (0, -1))
        return np.asarray((blue - 0.3 * red).max(axis=1) * 30 - 3)


class OfHsc(Bluest):
    bands = ("g", "r", "i", "z", "y")


class OfEuclid(Bluest):
    bands = ("g", "r", "i", "z")


class OfDecals(Bluest):
    bands = ("g", "r", "z")


class OfDes(Bluest):
    bands = ("g", "r", "i", "z", "Y")


class OfKids(Bluest):
    bands = ("g", "r", "i", "Z")


def prior(bands: tuple[str, ...], reference: str) -> str:
    colours = {f"src_{one}_minus_{two}": FLAT for one, two in pairwise(bands)}
    magnitude = {} if reference == "r" else {f"src_mag_{reference}": {"kind": "uniform", "low": 20.0, "high": 25.0}}
    return yamltext.text({**PRIOR, **magnitude, **colours})


def audited(folder: Path, cutouts: Path, finder: type[Bluest], **described: Any) -> tuple[Project, Made]:
    values = {"bands": list(finder.bands), "reference_band": "r", **described}
    (folder / "prior.yaml").write_text(prior(finder.bands, values["reference_band"]))
    path = folder / "set.yaml"
    path.write_text(yamltext.text({**values, "grid": {"prior": "prior.yaml", **SMALL}}))
    params.write(folder, project_in(folder).values, "test")
    at = params.load(folder)
    return at, audit_cutouts(at, Request(f"{HERE}:{finder.__name__}", cutouts, path, "blue"))


def rows(at: Project, table: str, name: str) -> pd.DataFrame:
    return delta.read(at.data, table, slices=[name]).to_pandas()


def labels(folder: Path, **kinds: str) -> dict[str, Any]:
    pd.DataFrame({"id": list(kinds), "kind": list(kinds.values())}).to_csv(folder / "objects.csv", index=False)
    return {"table": "objects.csv", "labels": {"column": "kind", "lenses": ["lens"], "negatives": ["other"]}}


def test_one_hsc_lens_and_one_spiral(real_data: Path, tmp_path: Path, words_only: None) -> None:
    """The spiral hosts all injections; no false-positive rate is measured, and none is printed."""
    at, made = audited(
        tmp_path, real_data / "cutouts" / "hsc_lens_pyplz", OfHsc,
        name="hsc", reference_band="i", pixel_scale_arcsec=0.168, zero_point_mag=27.0, stamp_pixels=101,
        images={"files": "data/{id}_{band}_sci.fits"}, noise={"kind": "variance", "files": "data/{id}_{band}_var.fits"},
        psf={"kind": "image", "files": "data/{id}_{band}_psf.fits", "includes_pixel": True, "recentre": True},
        **labels(tmp_path, **{"220506+014703": "lens", "42305780052942573": "other"}),
    )  # fmt: skip
    assert made.rejected == 1, "the mask of the lens"
    injections, completeness = rows(at, "set_injections", made.name), rows(at, "completeness", made.name)
    assert set(injections["galaxy_id"]) == {"hsc:42305780052942573"}
    assert (injections["status"] == "scored").sum() >= 10, "a host may serve so often"
    assert injections["host_psf_fwhm_nea_arcsec"].between(0.4, 1.2).all()
    noise = rows(at, "gates", f"diagnose-{made.name}").set_index("name").loc["host_noise"]
    assert noise["status"] == "WARN", "the spiral's own light is in its annulus"
    assert 1.0 < noise["value"] < 3.0
    assert completeness["fpr_reached"].isna().all()
    assert set(completeness["threshold_id"]) == {"p0.3", "p0.5", "p0.7"}
    marginal = completeness[(completeness["cell"] == "marginal") & (completeness["source_mag_bin"] == "all")]
    assert (marginal["hosts"] == 1).all()
    width = marginal["host_clustered_95_high"] - marginal["host_clustered_95_low"]
    assert (width > 0.85).all(), "one host says little"
    measures = rows(at, "diagnostics", f"evaluate-{made.name}").set_index("name")
    assert measures.loc["recall/p0.5", "n"] == 1
    assert measures.loc[["auc", "fpr/p0.5"], "value"].isna().all()
    page = made.page.read_text()
    assert "not measured" in page
    assert not re.search(r"\bnan\b", page, re.IGNORECASE)


def test_euclid_lenses_without_negatives(real_data: Path, tmp_path: Path, words_only: None) -> None:
    """DES images, PSFs and noise maps of Euclid's cut-outs; recall is all that lenses alone can give."""
    names = ("18665_NEG570040238507752998", "19126_NEG589666030505609975")
    at, made = audited(
        tmp_path, real_data / "cutouts" / "euclid_q1_lenses_with_DES", OfEuclid,
        name="euclid", pixel_scale_arcsec=0.1, zero_point_mag=30.0,
        band_names={band: f"DES_{band.upper()}" for band in OfEuclid.bands},
        images={"files": "1020{id}.fits", "array": "{band}_BGSUB"},
        psf={"kind": "image", "array": "{band}_PSF", "includes_pixel": True, "recentre": True},
        noise={"kind": "rms", "array": "{band}_RMS"},
        **labels(tmp_path, **dict.fromkeys(names, "lens")),
    )  # fmt: skip
    assert made.rejected == 2, "two cut-outs have no DES images"
    scores = rows(at, "scores", made.name)
    assert len(scores) == 2
    assert np.isfinite(scores["score"]).all()
    measures = rows(at, "diagnostics", f"evaluate-{made.name}").set_index("name")
    assert measures.loc["recall/p0.3", "n"] == 2
    assert measures.loc[["auc", "fpr/p0.3"], "value"].isna().all()
    assert made.name not in {entry.card.slice for entry in cards.slices(at.data, "completeness")}
    assert "no negatives to host" in made.page.read_text()
    with pytest.raises(DataError, match="blue-euclid has no injections: none of its cut-outs could host them"):
        completeness_at(at, [{"theta_e": 1.0}], made.name, None)


def test_decals_cubes_of_which_one_is_truncated_and_one_has_dead_pixels(
    real_data: Path, tmp_path: Path, words_only: None
) -> None:
    """The viewer resamples to any scale: cubes of another than declared are named, as is the broken one."""
    cutouts = real_data / "cutouts" / "decals_viewer"
    facts: dict[str, Any] = {
        "name": "decals", "zero_point_mag": 22.5, "stamp_pixels": 101, "images": {"files": "*.fits"},
        "psf": {"kind": "fwhm_nea", "arcsec": 1.3}, "noise": {"kind": "measured"}, "labels": {"all": "negative"},
    }  # fmt: skip
    at, made = audited(tmp_path, cutouts, OfDecals, pixel_scale_arcsec=0.262, **facts)
    lost = rows(at, "quarantine", f"audit.{made.name}").set_index("source_file")["reason"]
    assert len(lost) == made.rejected == 6
    assert "but the file holds 1386164" in lost["example_incomplete.fits"]
    injections = rows(at, "set_injections", made.name)
    assert set(injections["galaxy_id"]) == {"decals:temp_small"}
    kept = {entry.card.slice for entry in cards.slices(at.data, "diagnostics")}
    assert kept == {f"diagnose-{made.name}"}, "nothing was tested: there is no recall and no rate"

    dead = tmp_path / "dead" / "cubes"
    dead.mkdir(parents=True)
    (dead / "example_bad_pix.fits").symlink_to(cutouts / "example_bad_pix.fits")
    sky = np.random.default_rng(0).normal(0.0, 0.01, (3, 424, 424)).astype(np.float32)
    write_fits(dead / "sky.fits", sky, scale=0.13025)
    facts["stamp_pixels"] = 100
    at, made = audited(dead.parent, dead, OfDecals, pixel_scale_arcsec=0.13025, **facts)
    lost = rows(at, "quarantine", f"audit.{made.name}").set_index("source_file")["reason"]
    assert lost.to_dict() == {"example_bad_pix.fits": "example_bad_pix: no data in band g, r"}


def test_des_galaxies_in_five_bands(real_data: Path, tmp_path: Path, words_only: None) -> None:
    at, made = audited(
        tmp_path, real_data / "cutouts" / "des_grizY_46_hosts", OfDes,
        name="des", pixel_scale_arcsec=0.263, zero_point_mag=30.0, images={"files": "{band}.fits"},
        psf={"kind": "fwhm", "profile": "gaussian", "includes_pixel": True, "arcsec": 1.0}, noise={"kind": "measured"},
        labels={"all": "negative"},
    )  # fmt: skip
    assert made.rejected == 0
    scores, injections = rows(at, "scores", made.name), rows(at, "set_injections", made.name)
    assert scores["negative_use"].value_counts().to_dict() == {"threshold": 16, "host": 15, "test": 15}
    assert len(injections) == 32
    assert set(injections["status"]) == {"scored"}
    assert injections["galaxy_id"].nunique() == 15
    np.testing.assert_allclose(injections["host_psf_fwhm_nea_arcsec"], 1.0, rtol=1e-6)
    assert injections["host_depth_mag"].between(22.5, 25.5).all()


def cut_field(folder: Path, into: Path, side: int = 61) -> int:
    """Galaxies of the KiDS and VIKING field as an HDF5 file, one stamp for each peak of smoothed r light."""
    bands = {band: fits.getdata(folder / f"{band}.fits", 1) for band in OfKids.bands}
    light = {band: image * 10 ** (0.4 * (22.5 - (30.0 if band == "Z" else 0.0))) for band, image in bands.items()}
    smooth, half = gaussian_filter(light["r"], 2.0), side // 2
    peaks = np.argwhere((smooth == maximum_filter(smooth, 25)) & (smooth > 0.15))
    inside = peaks[((peaks >= half) & (peaks < smooth.shape[0] - half)).all(axis=1)]
    stamps = [
        np.stack([image[y - half : y + half + 1, x - half : x + half + 1] for image in light.values()])
        for y, x in inside
    ]
    with h5py.File(into / "field.h5", "w") as file:
        file["images"] = np.asarray(stamps, dtype=np.float32)
    return len(stamps)


def test_negatives_cut_from_a_kids_and_viking_field(real_data: Path, tmp_path: Path, words_only: None) -> None:
    """Hundreds of real galaxies: enough for thresholds at a false-positive rate."""
    cutouts = tmp_path / "cutouts"
    cutouts.mkdir()
    count = cut_field(real_data / "cutouts" / "kids_viking_field_profound", cutouts)
    at, made = audited(
        tmp_path, cutouts, OfKids,
        name="kids", pixel_scale_arcsec=0.3, zero_point_mag=22.5, images={"files": "field.h5", "array": "images"},
        psf={"kind": "fwhm", "profile": "moffat", "beta": 3.0, "includes_pixel": True,
             "arcsec": {"g": 0.85, "r": 0.7, "i": 0.8, "Z": 0.9}},
        noise={"kind": "measured"}, labels={"all": "negative"},
    )  # fmt: skip
    assert count > 150
    scores, thresholds = rows(at, "scores", made.name), rows(at, "thresholds", made.name)
    assert len(scores) == count - made.rejected
    derived = thresholds[thresholds["status"] == "measured"]
    assert len(derived)
    assert derived["fpr_reached"].notna().all()
    completeness = rows(at, "completeness", made.name)
    assert set(derived["threshold_id"]) <= set(completeness["threshold_id"])
