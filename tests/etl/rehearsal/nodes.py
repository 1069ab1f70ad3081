"""The nodes of a simulated cluster: what EMR does with a bootstrap and a step, by a Spark of separate processes.

A standalone Spark has a master and two workers, whose executors are processes of their own. Where this user may do it,
the workers do not see the step's folder, as they would not on another machine.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from etl.spark.java import QUICK_START
from tests.etl.rehearsal.cloud import REGION, Cloud
from tests.etl.rehearsal.tools import Release, package

_AWS = '#!/bin/sh\nPYTHONPATH={tools} exec {python} -m awscli "$@"\n'
_MANY = {"sudo": '#!/bin/sh\nexec "$@"\n', "dnf": "#!/bin/sh\necho this machine is no node >&2; exit 1\n"}
_STARTED = re.compile(r"I have been elected leader|Successfully registered with master")
_WAIT_SECONDS = 120


class Nodes:
    """One cluster's machines, in a folder."""

    def __init__(self, folder: Path, cloud: Cloud, release: Release, tables: bool) -> None:
        """``tables``: whether Spark itself reads or writes tables, for which it needs S3's jars."""
        self.folder, self.cloud, self.release = folder, cloud, release
        self.logs = folder / "logs"
        self.primary = folder / "primary"
        self.master = ""
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("bin", "conf", "logs", "primary", "home"):
            (folder / name).mkdir(parents=True)
        self._write_commands()
        self._configure(tables)

    @property
    def environment(self) -> dict[str, str]:
        """What programs on a node see: nothing of the tests' own environment."""
        return {
            **self.cloud.environment,
            "PATH": f"{self.folder / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.primary),
            "DHS_HOME": str(self.folder / "opt"),
            "DHS_MASTER": self.master,
            "SPARK_HOME": str(self.release.home),
            "SPARK_CONF_DIR": str(self.folder / "conf"),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LOCAL_DIRS": str(self.folder / "scratch"),
            **{name: os.environ[name] for name in ("JAVA_HOME",) if name in os.environ},
        }

    def start(self) -> None:
        """Start Spark; if that fails, nothing of it is left running."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        port = _free_port()
        here = ("--host", "127.0.0.1", "--webui-port", "0")
        self._daemon("master", "deploy.master.Master", *here, "--port", str(port))
        self._await_daemons()
        self.master = f"spark://127.0.0.1:{port}"
        for number in (1, 2):
            size = ("--cores", "1", "--memory", "2g", "--work-dir", str(self.folder / f"worker{number}"))
            self._daemon(f"worker{number}", "deploy.worker.Worker", *here, *size, self.master, hide=self.primary)
        self._await_daemons()

    def stop(self) -> None:
        for process in reversed(self._processes.values()):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in self._processes.values():
            process.wait(60)

    def executors(self) -> list[psutil.Process]:
        """Executors that have begun to work in Python."""
        workers = [psutil.Process(made.pid) for name, made in self._processes.items() if name.startswith("worker")]
        below = [process for worker in workers for process in worker.children(recursive=True)]
        named = [process for process in below if "CoarseGrainedExecutorBackend" in " ".join(process.cmdline())]
        return [one for one in named if any("pyspark" in " ".join(each.cmdline()) for each in one.children())]

    def run(self, cluster: Any) -> None:
        """Do with a cluster of the simulated AWS what EMR does with a real one."""
        for action in cluster.bootstrap_actions:
            place = action.script_bootstrap_action
            script = self._fetched(place.get("Path") or place["path"])
            code, text = self._shell([str(script)], "bootstrap")
            if code:
                cluster.last_state_change_reason = text
                cluster.state = "TERMINATED_WITH_ERRORS"
                return
        step = cluster.steps[0]
        step.state = "RUNNING"
        code, text = self._shell(step.args[1:], "step")
        bucket, key = cluster.log_uri.removeprefix("s3://").split("/", 1)
        name = f"{key}{cluster.id}/steps/{step.id}/stderr.gz"
        self.cloud.client("s3").put_object(Bucket=bucket, Key=name, Body=gzip.compress(text.encode()))
        step.state = "FAILED" if code else "COMPLETED"
        cluster.state = "TERMINATED"

    def _shell(self, arguments: list[str], name: str) -> tuple[int, str]:
        done = subprocess.run(
            ["/bin/bash", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=self.environment,
            cwd=self.primary,
        )
        text = done.stdout + done.stderr
        with (self.logs / f"{name}.log").open("a") as log:
            log.write(text)
        return done.returncode, text

    def _fetched(self, uri: str) -> Path:
        bucket, key = uri.removeprefix("s3://").split("/", 1)
        place = self.folder / "bootstrap.sh"
        self.cloud.client("s3").download_file(bucket, key, str(place))
        return place

    def _write_commands(self) -> None:
        submit = f'#!/bin/sh\nexec {self.release.home}/bin/spark-submit "$@"\n'
        tools = {"aws": _AWS.format(tools=package("awscli"), python=sys.executable), "spark-submit": submit}
        for name, text in (_MANY | tools).items():
            path = self.folder / "bin" / name
            path.write_text(text)
            path.chmod(0o755)
        (self.folder / "bin" / "python3.11").symlink_to(Path(sys.executable).resolve())

    def _configure(self, tables: bool) -> None:
        """What EMR's own configuration says: Delta's jars, and what reads s3://."""
        jars = [*self.release.delta_jars, *(self.release.s3_jars if tables else [])]
        path = ":".join(str(jar) for jar in jars)
        settings = {
            "spark.driver.extraJavaOptions": " ".join(QUICK_START),
            "spark.executor.extraJavaOptions": " ".join(QUICK_START),
            "spark.driver.extraClassPath": path,
            "spark.executor.extraClassPath": path,
            "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
            "spark.hadoop.fs.s3a.endpoint": self.cloud.endpoint,
            "spark.hadoop.fs.s3a.endpoint.region": REGION,
            "spark.hadoop.fs.s3a.path.style.access": "true",
            "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
            "spark.ui.enabled": "false",
            "spark.log.level": "WARN",
            "spark.sql.shuffle.partitions": "4",
        }
        text = "".join(f"{name} {value}\n" for name, value in settings.items())
        (self.folder / "conf" / "spark-defaults.conf").write_text(text)

    def _daemon(self, name: str, kind: str, *arguments: str, hide: Path | None = None) -> None:
        command = [str(self.release.home / "bin" / "spark-class"), f"org.apache.spark.{kind}", *arguments]
        if hide is not None and _may_hide():
            command = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {hide} && exec "$@"', "sh", *command]
        log = self.logs / f"{name}.log"
        own = {"TMPDIR": str(self.folder / "scratch")}
        (self.folder / "scratch").mkdir(exist_ok=True)
        with log.open("wb") as out:
            made = subprocess.Popen(command, stdout=out, stderr=out, env=self.environment | own, start_new_session=True)
        self._processes[name] = made

    def _await_daemons(self) -> None:
        """Wait until the master has begun and every worker has found it."""
        deadline = time.monotonic() + _WAIT_SECONDS
        for name, process in self._processes.items():
            log = self.logs / f"{name}.log"
            while not _STARTED.search(log.read_text(errors="replace")):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(log.read_text())
                time.sleep(0.2)


def _may_hide() -> bool:
    """Whether this user may give a process its own view of the file system."""
    command = ["unshare", "--mount", "true"]
    return (
        shutil.which("unshare") is not None and not subprocess.run(command, capture_output=True, check=False).returncode
    )


def _free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def serving(nodes: Nodes) -> Iterator[Nodes]:
    """Run every cluster that is asked for meanwhile on these nodes, one after the other."""
    nodes.start()
    ended, seen = threading.Event(), {each.id for each in nodes.cloud.clusters()}

    def serve() -> None:
        while not ended.wait(0.2):
            for cluster in nodes.cloud.clusters():
                if cluster.id not in seen:
                    seen.add(cluster.id)
                    try:
                        nodes.run(cluster)
                    except Exception as error:  # noqa: BLE001 - the submission must not wait for a dead thread
                        cluster.last_state_change_reason = repr(error)
                        cluster.state = "TERMINATED_WITH_ERRORS"

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield nodes
    finally:
        ended.set()
        thread.join()
        nodes.stop()
