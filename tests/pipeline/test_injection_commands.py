"""`dhs render` and `dhs validate-injection` on synthetic hosts: no lake, no Spark, finders known by construction."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from matplotlib.image import imread
from scipy.integrate import quad

from analysis.figures.stamps import cropped
from injection.config import IM1, IM2, HostModel
from injection.experiment.grid import one_cell, plan
from injection.experiment.hostset import HostSet
from injection.experiment.setting import Setting
from injection.experiment.stream import run_batch
from injection.galaxies.banks import write_bank
from injection.galaxies.realsources import BankSources
from lake.errors import DarkHaloError, DataError
from lake.sky.survey import SURVEY
from pipeline import cli
from pipeline.experiment.choosing import chosen_setting
from pipeline.experiment.grids import fill
from pipeline.project import params
from pipeline.verbs import validating
from pipeline.verbs.foreign import scored_examples
from pipeline.verbs.rendering import examples, label, render_sheet
from tests.fulldisk import no_file_over
from tests.injection.scenes import gaussian_bank
from tests.npzfiles import write_npz
from tests.pipeline import finders
from tests.pipeline.checkout import values_of

HOSTS, FLAGGED, PIXELS, NOISE = 12, 3, 101, 0.01
NOISY = {"poisson_gain_e_per_nmgy": 150.0, "core_suppression_radius_arcsec": 0.5}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with params.yaml, synthetic hosts, a bank of two galaxies, and finders that need no training."""
    folder = tmp_path_factory.mktemp("project")
    params.write(folder, values_of("test"), "test")
    rng = np.random.default_rng(3)
    y, x = np.mgrid[-50:51, -50:51]
    light = np.exp(-np.hypot(x, y) / 3.0)
    for index in range(HOSTS):
        stamp = np.array([0.4, 1.0, 1.8])[:, None, None] * finders.HOST_FLUX_NMGY * light / light.sum()
        stamp = stamp + rng.normal(0, NOISE, (3, PIXELS, PIXELS))
        stamp[0, 0, 0] = finders.FLAG_NMGY if index < FLAGGED else 0.0
        meta = {"galaxy_id": f"h{index:02d}", "ra": 10.0 + index, "dec": 1.0, "pixel_scale": 0.262}
        (folder / "hosts").mkdir(exist_ok=True)
        write_npz(folder / "hosts" / f"h{index:02d}.npz", stamp.astype(np.float32), meta)
    write_bank(folder / "bank.h5", gaussian_bank())
    for name in ("Flagged", "Brightness", "Certain"):
        place = folder / "data" / "checkpoints" / name.lower()
        place.mkdir(parents=True)
        values = {"finder": f"tests.pipeline.finders:{name}", "stamp_pixels": PIXELS}
        (place / "scorer.json").write_text(json.dumps(values))
    return folder


@pytest.fixture(autouse=True)
def _inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def dhs(*arguments: str) -> Any:
    """Run a command in this process; its failure is raised."""
    return CliRunner().invoke(cli.dhs, arguments, catch_exceptions=False)


def setting(**changes: Any) -> Setting:
    given: dict[str, Any] = {
        "hosts": "none",
        "psf_fwhm_nea": 1.2,
        "source_model": "parametric",
        "prior": "v1",
    } | changes
    return chosen_setting(params.load(Path()), depth=(24.0, 23.4, 22.5), min_source_snr=30.0, seed=5, **given)


@pytest.mark.usefixtures("whole_stage")
@pytest.mark.parametrize(
    "options",
    [
        ("--hosts", "none"),
        ("--hosts", "hosts"),
        ("--hosts", "hosts/h04.npz", "--source-model", "bank.h5"),
        ("--hosts", "none", "--source-model", "tests.injection.test_models:Pairs"),
    ],
)
def test_a_sheet_is_drawn_and_repeats(options: tuple[str, ...], tmp_path: Path) -> None:
    common = ("render", "--n", "2", "--mag", "22", "--poisson-gain", "150", *options)
    for name in ("a", "b"):
        assert dhs(*common, "--out", str(tmp_path / f"{name}.png")).exit_code == 0
    dhs(*common, "--seed", "7", "--out", str(tmp_path / "other.png"))
    sheets = [(tmp_path / f"{name}.png").read_bytes() for name in ("a", "b", "other")]
    assert sheets[0] == sheets[1] != sheets[2]
    assert imread(tmp_path / "a.png").shape[0] > 300


@pytest.mark.usefixtures("whole_stage")
def test_a_sheet_that_finds_no_room_leaves_the_one_that_was_there(tmp_path: Path) -> None:
    sheet = tmp_path / "a.png"
    asked = ("render", "--n", "2", "--hosts", "none", "--out", str(sheet))
    dhs(*asked)
    before = sheet.read_bytes()
    with no_file_over(4096), pytest.raises(OSError, match=f"File too large: '{sheet}'"):
        dhs(*asked, "--seed", "7")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


def test_examples_are_what_was_asked_for() -> None:
    fixed = {"lens_theta_e_arcsec": 1.5, "src_mag_r": 21.0}
    drawn = examples(setting(hosts="hosts"), 20, fixed)
    rows, made = drawn.rows, setting(hosts="hosts")
    assert set(rows["lens_theta_e_arcsec"].to_pylist()) == {1.5}
    flux = drawn.added[:, 1].sum(axis=(1, 2), dtype=float)
    np.testing.assert_allclose(flux, 10 ** (0.4 * 1.5) * made.measured(drawn)["magnification"], rtol=0.02)
    np.testing.assert_array_equal(drawn.bare, made.hosts.load(_hosts_of(20)))
    few = examples(made, 4, fixed)
    assert few.rows.equals(rows.slice(0, 4))
    np.testing.assert_array_equal(few.images, drawn.images[:4])


def _hosts_of(count: int) -> list[str]:
    return setting(hosts="hosts").hosts.choose(count, 5, "render")


def test_signal_to_noise_follows_the_hosts_own_noise() -> None:
    made = setting(hosts="hosts", psf_fwhm_nea=1.0)
    drawn = examples(made, 20, {"src_mag_r": 21.0})
    by_hand = np.sqrt((drawn.added[:, 1].astype(float) ** 2).sum(axis=(1, 2))) / NOISE
    np.testing.assert_allclose(made.measured(drawn)["arc_snr"], by_hand, rtol=0.1)


@pytest.mark.parametrize("model", ["moffat", "gaussian"])
def test_blank_sky_has_the_noise_of_its_depth(model: str) -> None:
    """psfsize is the FWHM of the Gaussian of equal noise area, so that the noise does not depend on the profile."""
    drawn = examples(setting(psf_model=model), 30, {})
    for band, (depth, ratio) in enumerate(((24.0, 1.05), (23.4, 1.0), (22.5, 0.94))):
        sigma = 1.2 * ratio / 2.35482
        squared, _ = quad(
            lambda r, s=sigma: 2 * np.pi * r * (np.exp(-(r**2) / (2 * s**2)) / (2 * np.pi * s**2)) ** 2, 0, 50
        )
        flux = 10 ** (0.4 * (22.5 - depth))
        expected = flux / 5.0 * np.sqrt(squared * 0.262**2)
        np.testing.assert_allclose(drawn.bare[:, band].std(), expected, rtol=0.01)


def test_poisson_noise_and_core_suppression_reach_the_pixels() -> None:
    wanted = 6, {"src_mag_r": 20.0}
    plain, noisy = (examples(setting(poisson_gain_e_per_nmgy=gain), *wanted).added for gain in (None, 150.0))
    inside = plain > 0.05
    np.testing.assert_allclose(((noisy - plain)[inside] ** 2 * 150.0 / plain[inside]).mean(), 1.0, atol=0.1)
    cored = examples(setting(core_suppression_radius_arcsec=1.0), *wanted).added
    assert (cored[:, :, 50, 50] == 0).all()
    assert cored.sum() < plain.sum()


class Keeping(finders.Brightness):
    """Keeps the pixels that it is given."""

    bands, conditions, name = None, (), "keeping"

    def __init__(self, kept: list[Any]) -> None:
        self.kept = kept

    def score(self, stamps: Any) -> Any:
        self.kept.append(np.array(stamps))
        return super().score(stamps)


@pytest.mark.usefixtures("whole_stage")
def test_pixels_drawn_again_are_those_that_were_scored() -> None:
    kept: list[Any] = []
    made = setting(hosts="hosts", **NOISY, source_model="bank.h5")
    made = replace(made, grid=made.grid.model_copy(update={"sky_noise": "annulus"}))
    planned = plan(replace(made, grid=one_cell(made.grid, made.hosts, 6)))
    rows = run_batch(planned, planned.rows, Keeping(kept))
    again = made.again(rows)
    np.testing.assert_array_equal(kept[0], again.images)
    np.testing.assert_array_equal(kept[1], again.bare)
    np.testing.assert_allclose(made.measured(again)["arc_snr"], rows["arc_snr"].to_numpy(), rtol=1e-12)


@pytest.mark.usefixtures("whole_stage")
@pytest.mark.parametrize("host_model", [IM1, IM2])
def test_the_sheet_of_inject_shows_what_was_scored(host_model: HostModel, tmp_path: Path) -> None:
    """Noise, suppression, shapes of the hosts and a host that cannot be loaded: all as the finder was shown them."""
    kept: list[Any] = []
    made = setting(hosts="hosts", **NOISY)
    facts, whole = made.hosts.table, made.hosts.load
    for name, values in {"type": ["DEV"] * HOSTS, "shape_e1": [0.3] * HOSTS, "shape_e2": [-0.2] * HOSTS}.items():
        facts = facts.append_column(name, pa.array(values))

    def load(galaxy_ids: Any) -> Any:
        if any(galaxy_id.endswith("h04") for galaxy_id in galaxy_ids):
            raise DataError("lost")
        return whole(galaxy_ids)

    into = HostSet("hosts", facts, load, PIXELS, host_model, SURVEY)
    changes = {"sky_noise": "annulus", "batch_size": 512, "host_selection": host_model.selection}
    changes["lens_shape"] = host_model.lens_shape
    made = replace(made, grid=one_cell(made.grid.model_copy(update=changes), into, 12), hosts=into)
    fill(plan(made), Keeping(kept), tmp_path)
    rows, drawn = scored_examples(tmp_path, made)
    all_rows = pq.read_table(tmp_path / "batch-00000.parquet")
    assert max(rows["host_attempt"].to_pylist()) == 1
    rounds = np.argsort(all_rows["host_attempt"].to_numpy(), kind="stable")
    scored = all_rows["injection_id"].take(pa.array(rounds)).to_pylist()
    order = [scored.index(name) for name in rows["injection_id"].to_pylist()]
    np.testing.assert_array_equal(drawn.images, np.concatenate(kept[0::2])[order])
    np.testing.assert_array_equal(drawn.bare, np.concatenate(kept[1::2])[order])
    if host_model == IM2:
        angle = 0.5 * np.pi + 0.5 * np.arctan2(-0.2, 0.3)
        np.testing.assert_allclose(rows["lens_pa_rad"].to_numpy(), angle)


@pytest.mark.usefixtures("whole_stage")
def test_examples_that_fail_are_named_and_all_failing_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    made = setting(source_model="bank.h5")
    bank = made.sources.bank
    nearly = 0.15 / float(bank.half_light_px.max())
    some = replace(made, sources=BankSources(bank, max_pixel_arcsec=nearly))
    drawn = examples(some, 12, {})
    large = drawn.rows["src_re_arcsec"].to_numpy() > 0.15
    assert 0 < large.sum() < 12
    assert [text == "failed" for text in label(drawn, some)] == large.tolist()
    assert render_sheet(some, 12, {}, 16.0).content.startswith(b"\x89PNG")
    assert "injections failed, first: 'src_re_arcsec' must be at most" in caplog.text
    with pytest.raises(DataError, match="none of 3 injections could be rendered: 'src_re_arcsec'"):
        render_sheet(replace(made, sources=BankSources(bank, max_pixel_arcsec=1e-6)), 3, {}, 16.0)


def test_real_galaxies_of_a_bank_are_used() -> None:
    rows = examples(setting(source_model="bank.h5"), 8, {}).rows
    assert set(rows["src_stamp_id"].to_pylist()) == {"one", "two"}
    assert rows["src_n"].null_count == 8


@pytest.mark.usefixtures("whole_stage")
def test_a_folder_of_the_real_cosmos_catalogue(real_data: Path) -> None:
    found = setting(source_model=str(real_data / "sources" / "cosmos_btk"), hosts="none")
    drawn = examples(found, 4, {"src_mag_r": 22.0})
    assert drawn.rows["src_stamp_id"].null_count == 0
    assert drawn.reasons == [None] * 4


def test_cut_outs_keep_the_conditions_that_they_bring(tmp_path: Path) -> None:
    """A file's own psfsize and depth win; without them the psfsize is the given one and the depth that of the noise."""
    stamp = np.random.default_rng(1).normal(0, NOISE, (2, 3, PIXELS, PIXELS)).astype(np.float32)
    meta = {"galaxy_id": "own", "ra": 1.0, "dec": 1.0, "pixel_scale": 0.262}
    own = {"psfsize_r": 0.9, "psfsize_g": 1.5, "psfdepth_r": 400.0}
    write_npz(tmp_path / "own.npz", stamp[0], meta | own)
    write_npz(tmp_path / "bare.npz", stamp[1], meta | {"galaxy_id": "bare"})
    found = setting(hosts=str(tmp_path), psf_fwhm_nea=1.3).hosts
    bare, brought = found.rows_of(sorted(found.ids.to_pylist()))
    np.testing.assert_allclose(found.fwhm_nea_arcsec[brought], [1.5, 0.9, 0.9 * 0.94])
    np.testing.assert_allclose(found.psfdepth[brought, 1], 400.0)
    np.testing.assert_allclose(found.fwhm_nea_arcsec[bare], [1.3 * 1.05, 1.3, 1.3 * 0.94])
    np.testing.assert_allclose(found.pixel_sigma_nmgy[bare, 1], NOISE, rtol=0.05)
    np.testing.assert_allclose(
        found.psfdepth[bare, 1], 1 / (NOISE**2 * 4 * np.pi * (1.3 / 0.262 / 2.3548) ** 2), rtol=0.1
    )


def test_real_des_galaxies_are_hosts(real_data: Path) -> None:
    found = setting(hosts=str(real_data / "cutouts" / "des_grizY_46_hosts"))
    assert len(found.hosts.ids) == 46
    assert examples(found, 3, {}).images.shape == (3, 3, 91, 91)


def test_cropping_keeps_the_centre() -> None:
    stamps = np.zeros((1, 3, 101, 101), np.float32)
    stamps[..., 50, 50] = 1.0
    small = cropped(stamps, 8.0, 0.262)
    assert small.shape[-1] == 31
    assert (small[..., 15, 15] == 1).all()
    assert cropped(stamps, 1000.0, 0.262).shape == stamps.shape


@pytest.mark.parametrize("seed", ["-1", "2147483648"])
def test_a_seed_beyond_its_range_is_refused(seed: str) -> None:
    assert f"{seed} is not in the range 0<=x<=2147483647" in dhs("render", "--seed", seed).output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--hosts", "nowhere"), "'hosts' must be 'survey', 'none', or a folder or file of stamps, got 'nowhere'"),
        (("--hosts", "params.yaml"), "'hosts' must be an .npz file"),
        (("--hosts", "data"), "contains no cut-out"),
        (("--hosts", "broken"), "none of the 1 files of broken can be used: .*not a cut-out"),
        (("--hosts", "holed"), "no usable host"),
        (("--prior", "v9"), "'prior' must be one of v1"),
        (("--source-model", "nowhere"), "'source_model' must be 'parametric'"),
        (("--source-model", "data"), "contains no real_galaxy_catalog"),
        (("--theta-e", "-1"), "'lens_theta_e_arcsec' must be a finite number in"),
        (("--mag", "nan"), "'src_mag_r' must be a finite number"),
        (("--psf-fwhm-nea", "0"), "'psf_fwhm_nea_arcsec' must be positive"),
        (("--depth", "24", "nan", "22"), "'depth_mag' must be a finite magnitude in each band"),
        (("--psf-beta", "3", "0.5", "3"), r"'grid.psf_moffat_beta.1' must be"),
        (("--poisson-gain", "-3"), "'grid.poisson_gain_e_per_nmgy' must be"),
        (("--host-selection", "early"), "'host_selection' must be 'all'"),
        (("--lens-shape", "conditioned"), "'lens_shape' must be 'independent'"),
        (("--field", "0"), "'field_arcsec' must be positive"),
        (("--out", "sheet.jpg"), "'out' must be a file ending in .png"),
    ],
)
def test_bad_input_is_named(project: Path, options: tuple[str, ...], message: str) -> None:
    (project / "broken").mkdir(exist_ok=True)
    (project / "broken" / "x.npz").write_bytes(b"no archive")
    _holed(project / "holed")
    with pytest.raises(DarkHaloError, match=message):
        dhs("render", "--n", "2", "--hosts", "none", "--out", "x.png", *options)


def _holed(folder: Path) -> None:
    """One cut-out with its middle missing."""
    folder.mkdir(exist_ok=True)
    stamp = np.full((3, PIXELS, PIXELS), np.nan, np.float32)
    meta = {"galaxy_id": "bad", "ra": 1.0, "dec": 1.0, "pixel_scale": 0.262}
    write_npz(folder / "bad.npz", stamp, meta)


def test_a_catalogue_without_its_images_is_named(project: Path, real_data: Path) -> None:
    name = "real_galaxy_catalog_23.5_example.fits"
    (project / "alone").mkdir(exist_ok=True)
    shutil.copy(real_data / "sources" / "cosmos_btk" / name, project / "alone" / name)
    with pytest.raises(DataError, match=r"names its images real_galaxy_images\.fits, which is not in the same folder"):
        dhs("render", "--hosts", "none", "--source-model", "alone")


def validated(*options: str) -> tuple[Any, dict[str, Any]]:
    """The command's answer and the numbers it left."""
    result = CliRunner().invoke(
        cli.dhs, ["validate-injection", "--n", "72", "--hosts", "hosts", "--lenses", "none", "--out", "out", *options]
    )
    return result, json.loads(Path("out/validation.json").read_text())


@pytest.fixture
def accurate(whole_stage: None, words_only: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the accuracy of the pixels, which does not depend on the finder, nor figures."""
    monkeypatch.setattr(validating, "_accuracy", lambda rows, setting: (np.zeros(50), np.zeros(10)))


def measure(numbers: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in numbers["measures"] if one["name"] == name)


@pytest.mark.usefixtures("whole_stage")
def test_false_positives_are_those_of_the_finder() -> None:
    result, numbers = validated("--generation", "flagged")
    assert result.exit_code == 0, result.output
    for threshold, share in (("0.3", FLAGGED / HOSTS), ("0.7", FLAGGED / HOSTS)):
        found = measure(numbers, f"host_false_positives/p{threshold}")
        assert found["value"] == pytest.approx(share)
        assert found["n"] == HOSTS
    assert measure(numbers, "detected/p0.5")["value"] == pytest.approx(FLAGGED / HOSTS, abs=0.01)
    statuses = {gate["name"]: gate["status"] for gate in numbers["gates"]}
    assert statuses["arcs_raise_scores"] == "WARN"
    assert statuses["arc_snr_against_real"] == "NOT MEASURED"
    assert statuses["flux_accuracy"] == statuses["lenstronomy"] == statuses["noise_against_depth"] == "PASS"
    assert imread("out/validation.png").shape[0] > 600


@pytest.mark.usefixtures("accurate")
def test_a_finder_that_sees_light_finds_arcs_and_loses_them_with_their_cores() -> None:
    options = ("--generation", "brightness", "--prior", "anchored", "--core-suppression-radius", "4")
    result, numbers = validated(*options, "--lenses", "hosts")
    assert result.exit_code == 0, result.output
    assert measure(numbers, "host_false_positives/p0.5")["value"] == 0.0
    found = measure(numbers, "detected/p0.5")["value"]
    assert 0.2 < found < 1.0
    assert measure(numbers, "detected_core_suppressed/p0.5")["value"] == 0.0
    assert measure(numbers, "noise_ratio/percentile_50")["value"] == pytest.approx(1.0, abs=0.01)
    assert measure(numbers, "arcs_found/real_lenses")["value"] == 0.0
    assert "PASS         saturation" in result.output
    assert "reference" in result.output


@pytest.mark.usefixtures("accurate")
def test_saturated_scores_end_with_an_error_and_leave_the_numbers() -> None:
    result, numbers = validated("--generation", "certain")
    assert result.exit_code == 1
    assert isinstance(result.exception, DataError)
    assert "saturation: 1, share of injections with probability above 0.9" in str(result.exception)
    assert next(gate for gate in numbers["gates"] if gate["name"] == "saturation")["status"] == "FAIL"


def test_an_unknown_finder_is_named() -> None:
    with pytest.raises(DarkHaloError, match=r"'generation' must be one .*\(brightness, certain, flagged\), got 'gen9'"):
        dhs("validate-injection", "--hosts", "hosts", "--lenses", "none", "--generation", "gen9")
