"""Commands about the machine and its services."""

from __future__ import annotations

import sys

import click


@click.command()
def doctor() -> None:
    """Report what this machine lacks, if anything."""
    from pathlib import Path

    from pipeline.doctor import problems

    found = problems(str(Path.cwd()))
    for problem in found:
        click.echo(problem, err=True)
    if found:
        sys.exit(1)
    click.echo("Python, Java, disk and memory are sufficient")


@click.command()
@click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535), help="Local port of the page.")
def ui(port: int) -> None:
    """Open the MLflow page with this checkout's runs and the recorded runs of the reference system."""
    import socket

    from lake.errors import invalid
    from lake.processes import run_bound
    from modeling.tracking.pastruns import import_history
    from modeling.tracking.rundatabase import told
    from modeling.tracking.runstore import RunStore
    from pipeline.project.params import root

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise invalid("port", f"a free local port ({error.strerror})", port) from error
    with told():
        import_history(root())
    click.echo(f"The runs and their metrics side by side (stop with Ctrl-C): {RunStore(root()).page(port)}")
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    options += ["--backend-store-uri", f"sqlite:///{root().mlflow_database}"]
    # MLflow's jobs (ten processes) serve language models, of which there are none here.
    sys.exit(run_bound("mlflow", "ui", *options, environment={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}))


@click.group()
def server() -> None:
    """The project's own Spark Connect server (started when needed, stops after ten idle minutes)."""


@server.command()
def status() -> None:
    """Say whether a server is running for this data root."""
    from etl.spark.session import describe_server
    from pipeline.project.params import root

    click.echo(describe_server(root()))


@server.command()
def stop() -> None:
    """Stop the server of this data root."""
    from etl.spark.session import stop_server
    from pipeline.project.params import root

    click.echo("stopped" if stop_server(root()) else "no server was running")
