"""What is known of listed lenses and of a finder's injections, as frames for the diagnostics."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.diagnostics.missed_lenses import TABLE
from analysis.records import Outcome
from analysis.results.testlenses import plain_rows
from analysis.results.untouched import new_to
from demo.truth import galaxy_ids
from lake.sky.survey import SURVEY
from lake.tables.lens_candidates import MATCHED
from pipeline.project.context import RunContext
from pipeline.realism.truelenses import TrueLenses

_FROM_LIST = ["galaxy_id", "candidate_id", "name", "reference", "grading", "z_lens", "theta_e_arcsec"]


def listed(context: RunContext) -> pd.DataFrame:
    """The matched candidates, a row each, with every column of their sources in the catalogue."""
    candidates = context.read("lens_candidates", [*_FROM_LIST, "match_reason"])
    matched = candidates.filter(pc.equal(candidates["match_reason"], MATCHED)).select(_FROM_LIST).to_pandas()
    sources = context.read("tractor_near_candidates").to_pandas()
    own = [name for name in sources.columns if name == "galaxy_id" or name not in matched.columns]
    return matched.merge(sources[own], on="galaxy_id", how="left", validate="one_to_one")


def scored_injections(context: RunContext) -> pd.DataFrame:
    """The scored injections of the finder's grid, with its score and probability."""
    answers = context.read(
        "injection_scores", ["injection_id", "score", "probability", "status"], slices=[context.generation]
    )
    answers = answers.filter(pc.equal(answers["status"], "scored")).drop_columns("status")
    rows = context.read("injections", slices=[context.generation])
    return rows.join(answers, "injection_id", join_type="inner").sort_by("injection_id").to_pandas()


def lens_parameters(context: RunContext, objects: pd.DataFrame) -> pd.DataFrame:
    """Parameters of the listed lenses outside the training split that the finder is new to, as far as truth or list
    give them, in the columns of `injections`."""
    lenses = TrueLenses.of(context.root, objects, context.survey.collection)
    if lenses is None:
        held = new_to(objects[(objects["label"] == 1) & (objects["split"] != "train")])
        found = listed(context)
        radii = found.loc[found["galaxy_id"].isin(held["galaxy_id"]), "theta_e_arcsec"]
        return pd.DataFrame({"lens_theta_e_arcsec": radii.dropna()})
    lenses = lenses.untouched
    return lenses.rows.to_pandas().assign(arc_snr=lenses.truth[f"arc_snr_{SURVEY.reference_band}"].to_numpy())


def true_lenses(context: RunContext) -> frozenset[str] | None:
    """Every lens of a simulated survey, listed or not; None where the truth is not known."""
    path = context.root.truth / "sources.parquet"
    if not path.exists():
        return None
    truth = pq.read_table(path, columns=["brickname", "objid", "is_lens"])
    lenses = truth.filter(truth["is_lens"])
    names = (lenses[name].to_pylist() for name in ("brickname", "objid"))
    return frozenset(galaxy_ids(context.survey.collection, *names))


def lens_table(outcome: Outcome, where: Mapping[str, str]) -> list[dict[str, object]]:
    """Rows of `test_lenses` without lineage, with the ranks among injections; none where no lens is measured."""
    rows = outcome.arrays.get(TABLE)
    if rows is None:
        return []
    matched = outcome.arrays.get("matched", pd.DataFrame(columns=["galaxy_id", "rank", "effective"]))
    ranks = matched[["galaxy_id", "rank", "effective"]]
    ranks = ranks.rename(columns={"rank": "matched_rank", "effective": "matched_injections"})
    return [{**where, **row} for row in plain_rows(rows.merge(ranks, on="galaxy_id", how="left"))]
