"""Coverage of completeness intervals on simulated skies: `python -m benchmarks.closure --project DIR --skies 40`.

Each sky has its own seed, bricks, lenses and galaxies. The finder and the host propensity are those of a finished demo
in ``--project``, frozen. A sky's galaxies are hosts of injections, whose completeness is reweighted to the generator's
lenses and, by propensity, to their hosts; the truth is the finder's recall of the lenses as painted, of all skies
together. Finished skies are kept in ``--out``; the same command continues, and writes a summary there at the end. That
of the released run is `analysis/reporting/closure_skies.yaml`, which the report shows.
"""

from __future__ import annotations

import argparse
import json
import logging
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from scipy.special import expit

from analysis.diagnostics.closure import PROPENSITY
from analysis.fitted.propensity import DEFAULT
from analysis.statistics.intervals import TABLE_LEVEL
from analysis.statistics.weighted import weighted_share
from benchmarks.skies import Sky, injected, make_sky
from benchmarks.skycoverage import covered, summary, truth_of
from demo.config import DemoParams
from injection.config import GridParams
from injection.experiment.setting import Setting
from lake.files import atomic
from lake.scorer import Scorer
from modeling.scoring.scorer import load_scorer
from pipeline.experiment.gridparams import grid_params
from pipeline.experiment.lenshosts import lens_hosts
from pipeline.project import params
from pipeline.project.context import RunContext
from pipeline.realism.closure import audit_manifest, scored_objects
from pipeline.realism.lenspopulation import as_frame, source_weights
from pipeline.realism.truelenses import TrueLenses

log = logging.getLogger(__name__)

THRESHOLDS = {"p0.3": 0.3, "p0.5": 0.5, "p0.7": 0.7}
BINS = {"theta_e": "theta_e_bin", "src_mag_r": "magnitude_bin"}
THETA_E_EDGES, MAGNITUDE_EDGES = (0.0, 1.5, 1.9, 9.0), (0.0, 22.0, 23.0, 99.0)
PER_HOST = 4
PRIOR = Path(__file__).with_name("closure_prior.yaml")
SKY = {
    "brick_pixels": 400,
    "workers": 1,
    "sky": {"train_bricks": 28, "val_bricks": 6, "test_bricks": 6},
    "conditions": {"short_strip_fraction": 0.0, "bad_pixel_fraction": 0.0, "bright_star_fraction": 0.0,
                   "lost_band_bricks": 0, "unobserved_band_bricks": 0},
    "lenses": {"tier_a": 7, "tier_b": 73, "tier_b_false": 0, "unlisted": 0, "unlisted_faint": 0},
    "sources": {"exponential": 2, "stars": 2, "faint": 11, "background": 36},
}  # fmt: skip
"""Changes of the demo's parameters: forty small bricks, without flaws of the images, with eighty lenses."""


class Frozen:
    """What all skies share: a finished demo's finder, host propensity, lens population and grid parameters."""

    def __init__(self, folder: Path, generation: str) -> None:
        context = RunContext("diagnose", generation, params.load(folder))
        self.scorer: Scorer = load_scorer(context.root.checkpoints(generation))
        injections = context.read("injections", ["galaxy_id"], slices=[generation])
        found = lens_hosts(context.read, context.survey, injections["galaxy_id"].to_pylist(), DEFAULT)
        self.propensity = found.propensity
        lenses = TrueLenses.of(
            context.root, scored_objects(context, audit_manifest(context)), context.survey.collection
        )
        if lenses is None:
            raise SystemExit(f"{folder} holds no finished demo")
        self.lenses, self.split = lenses, context.survey.split
        held = grid_params(context.root, generation).model_dump(mode="json")
        self.grid = GridParams.load({**held, "prior": str(PRIOR)}, "grid")
        values = context.project.section(DemoParams, "demo").model_dump(mode="json")
        merged = {name: {**values[name], **own} if isinstance(own, dict) else own for name, own in SKY.items()}
        self.demo = DemoParams.load({**values, **merged}, "demo")


def run_sky(seed: int, frozen: Frozen) -> dict[str, Any]:
    """Lenses as painted, and completeness with its intervals, of one sky."""
    sky = make_sky(frozen.demo, frozen.split, seed)
    lenses = sky.lenses.truth.assign(probability=expit(frozen.scorer.score(sky.painted)))
    lenses = _binned(lenses.rename(columns={"theta_e_arcsec": "lens_theta_e_arcsec"}))
    injected = _binned(_injected(sky, frozen, seed))
    rows = []
    for family, column in {"all": "", **BINS}.items():
        for label, part in [("all", injected)] if not column else injected.groupby(column, observed=True):
            rows += [{"family": family, "bin": str(label), **_estimate(part, name)} for name in THRESHOLDS]
    held = ["probability", *BINS.values()]
    return {"seed": seed, "lenses": lenses[held].to_dict("records"), "estimates": rows}


def _injected(sky: Sky, frozen: Frozen, seed: int) -> pd.DataFrame:
    """Injections into the sky's galaxies with the finder's answers and their weights."""
    setting = Setting.of(frozen.grid, sky.hosts(), seed)
    drawn, probability = injected(setting, frozen.scorer, frozen.demo.lenses, PER_HOST)
    ids = drawn.hosts.ids.to_pylist()
    weights = frozen.propensity.weights(sky.catalogue.set_index("galaxy_id").loc[ids])
    weight = source_weights(drawn, frozen.lenses, frozen.demo.lenses)
    frame = as_frame(drawn, probability, weight, {PROPENSITY: weights})
    held = weight > 0
    frame = frame.assign(**{name: drawn.rows[name].to_numpy()[held] for name in ("lens_theta_e_arcsec", "src_mag_r")})
    return frame.assign(weight=frame["weight"] * frame[PROPENSITY], field=frame["host"].str.split("_").str[1])


def _binned(rows: pd.DataFrame) -> pd.DataFrame:
    names = {"theta_e_bin": ("lens_theta_e_arcsec", THETA_E_EDGES), "magnitude_bin": ("src_mag_r", MAGNITUDE_EDGES)}
    for name, (column, edges) in names.items():
        labels = [f"{low:g}-{high:g}" for low, high in pairwise(edges)]
        rows = rows.assign(**{name: pd.cut(rows[column], edges, right=False, labels=labels).astype(str)})
    return rows


def _estimate(part: pd.DataFrame, name: str) -> dict[str, Any]:
    """Completeness as `dhs completeness` prints it, clustered by hosts and by fields."""
    value, made = THRESHOLDS[name], dict[str, Any](threshold_id=name)
    for kind in ("host", "field"):
        found = weighted_share(part[kind], part["probability"], part["weight"], value, None, TABLE_LEVEL)
        made.update(completeness=found.completeness, n_eff=found.n_eff)
        made |= {f"{kind}_low": found.low, f"{kind}_high": found.high}
    return made


def summarised(folder: Path) -> dict[str, Any]:
    """The summary of all finished skies."""
    skies = [json.loads(path.read_text()) for path in sorted(folder.glob("sky-*.json"))]
    lenses, estimates = (
        pd.concat([pd.DataFrame(sky[kind]).assign(sky=sky["seed"]) for sky in skies], ignore_index=True)
        for kind in ("lenses", "estimates")
    )
    found = summary(covered(estimates, truth_of(lenses, THRESHOLDS, BINS)))
    return {"lenses": len(lenses), **found}


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--project", type=Path, required=True, help="a finished demo")
    options.add_argument("--generation", default="demo1")
    options.add_argument("--skies", type=int, default=20)
    options.add_argument("--first", type=int, default=1000, help="seed of the first sky")
    options.add_argument("--out", type=Path, required=True, help="folder of finished skies")
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    frozen = Frozen(given.project, given.generation)
    for seed in range(given.first, given.first + given.skies):
        path = given.out / f"sky-{seed}.json"
        if not path.exists():
            atomic.write_text(path, json.dumps(run_sky(seed, frozen)))
            log.info("sky %d: done", seed)
    text = yaml.safe_dump(summarised(given.out), sort_keys=False, width=120)
    atomic.write_text(given.out / "closure_skies.yaml", text)
    print(text.partition("rows:")[0], end="")


if __name__ == "__main__":
    main()
