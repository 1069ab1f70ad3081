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


def test_scipy_brings_no_fortran_compiler_and_no_unittest_until_one_is_used() -> None:
    done = subprocess.run([sys.executable, "-c", _LATER], capture_output=True, text=True, check=True)
    assert (done.stdout.split("\n"), done.stderr) == (["set()", "True", "set()", ""], "")
