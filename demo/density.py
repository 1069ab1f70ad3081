"""Probability density of the parameters of listed lenses, as the generator draws them: what closure reweights to.

Positions of lenses and all angles are left out; angles are uniform, as in any prior of injections. A lens's axis ratio
follows its host's: its distribution over all hosts has spikes, so it is given by shares of bins.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.stats import beta, halfnorm, norm

from demo.config import LensParams
from demo.mixtures import Floats

AXIS_RATIO_EDGES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Bins of the lens's axis ratio."""
THETA_E_SHAPE = beta(1.4, 2.2)
"""Einstein radii between the smallest and the largest, scaled to 0 and 1."""
_OFFSETS = (0.08, 0.55)
_RADII_ARCSEC = (0.1, 0.35)
_INDICES = (0.7, 2.2)
_AXIS_RATIOS = (0.4, 1.0)
_SHEAR_SIGMA, _SHEAR_MAX = 0.04, 0.1
_COLOURS = {"src_g_minus_r": (0.2, 0.2), "src_r_minus_z": (0.15, 0.2)}


def theta_e_share(params: LensParams, psfsize_arcsec: Floats, low_arcsec: Floats, high_arcsec: Floats) -> Floats:
    """Share of listed lenses, in the given r-band seeing, whose Einstein radius lies between two values (arcsec)."""
    smallest = np.maximum(params.theta_e_range_arcsec[0], params.theta_e_over_psfsize_min * psfsize_arcsec)
    span = params.theta_e_range_arcsec[1] - smallest
    ends = [THETA_E_SHAPE.cdf(np.clip((edge - smallest) / span, 0.0, 1.0)) for edge in (low_arcsec, high_arcsec)]
    return np.asarray(ends[1] - ends[0])


def source_density(rows: Mapping[str, Floats]) -> Floats:
    """Density of a source's offset over theta_E, radius (arcsec), Sersic index, axis ratio, colours, and of the shear.

    ``rows`` hold ``src_beta_frac``, ``src_re_arcsec``, ``src_n``, ``src_q``, the colours, ``lens_gamma1`` and ``_2``.
    The offset is drawn from the host's centre; from the lens's, 0.03" away, it is nearly the same.
    """
    offset = rows["src_beta_frac"]
    density = 2.0 * offset * _between(offset, _OFFSETS) / (_OFFSETS[1] ** 2 - _OFFSETS[0] ** 2)
    for name, ends in (("src_re_arcsec", _RADII_ARCSEC), ("src_n", _INDICES), ("src_q", _AXIS_RATIOS)):
        density = density * _between(rows[name], ends) / (ends[1] - ends[0])
    for name, (mean, sigma) in _COLOURS.items():
        density = density * norm(mean, sigma).pdf(rows[name])
    shear = np.hypot(rows["lens_gamma1"], rows["lens_gamma2"])
    return density * halfnorm(scale=_SHEAR_SIGMA).pdf(shear) * (shear <= _SHEAR_MAX)


def magnitude_density(params: LensParams, arc_snr_g: Floats) -> Floats:
    """Density of the source's magnitude (per mag), all else given, by the g-band arc signal-to-noise ratio it gives.

    The generator draws that ratio evenly in its logarithm over the range of each tier, and sets the flux by it.
    """
    total = params.tier_a + params.tier_b
    per_log = np.zeros_like(arc_snr_g)
    for count, ends in ((params.tier_a, params.arc_snr_tier_a), (params.tier_b, params.arc_snr_tier_b)):
        per_log = per_log + count / total * _between(arc_snr_g, ends) / np.log(ends[1] / ends[0])
    return 0.4 * np.log(10.0) * per_log


def _between(values: Floats, ends: tuple[float, float]) -> Floats:
    return ((values >= ends[0]) & (values <= ends[1])).astype(np.float64)
