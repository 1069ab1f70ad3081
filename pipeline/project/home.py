"""A home for libraries that keep settings and caches there, if the user has no writable one."""

from __future__ import annotations

import os

from lake.root import private_folder


def ensure_home() -> None:
    """Point ``HOME`` to a private temporary folder where it is unset or cannot be written.

    Astropy, matplotlib, Numba, DVC and git fail or warn without one; child processes inherit it.
    """
    home = os.environ.get("HOME")
    if not home or not os.access(home, os.W_OK | os.X_OK):
        os.environ["HOME"] = str(private_folder())
