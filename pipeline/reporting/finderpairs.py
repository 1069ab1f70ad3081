"""The trials in which finders are compared, and the table of their pairs."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

import pandas as pd

from analysis.comparisons import crossmodel, network, trials
from analysis.statistics.thresholds import from_rows
from lake.root import DataRoot
from lake.store import cards, delta, status
from lake.tables.trials import BASELINE
from pipeline.project.context import RunContext

log = logging.getLogger(__name__)

TABLE = "finder_pairs"
_READ = ("trials", "thresholds")


def baselines(context: RunContext, name: str) -> pd.DataFrame:
    """Trials of one finder in the experiments that compare finders, as their baseline made them."""
    rows = context.read("trials", [*trials.COLUMNS, "experiment", "variant", "status"], slices=[name]).to_pandas()
    compared = rows["experiment"].isin([crossmodel.EXPERIMENT, network.EXPERIMENT])
    return rows[compared & (rows["variant"] == BASELINE)]


def comparable(root: DataRoot) -> list[str]:
    """Names of the finders that have trials and thresholds on this survey."""
    return sorted(set.intersection(*({str(one.card.slice) for one in cards.of_survey(root, table)} for table in _READ)))


def finders(context: RunContext) -> dict[str, network.Finder]:
    """The finders whose trials and thresholds count, by name; the stage's own is among them in any case."""
    root, off, found = context.root, status.invalid_results(context.root), {}
    for name in comparable(root):
        why = [off[stem].text for stem in (cards.stem(table, name) for table in _READ) if stem in off]
        if why and name != context.generation:
            log.warning("%s is not compared: %s", name, why[0])
            continue
        points = from_rows(context.read("thresholds", slices=[name]).to_pandas())
        found[name] = network.Finder(baselines(context, name), points)
    return found


def compared_with(root: DataRoot, name: str) -> list[str]:
    """Names of the finders whose stored pairs have this one as the other."""
    others = {
        str(one.card.slice): delta.read(root, TABLE, ["other"], slices=[one.card.slice])["other"].to_pylist()
        for one in cards.of_survey(root, TABLE)
        if one.card.slice != name
    }
    return sorted(one for one, other in others.items() if name in other)


def pairs(root: DataRoot, names: Collection[str], off: Mapping[str, object]) -> pd.DataFrame:
    """Rows of the table of pairs that count and whose finders are both among ``names``."""
    made = [one for one in cards.of_survey(root, TABLE) if one.name not in off and one.card.slice in names]
    rows = [delta.read(root, TABLE, slices=[one.card.slice]).to_pandas() for one in made]
    found = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["other"])
    return found[found["other"].isin(names)].reset_index(drop=True)
