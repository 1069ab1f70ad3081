"""Parameters and simulated stamps shared by the analysis tests."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from analysis.diagnostics.discovery import DiagnoseParams
from analysis.page.report import FOLDER, Page, rendered
from analysis.results.features import stamp_features
from lake.sky.survey import SURVEY
from tests.analysis.galaxies import make_stamps
from tests.analysis.report_inputs import make_inputs


@pytest.fixture(scope="session")
def inputs(once):
    """What a report is made from, by one process for all of a run; tests that change it work on copies."""
    folder = once("report_inputs", lambda place: (place / "inputs").write_bytes(pickle.dumps(make_inputs())))
    return pickle.loads((folder / "inputs").read_bytes())  # noqa: S301 - written by this run


@pytest.fixture(scope="session")
def made(whole_stage, inputs, once):
    """The report with the files of its figures; drawn once for all processes of a run."""

    def write(folder):
        page = rendered(inputs)
        (folder / "index.html").write_text(page.html)
        (folder / FOLDER).mkdir()
        for name, content in page.files.items():
            (folder / FOLDER / name).write_bytes(content)

    place = once("page", write)
    files = {path.name: path.read_bytes() for path in (place / FOLDER).iterdir()}
    return Page((place / "index.html").read_text(), files)


@pytest.fixture(scope="session")
def html(made):
    """The report."""
    return made.html


@pytest.fixture(scope="session")
def diagnose():
    return DiagnoseParams(
        trivial_replicates=500,
        max_bad_pixel_fraction=0.05,
        max_bad_cutout_fraction=0.05,
        split_tolerance=0.02,
        ks_material_p=0.001,
        ks_cosmetic_p=0.05,
        comparison_annuli_pixels=((20.0, 32.0), (32.5, 45.0)),
        sample_per_class=50,
        probe_gate_auc=0.85,
        probe_folds=4,
        probe_components=8,
        probe_permutations=20,
        probe_bootstrap=200,
        probe_source_mag_max=24.0,
        core_radius_pixels=8.0,
        core_brightness_tolerance=0.10,
        core_auc_max=0.55,
        profile_auc_max=0.60,
        normalisation_d_max=0.1,
        profile_rings=10,
        aperture_radius_pixels=30.0,
        paired_threshold=0.3,
        anchor_lenses={"SLACS": "SLACS"},
        flux_ratio_tolerance=0.10,
    )


@pytest.fixture(scope="session")
def galaxies(diagnose, once):
    """Features of 320 galaxies, labels, splits and fluxes, by one process for all of a run; read, never changed."""
    folder = once("galaxies", lambda place: (place / "galaxies").write_bytes(pickle.dumps(measured(diagnose))))
    return pickle.loads((folder / "galaxies").read_bytes())  # noqa: S301 - written by this run


def measured(diagnose):
    rng = np.random.default_rng(0)
    label = rng.random(320) < 0.4
    flux = np.exp(rng.normal(1.0, 0.5, 320) + 0.9 * label)[:, None] * np.array([0.5, 1.0, 1.6])
    stamps = make_stamps(rng, flux, rng.uniform(3, 6, 320))
    split = np.where(np.arange(320) < 200, "train", "test")
    return stamp_features(stamps, SURVEY, diagnose), label.astype(int), split, flux
