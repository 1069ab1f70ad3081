"""What the nodes of a cluster run: the bootstrap that installs the code on each, the step that runs the stage."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from etl.emr.cluster import EmrParams
from lake.provenance import git_commit

_HOME = "home=${DHS_HOME:-/opt/darkhaloscope}"
_COMPILED = "/tmp/darkhaloscope-compiled"
BOOTSTRAP, STEP = "bootstrap.sh", "step.sh"
MAIN = "from pipeline.cli import main\n\nmain()\n"
"""The program that spark-submit starts; its arguments are those of ``dhs``."""


def bootstrap(cluster: EmrParams, files: Mapping[str, str]) -> str:
    """The script that every node runs first: it checks the hashes of the archive and the wheel and unpacks both.

    ``files`` are their URIs with their sha256, the archive first. Nothing else is fetched, so nodes need no internet.
    """
    (archive, archive_digest), (wheel, wheel_digest) = files.items()
    python, name = shlex.quote(cluster.python), shlex.quote(wheel.rsplit("/", 1)[-1])
    return f"""#!/bin/bash
set -euo pipefail
command -v {python} >/dev/null || sudo dnf install -y {python}
{_HOME}
sudo mkdir -p "$home" && sudo chown "$(id -u)" "$home" && cd "$home"
fetch() {{ aws s3 cp --only-show-errors "$1" "$2" && printf '%s  %s\\n' "$3" "$2" | sha256sum --check --quiet -; }}
fetch {shlex.quote(archive)} packages.tar.gz {archive_digest}
fetch {shlex.quote(wheel)} {name} {wheel_digest}
{python} -m venv --clear --without-pip venv
site=$(venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
tar -xzf packages.tar.gz -C "$site"
venv/bin/python -m zipfile -e {name} "$site"
venv/bin/python -c 'import pipeline.cli'
rm packages.tar.gz
"""


def step(cluster: EmrParams, folder: str, arguments: Sequence[str], outputs: Sequence[str], digest: str) -> str:
    """The script of the one step: the stage, with this project's files, whose list of hashes has the sha256 ``digest``.

    ``folder`` is the URI of the submission; what the stage leaves at the paths ``outputs`` goes to ``results`` there.
    """
    project, results = shlex.quote(f"{folder}/project"), shlex.quote(f"{folder}/results")
    options = {
        "spark.executor.memory": f"{cluster.executor_memory_gb}g",
        "spark.executor.memoryOverhead": f"{cluster.executor_overhead_gb}g",
        "spark.executor.cores": str(cluster.executor_cores),
        "spark.executorEnv.AWS_REGION": cluster.region,
        # Compiled code: its usual places belong to the user who installed the packages.
        "spark.executorEnv.NUMBA_CACHE_DIR": _COMPILED,
    }
    settings = " ".join(f"--conf {shlex.quote(f'{name}={value}')}" for name, value in options.items())
    return f"""#!/bin/bash
set -euo pipefail
{_HOME}
folder=$(mktemp -d) && cd "$folder"
aws s3 cp --only-show-errors --recursive {project} .
printf '%s  SHA256SUMS\\n' {digest} | sha256sum --check --quiet -
sha256sum --check --quiet SHA256SUMS
export PYSPARK_PYTHON=$home/venv/bin/python PYSPARK_DRIVER_PYTHON=$home/venv/bin/python
export AWS_REGION={shlex.quote(cluster.region)} DHS_COMMIT={shlex.quote(git_commit())} DHS_STAGED={project}
timeout --kill-after=60 {int(cluster.step_hours_max * 3600)} \\
  spark-submit --master "${{DHS_MASTER:-yarn}}" --deploy-mode client {settings} main.py {shlex.join(arguments)} \\
  || {{ code=$?; [ $code -ne 124 ] || echo 'the stage took longer than step_hours_max' >&2; exit $code; }}
mkdir results
for made in {shlex.join(outputs)}; do [ ! -e "$made" ] || cp --recursive --parents "$made" results; done
(cd results && find . -type f -printf '%P\\0' | sort -z | xargs -0 -r sha256sum) > SUMS
aws s3 cp --only-show-errors --recursive results {results}
aws s3 cp --only-show-errors SUMS {shlex.quote(f"{folder}/SUMS")}
"""


def job_flow(name: str, cluster: EmrParams, folder: str, digest: str) -> dict[str, Any]:
    """The request for a cluster that runs the scripts in ``<folder>/code`` and ends; ``digest``: sha256 of the step."""
    script = shlex.quote(f"{folder}/code/{STEP}")
    command = (
        f"cd $(mktemp -d) && aws s3 cp --only-show-errors {script} {STEP} && "
        f"echo '{digest}  {STEP}' | sha256sum --check --quiet - && bash {STEP}"
    )
    step = {"Jar": "command-runner.jar", "Args": ["bash", "-c", command]}
    groups = [
        {"InstanceRole": "MASTER", "InstanceType": cluster.primary_type, "InstanceCount": 1},
        {"InstanceRole": "CORE", "InstanceType": cluster.core_type, "InstanceCount": cluster.core_count},
    ]
    return {
        "Name": f"darkhaloscope {name}",
        "ReleaseLabel": cluster.release,
        "LogUri": f"{folder}/logs/",
        "Applications": [{"Name": "Spark"}],
        "Configurations": [{"Classification": "delta-defaults", "Properties": {"delta.enabled": "true"}}],
        "Instances": {
            "InstanceGroups": groups,
            "Ec2SubnetId": cluster.subnet_id,
            "KeepJobFlowAliveWhenNoSteps": False,
            "TerminationProtected": False,
        },
        "BootstrapActions": [{"Name": "code", "ScriptBootstrapAction": {"Path": f"{folder}/code/{BOOTSTRAP}"}}],
        "Steps": [{"Name": name, "ActionOnFailure": "TERMINATE_CLUSTER", "HadoopJarStep": step}],
        "ServiceRole": cluster.service_role,
        "JobFlowRole": cluster.instance_profile,
        "VisibleToAllUsers": True,
    }
