"""How loops over faces and texels become machine code, and where that is kept.

``compiled`` is for plain loops over arrays. Each such function is called with one set of types only, so that it is
compiled once: its callers see to the types of what they hand over. It lets go of Python's lock, so that threads can
share out a range, and it computes as numpy does: a division by zero gives an infinity, and NaN stays NaN.

Compiling takes seconds, so the machine code is kept on disk. Left alone, numba keeps it beside the sources; but those
may be an add-on's, which has no place for files of ours, or lie where nothing may be written. Ours goes into the
environment that runs this, which is made for it and goes away with it. Numba also takes code for fresh while the file
that it comes from has the same size and time, whatever became of other files that it calls into, and what an archive
holds may all have one time; so the folder is named by what the sources say. Where there is no such folder to be had,
every process compiles for itself. numba's files are pickles: whoever can write them can write the environment's own
code, which lies beside them, and nothing is ever loaded from elsewhere.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba

MOST_THREADS = 8  # more would wait for each other: these loops read and write more than they compute
log = logging.getLogger(__name__)


def _folder() -> Path | None:
    """Where machine code is kept; None if it cannot be."""
    sources = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        sources.update(path.read_bytes())
    folder = Path(sys.prefix) / "compiled" / sources.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        log.warning("cannot keep machine code in %s: %s", folder, error)
        return None
    return folder


_kept_in = _folder()
if _kept_in is not None:
    numba.config.CACHE_DIR = str(_kept_in)
#: Makes machine code of a function.
compiled = numba.njit(cache=_kept_in is not None, nogil=True, error_model="numpy")
#: Makes a function part of the compiled ones that call it: for what is done at every step of a loop.
inlined = numba.njit(inline="always", error_model="numpy")


def in_strips(loop: Callable[[int, int], None], count: int, strip: int) -> None:
    """Call ``loop(first, last)`` for all of 0 to ``count``, ``strip`` at a time, in as many threads as help.

    Where the strips end does not depend on the number of threads, so that what a loop carries from one step to the next
    is the same on every machine. Calls may not write to the same places.
    """
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS)) as threads:
        firsts = range(0, count, strip)
        list(threads.map(loop, firsts, (min(first + strip, count) for first in firsts)))


def together(*calls: Callable[[], Any]) -> list[Any]:
    """What calls return that do not need each other: in threads of their own."""
    with ThreadPoolExecutor(len(calls)) as threads:
        return [future.result() for future in [threads.submit(call) for call in calls]]
