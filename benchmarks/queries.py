"""What questions about completeness take, from the start of Python: ``python -m benchmarks.queries [repeats]``.

Run in the folder of a finished demo (`make demo`), which stays as it is. Every command runs several times, in turn with
its peers: a Python that only imports what a reader of Delta tables in Arrow imports (`pyarrow.dataset`, `deltalake`),
and one in which DuckDB itself counts from the same files. Processor time, user and system, is the median; other
programs hardly change it. A ratio of 1 to the first means that the command takes as long as these imports alone.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from lake.store import cards, delta
from pipeline.experiment.reweighting import headline
from pipeline.project import params

_QUESTIONS = (
    "completeness --threshold p0.5",
    "completeness",
    "completeness --by theta_e,depth --threshold p0.5",
    "completeness --prior anchored --min-support 0.01 --threshold p0.5",
    "completeness --at theta_e=1.4,src_mag_r=24 --threshold p0.5",
    "query|select threshold_id, completeness, joint_95_low, joint_95_high from completeness where cell = 'marginal'",
    "query|select * from completeness_by_theta_e_depth where threshold_id = 'p0.5'",
)
_IMPORTS = "import deltalake, pyarrow.dataset"
_DUCKDB = """
import duckdb
duckdb.sql("select avg((probability > 0.5)::int) from read_parquet({files}) where status = 'scored'").fetchall()
"""


def spent(command: list[str]) -> tuple[float, float]:
    """Processor seconds and seconds of one run."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def scores_of(name: str) -> list[str]:
    """Files of the scores of a finder's injections."""
    root = params.load(Path()).data
    (entry,) = (one for one in cards.slices(root, "injection_scores") if one.card.slice == name)
    return delta.files(delta.open_pinned(root, entry), entry.card.where)


def main() -> None:
    repeats, name = int(sys.argv[1]) if len(sys.argv) > 1 else 7, headline(params.load(Path()))
    commands = {text: ["dhs", *(text.split("|") if "|" in text else text.split())] for text in _QUESTIONS}
    peers = {"imports": _IMPORTS, "DuckDB": _DUCKDB.format(files=scores_of(name))}
    commands |= {peer: [sys.executable, "-c", code] for peer, code in peers.items()}
    runs: dict[str, list[tuple[float, float]]] = {each: [] for each in commands}
    for _ in range(repeats):
        for each, command in commands.items():
            runs[each].append(spent(command))
    medians = {each: tuple(median(column) for column in zip(*found, strict=True)) for each, found in runs.items()}
    print(f"{'processor s':>11} {'s':>5}" + "".join(f"{'/ ' + peer:>11}" for peer in peers))
    for each, (processor, wall) in medians.items():
        ratios = "".join(f"{processor / medians[peer][0]:11.2f}" for peer in peers)
        print(f"{processor:11.2f} {wall:5.2f}{ratios}  {each.replace('|', ' ')}")


if __name__ == "__main__":
    main()
