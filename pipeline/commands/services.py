"""Commands about the machine and its services."""

from __future__ import annotations

import os
import signal
import sys

import click

from pipeline.commands.opening import enter, project


@click.command()
def doctor() -> None:
    """Report what this machine lacks, if anything."""
    from pipeline.doctor import SUFFICIENT, problems

    found = problems(str(enter()))
    for problem in found:
        click.echo(problem, err=True)
    if found:
        sys.exit(1)
    click.echo(SUFFICIENT)


@click.command()
def prepare() -> None:
    """Do once what a first run would wait for; `make setup` does it.

    It compiles the loops of injections and cut-outs, and starts Spark once on a survey of a few bricks in a temporary
    folder, which archives Java's classes. Without it the first `dhs demo` does the same, and takes minutes more.
    """
    from pipeline.project import params
    from pipeline.verbs.preparing import prepare

    click.echo("Compiling, and starting Spark once, so that the first run need not (about a minute)")
    for name in ("SPARK_REMOTE", "DHS_SPARK"):  # only a server of this machine leaves an archive here
        os.environ.pop(name, None)
    os.environ["DHS_SPARK_IDLE_SECONDS"] = "60"  # no project knows the server that a SIGKILL leaves
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the server and the folder go on SIGTERM as on Ctrl-C
    prepare(params.resolve(enter(), "test"))


@click.command()
@click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535), help="Local port of the page.")
def ui(port: int) -> None:
    """Open the MLflow page with this checkout's runs and the recorded runs of the reference system."""
    import socket

    from lake.errors import invalid
    from lake.processes import run_bound
    from modeling.tracking.page import address
    from modeling.tracking.pastruns import import_history
    from modeling.tracking.rundatabase import told
    from modeling.tracking.runs import end_lost
    from modeling.tracking.runstore import RunStore

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise invalid("port", f"a free local port ({error.strerror})", port) from error
    place = project()
    with told(place.data.mlflow_database):
        import_history(place.data)
        end_lost(place.data)
    click.echo(f"The runs and their metrics side by side (stop with Ctrl-C): {address(RunStore(place.data), port)}")
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    options += ["--backend-store-uri", f"sqlite:///{place.data.mlflow_database.resolve()}"]
    # MLflow's jobs (ten processes) serve language models, of which there are none here.
    jobs = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    sys.exit(run_bound(place.folder, "mlflow", "ui", *options, environment=jobs))


@click.group()
def server() -> None:
    """Show or stop the project's own Spark Connect server (started when needed, stops after ten idle minutes)."""


@server.command()
def status() -> None:
    """Say whether a server is running for this data root."""
    from etl.spark.session import describe_server

    click.echo(describe_server(project().data))


@server.command()
def stop() -> None:
    """Stop the server of this data root."""
    from etl.spark.session import stop_server

    click.echo("stopped" if stop_server(project().data) else "no server was running")
