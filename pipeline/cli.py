"""The ``dhs`` command."""

from __future__ import annotations

import importlib
import inspect
import keyword
import logging
import os
import sys

import click

from lake import gc_tuning
from lake.errors import did_you_mean
from pipeline.commands.opening import PROJECT

_SECTIONS = {
    "Run the pipeline": {
        "demo": "workflow",
        "params": "workflow",
        "preflight": "inputs",
        "download": "inputs",
        "repro": "workflow",
        "run": "workflow",
        "doctor": "services",
    },
    "Look at results": {
        "tables": "lake",
        "describe": "lake",
        "query": "lake",
        "sql": "lake",
        "lineage": "lake",
        "report": "publication",
        "bundle": "publication",
        "ui": "services",
    },
    "Train and audit finders": {
        "generations": "training",
        "new": "training",
        "train": "training",
        "audit": "finders",
        "forget": "finders",
        "compare": "finders",
        "diagnose": "finders",
        "score": "finders",
        "discoveries": "finders",
        "ensemble": "improving",
        "suspects": "improving",
        "hard-negatives": "improving",
    },
    "Measure completeness": {
        "completeness": "selection",
        "population": "selection",
        "closure": "selection",
        "plan-injections": "injections",
        "import": "exchange",
        "export": "exchange",
    },
    "Draw and check injections": {
        "render": "injections",
        "validate-injection": "injections",
        "inject": "finders",
        "bank": "injections",
    },
    "Runs, sharing, upkeep": {
        "registry": "registry",
        "preregister": "registry",
        "push": "sharing",
        "pull": "sharing",
        "verify": "lake",
        "lake": "upkeep",
        "server": "services",
        "prepare": "services",
        "emr": "emr",
    },
}
_COMMANDS = {name: module for section in _SECTIONS.values() for name, module in section.items()}


class _Lazy(click.Group):
    """Commands are imported when they are named, so ``dhs --help`` responds at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            ctx.fail(f"no such command '{cmd_name}'{did_you_mean(cmd_name, _COMMANDS)}")
        module = importlib.import_module(f"pipeline.commands.{_COMMANDS[cmd_name]}")
        name = cmd_name.replace("-", "_")
        found: click.Command = getattr(module, f"{name}_" if keyword.iskeyword(name) else name)
        _take_project(found)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Commands by what one wants to do, each with the whole first sentence of its help."""
        widest = max(map(len, _COMMANDS))
        for title, section in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(widest), self._summary(ctx, name)) for name in section])

    def _summary(self, ctx: click.Context, name: str) -> str:
        command = self.get_command(ctx, name)
        return inspect.cleandoc((command and command.help) or "").partition("\n\n")[0].replace("\n", " ")


def _take_project(command: click.Command) -> None:
    """Give a command, and the commands of a group, the option ``--project``."""
    if PROJECT not in command.params:
        command.params.append(PROJECT)
    for one in command.commands.values() if isinstance(command, click.Group) else ():
        _take_project(one)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("-v", "--verbose", is_flag=True, help="Log more, and show the traceback of an error.")
@click.version_option(package_name="darkhaloscope")
def dhs(verbose: bool) -> None:
    """Dark Halo Scope: which gravitational lenses does a neural lens finder miss?

    Start with `dhs demo`, which runs the whole pipeline on a simulated survey; then look at the tables with
    `dhs tables` and `dhs query "select ..."`. Every command works in the project's folder and in any folder below it.
    """
    level = logging.DEBUG if verbose else logging.INFO
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    for name in ("lake", "etl", "injection", "modeling", "analysis", "demo", "pipeline"):
        logging.getLogger(name).setLevel(level)


dhs.params.append(PROJECT)


def main() -> None:
    """Run the command; a failure the user can act on is one sentence, not a traceback."""
    # Threads wait without spinning: torch on two busy cores is ten times faster. Read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # So are huge pages of memory, which make a random batch of stamps a fifth faster.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    # And pydantic does not read the metadata of every installed package to look for plugins of its own.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    gc_tuning.search_seldom()
    _ensure_home()
    try:
        for argument in sys.argv[1:]:
            argument.encode()  # refuses text that is not UTF-8 here, before some library meets it
        dhs(standalone_mode=True)
    except SystemExit:
        raise
    except BaseException as error:
        from pipeline.project.edge import explained, is_panic, report_bug

        if not isinstance(error, Exception) and not is_panic(error):
            raise
        if "-v" in sys.argv or "--verbose" in sys.argv:
            raise
        click.echo(f"dhs: {explained(error) or report_bug(error)}", err=True)
        sys.exit(1)


def _ensure_home() -> None:
    """Point ``HOME`` to a private temporary folder if it is unset or cannot be written.

    Astropy, matplotlib, Numba, DVC and git fail or warn without one; child processes inherit it.
    """
    home = os.environ.get("HOME")
    if not home or not os.access(home, os.W_OK | os.X_OK):
        from lake.root import private_folder

        os.environ["HOME"] = str(private_folder())
