"""Priors of injections: the registry file, draws by keyed random numbers, and their log density."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from injection.keyed import Keyed, Sobol
from injection.priors.distributions import Distribution
from injection.priors.prior import AnyPrior, Mixture, Prior
from injection.scene.lens import rotated
from injection.scene.ranges import inside, refuse
from injection.scene.sources import MAX_CLUMPS
from lake import arrays, yamltext
from lake.errors import invalid
from lake.files.strictyaml import read_mapping
from lake.sky.imaging import Imaging

Array = NDArray[np.float64]

_OTHERS = (
    "lens_pa_rad", "shear", "shear_pa_rad", "src_pa_rad", "src_azimuth_rad", "src_clumps", "src_clump_fraction",
    *(f"src_clump{k}_{part}" for k in range(1, MAX_CLUMPS + 1) for part in ("offset", "azimuth_rad", "size")),
)  # fmt: skip
_LOG_TURN = -np.log(2.0 * np.pi)
_LOG_HALF_TURN = -np.log(np.pi)


def registry() -> dict[str, Any]:
    """Values of the registry's priors by name, as in ``priors.yaml``."""
    text = resources.files("injection.priors").joinpath("priors.yaml").read_text()
    return dict(yamltext.values(text))


@cache
def load_prior(name_or_path: str) -> AnyPrior:
    """A prior of the registry, or of your own file (same keys; ``base`` may name one of the registry)."""
    known = registry()
    if name_or_path in known:
        return prior_of(_resolved(name_or_path, known[name_or_path], known))
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        raise invalid("prior", f"one of {', '.join(known)}, or a path to a .yaml file", name_or_path)
    return prior_of(_resolved(path.stem, read_mapping(path), known), str(path))


def prior_of(content: Mapping[str, Any], where: str = "") -> AnyPrior:
    """A prior from its content, as ``model_dump`` of one gives it; ``where`` it was read."""
    kind = Mixture if "components" in content else Prior
    return kind.load(content, f"prior {where or content.get('name')}")


def _resolved(name: str, values: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    own = dict(values)
    if "mixture" in own:
        return {"name": name, **_components(name, own, known)}
    base = own.pop("base", None)
    if base is not None and base not in known:
        raise invalid(f"prior {name}.base", f"one of {', '.join(known)}", base)
    below = {} if base is None else _resolved(str(base), known[base], known)
    return {**below, "name": name, **own}


def _components(name: str, own: dict[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a mixture, given as shares of priors of the registry."""
    shares = own.pop("mixture")
    single = [one for one in known if "mixture" not in known[one]]
    if not isinstance(shares, dict) or not set(shares) <= set(single):
        raise invalid(f"prior {name}.mixture", f"shares of priors ({', '.join(single)})", shares)
    parts = [{"share": share, "prior": _resolved(one, known[one], known)} for one, share in shares.items()]
    return {**own, "components": parts}


def by_component(
    prior: Mixture, ids: pa.Array, seed: int, make: Callable[[Prior, NDArray[np.int64]], pa.Table]
) -> pa.Table:
    """One row per id, in order; ``make`` draws them from the prior of each, given the rows' places."""
    chosen = prior.chosen(ids, seed)
    places = [np.flatnonzero(chosen == number) for number in range(len(prior.components))]
    parts = [make(one, held) for one, held in zip(prior.priors, places, strict=True) if len(held)]
    order = np.argsort(np.concatenate(places), kind="stable")
    return pa.concat_tables(parts).take(arrays.numbers(order)) if parts else make(prior.priors[0], places[0])


def draw(
    prior: AnyPrior,
    ids: pa.Array,
    seed: int,
    imaging: Imaging,
    fixed: Mapping[str, ArrayLike] | None = None,
    sobol_places: ArrayLike | None = None,
) -> pa.Table:
    """Parameters of injections ``ids``: ``injection_id``, ``lens_*``, ``src_*``, ``src_model``, ``log_prior``.

    Each value depends only on seed, id and parameter. ``fixed`` has values of columns of ``prior.direct`` (a grid fixes
    theta_E), which do not count in ``log_prior``. With ``sobol_places`` (one integer per id) the numbers are those
    places of a Sobol sequence, which covers the prior more evenly.
    """
    direct = prior.direct(imaging)
    fixed = _checked(fixed or {}, direct, len(ids))
    if isinstance(prior, Mixture):
        places = None if sobol_places is None else np.asarray(sobol_places)
        return _mixed(prior, ids, seed, imaging, fixed, places)
    keyed = Keyed(seed, ids) if sobol_places is None else Sobol(seed, sobol_places, (*direct, *_OTHERS))
    columns: dict[str, Any] = {"injection_id": ids}
    for name in direct:
        columns[name] = fixed[name] if name in fixed else getattr(prior, name).quantile(keyed.uniform(name))
    _lens(columns, prior, keyed.uniform)
    _source(columns, keyed.uniform)
    _clumps(columns, prior, keyed.uniform)
    columns["src_stamp_id"] = pa.nulls(len(ids), pa.string())
    rows = arrays.table(columns)
    return rows.append_column("log_prior", arrays.numbers(log_density(prior, rows, imaging, tuple(fixed))))


def _mixed(
    prior: Mixture,
    ids: pa.Array,
    seed: int,
    imaging: Imaging,
    fixed: Mapping[str, Array],
    places: NDArray[np.int64] | None,
) -> pa.Table:
    def make(one: Prior, held: NDArray[np.int64]) -> pa.Table:
        own = {name: values[held] for name, values in fixed.items()}
        return draw(one, ids.take(arrays.numbers(held)), seed, imaging, own, None if places is None else places[held])

    rows = by_component(prior, ids, seed, make)
    density = arrays.numbers(log_density(prior, rows, imaging, tuple(fixed)))
    return rows.set_column(rows.column_names.index("log_prior"), "log_prior", density)


def _checked(fixed: Mapping[str, ArrayLike], direct: tuple[str, ...], count: int) -> dict[str, Array]:
    checked = {}
    for name, values in fixed.items():
        if name not in direct:
            raise invalid("fixed", f"some of {', '.join(direct)}", name)
        column = np.array(np.broadcast_to(np.asarray(values, dtype=np.float64), (count,)))
        bad = ~inside(name, column)
        if bad.any():
            raise refuse(name, float(column[bad][0]))
        checked[name] = column
    return checked


def _lens(columns: dict[str, Any], prior: Prior, uniform: Callable[[str], Array]) -> None:
    columns["lens_pa_rad"] = np.pi * (uniform("lens_pa_rad") - 0.5)
    shear, angle = prior.shear.quantile(uniform("shear")), np.pi * (uniform("shear_pa_rad") - 0.5)
    columns["lens_gamma1"], columns["lens_gamma2"] = shear * np.cos(2 * angle), shear * np.sin(2 * angle)


def _source(columns: dict[str, Any], uniform: Callable[[str], Array]) -> None:
    columns["src_pa_rad"] = np.pi * (uniform("src_pa_rad") - 0.5)
    offset = columns["src_beta_frac"] * columns["lens_theta_e_arcsec"]
    azimuth = 2.0 * np.pi * uniform("src_azimuth_rad")
    columns["src_x_arcsec"] = columns["lens_x_arcsec"] + offset * np.cos(azimuth)
    columns["src_y_arcsec"] = columns["lens_y_arcsec"] + offset * np.sin(azimuth)


def _clumps(columns: dict[str, Any], prior: Prior, uniform: Callable[[str], Array]) -> None:
    u = uniform("src_clumps")
    share = np.where(u < prior.clump_probability, u / max(prior.clump_probability, 1e-300), 1.0)
    count = np.where(u < prior.clump_probability, 1 + np.minimum((share * MAX_CLUMPS).astype(int), MAX_CLUMPS - 1), 0)
    columns["src_clumps"] = count.astype(np.int32)
    columns["src_clump_fraction"] = np.where(count > 0, prior.clump_fraction.quantile(uniform("src_clump_fraction")), 0)
    re, q = columns["src_re_arcsec"], columns["src_q"]
    for k in range(1, MAX_CLUMPS + 1):
        radius = prior.clump_offset.quantile(uniform(f"src_clump{k}_offset"))
        azimuth = 2.0 * np.pi * uniform(f"src_clump{k}_azimuth_rad")
        u_axis, v_axis = re * radius * np.cos(azimuth) / np.sqrt(q), re * radius * np.sin(azimuth) * np.sqrt(q)
        x, y = rotated(u_axis, v_axis, -columns["src_pa_rad"])
        size = re * prior.clump_size.quantile(uniform(f"src_clump{k}_size"))
        for part, values in (("x", x), ("y", y), ("re", size)):
            columns[f"src_clump{k}_{part}_arcsec"] = arrays.numbers(values, count < k)
    columns["src_model"] = np.where(count > 0, "sersic_clumps", "sersic")


def log_density(prior: AnyPrior, rows: pa.Table, imaging: Imaging, fixed: tuple[str, ...] = ()) -> Array:
    """Log prior density of drawn rows in the registry's parameters: angles uniform, clumps relative to the source.

    With another prior it gives importance weights. ``fixed`` columns are left out, and so are ``shear`` and ``clumps``
    if they are named there. The density is -inf for a row that the prior cannot give.
    """
    if isinstance(prior, Mixture):
        parts = [log_density(one, rows, imaging, fixed) for one in prior.priors]
        return np.asarray(logsumexp(parts, axis=0, b=np.asarray(prior.shares)[:, None]), dtype=np.float64)

    def column(name: str) -> Array:
        return np.asarray(arrays.values(rows.column(name)), dtype=np.float64)

    total = np.full(rows.num_rows, 3 * _LOG_HALF_TURN + _LOG_TURN)
    for name in prior.direct(imaging):
        if name not in fixed:
            total = total + getattr(prior, name).log_density(column(name))
    if "shear" not in fixed:
        total = total + prior.shear.log_density(np.hypot(column("lens_gamma1"), column("lens_gamma2")))
    return total if "clumps" in fixed else total + clump_log_density(prior, column)


def clump_log_density(prior: Prior, column: Callable[[str], Array]) -> Array:
    """The part of :func:`log_density` that comes from clumps."""
    count, re, q = column("src_clumps"), column("src_re_arcsec"), column("src_q")
    with np.errstate(divide="ignore"):
        none, some = np.log1p(-prior.clump_probability), np.log(prior.clump_probability / MAX_CLUMPS)
    total = np.where(count > 0, some + prior.clump_fraction.log_density(column("src_clump_fraction")), none)
    for k in range(1, MAX_CLUMPS + 1):
        u, v = rotated(column(f"src_clump{k}_x_arcsec"), column(f"src_clump{k}_y_arcsec"), column("src_pa_rad"))
        offset = np.sqrt(q * u * u + v * v / q) / re
        size = column(f"src_clump{k}_re_arcsec") / re
        part = prior.clump_offset.log_density(_inside(prior.clump_offset, offset))
        part = part + prior.clump_size.log_density(_inside(prior.clump_size, size)) + _LOG_TURN
        total = total + np.where(count >= k, part, 0.0)
    return total


def _inside(distribution: Distribution, values: Array) -> Array:
    """Values recomputed from columns, clipped to the support if they are outside only by rounding."""
    low, high = distribution.support
    near = (values > low - 1e-9) & (values < high + 1e-9)
    return np.where(near, np.clip(values, max(low, 1e-12), high), values)
