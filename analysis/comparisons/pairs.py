"""One finder beside each other one on the same trials, as rows of ``finder_pairs``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from analysis.comparisons import crossmodel
from analysis.comparisons.network import Finder, network
from analysis.comparisons.trialpairs import POINTS, measurable
from analysis.records import Measure, missing, plain

_CROSSED_AT = f"p{crossmodel.THRESHOLD:g}"


def pair_rows(finders: Mapping[str, Finder], name: str) -> list[dict[str, object]]:
    """What each other finder makes of the trials of `name`."""
    rows = [row for other in finders if other != name for row in _ceilings(finders, name, other)]
    points = dict.fromkeys(at for one in finders.values() for at in measurable(one.thresholds))
    for at in points:
        _, *found = network(finders, name, at)
        rows += [_row(name, one.name.rpartition("/")[2], "network", at, one) for one in found]
    return [plain(row) for row in rows]


def _ceilings(finders: Mapping[str, Finder], name: str, other: str) -> Iterator[dict[str, object]]:
    found = crossmodel.crossed(finders[name].trials, finders[other].trials)
    if isinstance(found, str):
        measure = missing("", found)
        yield _row(name, other, "other_ceiling", _CROSSED_AT, measure) | {"verdict": "NOT MEASURED"}
        return
    n = found.change.trials
    how = "largest share over the bins of source magnitude; the interval holds for the maximum"
    for quantity, one in (("ceiling", found.own), ("other_ceiling", found.other)):
        value, low, high = (POINTS * each for each in (one.value, one.low, one.high))
        measure = Measure("", value, low, high, n, method=how)
        verdict = {"verdict": found.status} if quantity == "other_ceiling" else {}
        yield _row(name, other, quantity, _CROSSED_AT, measure) | verdict
    change = Measure("", *found.change.points, n, method="other minus this, on common trials; hosts as clusters")
    yield _row(name, other, "ceiling_change", _CROSSED_AT, change)


def _row(name: str, other: str, quantity: str, at: str, one: Measure) -> dict[str, object]:
    key = {"generation": name, "other": other, "quantity": quantity, "threshold_id": at}
    return {**key, "value": one.value, "low": one.low, "high": one.high, "n": one.n, "method": one.method}
