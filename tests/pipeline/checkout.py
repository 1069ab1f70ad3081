"""A copy of the project that tests run, kill and run again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from lake.root import DataRoot
from pipeline.project import params
from pipeline.project.project import Project

PROJECT = Path(__file__).resolve().parents[2]


_resolved = cache(partial(params.resolve, PROJECT))


def values_of(overlay: str) -> dict[str, Any]:
    """The project's parameters with an overlay, to change."""
    return deepcopy(_resolved(overlay))


def project_in(folder: Path, **survey: object) -> Project:
    """The small survey's parameters, with changes of the survey's section, in an empty folder."""
    values = values_of("test")
    return Project(folder, {**values, "survey": {**values["survey"], **survey}})


def project_of(root: DataRoot) -> Project:
    """The same with the data of ``root``."""
    return project_in(root.local.parent, data_root=str(root.local), lake_uri=root.lake_uri)


@dataclass(frozen=True)
class Checkout:
    """A folder with the project's files and its own data."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Checkout:
        """Copy the project's files (those git knows or would take), with their compiled code, into a new repository.

        What runs have left in the project (cards of its tables, DVC's locks) stays behind.
        """
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"], cwd=PROJECT, capture_output=True, text=True, check=True
        )
        for name in listed.stdout.splitlines():
            source = PROJECT / name
            left_by_runs = name.startswith("data/") or source.name == "dvc.lock"
            if source.is_file() and not left_by_runs:
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        for compiled in PROJECT.glob("[a-z]*/**/__pycache__"):
            if (folder / compiled.relative_to(PROJECT)).parent.is_dir():
                shutil.copytree(compiled, folder / compiled.relative_to(PROJECT))
        made = cls(folder)
        for command in (
            ["git", "init", "-q", "-b", "main"],
            ["git", "add", "-A"],
            ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "copy"],
        ):
            subprocess.run(command, cwd=folder, check=True)
        return made

    def twin(self, folder: Path) -> Checkout:
        """A copy of this checkout with its data."""
        left_out = {(self.folder / "data", "spark"), (self.folder / "data", "tmp"), (self.folder / ".dvc", "tmp")}
        shutil.copytree(
            self.folder,
            folder,
            symlinks=True,
            ignore=lambda parent, names: [name for name in names if (Path(parent), name) in left_out],
        )
        return Checkout(folder)

    @property
    def environment(self) -> dict[str, str]:
        values = {**os.environ, "PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"}
        bin_folder = Path(sys.executable).parent
        return values | {"PATH": f"{bin_folder}{os.pathsep}{values['PATH']}"}

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command here, its output captured."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
        return done

    def dhs(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "pipeline", *arguments, check=check)

    def kill_when(self, arguments: tuple[str, ...], condition: Callable[[], bool], patience_s: float = 120) -> None:
        """Start ``dhs ...`` in its own process group, wait for the condition, SIGKILL the group."""
        process = self.start(*arguments)
        self.wait_for(process, condition, patience_s)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """``dhs ...`` in its own process group, its output in ``killed.log``."""
        with (self.folder / "killed.log").open("w") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "pipeline", *arguments],
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(
        self, process: subprocess.Popen[bytes], condition: Callable[[], bool], patience_s: float = 120
    ) -> None:
        """Wait for the condition while the process runs."""
        deadline = time.monotonic() + patience_s
        while not condition():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                log = (self.folder / "killed.log").read_text()[-4000:]
                raise AssertionError(f"{process.args} ended or stalled before it could be killed:\n{log}")
            time.sleep(0.005)

    def forget(self, stage_outs: dict[str, object]) -> None:
        """Delete a stage's outputs, as DVC does before it runs the stage."""
        for path in stage_outs:
            target = self.folder / path
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)

    def cards(self) -> dict[str, str]:
        """Fingerprint of every table slice."""
        found = sorted((self.folder / "data" / "cards").glob("[!.]*.json"))
        return {p.name: json.loads(p.read_text())["fingerprint"] for p in found if not p.name.endswith(".pin.json")}

    def digest(self, pattern: str) -> dict[str, str]:
        """SHA-256 of every file under data/ that matches."""
        data = self.folder / "data"
        return {
            p.relative_to(data).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(data.glob(pattern))
        }
