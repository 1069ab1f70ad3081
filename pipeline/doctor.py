"""What this machine lacks. Runs on any Python 3 with nothing installed, so `make` can check before it installs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

NEEDED_DISK_GB = 12
NEEDED_MEMORY_GB = 6
SUFFICIENT = "Python, Java, disk and memory are sufficient"


def python_problem(version: tuple[int, int]) -> str | None:
    if (3, 11) <= version <= (3, 13):
        return None
    found = ".".join(str(part) for part in version)
    return (
        f"Python 3.11, 3.12 or 3.13 is needed and this is {found}: "
        "install one, or name it with `make PYTHON=/path/to/python3`."
    )


def java_problem(answer: str | None) -> str | None:
    """``answer`` is what `java -version` printed, or None where there is no java."""
    install = "install a JDK 17 (Debian: apt-get install openjdk-17-jdk-headless) or point JAVA_HOME at one"
    if answer is None:
        return f"Java 17 is needed and no java was found: {install}."
    if "initialization of VM" in answer:
        told = " ".join(answer.split())
        return f"Java cannot start ({told}): raise the limit on address space (ulimit -v) or use a larger machine."
    found = re.search(r'version "(\d+)', answer)
    major = found.group(1) if found else "unknown"
    if major != "17":
        return f"Java 17 is needed and java is version {major}: {install}."
    return None


def disk_problem(free_gb: float) -> str | None:
    if free_gb >= NEEDED_DISK_GB:
        return None
    return f"{NEEDED_DISK_GB} GB of free disk are needed and {free_gb:.1f} GB are free here: make room or use another."


def memory_problem(total_gb: float) -> str | None:
    if total_gb >= NEEDED_MEMORY_GB:
        return None
    return f"{NEEDED_MEMORY_GB} GB of memory are needed and this machine has {total_gb:.1f} GB: use a larger one."


def java_answer() -> str | None:
    """What the java that Spark would use prints as its version."""
    home = os.environ.get("JAVA_HOME")
    java = os.path.join(home, "bin", "java") if home else shutil.which("java")  # noqa: PTH118 - plain Python only
    if not java:
        return None
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=60)
    except OSError:
        return None
    return done.stderr + done.stdout


def problems(folder: str) -> list[str]:
    """Every problem of this machine, each in one sentence."""
    installed = os.path.exists(os.path.join(folder, ".venv", ".runtime"))  # noqa: PTH110, PTH118
    free_gb = shutil.disk_usage(folder).free / 1e9
    total_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    found = [
        python_problem(sys.version_info[:2]),
        java_problem(java_answer()),
        None if installed else disk_problem(free_gb),
        memory_problem(total_gb),
    ]
    return [problem for problem in found if problem]


def main() -> int:
    found = problems(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
    for problem in found:
        sys.stderr.write(problem + "\n")
    if not found:
        sys.stdout.write(SUFFICIENT + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
