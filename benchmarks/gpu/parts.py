"""Scoring, injecting and training on one NVIDIA GPU, each against a peer in the same run.

Every part runs in a process of its own, which is stopped at the part's limit; all of them end within five minutes.
Results are printed and written to the JSON file as soon as they are known, and in the end what they mean for the
bars. Without a GPU the parts run tiny sizes on the CPU, and what was not run is named.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.gpu.bars import Record, verdicts

LIMITS_S = {"scoring": 70, "injecting": 95, "training": 65, "compiling": 200, "again": 30}
"""Parts, in their order, and the seconds each may take; ``again`` is ``compiling`` in a second process."""
AT_MOST_S = 295.0


def measure(part: str, sending: Connection) -> None:
    """Send the records of a part, one by one."""
    for record in importlib.import_module(f"benchmarks.gpu.{part}").records():
        sending.send({"part": part, **record})


def run_part(part: str, limit_s: float) -> Iterator[Record]:
    """Records of a part, the last one with ``failed`` where it was stopped at its limit or broke off."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=measure, args=(part, sending))
    process.start()
    sending.close()
    end, failed = time.monotonic() + limit_s, None
    while failed is None:
        if not receiving.poll(max(0.0, end - time.monotonic())):
            failed = f"stopped at its limit of {limit_s:g} s"
            process.kill()
            break
        try:
            yield receiving.recv()
        except EOFError:
            break
    process.join()
    if process.exitcode and failed is None:
        failed = f"broke off with exit status {process.exitcode}; its error is above"
    if failed is not None:
        yield {"part": part, "what": failed, "failed": failed}


def limit_s(part: str, wanted: list[str], spent_s: float) -> float:
    """Seconds that a part may take after ``spent_s``, so that enough time is left for the last one."""
    later = LIMITS_S[wanted[-1]] if part != wanted[-1] else 0
    return round(max(0.0, min(LIMITS_S[part], AT_MOST_S - spent_s - later)), 1)


def _tell(found: list[Record], record: Record, path: Path | None) -> None:
    """Print a record and write all of them to the file."""
    print(f"{record['part']:10s} {record['what']}", flush=True)
    found.append(record)
    if path is not None:
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """1 where a part failed, or a result differs that must be the same."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--json", type=Path, help="file that gets the results too")
    parser.add_argument("--part", action="append", choices=LIMITS_S, help="run this part only (repeatable)")
    options = parser.parse_args(arguments)
    found: list[Record] = []
    wanted, start = options.part or list(LIMITS_S), time.monotonic()
    with tempfile.TemporaryDirectory() as compiled:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", compiled)
        for part in wanted:
            for record in run_part(part, limit_s(part, wanted, time.monotonic() - start)):
                _tell(found, record, options.json)
    for record in list(verdicts(found)):
        _tell(found, {"part": "verdict", **record}, options.json)
    return int(any("failed" in record for record in found))
