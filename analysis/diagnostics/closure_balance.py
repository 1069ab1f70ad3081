"""Balance of a link of the closure: whether weighted injections, or their hosts, are like the true lenses.

Few lenses show a wrong population or wrong hosts in their recall only where these change it much. Their properties show
it directly, as in studies that weight by propensity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from analysis.records import Gate, Measure, Status, decide, missing, not_measured, reason
from analysis.results.untouched import FEWEST
from analysis.statistics.intervals import TABLE_LEVEL
from analysis.statistics.paired import Resampled

Floats = NDArray[np.float64]
Mean = Callable[[Floats], Resampled]
"""Weighted mean of values, and those of the bootstrap replicates."""

_WORST: tuple[Status, ...] = ("FAIL", "BORDERLINE", "PASS")
_HOW = "standardised mean difference, weighted injections minus lenses; bootstrap of lenses and hosts"
_RULE = (
    "standardised mean difference of at most {:g} either way ({}): PASS if the whole 95 % interval is, FAIL if the "
    "difference is not and is significant at 5 %, adjusted for the columns of the link"
)


@dataclass(frozen=True)
class Balance:
    """How far injections are from the lenses in one column."""

    measure: Measure
    p: float
    """Two-sided, of no difference, by the scatter of the replicates"""

    def status(self, tolerance: float, columns: int) -> Status:
        """The verdict on one of so many ``columns``.

        The limit is customary for the difference itself, so that a difference beyond it fails unless it may be chance
        (Bonferroni); intervals of some 250 lenses are as wide as the limit.
        """
        if -tolerance <= self.measure.low and self.measure.high <= tolerance:
            return "PASS"
        beyond = abs(self.measure.value) > tolerance and self.p * columns < 1.0 - TABLE_LEVEL
        return "FAIL" if beyond else "BORDERLINE"


def standardised(values: Floats, mean: Mean, of_lenses: Floats, lens_mean: Mean) -> Resampled:
    """Weighted mean minus the lenses' mean, over the root of the mean of both variances (Austin & Stuart 2015); not
    finite where neither varies."""
    centre = np.nanmean(of_lenses)
    first, square, lens_first, lens_square = (
        average((each - centre) ** power)
        for each, average in ((values, mean), (of_lenses, lens_mean))
        for power in (1, 2)
    )

    def difference(part: Callable[[Resampled], Floats | float]) -> Floats:
        one, two = part(first), part(lens_first)
        spread = np.sqrt((part(square) - one**2 + part(lens_square) - two**2) / 2.0)
        return np.asarray((one - two) / spread)

    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(difference(lambda each: each.value))
        return Resampled(value, difference(lambda each: each.replicates))


def balance(name: str, values: Floats, mean: Mean, of_lenses: Floats, lens_mean: Mean) -> Balance:
    """The balance of one column, with the 95 % interval of the replicates."""
    n, others = (int(np.isfinite(each).sum()) for each in (of_lenses, values))
    if n < FEWEST or not others:
        return Balance(missing(name, f"{n:,} lenses and {others:,} injections have a value", n), math.nan)
    found = standardised(values, mean, of_lenses, lens_mean)
    replicates = found.replicates[np.isfinite(found.replicates)]
    if not (math.isfinite(found.value) and len(replicates)):
        return Balance(missing(name, "nothing varies, or nothing has a weight", n), math.nan)
    tail = (1.0 - TABLE_LEVEL) / 2.0
    low, high = np.quantile(replicates, [tail, 1.0 - tail])
    error = float(replicates.std(ddof=1))
    p = 2.0 * float(scipy.special.ndtr(-abs(found.value) / error)) if error > 0.0 else 0.0
    return Balance(Measure(name, found.value, float(low), float(high), n, "", f"{_HOW}; p = {p:.2g}"), p)


def judged(link: str, columns: Sequence[Balance], tolerance: float) -> Gate:
    """The column that is worst off: one that fails, before a borderline one, before the largest that passes."""
    name = f"closure/{link}/balance"
    known = [each for each in columns if math.isfinite(each.measure.value)]
    if not known:
        return not_measured(name, tolerance, f"balance of {link}: {reason(columns[0].measure)}")
    status, worst = min(
        ((each.status(tolerance, len(known)), each.measure) for each in known),
        key=lambda found: (_WORST.index(found[0]), -abs(found[1].value)),
    )
    return decide(name, worst, tolerance, _RULE.format(tolerance, worst.name.rpartition("/")[2]), status)
