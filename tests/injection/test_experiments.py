"""The experiments `sensitivity` and `host_pairs`: what changes in a variant, and that nothing else does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from analysis.diagnostics import host_pairs as judged_pairs
from analysis.diagnostics import sensitivity as judged
from injection.config import HostModel
from injection.experiment import host_pairs, sensitivity
from injection.experiment.host_pairs import HostPairParams
from injection.experiment.hostset import HostSet
from injection.experiment.sensitivity import SensitivityParams
from injection.experiment.setting import Setting
from injection.experiment.trials import Experiment, tried
from lake.errors import DataError
from lake.sky.imaging import ProfilePsf
from tests.injection.scenes import Brightness, host_set, hosts_table, load_hosts, params

VALUES = {
    "per_cell": 3, "psf_percent": 10.0, "re_percent": 30.0, "colour_mag": 0.2, "q_low": 0.2,
    "poisson_gain_e_per_nmgy": 150.0,
}  # fmt: skip


class Colours(Brightness):
    """A scorer that sees all bands."""

    def score(self, stamps: NDArray[np.float32], conditions: object = None) -> NDArray[np.float32]:
        return np.nansum(stamps, axis=(1, 2, 3))


def setting(table: pa.Table | None = None, **changes: Any) -> Setting:
    grid = params(**changes)
    return Setting.of(grid, host_set(table, load_hosts, grid.host_model), 42)


def in_all(experiment: Experiment, base: Setting, table: pa.Table | None = None) -> dict[str, pa.Table]:
    def hosts_of(model: HostModel) -> HostSet:
        return host_set(table, load_hosts, model)

    return {one.name: tried(experiment, one, base, hosts_of, Colours()) for one in experiment.variants}


def perturbations() -> Experiment:
    return sensitivity.sensitivity(SensitivityParams.load(VALUES, "sensitivity"))


def parameters(name: str, base: Setting) -> pa.Table:
    """The drawn parameters of all trials in one variant."""
    experiment = perturbations()
    variant = next(one for one in experiment.variants if one.name == name)
    rows = variant.rows(base, experiment.trials(base)).rename_columns({"trial_id": "injection_id"})
    return base.parameters(rows)


@pytest.fixture(scope="module", params=["v1", "demo"])
def base(request: pytest.FixtureRequest) -> Setting:
    return setting(prior=request.param)


def test_one_parameter_changes_by_a_map_of_what_was_drawn(base: Setting) -> None:
    own = parameters("baseline", base)
    changed = {
        "re_plus_30": {"src_re_arcsec"}, "re_minus_30": {"src_re_arcsec"},
        "colour_plus_0.2": {"src_g_minus_r"}, "colour_minus_0.2": {"src_g_minus_r"},
        "q_low_plus_0.2": {"lens_q"}, "q_low_minus_0.2": {"lens_q"},
        "psf_plus_10": set(), "poisson": set(),
    }  # fmt: skip
    for name, columns in changed.items():
        found = parameters(name, base)
        scaled = {one for one in own.column_names if one.startswith("src_clump") and "re_" in name}
        same = [one for one in own.column_names if one not in columns | scaled | {"log_prior"}]
        assert found.select(same).equals(own.select(same)), name
    np.testing.assert_allclose(
        parameters("re_plus_30", base)["src_re_arcsec"].to_numpy(), 1.3 * own["src_re_arcsec"].to_numpy()
    )
    np.testing.assert_allclose(
        parameters("colour_minus_0.2", base)["src_g_minus_r"].to_numpy(), own["src_g_minus_r"].to_numpy() - 0.2
    )


def test_axis_ratios_are_those_of_the_reference_by_the_same_random_numbers(base: Setting) -> None:
    drawn = parameters("baseline", base)["lens_q"].to_numpy()
    u = (drawn - 0.5) / 0.5
    np.testing.assert_allclose(parameters("q_low_minus_0.2", base)["lens_q"].to_numpy(), 0.3 + 0.7 * u)
    np.testing.assert_allclose(parameters("q_low_plus_0.2", base)["lens_q"].to_numpy(), 0.7 + 0.3 * u)


def test_a_narrow_prior_is_not_stretched_beyond_its_middle_and_one_without_ends_is_refused(tmp_path: Any) -> None:
    narrow = tmp_path / "narrow.yaml"
    narrow.write_text("base: v1\nmeaning: round\nlens_q: {kind: uniform, low: 0.8, high: 1.0}\n")
    base = setting(prior=str(narrow))
    assert parameters("q_low_plus_0.2", base)["lens_q"].to_numpy().min() >= 0.9
    thin = tmp_path / "thin.yaml"
    thin.write_text("base: v1\nmeaning: thin\nlens_q: {kind: uniform, low: 0.1, high: 1.0}\n")
    assert parameters("q_low_minus_0.2", setting(prior=str(thin)))["lens_q"].to_numpy().min() > 0.05


def test_the_trials_are_the_cells_of_the_grid_in_their_hosts(base: Setting) -> None:
    trials = perturbations().trials(base).to_pandas()
    sizes = trials.groupby("bin").size()
    assert set(sizes.index) == {f"t0{t}p{p}d{d}" for t in (0, 1) for p in (0, 1) for d in (0, 1)}
    assert (sizes == 3).all()
    assert trials["trial_id"].is_unique
    width = dict(zip(base.hosts.ids.to_pylist(), base.hosts.fwhm_nea_arcsec[:, 1], strict=True))
    place = trials["bin"].str[4].astype(int)
    assert (trials["galaxy_id"].map(width).between(0.9, 1.2, inclusive="left") == (place == 0)).all()


def test_a_wider_psf_spreads_the_arc_and_keeps_its_light_host_and_noise() -> None:
    base, experiment = setting(), perturbations()
    rows = base.parameters(experiment.trials(base).rename_columns({"trial_id": "injection_id"}))
    wide = next(one for one in experiment.variants if one.name == "psf_plus_10").setting(base)
    np.testing.assert_allclose(wide.hosts.fwhm_nea_arcsec, 1.1 * base.hosts.fwhm_nea_arcsec)
    np.testing.assert_array_equal(wide.hosts.pixel_sigma_nmgy, base.hosts.pixel_sigma_nmgy)
    ours, theirs = (np.asarray(one.draw(rows).arcs.images, dtype=np.float64) for one in (base, wide))
    np.testing.assert_allclose(theirs.sum(axis=(2, 3)), ours.sum(axis=(2, 3)), rtol=0.02)
    assert (np.square(theirs).sum(axis=(2, 3)) < np.square(ours).sum(axis=(2, 3))).all()
    np.testing.assert_array_equal(np.asarray(base.draw(rows).bare), np.asarray(wide.draw(rows).bare))


def test_only_a_psf_of_known_width_can_be_made_wider() -> None:
    hosts = setting().hosts
    psf = tuple(ProfilePsf(profile="gaussian", beta=None, includes_pixel=True) for _ in hosts.imaging.bands)
    hosts.imaging = hosts.imaging.model_copy(update={"psf": psf})
    with pytest.raises(DataError, match="only a PSF of which the width alone is known"):
        hosts.with_psf_scaled(1.1)


@pytest.mark.usefixtures("whole_stage")
def test_every_perturbation_is_scored_and_has_its_words() -> None:
    found = in_all(perturbations(), setting(lens_shape="conditioned", prior="v1"))
    assert set(found) == {"baseline", "poisson", *judged.REFERENCE}
    for name, table in found.items():
        assert set(table["status"].to_pylist()) == {"scored"}, name
        assert table["galaxy_id"].equals(found["baseline"]["galaxy_id"]), name
        if name not in ("baseline", "q_low_plus_0.2", "q_low_minus_0.2"):
            assert not table["score"].equals(found["baseline"]["score"]), name


def pairs(per_radius: int, table: pa.Table | None = None) -> dict[str, pa.Table]:
    experiment = host_pairs.host_pairs(HostPairParams(per_radius=per_radius))
    return in_all(experiment, setting(table), table)


def trials_of_pairs(per_radius: int, table: pa.Table) -> pd.DataFrame:
    """Which hosts are used, in the variant of all hosts; nothing is injected."""
    experiment = host_pairs.host_pairs(HostPairParams(per_radius=per_radius))
    base = setting(table, **experiment.grid)
    (variant,) = (one for one in experiment.variants if one.name == "all_independent")
    return variant.rows(base, experiment.trials(base)).to_pandas()


def test_the_four_corners_share_lens_source_and_conditions() -> None:
    found = pairs(20)
    assert tuple(found) == judged_pairs.CORNERS
    first, hosts = found["all_independent"], host_set()
    for table in found.values():
        for name in ("trial_id", "beta_frac", "src_mag", "theta_e_arcsec", "bin"):
            assert table[name].equals(first[name])
    assert found["all_conditioned"]["galaxy_id"].equals(first["galaxy_id"])
    early = found["early_independent"]["galaxy_id"]
    assert found["early_conditioned"]["galaxy_id"].equals(early)
    types = dict(zip(hosts.ids.to_pylist(), hosts.table["type_bin"].to_pylist(), strict=True))
    assert {types[name] for name in early.to_pylist()} == {"DEV"}
    assert {types[name] for name in first["galaxy_id"].to_pylist()} == {"DEV", "REX"}
    rows = [hosts.rows_of(names.to_pylist()) for names in (early, first["galaxy_id"])]
    for quantity in (hosts.fwhm_nea_arcsec[:, 1], hosts.depth_mag):
        apart = np.median(np.abs(quantity[rows[0]] - quantity[rows[1]])) / np.ptp(quantity)
        assert apart < 0.2, "a third for hosts drawn at random, and only 40 are early types"


@pytest.mark.usefixtures("whole_stage")
def test_hosts_are_used_again_only_where_there_are_too_few() -> None:
    many, few = (trials_of_pairs(30, table) for table in (hosts_table(), hosts_table(10)))
    assert many.groupby("bin")["galaxy_id"].nunique().tolist() == [30, 30]
    assert few["trial_id"].is_unique
    assert few.groupby(["bin", "galaxy_id"]).size().unique().tolist() == [3]


def test_without_early_types_there_are_no_pairs() -> None:
    table = hosts_table()
    table = table.set_column(3, "type_bin", pa.array(["REX"] * len(table)))
    with pytest.raises(DataError, match="there is no early-type host"):
        pairs(5, table)
