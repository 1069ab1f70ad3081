"""What goes wrong in a grid stays with its row, and says so: hosts, sources, scorers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from injection.engine.tracing import Parametric
from injection.experiment import stream
from injection.experiment.hoststamps import host_stamps
from injection.experiment.schema import measured
from injection.scene import ranges
from lake.errors import DataError, ShardError
from lake.sky.survey import SURVEY
from tests.injection.scenes import PIXELS, Brightness, load_hosts, planned, run


def test_a_broken_host_is_replaced_by_the_next() -> None:
    plan = planned()
    broken = plan.rows.column("host_ids")[0].as_py()[0]

    def load(galaxy_ids: Sequence[str]) -> NDArray[np.float32]:
        if broken in galaxy_ids:
            raise DataError(f"{broken} cannot be read")
        return load_hosts(galaxy_ids)

    out, whole = run(planned(load=load)), run(plan)
    assert out.column("host_attempt")[0].as_py() == 1
    assert out.column("galaxy_id")[0].as_py() == plan.rows.column("host_ids")[0].as_py()[1]
    same = np.array([row["host_ids"][0] != broken for row in plan.rows.to_pylist()])
    assert out.filter(pa.array(same)).equals(whole.filter(pa.array(same)))


def test_stamps_that_the_loader_keeps_are_not_changed() -> None:
    ids = planned().setting.hosts.ids.to_pylist()[:5]
    kept = load_hosts(ids)
    kept[3] = np.nan
    before = kept.copy()
    stamps, reasons = host_stamps(planned(load=lambda galaxy_ids: kept).setting, ids)
    assert [row for row, reason in enumerate(reasons) if reason] == [3]
    assert not stamps[3].any()
    np.testing.assert_array_equal(np.delete(stamps, 3, axis=0), np.delete(before, 3, axis=0))
    np.testing.assert_array_equal(kept, before)


def test_shards_of_another_run_stop_the_grid() -> None:
    """Other pixels than the tables name are no failed injection."""

    def load(galaxy_ids: Sequence[str]) -> NDArray[np.float32]:
        raise ShardError("bucket-0000.npy does not hold the pixels")

    with pytest.raises(ShardError, match="does not hold the pixels"):
        run(planned(load=load))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(lambda stamps: stamps * np.nan, "has no finite pixel in g"), (lambda stamps: stamps[:, :, 1:, 1:], "has shape")],
)
def test_rows_that_run_out_of_hosts_fail_with_a_reason(spoil: Any, reason: str) -> None:
    out = run(planned(load=lambda galaxy_ids: spoil(load_hosts(galaxy_ids)), theta_e_arcsec=[1.0]))
    assert set(out.column("status").to_pylist()) == {"failed"}
    assert all(reason in text for text in out.column("reason").to_pylist())
    assert all(out.column(name).null_count == out.num_rows for name in measured(SURVEY).names)
    assert out.column("log_prior").null_count == 0


@pytest.mark.usefixtures("whole_stage")
def test_a_host_whose_stamp_gets_no_score_is_replaced_by_the_next() -> None:
    """A failed injection is tried again with another host, like a failed load; the row is the one of that host."""
    plan = planned()
    odd = plan.rows.column("host_ids")[0].as_py()[0]

    def load(galaxy_ids: Sequence[str]) -> NDArray[np.float32]:
        stamps = load_hosts(galaxy_ids)
        stamps[[galaxy_id == odd for galaxy_id in galaxy_ids], :, 0, 0] = 1e6
        return stamps

    class Silent(Brightness):
        def score(self, stamps: NDArray[np.float32], conditions: object = None) -> NDArray[np.float32]:
            return np.where(stamps[:, 1, 0, 0] > 1e5, np.nan, super().score(stamps))

    out, whole = run(planned(load=load), Silent()), run(plan)
    assert set(out.column("status").to_pylist()) == {"scored"}
    uses = np.array([row["host_ids"][0] == odd for row in plan.rows.to_pylist()])
    assert out.column("host_attempt").to_pylist() == uses.astype(int).tolist()
    assert out.column("galaxy_id")[0].as_py() == plan.rows.column("host_ids")[0].as_py()[1]
    assert out.filter(pa.array(~uses)).equals(whole.filter(pa.array(~uses)))

    def unreadable(galaxy_ids: Sequence[str]) -> NDArray[np.float32]:
        if odd in galaxy_ids:
            raise DataError("lost")
        return load_hosts(galaxy_ids)

    assert out.equals(run(planned(load=unreadable)))


@pytest.mark.usefixtures("whole_stage")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_pixels_are_tolerated_up_to_the_limit_and_counted(bad: float) -> None:
    def load(galaxy_ids: Sequence[str]) -> NDArray[np.float32]:
        stamps = load_hosts(galaxy_ids)
        stamps[:, :, :2] = bad
        return stamps

    class Tolerant(Brightness):
        def score(self, stamps: NDArray[np.float32], conditions: object = None) -> NDArray[np.float32]:
            return super().score(np.where(np.isfinite(stamps), stamps, np.nan))

    out = run(planned(load=load, theta_e_arcsec=[1.0]), Tolerant())
    np.testing.assert_allclose(out.column("host_masked_fraction").to_numpy(), 2 / PIXELS)
    strict = run(planned(load=load, max_host_bad_fraction=0.01))
    assert "non-finite pixels" in strict.column("reason")[0].as_py()


@pytest.mark.usefixtures("whole_stage")
def test_a_scorer_without_an_answer_fails_its_row_only() -> None:
    class Moody(Brightness):
        def score(self, stamps: NDArray[np.float32], conditions: object = None) -> NDArray[np.float32]:
            scores = super().score(stamps)
            scores[0] = np.nan
            return scores

    plan = planned()
    out = run(plan, scorer=Moody())
    failed = [reason for reason in out.column("reason").to_pylist() if reason]
    assert failed == ["the scorer returned no finite score"] * len(stream.batches(plan))


def test_a_failing_injection_is_reported_with_its_seed_and_takes_nothing_with_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Of three rows one has an impossible parameter, one's source raises an error, one's light is not finite."""

    class Spoilt(Parametric):
        def faults(self, rows: pa.Table) -> list[str | None]:
            reason = str(ranges.refuse("src_n", 9.0))
            return [reason if name == broken[0] else None for name in rows.column("injection_id").to_pylist()]

        def trace(self, rows: pa.Table, *how: Any) -> Any:
            names = rows.column("injection_id").to_pylist()
            if broken[1] in names:
                raise DataError("the source cannot be read")
            images, rays = super().trace(rows, *how)
            images[[name == broken[2] for name in names]] = np.inf
            return images, rays

    plan = planned()
    broken = plan.rows.column("injection_id").to_pylist()[1:9:3]
    with caplog.at_level("WARNING"):
        out = run(replace(plan, setting=replace(plan.setting, sources=Spoilt())))
    wanted = (
        "'src_n' must be a finite number in [0.3, 8], got 9.0",
        "the source cannot be read",
        "its lensed light is not finite",
    )
    lines = [record.getMessage() for record in caplog.records]
    for name, reason in zip(broken, wanted, strict=True):
        row = out.filter(pa.compute.equal(out.column("injection_id"), name)).to_pylist()[0]
        assert (row["status"], row["reason"], row["seed"]) == ("failed", reason, 42)
        assert row["magnification"] is None
        assert f"injection {name} of seed 42 failed: {reason}" in lines
    others = pa.compute.invert(pa.compute.is_in(out.column("injection_id"), pa.array(broken)))
    assert out.filter(others).equals(run(plan).filter(others))


def test_many_failures_are_logged_in_short(caplog: pytest.LogCaptureFixture) -> None:
    plan = planned(load=lambda galaxy_ids: load_hosts(galaxy_ids) * np.nan, theta_e_arcsec=[1.0], batch_size=100)
    with caplog.at_level("WARNING"):
        run(plan)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 6
    assert (
        lines[-1] == f"{plan.rows.num_rows - 5} more of {plan.rows.num_rows} injections failed, see the column 'reason'"
    )


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda stamps: np.where(np.arange(3)[:, None, None] == 1, np.nan, stamps), "has no finite pixel in r"),
        (lambda stamps: stamps[:, :2], r"has shape \(2, 61, 61\) instead of \(3, 61, 61\)"),
        (lambda stamps: stamps[:, :, 10:-10, 10:-10], r"has shape \(3, 41, 41\) instead of \(3, 61, 61\)"),
        (lambda stamps: np.where(np.arange(61) < 9, np.nan, stamps), r"has 14\.8% non-finite pixels"),
    ],
    ids=["band", "bands", "crop", "pixels"],
)
def test_a_host_that_cannot_be_used_says_why(spoil: Any, reason: str) -> None:
    chosen = {"theta_e_arcsec": [1.0], "per_cell": 1, "host_retries": 0}
    out = run(planned(load=lambda galaxy_ids: spoil(load_hosts(galaxy_ids)), **chosen))
    for row in out.to_pylist():
        assert re.fullmatch(f"host {row['galaxy_id']} {reason}.*", row["reason"])
