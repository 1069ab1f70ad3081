"""Commands about results."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--generation", help="The scorer; by default the last one audited.")
@click.option("--top", default=20, show_default=True, help="How many objects.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the rows to a .parquet, .csv or .fits file.")
def candidates(generation: str | None, top: int, out: Path | None) -> None:
    """Rank objects that no candidate list holds by score, with RA, Dec and a link to the survey's viewer."""
    from pipeline.export import deliver
    from pipeline.results import ranked_candidates

    deliver(ranked_candidates(generation, top), out)


@click.command()
def compare() -> None:
    """Compare the generations on the same test galaxies, with paired tests."""
    from pipeline.export import deliver
    from pipeline.results import comparison

    metrics, tests = comparison()
    deliver(metrics, None)
    if tests.num_rows:
        deliver(tests, None)
