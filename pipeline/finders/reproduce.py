"""Runs the pipeline through DVC, and says what to look at afterwards."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import psutil

from analysis.config import ReportParams
from lake.errors import DarkHaloError, invalid
from lake.files import atomic
from lake.processes import run_bound, runs
from pipeline.finders.jobs import make
from pipeline.project.context import forget_lost_tables, require_places
from pipeline.project.project import Project


def reproduce(project: Project, *targets: str, jobs: int = 1) -> None:
    """``dvc repro`` without the cards of lost tables, which shows DVC what is missing, and the locks of the dead.

    Without targets, and with several stages at once, stages that do not depend on a failed one still run: one finder
    does not hold up another. ``targets`` may be options of ``dvc repro`` too, but not with several at once.
    """
    if jobs > 1 and (options := [target for target in targets if target.startswith("-")]):
        raise invalid("jobs", f"1 where options of dvc repro are given ({', '.join(options)})", jobs)
    require_places(project, None)
    forget_lost_tables(project.data)
    forget_dead_locks(project.folder / ".dvc" / "tmp" / "rwlock")
    _allow_no_git(project.folder)
    # The stages' commands begin with `dhs`, which is found without an activated environment too.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if jobs > 1:
        failed = make(project.folder, targets, jobs, {"PATH": path})
    elif run_bound(project.folder, "dvc", "repro", *(targets or ["--keep-going"]), environment={"PATH": path}):
        failed = ["the pipeline"]
    else:
        failed = []
    if failed:
        raise DarkHaloError(
            f"{', '.join(failed)} stopped; fix the error above and run it again: it resumes where it stopped"
        )


def _allow_no_git(folder: Path) -> None:
    """Let DVC work in a folder outside any git repository, such as an unpacked tarball of the project."""
    own, here = folder / ".dvc" / "config.local", folder.resolve()
    if any((above / ".git").exists() for above in (here, *here.parents)) or own.exists():
        return
    atomic.write_text(own, "[core]\n    no_scm = true\n")


def forget_dead_locks(held: Path) -> None:
    """Remove DVC's file of locks where all its holders are dead, or where a kill left it incomplete.

    DVC takes a killed process for alive until its parent has noticed, which in a container may be never; and it writes
    the file in place, so a kill can leave part of it, which stops every later run.
    """
    if not held.exists():
        return
    holders = _holders(held)
    living = _running_dvc(held.parents[2]) if holders is None else set(filter(runs, holders))
    if not living:
        held.unlink(missing_ok=True)
    elif holders is None:
        raise DarkHaloError(
            f"DVC's lock file {held} is damaged, and a dvc runs here (process {min(living)}): "
            "wait until that has ended, and run the command again"
        )


def _holders(held: Path) -> set[int] | None:
    """Processes that hold a lock; None of a damaged file."""
    try:
        locks = json.loads(held.read_text())
        holders = [*locks.get("write", {}).values(), *(one for many in locks.get("read", {}).values() for one in many)]
        return {int(holder["pid"]) for holder in holders}
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _running_dvc(folder: Path) -> set[int]:
    """Processes of DVC that work in a folder or below it."""
    found = set()
    for process in psutil.process_iter(["cmdline", "cwd"]):
        # The second is a process of `pipeline.finders.jobs`.
        named = any(Path(word).name in ("dvc", "--multiprocessing-fork") for word in process.info["cmdline"] or ())
        if named and process.info["cwd"] and Path(process.info["cwd"]).is_relative_to(folder.resolve()):
            found.add(process.pid)
    return found


def closing_words(project: Project) -> str:
    """What to look at after a run."""
    # Imported late: the libraries of the report take a second, for which errors need not wait.
    from pipeline.reporting.results import headlines, scored, shown_first

    report = (project.data.report / "index.html").resolve()
    shown = project.section(ReportParams, "report")
    headline = shown_first(scored(project.data), shown.headline_generation)
    model, threshold_id = f"generation = '{headline}' and ", shown.headline_threshold_id
    found = "\n".join(headlines(project))
    warning = " (simulated data)" if project.survey.simulated else ""
    return f"""
{found}
The report{warning}: {report}   (open it in a browser)
Try next:
  .venv/bin/dhs tables
  .venv/bin/dhs query "select theta_e_arcsec, sum(detected), sum(n), any_value(fpr_reached) from completeness_main \
where {model}threshold_id = '{threshold_id}' and source_mag_bin = 'all' and cell != 'marginal' group by 1 order by 1"
  .venv/bin/dhs discoveries --top 20"""
