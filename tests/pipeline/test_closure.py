"""Closure on a simulated sky: the true renderer and hosts pass, and a wrong one is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from analysis.diagnostics.closure import Chain, Params, closed, failing, self_closed
from benchmarks.skies import Sky, injected, make_sky
from injection.config import IM1, GridParams
from injection.experiment.hostset import Conditions, HostSet, blank_sky
from injection.experiment.setting import Setting
from injection.priors.registry import load_prior
from lake.errors import DataError, ParameterError
from lake.scorer import Scorer
from lake.sky.survey import PIXEL_SCALE_ARCSEC, STAMP_PIXELS, SURVEY
from pipeline.realism import closure
from pipeline.realism.closure import Ingredients, chain, paired_hosts
from pipeline.realism.hostlight import host_light, soft_magnitude
from pipeline.realism.hostweights import Weighted, plain_weights
from pipeline.realism.lenspopulation import Drawn, as_frame, balanced, covered_share, source_weights, uncovered
from pipeline.realism.selfclosure import modelled, read_models, self_chain
from pipeline.realism.truelenses import TrueLenses
from pipeline.verbs import closing
from tests.analysis.outcomes import fixed
from tests.demo.conftest import SPLIT, demo_params
from tests.pipeline.checkout import values_of

PARAMS = Params.model_construct(closure_threshold="p0.3", closure_replicates=400, closure_hosts_per_lens=2)
POINTS = [fixed(np.zeros(100))]
PLAIN: Any = {"short_strip_fraction": 0, "bad_pixel_fraction": 0, "bright_star_fraction": 0}


class BlueRing:
    """A finder: light in g beyond what the colour of an early type explains, in a ring, over the light in r within."""

    name, checkpoint_id, conditions = "blue ring", "0" * 16, ()
    stamp_pixels = bands = None

    def __init__(self, inner_arcsec: float = 0.8) -> None:
        self.inner_arcsec = inner_arcsec

    def score(self, stamps: Any, conditions: Any = None) -> Any:
        y, x = (np.indices((STAMP_PIXELS, STAMP_PIXELS)) - STAMP_PIXELS // 2) * PIXEL_SCALE_ARCSEC
        radius = np.hypot(x, y)
        ring, all_light = (
            stamps[..., where].sum(axis=-1) for where in ((radius > self.inner_arcsec) & (radius < 3.0), radius < 3.0)
        )
        excess = ring[:, 0] - 0.3 * ring[:, 1]
        return 600.0 * excess / np.maximum(all_light[:, 1], 1.0) ** 2 - 3.5


BLUE_RING = BlueRing()


def test_a_grid_without_a_scored_injection_is_no_population(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = {"injection_id": ["i1"], "status": ["failed"], "probability": pa.array([None], pa.float64())}
    context: Any = SimpleNamespace(
        generation="demo1", root=None, survey=SimpleNamespace(collection="dr10"), read=lambda *_, **__: pa.table(failed)
    )
    made: Any = None
    assert closure._stored_grid(context, pa.table({"injection_id": ["i1"]}), made) == closure.NO_INJECTION
    truth = pd.DataFrame({"galaxy_id": ["g1"], "seen": [False]})
    known = TrueLenses(truth, pa.table({"injection_id": ["g1"]}), np.zeros((1, 1, 1, 1), np.float32))
    monkeypatch.setattr(closure.TrueLenses, "of", lambda *_: known)
    context.read = lambda *_, **__: pa.table({"seed": pa.array([], pa.int64())})
    store: Any = None
    assert closure.survey_chain(context, truth, store, BLUE_RING, PARAMS) == closure.NO_INJECTION


@pytest.mark.parametrize(("seen", "left"), [(0, 25), (15, 10), (16, None), (25, None)])
def test_a_chain_is_refused_if_the_finder_has_seen_too_many_lenses(
    monkeypatch: pytest.MonkeyPatch, seen: int, left: int | None
) -> None:
    ids = [f"g{number}" for number in range(25)]
    objects = pd.DataFrame({"galaxy_id": ids, "seen": np.arange(25) < seen})
    known = TrueLenses(objects, pa.table({"injection_id": ids}), np.zeros((25, 1, 1, 1), np.float32))
    assert known.untouched.rows["injection_id"].to_pylist() == ids[seen:]
    context: Any = SimpleNamespace(
        generation="demo1",
        root=None,
        seed=1,
        survey=SimpleNamespace(collection="dr10"),
        read=lambda *_, **__: known.rows,
    )
    store: Any = SimpleNamespace(get=len)
    monkeypatch.setattr(closure.TrueLenses, "of", lambda *_: known)
    monkeypatch.setattr(closure, "scored_setting", lambda *_: None)
    monkeypatch.setattr(closure, "chain", lambda made, *_: SimpleNamespace(unscored=f"{made.painted} lenses"))
    found = closure.survey_chain(context, objects, store, BLUE_RING, PARAMS)
    why = f"refused: {seen} of 25 lenses outside the training split were trained or selected on"
    assert found == ("25 lenses" if left else why)


def test_weights_of_hosts_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be those of a fitted propensity; pairs of lenses and hosts take them as well as the grid."""
    scored = pa.table({"injection_id": ["i1"], "status": ["scored"], "probability": [0.5]})
    context: Any = SimpleNamespace(
        generation="demo1",
        root=None,
        read=lambda *_, **__: scored,
        project=SimpleNamespace(section=lambda *_: SimpleNamespace(lenses=None)),
    )
    asked: list[Any] = []
    setting: Any = SimpleNamespace(hosts="hosts", grid=None)
    nothing: Any = None

    def weigh(hosts: Any) -> Weighted:
        asked.append(hosts)
        return Weighted({"all": np.ones(1)})

    made = Ingredients(nothing, nothing, setting, nothing, 1, weigh)
    for name in ("drawn_from", "grid_facts", "uncovered", "population_weights"):
        monkeypatch.setattr(closure, name, lambda *_: None)
    monkeypatch.setattr(closure, "as_frame", lambda *found: pd.DataFrame(found[-1]))
    for _ in range(2):
        assert list(closure._stored_grid(context, pa.table({"injection_id": ["i1"]}), made)) == ["all"]
    assert made.of_hosts.weights["all"].sum() == 1.0
    assert asked == ["hosts"]


@pytest.fixture(scope="module")
def sky(whole_stage: None) -> Sky:
    """Six bricks with 60 lenses."""
    params = demo_params(
        top={"workers": 1},
        sky={"train_bricks": 2, "val_bricks": 2, "test_bricks": 2},
        conditions={**PLAIN, "lost_band_bricks": 0, "unobserved_band_bricks": 0},
        lenses={"tier_a": 10, "tier_b": 50, "tier_b_false": 0, "unlisted": 0, "unlisted_faint": 0},
        sources={"negatives_per_lens": 6, "background": 10},
    )
    return make_sky(params, SPLIT, seed=7)


def grid(**changes: Any) -> GridParams:
    values = values_of("demo")["grid"]
    return GridParams.load({**values, **changes}, "grid")


def linked(sky: Sky, hosts: HostSet | None = None, finder: Any = BLUE_RING, **changes: Any) -> Chain:
    lenses = sky.lenses
    known = replace(lenses, truth=lenses.truth.assign(probability=1 / (1 + np.exp(-finder.score(sky.painted)))))
    setting = Setting.of(grid(**changes), hosts or sky.hosts(), 1)
    return chain(Ingredients(known, sky.painted, setting, finder, 1, plain_weights), PARAMS)


def failures(found: Chain, model: str | None = None) -> list[str]:
    judged = replace(found, models=(model,)) if model else found
    return failing(closed(judged, POINTS, PARAMS, np.random.default_rng(2)))


def test_our_renderer_agrees_with_the_independent_one(sky: Sky) -> None:
    found = linked(sky)
    assert len(found.lenses) == 60
    for band in "grz":
        np.testing.assert_allclose(found.lenses[f"flux_{band}"], 1.0, atol=0.01, err_msg="the truth's stamp is smaller")
        assert abs(found.lenses[f"norm_{band}"].median() - 1.0) < 0.01, "the PSFs have other exponents than the grid's"
    assert np.mean((found.lenses["own"] > 0.3) == (found.lenses["painted"] > 0.3)) > 0.95
    assert not {"light", "renderer"} & set(failures(found))


def test_a_wrong_width_of_the_psf_is_named(sky: Sky) -> None:
    """As if the catalogue's width were taken for another kind of width."""
    lenses, seen = sky.lenses, np.arange(60) % 7 == 0
    widths = {f"psfsize_{band}": 1.15 * lenses.truth[f"psfsize_{band}"] for band in "grz"}
    found = linked(replace(sky, lenses=replace(lenses, truth=lenses.truth.assign(seen=seen, **widths))))
    assert failures(found)[0] == "light"
    assert found.lenses["seen"].tolist() == seen.tolist()


def test_wrong_fluxes_are_named(sky: Sky) -> None:
    lenses = sky.lenses
    column = lenses.rows.column_names.index("src_mag_r")
    faint = lenses.rows.set_column(column, "src_mag_r", np.asarray(lenses.rows["src_mag_r"])[None] + 1.0)
    named = failures(linked(replace(sky, lenses=replace(lenses, rows=faint))))
    assert named[:2] == ["light", "renderer"]


def test_mirrored_sources_are_named(sky: Sky) -> None:
    """Their arcs are as bright on average, and those of each lens are not."""
    rows, name = sky.lenses.rows, "src_x_arcsec"
    rows = rows.set_column(rows.column_names.index(name), name, pa.array(-rows[name].to_numpy()))
    assert failures(linked(replace(sky, lenses=replace(sky.lenses, rows=rows))))[:1] == ["light"]


def test_blank_sky_and_bright_hosts_are_named(sky: Sky) -> None:
    blank = blank_sky(Conditions(1.3, (24.0, 23.4, 22.6)), STAMP_PIXELS, IM1, 1, SURVEY)
    assert failures(linked(sky, blank)) == ["hosts"]
    everyone = sky.hosts()
    flux = np.asarray(everyone.table["flux_g"])
    brightest = everyone.table.filter(flux > np.quantile(flux, 0.75))
    bright = HostSet("bright galaxies", brightest, everyone.load, STAMP_PIXELS, IM1, SURVEY)
    assert failures(linked(sky, bright)) == ["hosts"]


def test_light_of_hosts_is_that_of_their_pixels(sky: Sky) -> None:
    hosts = sky.hosts()
    ids = hosts.ids.to_pylist()[:3]
    found, stamps = host_light(hosts, ids), hosts.load(ids).astype(float)
    y, x = np.mgrid[:STAMP_PIXELS, :STAMP_PIXELS] - STAMP_PIXELS // 2
    radius = PIXEL_SCALE_ARCSEC * np.sqrt(x**2 + y**2)
    flux = {r: (stamps * (radius <= r)).sum(axis=(2, 3)) for r in (1.0, 3.0)}
    soft = {r: 22.5 - 2.5 / np.log(10.0) * np.arcsinh(flux[r] / 2.0) for r in flux}
    np.testing.assert_allclose(found["mag_r"], soft[3.0][:, 1], rtol=1e-9)
    np.testing.assert_allclose(found["mag_r"], 22.5 - 2.5 * np.log10(flux[3.0][:, 1]), atol=0.12)
    np.testing.assert_allclose(found["g_minus_r"], soft[3.0][:, 0] - soft[3.0][:, 1], rtol=1e-9)
    np.testing.assert_allclose(found["r_minus_z"], soft[3.0][:, 1] - soft[3.0][:, 2], rtol=1e-9)
    np.testing.assert_allclose(found["concentration"], soft[1.0][:, 1] - soft[3.0][:, 1], rtol=1e-9)
    gone = HostSet("masked", hosts.table, lambda wanted: np.full_like(hosts.load(wanted), np.nan), 101, IM1, SURVEY)
    assert host_light(gone, ids).isna().all(axis=None)
    assert soft_magnitude(np.array([-0.3, 0.0])) == pytest.approx([22.5 + 2.5 / np.log(10) * np.arcsinh(0.15), 22.5])


def test_blank_sky_that_changes_no_answer_is_named_by_its_balance(sky: Sky) -> None:
    """As with a finder that looks at arcs alone, or with few lenses."""
    found = linked(sky, blank_sky(Conditions(1.3, (24.0, 23.4, 22.6)), STAMP_PIXELS, IM1, 1, SURVEY))
    same = replace(found, pairs=found.pairs.assign(probability=found.lenses["own"].to_numpy()[found.pairs["lens"]]))
    outcome = closed(replace(same, models=("all",)), POINTS, PARAMS, np.random.default_rng(2))
    assert failing(outcome) == ["hosts"]
    assert {gate.name for gate in outcome.gates if gate.status == "FAIL"} == {"closure/hosts/balance"}
    shown = closing._rows(outcome, "p0.3").to_pylist()
    assert {f"closure/hosts/balance/{column}" for column in ("mag_r", "g_minus_r", "r_minus_z", "concentration")} < {
        row["name"] for row in shown
    }


def test_the_population_is_compared_in_brightness_size_and_shapes() -> None:
    others = {"src_mag_r": [22.0], "src_re_arcsec": [0.2], "src_q": [0.7], "lens_q": [0.8]}
    found = balanced(pa.table({"lens_theta_e_arcsec": [1.5], "src_n": [1.0], **others}))
    assert found.to_dict("list") == {
        "population/log_theta_e": [np.log(1.5)],
        **{f"population/{name}": values for name, values in others.items()},
    }


def grid_of(sky: Sky, lens: Any, drawn: Any, probability: Any) -> pd.DataFrame:
    return as_frame(drawn, probability, source_weights(drawn, sky.lenses, lens), plain_weights(drawn.hosts).weights)


class Shrunk(Setting):
    """Draws lenses a third as large as the prior says."""

    def parameters(self, rows: pa.Table) -> pa.Table:
        drawn = super().parameters(rows)
        for name in ("lens_theta_e_arcsec", "src_x_arcsec", "src_y_arcsec"):
            small = pa.array(drawn[name].to_numpy() / 3.0)
            drawn = drawn.set_column(drawn.column_names.index(name), name, small)
        return drawn


def test_the_population_closes_and_a_wrong_one_is_named(sky: Sky) -> None:
    """The prior's draws, weighted to the lenses, have their completeness and shapes; round sources have other shapes,
    other sizes or fainter arcs another completeness."""
    lens, finder = demo_params(lenses={"tier_a": 10, "tier_b": 50}).lenses, cast("Scorer", BlueRing(1.5))
    right = Setting.of(grid(prior="bright"), sky.hosts(), 3)
    drawn, probability = injected(right, finder, lens, 8)
    found = replace(linked(sky, finder=finder), grid=grid_of(sky, lens, drawn, probability))
    assert "population" not in failures(found, "all")
    radius = np.exp(found.grid["population/log_theta_e"]) if found.grid is not None else 1.0
    for power in (3.0, -6.0):
        tilted = grid_of(sky, lens, drawn, probability).assign(probability=0.9)
        tilted["weight"] *= radius**power
        same = replace(found, pairs=found.pairs.assign(probability=0.9), grid=tilted)
        outcome = closed(replace(same, models=("all",)), POINTS, PARAMS, np.random.default_rng(2))
        assert [gate.name for gate in outcome.gates if gate.status == "FAIL" and "population" in gate.name] == [
            "closure/population/balance"
        ]
    for name in ("src_q", "lens_q"):
        rows = sky.lenses.rows.set_column(sky.lenses.rows.column_names.index(name), name, pa.array(np.ones(60)))
        one_shape = linked(replace(sky, lenses=replace(sky.lenses, rows=rows)), finder=finder)
        assert failures(replace(one_shape, grid=found.grid), "all")[-1:] == ["population"], name
    faint = lens.model_copy(update={"arc_snr_tier_a": (5.0, 9.0), "arc_snr_tier_b": (5.0, 9.0)})
    assert failures(replace(found, grid=grid_of(sky, faint, drawn, probability)), "all") == ["population"]
    shrunk, there = injected(Shrunk(right.grid, right.hosts, right.sources, 3), finder, lens, 8)
    assert failures(replace(found, grid=grid_of(sky, lens, shrunk, there)), "all") == ["population"]


def test_a_prior_that_does_not_hold_the_lenses_is_refused(sky: Sky) -> None:
    assert covered_share(load_prior("demo"), sky.lenses.rows) >= 0.95
    hosts = sky.hosts()
    narrow = Drawn(sky.lenses.rows, hosts, load_prior("anchored"), grid())
    assert str(uncovered(narrow, sky.lenses)).startswith("the prior 'anchored' covers ")
    assert uncovered(replace(narrow, prior=load_prior("demo")), sky.lenses) is None


def scored_lenses(sky: Sky) -> pd.DataFrame:
    """The sky's lenses as a survey knows them: positions, scores, conditions."""
    place = sky.catalogue.set_index("galaxy_id").loc[sky.lenses.truth["galaxy_id"], ["ra", "dec"]].reset_index()
    logits = BLUE_RING.score(sky.painted)
    known = sky.lenses.truth[["galaxy_id", "psfsize_r", "psfdepth_r"]].merge(place, on="galaxy_id")
    return known.assign(label=1, split="test", probability=1 / (1 + np.exp(-logits)))


def test_lenses_with_models_close_on_themselves_and_wrong_models_do_not(sky: Sky, tmp_path: Path) -> None:
    setting, objects = Setting.of(grid(prior="bright"), sky.hosts(), 1), scored_lenses(sky)
    known = ["lens_theta_e_arcsec", "lens_q", "src_mag_r", "src_re_arcsec", "src_beta_frac", "src_g_minus_r"]
    models = objects[["ra", "dec"]].assign(**{name: sky.lenses.rows[name].to_numpy() for name in known})
    models["ra"] += 0.5 / 3600.0
    failed = {}
    for shift in (0.0, 1.5):
        models.assign(name="x", src_mag_r=models["src_mag_r"] + shift).to_csv(tmp_path / "models.csv", index=False)
        found = modelled(objects, read_models(tmp_path / "models.csv", setting))
        assert len(found) == 60
        chain = self_chain(found, setting, cast("Scorer", BLUE_RING), PARAMS, plain_weights)
        outcome = self_closed(replace(chain, models=("all",)), POINTS, PARAMS, np.random.default_rng(2))
        failed[shift] = failing(outcome)
    assert failed == {0.0: [], 1.5: ["self"]}


def test_more_hosts_than_the_nearest_are_as_many_as_are_wanted(sky: Sky) -> None:
    objects, hosts = scored_lenses(sky), sky.hosts()
    for wanted, found in ((5, 5), (20, 20), (10**9, len(hosts.ids))):
        assert set(paired_hosts(objects, hosts, wanted, 1).groupby("lens").size()) == {found}


def test_models_that_cannot_be_used_are_refused(sky: Sky, tmp_path: Path) -> None:
    setting, objects = Setting.of(grid(prior="bright"), sky.hosts(), 1), scored_lenses(sky)
    path, good = tmp_path / "models.csv", objects[["ra", "dec"]].assign(lens_theta_e_arcsec=1.2)
    for wrong, said in (
        (good.drop(columns="ra"), "without ra"),
        (good.assign(lens_q=1.4), r"'lens_q' must be a finite number in \(0, 1\], got 1.4"),
        (good.assign(lens_theta_e_arcsec="wide"), "'lens_theta_e_arcsec' must be a finite number"),
        (good.assign(ra=[np.nan, *good["ra"][1:]]), r"'ra' must be degrees in \[0, 360\], got nan"),
        (good.assign(ra="12h"), r"'ra' must be degrees in \[0, 360\], got '12h'"),
        (good.assign(dec=good["dec"] + 180.0), r"'dec' must be degrees in \[-90, 90\], got"),
        (pd.concat([good, good[:1]]), "'lenses' must be a file with one model within 3 arcsec, got 'lines 2 and 62'"),
    ):
        wrong.to_csv(path, index=False)
        with pytest.raises(ParameterError, match=said):
            read_models(path, setting)
    good.assign(ra=good["ra"] + 0.1).to_csv(path, index=False)
    with pytest.raises(DataError, match="0 of 60 modelled lenses are listed lenses with a stamp"):
        modelled(objects, read_models(path, setting))
    good.to_csv(path, index=False)
    with pytest.raises(DataError, match="self-closure needs 10"):
        modelled(objects.assign(split="train"), read_models(path, setting))
    with pytest.raises(DataError, match="that the finder neither trained nor selected on, and self-closure needs 10"):
        modelled(objects.assign(trained_on=False, seen_in_training=True), read_models(path, setting))


def test_no_slacs_lens_with_a_model_is_among_the_real_stamps(sky: Sky, real_data: Path) -> None:
    """What self-closure on real lenses lacks today."""
    slacs = pd.read_csv(real_data / "catalogues/slacs/tdcosmo_slacs_all_params.csv")
    models = slacs[["ra", "dec"]].assign(lens_theta_e_arcsec=slacs["theta_E"]).dropna()
    assert len(models) > 20
    stamps = [np.load(path) for path in sorted((real_data / "cutouts/dr10_lens_candidates").glob("*.npz"))]
    place = {name: [float(stamp[f"meta_{name}"]) for stamp in stamps] for name in ("ra", "dec")}
    with pytest.raises(DataError, match=f"0 of {len(models)} modelled lenses"):
        modelled(pd.DataFrame(place | {"label": 1, "split": "test"}), models)
