"""Compiled kernels of older code are deleted. Private.

Numba judges a cached kernel by the age of its own file alone. Ours contain inlined code of other files: after an edit
or an update, a kernel with the old code would be loaded.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from lake.files import atomic

_STATE = "kernels.sha256"


def forget_older(sources: Path) -> None:
    """Delete the kernels cached for the modules in ``sources`` if any of the modules has changed since.

    A cache elsewhere (``NUMBA_CACHE_DIR``, or the user's where the code is read-only) is left alone.
    """
    content = b"".join(path.read_bytes() for path in sorted(sources.glob("*.py")))
    now, folder = hashlib.sha256(content).hexdigest(), sources / "__pycache__"
    state = folder / _STATE
    try:
        if state.exists() and state.read_text() == now:
            return
        for kernel in folder.glob("*.nb[ic]"):
            kernel.unlink(missing_ok=True)
        folder.mkdir(exist_ok=True)
        atomic.write_text(state, now)
    except OSError:
        return
