"""The whole chain killed at random moments, again and again: what it gives in the end is what it gives undisturbed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.pipeline.checkout import Checkout

KILLS = int(os.environ.get("DHS_KILLS", "99"))
SEED = int(os.environ.get("DHS_KILL_SEED", "20261126"))


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_the_chain_survives_kills_at_random_moments(
    finished: Checkout, twin: Callable[[], Checkout], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPARK_REMOTE")
    moments = random.Random(SEED)
    copy, kills, finishes = twin(), 0, 0
    while kills < KILLS:
        copy.dhs("server", "stop")
        for made in ("data", "dvc.lock", ".dvc/cache", ".dvc/tmp"):
            copy.run("rm", "-rf", made)
        jobs = finishes % 2 + 1
        while not _finishes(copy, jobs, killed_after_s=moments.uniform(0.3, 20) if kills < KILLS else None):
            kills += 1
            if moments.random() < 0.3:
                _kill_server(copy)
        finishes += 1
        print(f"finished {finishes} times after {kills} kills")
        assert copy.cards() == finished.cards(), f"after {kills} kills"
        assert copy.digest("checkpoints/demo1/best.safetensors") == finished.digest(
            "checkpoints/demo1/best.safetensors"
        )
        assert copy.dhs("verify", "--deep").returncode == 0
    assert finishes > 0
    copy.dhs("server", "stop")


def _finishes(copy: Checkout, jobs: int, killed_after_s: float | None) -> bool:
    """Whether ``dhs repro`` ends before it and all that it has started are killed."""
    with (copy.folder / "killed.log").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "repro", "--jobs", str(jobs)],
            cwd=copy.folder,
            env=copy.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        code = process.wait(killed_after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(0.2)
        return False
    assert code == 0, (copy.folder / "killed.log").read_text()[-6000:]
    return True


def _kill_server(copy: Checkout) -> None:
    """The Spark server dies too, if there is one."""
    record = copy.folder / "data" / "spark" / "server.json"
    if record.exists():
        with contextlib.suppress(ProcessLookupError, ValueError, KeyError):
            os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)
