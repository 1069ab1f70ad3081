"""Modules that libraries import for nothing are loaded where they are used, and work there."""

from __future__ import annotations

import subprocess
import sys

_LATER = """
import sys
from lake import late
late.install()
import scipy.special
print({"numpy.f2py.crackfortran", "unittest"} & set(sys.modules))
import numpy
print(numpy.f2py.get_include().endswith("src"))
from numpy.testing import assert_allclose
assert_allclose(scipy.special.ndtri(0.5), 0.0)
print({"numpy.f2py.crackfortran", "unittest"} - set(sys.modules))
"""


_THREADS = """
import threading
from lake import late
late.install()
import numpy, pickle
errors, together = [], threading.Barrier(8)
def ask():
    together.wait()
    try:
        numpy.testing.assert_allclose(1.0, 1.0)
    except AttributeError as error:
        errors.append(error)
threads = [threading.Thread(target=ask) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(errors, pickle.loads(pickle.dumps(numpy.testing.assert_allclose)) is numpy.testing.assert_allclose)
print(type(numpy.testing).__name__, sorted(name for name in vars(numpy.testing) if "dhs" in name))
"""


def test_scipy_brings_no_fortran_compiler_and_no_unittest_until_one_is_used() -> None:
    done = subprocess.run([sys.executable, "-c", _LATER], capture_output=True, text=True, check=True)
    assert (done.stdout.split("\n"), done.stderr) == (["set()", "True", "set()", ""], "")


def test_threads_that_ask_at_once_all_get_the_whole_module() -> None:
    done = subprocess.run([sys.executable, "-c", _THREADS], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[] True", "module []"]
