"""What ran a training: each attempt, with its machine, software, command and times, kept in the run's work folder."""

from __future__ import annotations

import json
import platform
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from lake.provenance import git_commit
from modeling.networks.inference import device_of
from modeling.sections import ExecutionParams
from modeling.training.log import append_line, whole_lines

ATTEMPTS = "attempts.jsonl"
_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Attempt:
    """One process that worked on a run."""

    started_at: str
    """UTC, ISO 8601."""
    command_line: str
    device: str
    """Name of the GPU, or the processor's kind and vector units."""
    driver: str | None
    """Version of the NVIDIA driver."""
    cuda: str | None
    """Version of CUDA that torch was built for; None on a processor."""
    torch: str
    python: str
    git_commit: str


def begin(work: Path, execution: ExecutionParams) -> None:
    """Append this process to the attempts at the run in ``work``."""
    work.mkdir(parents=True, exist_ok=True)
    whole_lines(work / ATTEMPTS)  # without a line that a kill cut
    append_line(work / ATTEMPTS, asdict(_this(execution)))


def columns(work: Path, mode: str) -> dict[str, object]:
    """Columns of ``training_runs`` about the attempts, the last of which ends now; ``mode`` is how its steps ran."""
    lines = whole_lines(work / ATTEMPTS)
    made: list[Mapping[str, str | None]] = [json.loads(line) for line in lines]
    last = made[-1]
    lines[-1] = json.dumps({**last, "mode": mode})
    moments = {"started_at": datetime.fromisoformat(str(made[0]["started_at"])), "ended_at": datetime.now(UTC)}
    told = {name: last[name] for name in ("command_line", "device", "driver", "cuda", "torch", "python")}
    return {**moments, **told, "attempts": len(made), "attempt_log": "\n".join(lines)}


def _this(execution: ExecutionParams) -> Attempt:
    on_gpu = device_of(execution).type == "cuda"
    return Attempt(
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command_line=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        device=torch.cuda.get_device_name()
        if on_gpu
        else f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        driver=_driver() if on_gpu else None,
        cuda=torch.version.cuda if on_gpu else None,
        torch=torch.__version__,
        python=platform.python_version(),
        git_commit=git_commit(),
    )


def _driver() -> str | None:
    found = re.search(r"\s(\d+(\.\d+)+)\s", _DRIVER.read_text()) if _DRIVER.exists() else None
    return found[1] if found else None
