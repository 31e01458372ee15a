"""Espalier's backend: images to textured meshes, in a Python process of its own, without Blender."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys

_ROOM = 64 << 20  # bytes; all of this package and of what it imports takes some 20 MB


def _has_room() -> bool:
    """Whether the disk, and the limit on this process's files, have room for compiled modules."""
    if sys.platform != "win32":
        import resource

        if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
            return False
    try:
        return shutil.disk_usage(__path__[0]).free > _ROOM
    except OSError:
        return False


# Python 3.11 keeps a module that it could only write in part, and fails to load it from then on, when there is room
# again, too (CPython, issue 126606). So where there is little room none is kept, not even of this file.
if not _has_room():
    sys.dont_write_bytecode = True
    if __spec__ is not None and __spec__.cached:
        with contextlib.suppress(OSError):
            os.unlink(__spec__.cached)
