"""How galaxies and injections are chosen for the diagnostics of realism."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from analysis.comparisons.populations import EMBEDDING, INJECTIONS, LISTED, NEGATIVES, TIER_A
from injection.config import IM1
from injection.experiment.hostset import HostSet, in_memory
from lake.errors import DataError
from lake.sky.survey import BANDS, SURVEY
from pipeline.realism import arcstamps, listedlenses, transplanting, truelenses
from pipeline.realism import realism as groups
from pipeline.realism.arcstamps import one_per_host
from pipeline.realism.describing import keyed_order
from pipeline.realism.ladder import RUNGS, distinct_hosts
from pipeline.realism.listedlenses import lens_parameters
from pipeline.realism.realism import NO_INJECTION, of_lenses, of_set, populations


def conditions(count, prefix, rng):
    columns = {f"psfsize_{band}": rng.uniform(1.0, 1.8, count) for band in BANDS}
    depth = rng.uniform(300.0, 900.0, count)
    names = [f"{prefix}{number:03d}" for number in range(count)]
    return pd.DataFrame({"galaxy_id": names, **columns, **{f"psfdepth_{band}": depth for band in BANDS}})


@pytest.fixture(scope="module")
def hosts():
    table = conditions(80, "h", np.random.default_rng(0))
    stamps = np.zeros((80, 3, 5, 5), np.float32)
    return HostSet("hosts", pa.Table.from_pandas(table), in_memory(stamps, table["galaxy_id"].tolist()), 5, IM1, SURVEY)


def test_each_lens_gets_a_host_of_its_own_in_similar_conditions(hosts):
    lenses = conditions(50, "l", np.random.default_rng(1))
    pairs = distinct_hosts(lenses, hosts, 3, None, nearest=12)
    assert pairs["host"].is_unique
    assert pairs["lens"].is_unique
    assert len(pairs) > 40
    own = lenses["psfsize_r"].to_numpy()[pairs["lens"]]
    width = hosts.fwhm_nea_arcsec[hosts.rows_of(pairs["host"].tolist()), SURVEY.reference]
    assert np.abs(own - width).max() < 0.4
    assert np.corrcoef(own, width)[0, 1] > 0.7
    again = distinct_hosts(lenses, hosts, 3, None, nearest=12)
    pd.testing.assert_frame_equal(pairs, again)
    assert not pairs.equals(distinct_hosts(lenses, hosts, 4, None, nearest=12))


def test_weights_decide_which_of_the_similar_hosts_is_taken(hosts):
    lenses = conditions(15, "l", np.random.default_rng(1))
    heavy = set(hosts.ids.to_pylist()[::2])
    pairs = distinct_hosts(lenses, hosts, 3, lambda ids: np.where(ids.isin(heavy), 1.0, 0.0), nearest=40)
    assert set(pairs["host"]) <= heavy
    crowd = distinct_hosts(conditions(200, "l", np.random.default_rng(2)), hosts, 3, None, nearest=80)
    assert len(crowd) == 80, "lenses beyond the number of hosts are left out"


class Looks:
    """A finder with an embedding that may not be asked."""

    conditions = ()

    def embed(self, stamps, conditions=None):
        pytest.fail("there is nothing to embed")

    score = embed


def unasked(rows):
    pytest.fail("there are no stamps to read")


def test_a_survey_without_lenses_or_injections_says_what_there_is_not():
    lenses = pd.DataFrame({name: [] for name in ("galaxy_id", "tier", "split", "label")})
    assert {len(group) for group in of_lenses(Looks(), lenses, unasked).values()} == {0}
    context = SimpleNamespace(generation="demo1", seed=1, read=lambda *_, **__: failed)
    failed = pa.table({"status": ["failed"], "src_mag_r": [20.0]})
    params = SimpleNamespace(probe_source_mag_max=24.0, feature_per_group=5)
    found = populations(context, lenses, SimpleNamespace(get=unasked), Looks(), params)
    assert not found.groups
    assert found.why_not((INJECTIONS, LISTED), EMBEDDING, 1) == NO_INJECTION
    assert found.why_not((LISTED,), EMBEDDING, 1) == "there are no listed lenses"


def test_true_lenses_whose_seeing_or_depth_is_not_known_are_left_out(tmp_path, monkeypatch):
    made = pd.DataFrame({"brickname": "0001p000", "objid": np.arange(4), "bare_row": np.arange(4)})
    made.to_parquet(tmp_path / "lenses.parquet")
    pd.DataFrame({"brickname": ["0001p000"], "split": ["test"]}).to_parquet(tmp_path / "bricks.parquet")
    np.save(tmp_path / truelenses.BARE_HOSTS, np.zeros((4, 3, 5, 5), np.float32))
    monkeypatch.setattr(truelenses, "injections", lambda truth: pa.table({"galaxy_id": truth["galaxy_id"]}))
    objects = conditions(4, "l", np.random.default_rng(0)).assign(label=1, split="test", probability=0.5)
    objects = objects.assign(**dict.fromkeys(truelenses.PLACE, 0))
    objects["galaxy_id"] = truelenses.galaxy_ids("dr10", made["brickname"], made["objid"])
    objects.loc[1, "psfdepth_r"] = np.nan
    root = SimpleNamespace(truth=tmp_path)
    known = truelenses.TrueLenses.of(root, objects, "dr10")
    assert known.truth["galaxy_id"].tolist() == objects["galaxy_id"].drop(1).tolist()
    assert known.hosts(np.zeros((3, 3, 5, 5), np.float32)).ids.to_pylist() == known.truth["galaxy_id"].tolist()
    assert truelenses.TrueLenses.of(root, objects.assign(psfsize_r=np.nan), "dr10") is None
    seen = truelenses.TrueLenses.of(root, objects.assign(seen_in_training=[False, True, True, None]), "dr10")
    assert seen.truth["seen"].tolist() == [False, True, False]
    assert seen.untouched.truth["galaxy_id"].tolist() == objects["galaxy_id"][[0, 3]].tolist()
    assert seen.refusal == "refused: 1 of 3 lenses outside the training split were trained or selected on"
    every = truelenses.TrueLenses.of(root, objects.assign(seen_in_training=True), "dr10")
    assert len(every.untouched.truth) == 0
    assert known.refusal is None


class AskedError(Exception):
    """Raised in place of stamps, with the galaxies whose stamps are wanted."""


class Store:
    def get(self, rows):
        raise AskedError(rows["galaxy_id"].tolist())


class Blind:
    """A finder that sees nothing."""

    conditions = ()

    def score(self, stamps, conditions=None):
        return np.zeros(len(stamps))

    def embed(self, stamps, conditions=None):
        return np.zeros((len(stamps), 2), np.float32)


def objects_of(kinds="", seen=0):
    """Twenty-five lenses of Tier A (a) and B (b) and as many negatives (n), and of how many of some the finder has seen
    the first."""
    rows = pd.concat([conditions(25, kind, np.random.default_rng(0)) for kind in "abn"], ignore_index=True)
    hit = rows["galaxy_id"].str[0].isin(list(kinds)) & (rows["galaxy_id"].str[1:].astype(int) < seen)
    label, tier = np.repeat([1, 1, 0], 25), np.repeat(["A", "B", None], 25)
    return rows.assign(label=label, tier=tier, split="test", seen_in_training=hit, probability=0.5)


def context_of(monkeypatch, rows):
    for module in (arcstamps, transplanting):
        monkeypatch.setattr(module, "scored_setting", lambda *_: None)
    return SimpleNamespace(
        generation="demo1", seed=1, root=None, survey=SimpleNamespace(collection="x"), read=lambda *_, **__: rows
    )


FAILED = pa.table({"status": ["failed"], "src_mag_r": [20.0]})
VISIBLE = pa.table({"status": ["scored"], "arc_snr": [50.0], "galaxy_id": ["h1"], "injection_id": ["i1"]})


@pytest.mark.parametrize(("seen", "left"), [(0, 50), (20, 10), (21, 0)])
def test_lenses_that_the_finder_has_seen_are_in_no_group(monkeypatch, seen, left):
    objects, stamps = (
        objects_of("ab", seen),
        SimpleNamespace(get=lambda rows: np.zeros((len(rows), 3, 16, 16), np.float32)),
    )
    params = SimpleNamespace(probe_source_mag_max=24.0, feature_per_group=50)
    of_survey = populations(context_of(monkeypatch, FAILED), objects, stamps, Blind(), params)
    monkeypatch.setattr(groups, "of_grid", lambda *_: {})
    of_cutouts = of_set(Blind(), None, None, objects[objects["label"] == 1], stamps.get)
    why = "refused: 42 of 50 test lenses were trained or selected on"
    for found in (of_survey, of_cutouts):
        new = [f"{kind}{number:03d}" for kind in "ab" for number in range(seen, 25)]
        assert (found.groups[LISTED].hosts.tolist() if left else []) == (new if left else [])
        assert found.why_not((LISTED,), EMBEDDING, 5) == (None if left else why)
        assert found.why_not((TIER_A,), EMBEDDING, 5) == (None if left else why)
    assert len(of_survey.groups[NEGATIVES]) == 25


@pytest.mark.parametrize(("seen", "left"), [(0, 25), (15, 10), (16, 0)])
def test_negatives_that_the_finder_has_seen_are_in_no_group(monkeypatch, seen, left):
    stamps = SimpleNamespace(get=lambda rows: np.zeros((len(rows), 3, 16, 16), np.float32))
    params = SimpleNamespace(probe_source_mag_max=24.0, feature_per_group=50)
    found = populations(context_of(monkeypatch, FAILED), objects_of("n", seen), stamps, Blind(), params)
    assert len(found.groups.get(NEGATIVES, ())) == left
    why = "refused: 16 of 25 test negatives were trained or selected on"
    assert found.why_not((NEGATIVES,), EMBEDDING, 5) == (None if left else why)
    assert len(found.groups[LISTED]) == 50


@pytest.mark.parametrize("seen", [0, 20, 21])
def test_arcs_are_those_of_lenses_that_the_finder_has_not_seen(monkeypatch, seen):
    objects, context = objects_of("ab", seen), context_of(monkeypatch, VISIBLE)
    params = SimpleNamespace(morphology_arcs=5)
    if seen == 21:
        why = "refused: 42 of 50 test lenses were trained or selected on"
        assert arcstamps.arc_stamps(context, objects, Store(), params) == why
        return
    with pytest.raises(AskedError) as asked:
        arcstamps.arc_stamps(context, objects, Store(), params)
    assert asked.value.args[0] == [f"{kind}{number:03d}" for kind in "ab" for number in range(seen, 25)]


@pytest.mark.parametrize("seen", [0, 15, 16])
def test_arcs_are_moved_from_lenses_that_the_finder_has_not_seen(monkeypatch, seen):
    objects, context = objects_of("a", seen), context_of(monkeypatch, VISIBLE)
    params = SimpleNamespace(transplant_tiers=("A",), transplant_pool=5, transplant_lenses=50)
    if seen == 16:
        for kind, what in (("a", "lenses"), ("n", "negatives")):
            why = f"refused: 16 of 25 test {what} were trained or selected on"
            assert transplanting.transplants(context, objects_of(kind, seen), Store(), Blind(), params) == why
        return
    with pytest.raises(AskedError) as asked:
        transplanting.transplants(context, objects, Store(), Blind(), params)
    assert sorted(asked.value.args[0]) == [f"a{number:03d}" for number in range(seen, 25)]


def true_lenses(monkeypatch, seen):
    """Of twenty-five lenses of which all is known the finder has seen so many; the identifiers of all."""
    ids = [f"t{number:02d}" for number in range(25)]
    truth = pd.DataFrame({"galaxy_id": ids, "seen": np.arange(25) < seen, "arc_snr_r": np.arange(25.0)})
    known = truelenses.TrueLenses(truth, pa.table({"lens_theta_e_arcsec": np.arange(25.0)}), np.zeros((25, 1, 1, 1)))
    monkeypatch.setattr(truelenses.TrueLenses, "of", lambda *_: known)
    return ids


@pytest.mark.parametrize("seen", [0, 15, 16])
def test_rungs_are_of_true_lenses_that_the_finder_has_not_seen(monkeypatch, seen):
    ids, asked = true_lenses(monkeypatch, seen), []
    for name, made in {"sample": VISIBLE, "of_grid": {}, "_bright_arcs": {}}.items():
        monkeypatch.setattr(groups, name, lambda *_, made=made: made)
    setting = SimpleNamespace(hosts=SimpleNamespace(ids=pa.array(["h1"])))
    monkeypatch.setattr(groups, "scored_setting", lambda *_: setting)
    monkeypatch.setattr(groups, "lens_hosts", lambda *_: (_ for _ in ()).throw(DataError("no lens has a host")))
    monkeypatch.setattr(
        groups, "ladder_groups", lambda *given: asked.append(given[3].truth["galaxy_id"].tolist()) or {}
    )
    stamps = SimpleNamespace(get=lambda rows: np.zeros((len(rows), 3, 16, 16), np.float32))
    names = ("feature_per_group", "probe_injections", "ladder_lenses")
    params = SimpleNamespace(probe_source_mag_max=24.0, **dict.fromkeys(names, 50))
    rows = pa.table({"status": ["scored"], "src_mag_r": [20.0]})
    found = populations(context_of(monkeypatch, rows), objects_of(), stamps, Blind(), params)
    why = "refused: 16 of 25 lenses outside the training split were trained or selected on"
    assert asked == ([] if seen == 16 else [ids[seen:]])
    assert (found.why_not((RUNGS[0],), EMBEDDING, 5) == why) == (seen == 16)


@pytest.mark.parametrize("seen", [0, 15, 16])
def test_arcs_are_rendered_again_of_true_lenses_that_the_finder_has_not_seen(monkeypatch, seen):
    ids, asked = true_lenses(monkeypatch, seen), []
    setting = SimpleNamespace(again=lambda _: SimpleNamespace(images=None), grid=SimpleNamespace(sky_annulus_px=None))
    context = context_of(monkeypatch, VISIBLE)
    monkeypatch.setattr(arcstamps, "scored_setting", lambda *_: setting)
    monkeypatch.setattr(arcstamps, "host_conditions", lambda *_: None)
    monkeypatch.setattr(
        arcstamps, "_rendered_again", lambda _, known, __: asked.append(known.truth["galaxy_id"].tolist()) or {}
    )
    arcstamps.arc_stamps(context, objects_of(), SimpleNamespace(get=len), SimpleNamespace(morphology_arcs=50))
    assert asked == ([] if seen == 16 else [ids[seen:]])


def test_lenses_that_injections_are_matched_to_are_those_that_the_finder_has_not_seen(monkeypatch):
    true_lenses(monkeypatch, 20)
    context = SimpleNamespace(root=None, survey=SimpleNamespace(collection="x"))
    held = {"lens_theta_e_arcsec": [20.0, 21.0, 22.0, 23.0, 24.0]}
    assert lens_parameters(context, objects_of()).to_dict("list") == {**held, "arc_snr": held["lens_theta_e_arcsec"]}
    objects = objects_of("ab", 20)
    monkeypatch.setattr(truelenses.TrueLenses, "of", lambda *_: None)
    listed = objects[["galaxy_id"]].assign(theta_e_arcsec=np.arange(75.0))
    monkeypatch.setattr(listedlenses, "listed", lambda _: listed)
    found = lens_parameters(context, objects)["lens_theta_e_arcsec"].tolist()
    assert found == [*range(20, 25), *range(45, 50)]


def test_draws_follow_their_weights():
    ids = [f"g{number}" for number in range(3000)]
    weights = np.where(np.arange(3000) < 1500, 3.0, 1.0)
    first = keyed_order(1, ids, weights)[:200]
    assert np.mean(first < 1500) == pytest.approx(0.75, abs=0.08)
    none = keyed_order(1, ids, np.where(np.arange(3000) < 10, 1.0, 0.0))
    assert set(none[:10]) == set(range(10))
    np.testing.assert_array_equal(keyed_order(1, ids), keyed_order(1, ids))
    assert keyed_order(1, ids).tolist() != keyed_order(2, ids).tolist()


def test_one_injection_of_each_host_is_taken():
    names = [f"i{number}" for number in range(60)]
    rows = pa.table({"injection_id": names, "galaxy_id": [f"h{number % 20}" for number in range(60)]})
    found = one_per_host(rows, 400, 1)
    assert found.num_rows == len(set(found["galaxy_id"].to_pylist())) == 20
    assert one_per_host(rows, 7, 1)["injection_id"].to_pylist() == found["injection_id"].to_pylist()[:7]
    assert one_per_host(rows.slice(0, 0), 7, 1).num_rows == 0
