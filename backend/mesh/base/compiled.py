"""Compile loops over faces, texels and pixels to machine code, and keep it on disk.

``compiled`` is for plain loops over arrays. Each such function is called with one set of types only, so that it is
compiled once: its callers convert their arguments to these types. It releases Python's lock, so that threads can divide
a range among them, and it computes as numpy does: a division by zero gives an infinity, and NaN stays NaN.

Compiling takes seconds, so the machine code is kept on disk. By default numba keeps it beside the sources; but these
may belong to an add-on, which must not contain other files, or may be read-only. Ours is kept in the Python environment
that runs it, and is removed together with it. Numba also considers code up to date as long as its own file keeps its
content, even if other files that it calls have changed, so the folder's name is a hash of all sources. And it takes the
same file in another place for another file; ours are known by their place in this package, so that an update that
changes none of them, or a second Blender, finds what was compiled. If no such folder can be made, each process compiles
for itself. numba's files are pickles: whoever can write them can also write the environment's own code beside them, and
nothing is loaded from anywhere else.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import UserProvidedCacheLocator

#: More than 8 would wait for each other: these loops are limited by memory, not by computation.
THREADS = min(os.cpu_count() or 1, 8)
UNUSED = 30 * 86_400.0  # seconds after which code of other sources is removed
log = logging.getLogger(__name__)


def _folder() -> Path | None:
    """The folder for machine code; None if it cannot be written."""
    sources = hashlib.sha256()
    for room in ("mesh", "images"):  # those with compiled functions
        for path in sorted((Path(__file__).parents[2] / room).rglob("*.py")):
            sources.update(path.read_bytes())
    folder = Path(sys.prefix) / "compiled" / sources.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        _forget_others(folder)
    except OSError as error:
        log.warning("cannot keep machine code in %s: %s", folder, error)
        return None
    return folder


def _forget_others(folder: Path) -> None:
    """Remove the code of sources that nobody has used for long, as after an update. Raises OSError."""
    os.utime(folder)
    for other in folder.parent.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process does the same
            if time.time() - other.stat().st_mtime > UNUSED:
                shutil.rmtree(other, ignore_errors=True)  # on Windows, something may have a file of it open


class Locator(UserProvidedCacheLocator):
    """Where numba keeps the code of a function: by its file's place in this package, wherever that lies."""

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: str) -> str:
        """The folder for the functions of a file, below the one for all."""
        package, file = Path(__file__).absolute().parents[2], Path(py_file).absolute()
        if not file.is_relative_to(package):
            return str(super().get_suitable_cache_subpath(py_file))
        return "-".join(file.relative_to(package).parts[:-1])


_kept_in = _folder()
if _kept_in is not None:
    numba.config.CACHE_DIR = str(_kept_in)
    numba.config.CACHE_LOCATOR_CLASSES = f"{__name__}.Locator"


def compiled(function: Callable[..., Any]) -> Any:
    """Decorator: compile a function to machine code. A disk that is full by then costs the next process the time."""
    made = numba.njit(cache=_kept_in is not None, nogil=True, error_model="numpy")(function)
    if _kept_in is not None:
        keep = made._cache.save_overload

        def keep_if_there_is_room(*code: Any) -> None:
            try:
                keep(*code)
            except OSError as error:
                log.warning("cannot keep machine code in %s: %s", _kept_in, error)

        made._cache.save_overload = keep_if_there_is_room
    return made


#: Decorator: insert a function into the compiled ones that call it, for use in every step of a loop.
inlined = numba.njit(inline="always", error_model="numpy")


def in_strips(loop: Callable[[int, int], None], count: int, strip: int) -> None:
    """Call ``loop(first, last)`` for strips of length ``strip`` that cover 0 to ``count``, in several threads.

    The strips do not depend on the number of threads, so that the state which a loop carries from one step to the next
    is the same on every machine. Calls must not write to the same elements. If one raises, no others are begun.
    """
    firsts = iter(range(0, count, strip))

    def work() -> None:
        try:
            for first in firsts:
                loop(first, min(first + strip, count))
        except BaseException:
            for _ in firsts:
                pass  # nothing is left for the others
            raise

    together(*[work] * min(THREADS, -(-count // strip)))


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Run independent calls at the same time and return their results in order.

    The first is run by the thread that asks. So are those for which no thread is free: calls may divide their work in
    turn, and never wait for a thread that waits for them.
    """
    begun = [_threads().submit(call) for call in calls[1:]]
    try:
        results = [call() for call in calls[:1]]
        results += [
            call() if future.cancel() else future.result() for call, future in zip(calls[1:], begun, strict=True)
        ]
    finally:
        wait([future for future in begun if not future.cancel()])
    return results


@cache
def _threads() -> ThreadPoolExecutor:
    """The threads that help. Starting one takes a tenth of a millisecond, so they stay."""
    return ThreadPoolExecutor(THREADS, "espalier loops")
