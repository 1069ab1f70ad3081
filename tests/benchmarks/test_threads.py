"""The benchmark of threads, tiny: what it measures, and what it makes of py-spy's samples."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from benchmarks import threads

SAMPLER = """#!/bin/sh
while [ "$1" != --output ]; do shift; done
echo "main (threads.py:1);streamed (threads.py:2);run_batch (stream.py:3) 30" > "$2"
echo "main (threads.py:1);streamed (threads.py:2) 20" >> "$2"
echo "main (threads.py:1);run_batch (stream.py:3) 500" >> "$2"
echo "looking"
echo '{"injections": 1000, "wall_s": 2.0, "processor_s": 1.0}'
"""


def test_one_thread_and_two_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(threads, "HOSTS", 4)
    found = threads.turns(tmp_path, argparse.Namespace(batch=11, batches=1, repeats=1))
    assert [run["injections"] for run in found[0]] == [11, 11]
    assert min(run["processor_s"] for run in found[0]) > 0
    alone = threads.report([[{"injections": 1000, "wall_s": wall, "processor_s": 2.0} for wall in (4.0, 2.5)]])
    one, two, ratio, needed = capsys.readouterr().out.splitlines()
    assert alone == 2.0
    assert one.startswith("1 thread(s): 250 injections/s (250 to 250), 2.000 ms of processor time each")
    assert two.startswith("2 thread(s): 400 injections/s")
    assert "two threads : one, in the same turn: 1.60 " in ratio
    assert needed.endswith("5,500/s needs 11.0, 11,000/s needs 22.0")


def test_the_lock_is_held_for_the_samples_of_the_timed_part(tmp_path: Path) -> None:
    program = tmp_path / "py-spy"
    program.write_text(SAMPLER)
    program.chmod(0o755)
    found = threads.held(str(program), argparse.Namespace(batch=11, batches=2))
    assert found == pytest.approx(50 / threads.SAMPLES_PER_S * 0.5 / 1000)


def test_a_sampler_that_may_not_look_says_why(tmp_path: Path) -> None:
    program = tmp_path / "py-spy"
    program.write_text("#!/bin/sh\necho 'Permission denied' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(SystemExit, match="py-spy cannot look at this process: Permission denied"):
        threads.held(str(program), argparse.Namespace(batch=11, batches=2))
