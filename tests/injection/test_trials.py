"""Trials: the same host, lens, source and noise in every variant of an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from numpy.typing import NDArray

from injection.experiment import bright_arcs
from injection.experiment.bright_arcs import BrightArcParams
from injection.experiment.setting import Setting
from injection.experiment.stream import Remembering
from injection.experiment.trials import Experiment, Variant, given, tried
from injection.priors.registry import draw, load_prior
from lake.errors import DataError, ParameterError
from lake.sky.survey import SURVEY
from tests.injection.scenes import Brightness, host_set, hosts_table, load_hosts, params

DRAWN = ["trial_id", "seed", "galaxy_id", "bin", "theta_e_arcsec", "beta_frac", "src_mag"]


def bright(**changes: Any) -> Experiment:
    """The experiment in two bins."""
    values = {
        "hosts_per_bin": 6,
        "src_mag_edges": (20.0, 21.0, 22.0),
        "theta_e_arcsec": 1.5,
        "prior": "v1",
        "beta_frac": (0.1, 0.55),
        "beta_frac_unrestricted": (0.1, 1.0),
        "poisson_gain_e_per_nmgy": 150.0,
        "high_gain_e_per_nmgy": 1e12,
        "core_suppression_radius_arcsec": 0.5,
        "clip_ranges": (20.0,),
        "clip_ranges_with_poisson": (20.0,),
    }
    return bright_arcs.bright_arcs(BrightArcParams.load({**values, **changes}, "bright_arcs"))


def setting(table: pa.Table | None = None, load: Any = load_hosts, **changes: Any) -> Setting:
    grid = params(**changes)
    return Setting.of(grid, host_set(table, load, grid.host_model), 42)


def in_all(experiment: Experiment, base: Setting, scorer: Any = None) -> dict[str, pa.Table]:
    """The trials of every variant, by its name."""

    def hosts_of(model: Any) -> Any:
        return host_set(None, load_hosts, model)

    scorer = scorer or Brightness()
    return {one.name: tried(experiment, one, base, hosts_of, scorer) for one in experiment.variants}


@pytest.fixture(scope="module")
def answers() -> dict[str, pa.Table]:
    return in_all(bright(), setting())


def test_a_trial_is_the_same_in_all_variants(answers: dict[str, pa.Table]) -> None:
    first = answers["baseline"]
    assert first.num_rows == 12
    assert pc.all(pc.equal(first["status"], "scored")).as_py()
    for name, table in answers.items():
        columns = [one for one in DRAWN if name != "unrestricted" or one != "beta_frac"]
        assert table.select(columns).equals(first.select(columns)), name
    assert answers["clip20"]["score"].equals(first["score"]), "this scorer has no preprocessing"
    assert answers["poisson_clip20"]["score"].equals(answers["poisson"]["score"])
    assert not answers["poisson"]["score"].equals(first["score"])
    assert answers["high_gain"]["score"].to_numpy() == pytest.approx(first["score"].to_numpy(), rel=1e-5)
    for table in answers.values():
        assert table["host_probability"].equals(first["host_probability"])


@pytest.mark.usefixtures("whole_stage")
def test_neither_the_batch_nor_other_hosts_change_a_trial(answers: dict[str, pa.Table]) -> None:
    for name, table in in_all(bright(), setting(batch_size=5, threads=2)).items():
        assert table.equals(answers[name]), name
    fewer = in_all(bright(), setting(hosts_table().slice(10)))
    for name, table in fewer.items():
        shared = answers[name].join(table.select(["trial_id"]), "trial_id", join_type="left semi").sort_by("trial_id")
        again = table.join(answers[name].select(["trial_id"]), "trial_id", join_type="left semi").sort_by("trial_id")
        assert 6 <= shared.num_rows < 12
        assert again.equals(shared), name


def test_each_host_is_used_once_in_a_bin_and_bins_hold_their_magnitudes(answers: dict[str, pa.Table]) -> None:
    rows = answers["baseline"].to_pandas()
    assert rows.groupby("bin")["galaxy_id"].nunique().to_dict() == {"20-21": 6, "21-22": 6}
    low = rows["bin"].str.partition("-")[0].astype(float)
    assert ((rows["src_mag"] >= low) & (rows["src_mag"] < low + 1)).all()
    assert (rows["theta_e_arcsec"] == 1.5).all()
    few = in_all(bright(), setting(hosts_table().slice(0, 4)))["baseline"].to_pandas()
    assert few.groupby("bin")["galaxy_id"].nunique().to_dict() == {"20-21": 4, "21-22": 4}


def test_offsets_are_restricted_and_otherwise_as_the_prior_draws_them(answers: dict[str, pa.Table]) -> None:
    free, held = (answers[name]["beta_frac"].to_numpy() for name in ("unrestricted", "baseline"))
    drawn = draw(load_prior("v1"), answers["baseline"]["trial_id"].combine_chunks(), 42, SURVEY)
    np.testing.assert_array_equal(free, drawn["src_beta_frac"].to_numpy())
    assert 0.1 <= held.min() < held.max() <= 0.55 < free.max()
    # Both are flat in area, drawn by the same numbers.
    np.testing.assert_allclose((held**2 - 0.01) / (0.55**2 - 0.01), (free**2 - 0.01) / 0.99)


@pytest.mark.usefixtures("whole_stage")
def test_a_host_that_cannot_be_used_fails_its_trial_and_is_not_replaced() -> None:
    def broken(galaxy_ids: Sequence[str]) -> NDArray[np.float32]:
        if "test:host_003" in galaxy_ids:
            raise DataError("its shard is gone")
        return load_hosts(galaxy_ids)

    found = in_all(bright(hosts_per_bin=8), setting(hosts_table(8), load=broken))
    for table in found.values():
        failed = table.filter(pc.equal(table["status"], "failed"))
        assert set(failed["galaxy_id"].to_pylist()) == {"test:host_003"}
        assert failed.num_rows == 2
        assert failed["score"].null_count == failed["probability"].null_count == 2
        assert set(failed["reason"].to_pylist()) == {"its shard is gone"}
        assert table["trial_id"].equals(found["baseline"]["trial_id"])


def test_a_variant_may_change_hosts_and_given_parameters() -> None:
    def fainter(of: Setting, rows: pa.Table) -> pa.Table:
        hosts = of.hosts.ids.take(pa.array(np.resize(np.arange(len(of.hosts.ids)), len(rows))))
        return given(given(rows, "src_mag_r", np.full(len(rows), 25.5)), "galaxy_id", hosts)

    plain, base = bright(), setting()
    other = Variant("early", {"host_selection": "early"}, rows=fainter)
    found = in_all(Experiment("other", plain.grid, plain.trials, (Variant("baseline"), other)), base)
    early = base.hosts.table.filter(pc.equal(base.hosts.table["type_bin"], "DEV"))
    assert set(found["early"]["galaxy_id"].to_pylist()) <= set(early["galaxy_id"].to_pylist())
    assert set(found["early"]["src_mag"].to_pylist()) == {25.5}
    assert found["early"]["trial_id"].equals(found["baseline"]["trial_id"])
    assert found["early"]["beta_frac"].equals(found["baseline"]["beta_frac"])


def test_edges_that_do_not_increase_are_refused() -> None:
    with pytest.raises(ParameterError, match="'src_mag_edges' must be strictly increasing"):
        bright(src_mag_edges=(20.0, 20.0))


def test_bare_hosts_are_scored_once_and_get_the_same_scores(answers: dict[str, pa.Table]) -> None:
    class Counting(Brightness):
        stamps = 0

        def score(self, stamps: NDArray[np.float32], conditions: Any = None) -> NDArray[np.float64]:
            self.stamps += len(stamps)
            return super().score(stamps)

    counting, experiment = Counting(), bright()
    finders = counting, Remembering(counting)
    for variant in experiment.variants:
        made = tried(experiment, variant, setting(), lambda model: host_set(None, load_hosts, model), *finders)
        assert made.equals(answers[variant.name])
    hosts = len(np.unique(answers["baseline"]["galaxy_id"].to_numpy(zero_copy_only=False)))
    assert counting.stamps == hosts + 12 * len(experiment.variants)
