"""A home for libraries that keep settings and caches there, where the user has none that can be written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def ensure_home() -> None:
    """Point ``HOME`` to a private folder under the system's temporary one where it is unset or cannot be written.

    Astropy, matplotlib, Numba, DVC and git fail or warn without one; child processes inherit it.
    """
    home = os.environ.get("HOME")
    if home and os.access(home, os.W_OK | os.X_OK):
        return
    private = Path(tempfile.gettempdir()) / f"darkhaloscope-{os.getuid()}"
    private.mkdir(mode=0o700, exist_ok=True)
    if private.is_symlink() or private.stat().st_uid != os.getuid():
        private = Path(tempfile.mkdtemp(prefix="darkhaloscope-"))
    os.environ["HOME"] = str(private)
