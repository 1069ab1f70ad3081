"""A source model is one class: the grid, stored rows and pictures ask for nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from injection.engine import tracing
from injection.experiment.grid import plan
from injection.priors.prior import Prior
from lake.errors import DataError, ParameterError
from tests.injection.scenes import Brightness, planned, run


@dataclass(frozen=True)
class Pairs:
    """Two Gaussian galaxies of equal flux, one on either side of the drawn position."""

    separation_arcsec: float = 0.2

    @property
    def identity(self) -> list[object]:
        return ["pairs", self.separation_arcsec]

    def describe(self) -> str:
        return f'pairs {self.separation_arcsec:g}" apart'

    def draw(self, rows: pa.Table, prior: Prior, seed: int) -> pa.Table:
        for name, value in (("src_n", None), ("src_model", "pairs"), ("src_clumps", 0)):
            field = rows.schema.field(name)
            rows = rows.set_column(rows.column_names.index(name), field, pa.array([value] * rows.num_rows, field.type))
        return rows

    def faults(self, rows: pa.Table) -> list[str | None]:
        return [None if size < 0.2 else "too large for a pair" for size in rows["src_re_arcsec"].to_pylist()]

    def trace(self, rows: pa.Table, *how: Any) -> Any:
        halves = [tracing.trace(self._half(rows, sign), *how) for sign in (-1, 1)]
        images: NDArray[np.float32] = (halves[0][0] + halves[1][0]) / np.float32(2)
        return images, halves[0][1] + halves[1][1]

    def _half(self, rows: pa.Table, sign: int) -> pa.Table:
        x = rows["src_x_arcsec"].to_numpy() + sign * self.separation_arcsec / 2
        for name, values in (("src_x_arcsec", x), ("src_n", np.full(len(x), 0.5))):
            rows = rows.set_column(rows.column_names.index(name), name, pa.array(values))
        return rows


class Tiny(Pairs):
    """Sizes that no prior has."""

    def draw(self, rows: pa.Table, prior: Prior, seed: int) -> pa.Table:
        place = rows.column_names.index("src_re_arcsec")
        return super().draw(rows, prior, seed).set_column(place, "src_re_arcsec", pa.array([0.001] * rows.num_rows))


@pytest.mark.parametrize("model", ["Pairs", "Tiny"])
def test_a_model_of_ones_own_has_a_density_under_a_mixture(model: str) -> None:
    made = planned(prior="covering", source_model=f"tests.injection.test_models:{model}")
    hosts = pa.array([hosts[0] for hosts in made.rows["host_ids"].to_pylist()])
    rows = made.setting.parameters(made.rows.select(["injection_id"]).append_column("galaxy_id", hosts))
    assert np.isfinite(rows["log_prior"].to_numpy()).all()


def test_a_third_model_is_one_class_in_plan_grid_and_picture() -> None:
    chosen = planned(poisson_gain_e_per_nmgy=150.0)
    grid = planned(poisson_gain_e_per_nmgy=150.0, source_model="tests.injection.test_models:Pairs")
    assert grid.grid_id == plan(replace(chosen.setting, sources=Pairs(0.2))).grid_id
    assert len({chosen.grid_id, grid.grid_id, plan(replace(chosen.setting, sources=Pairs(0.3))).grid_id}) == 3
    out = run(grid)
    assert set(out["src_model"].to_pylist()) == {"pairs"}
    assert out["src_n"].null_count == out.num_rows
    large = out["src_re_arcsec"].to_numpy() >= 0.2
    assert 0 < large.sum() < out.num_rows
    assert [reason == "too large for a pair" for reason in out["reason"].to_pylist()] == large.tolist()
    scored = out.filter(pa.array(~large)).combine_chunks()
    np.testing.assert_array_equal(Brightness().score(grid.setting.again(scored).images), scored["score"].to_numpy())
    together = run(plan(replace(chosen.setting, sources=Pairs(0.0)))).filter(pa.array(~large))
    assert (together["arc_flux_r_nmgy"].to_numpy() != scored["arc_flux_r_nmgy"].to_numpy()).all()


class Bare(Pairs):
    identity = None  # type: ignore[assignment]


class Short(Pairs):
    def draw(self, rows: pa.Table, prior: Prior, seed: int) -> pa.Table:
        return rows.slice(1)


class Raising(Pairs):
    def faults(self, rows: pa.Table) -> list[str | None]:
        raise RuntimeError("no licence")


class Uncounted(Pairs):
    def faults(self, rows: pa.Table) -> list[str | None]:
        return []


class Cube(Pairs):
    def trace(self, rows: pa.Table, *how: Any) -> Any:
        images, rays = super().trace(rows, *how)
        return images[:, :-1], rays


class NotFinite(Pairs):
    def trace(self, rows: pa.Table, *how: Any) -> Any:
        images, rays = super().trace(rows, *how)
        return images * np.nan, rays


class Exiting(Pairs):
    def trace(self, rows: pa.Table, *how: Any) -> Any:
        raise SystemExit(3)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("Bare", "identity of the source model '.*:Bare' must be a value that is not null"),
        ("Short", "draw of the source model '.*:Short' must be the table it is given"),
        ("Raising", "the source model '.*:Raising' failed in faults: RuntimeError: no licence"),
        ("Uncounted", "faults of the source model '.*:Uncounted' must be one reason or null per row"),
    ],
)
def test_a_model_that_raises_or_returns_what_does_not_fit_is_named(model: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        run(planned(source_model=f"tests.injection.test_models:{model}"))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("Cube", "trace of the source model 'tests.injection.test_models:Cube' must be arrays of the shapes"),
        ("NotFinite", "its lensed light is not finite"),
        ("Exiting", "the source model 'tests.injection.test_models:Exiting' failed in trace: SystemExit: 3"),
    ],
)
def test_light_that_a_model_cannot_trace_fails_its_rows_with_the_reason(model: str, said: str) -> None:
    reasons = run(planned(source_model=f"tests.injection.test_models:{model}"))["reason"].to_pylist()
    assert all(reason.startswith((said, "too large")) for reason in reasons)
    assert any(reason.startswith(said) for reason in reasons)


def test_a_model_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(DataError, match=r"the source model 'no\.such:Model' cannot be imported: ModuleNotFoundError"):
        planned(source_model="no.such:Model")
    with pytest.raises(DataError, match="the source model 'decimal:Decimal' lacks identity, describe, draw"):
        planned(source_model="decimal:Decimal")
    with pytest.raises(ParameterError, match=r"'grid\.source_model' must be"):
        planned(source_model="pairs")
    real = {"path": "bank.h5", "catalogue_colours": True, "max_pixel_arcsec": None, "cleaning": None}
    with pytest.raises(ParameterError, match="'source_model' must be null where real_sources is given"):
        planned(source_model="a:b", real_sources=real)
