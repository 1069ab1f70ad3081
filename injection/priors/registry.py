"""Priors of injections: the registry file, draws by keyed random numbers, and their log density."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field, model_validator

from injection.keyed import Keyed, Sobol
from injection.priors.distributions import Distribution
from injection.scene.lens import rotated
from injection.scene.ranges import inside, is_light, limits, refuse
from injection.scene.sources import MAX_CLUMPS
from lake.config import Section
from lake.errors import DataError, invalid
from lake.sky.imaging import Imaging

Array = NDArray[np.float64]

LENS = ("lens_theta_e_arcsec", "lens_q", "lens_x_arcsec", "lens_y_arcsec")
SHAPE = ("src_beta_frac", "src_re_arcsec", "src_n", "src_q")
_OTHERS = (
    "lens_pa_rad", "shear", "shear_pa_rad", "src_pa_rad", "src_azimuth_rad", "src_clumps", "src_clump_fraction",
    *(f"src_clump{k}_{part}" for k in range(1, MAX_CLUMPS + 1) for part in ("offset", "azimuth_rad", "size")),
)  # fmt: skip
_LOG_TURN = -np.log(2.0 * np.pi)
_LOG_HALF_TURN = -np.log(np.pi)


class Prior(Section):
    """A joint prior: the distribution of each ``lens_*`` and ``src_*`` parameter of an injection.

    Further fields give the light of the sources, in any number of bands: unlensed magnitudes ``src_mag_<band>`` and
    colours ``src_<bluer>_minus_<redder>``.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Distribution]

    name: str
    """Name in the registry."""
    meaning: str
    """Purpose of the prior, in words."""
    lens_theta_e_arcsec: Distribution
    """Einstein radius, if the grid does not fix it (arcsec)."""
    lens_q: Distribution
    """Lens axis ratio."""
    lens_x_arcsec: Distribution
    """Lens centre along x (arcsec)."""
    lens_y_arcsec: Distribution
    """Lens centre along y (arcsec)."""
    shear: Distribution
    """Modulus of the external shear."""
    src_beta_frac: Distribution
    """Source offset from the lens centre, over theta_E."""
    src_re_arcsec: Distribution
    """Half-light radius, intermediate axis (arcsec)."""
    src_n: Distribution
    """Sersic index."""
    src_q: Distribution
    """Source axis ratio."""
    clump_probability: float = Field(ge=0, le=1)
    """Probability that a source has clumps; 1, 2 and 3 clumps are then equally likely."""
    clump_fraction: Distribution
    """Share of the flux in the clumps."""
    clump_offset: Distribution
    """Elliptical radius of a clump's position, over the half-light radius."""
    clump_size: Distribution
    """Half-light radius of a clump over that of the source."""

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name in values:
            if name not in cls.model_fields and not is_light(name):
                known = ", ".join(sorted((*cls.model_fields, "src_mag_<band>", "src_<bluer>_minus_<redder>")))
                raise invalid(f"prior {values['name']}.{name}", f"one of the known parameters ({known})", name)
        return values

    def model_post_init(self, context: object) -> None:
        for name in (*LENS, *self.light, *SHAPE):
            low, high = limits(name)
            support = getattr(self, name).support
            for edge in support:
                if np.isfinite(edge) and not low <= edge <= high:
                    raise refuse(name, edge)

    @property
    def light(self) -> tuple[str, ...]:
        """Names of its magnitudes and colours."""
        return tuple(self.__pydantic_extra__)

    def direct(self, imaging: Imaging) -> tuple[str, ...]:
        """Columns of injections that are drawn from the distributions of their names; ParameterError if one lacks."""
        lacking = [name for name in imaging.source_columns if name not in self.light]
        if lacking:
            allowed = f"one with {', '.join(imaging.source_columns)}, for the bands of {imaging.name}"
            raise invalid("prior", allowed, f"{self.name} with {', '.join(self.light)}")
        return (*LENS, *imaging.source_columns, *SHAPE)


def registry() -> dict[str, Any]:
    """Values of the registry's priors by name, as in ``priors.yaml``."""
    text = resources.files("injection.priors").joinpath("priors.yaml").read_text()
    return dict(yaml.safe_load(text))


@cache
def load_prior(name_or_path: str) -> Prior:
    """A prior of the registry, or of your own file (same keys; ``base`` may name one of the registry)."""
    known = registry()
    if name_or_path in known:
        return Prior.load(_resolved(name_or_path, known[name_or_path], known), f"prior {name_or_path}")
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        raise invalid("prior", f"one of {', '.join(known)}, or a path to a .yaml file", name_or_path)
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"prior file {path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise invalid("prior", f"a mapping in {path}", values)
    return Prior.load(_resolved(path.stem, values, known), f"prior {path}")


def _resolved(name: str, values: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    own = dict(values)
    base = own.pop("base", None)
    if base is not None and base not in known:
        raise invalid(f"prior {name}.base", f"one of {', '.join(known)}", base)
    below = {} if base is None else _resolved(str(base), known[base], known)
    return {**below, "name": name, **own}


def draw(
    prior: Prior,
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
    keyed = Keyed(seed, ids) if sobol_places is None else Sobol(seed, sobol_places, (*direct, *_OTHERS))
    columns: dict[str, Any] = {"injection_id": ids}
    for name in direct:
        columns[name] = fixed[name] if name in fixed else getattr(prior, name).quantile(keyed.uniform(name))
    _lens(columns, prior, keyed.uniform)
    _source(columns, keyed.uniform)
    _clumps(columns, prior, keyed.uniform)
    columns["src_stamp_id"] = pa.nulls(len(ids), pa.string())
    rows = pa.table(columns)
    return rows.append_column("log_prior", pa.array(log_density(prior, rows, imaging, tuple(fixed))))


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
            columns[f"src_clump{k}_{part}_arcsec"] = pa.array(values, mask=count < k)
    columns["src_model"] = np.where(count > 0, "sersic_clumps", "sersic")


def log_density(prior: Prior, rows: pa.Table, imaging: Imaging, fixed: tuple[str, ...] = ()) -> Array:
    """Log prior density of drawn rows in the registry's parameters: angles uniform, clumps relative to the source.

    With another prior it gives importance weights. ``fixed`` columns are left out. The density is -inf for a row that
    the prior cannot give.
    """

    def column(name: str) -> Array:
        return rows.column(name).to_numpy(zero_copy_only=False).astype(np.float64)

    total = np.full(rows.num_rows, 3 * _LOG_HALF_TURN + _LOG_TURN)
    for name in prior.direct(imaging):
        if name not in fixed:
            total = total + getattr(prior, name).log_density(column(name))
    total = total + prior.shear.log_density(np.hypot(column("lens_gamma1"), column("lens_gamma2")))
    return total + clump_log_density(prior, column)


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
