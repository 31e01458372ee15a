"""The log of the backend, its stderr: what does not fit on a full disk is left out, since an object matters more."""

from __future__ import annotations

import io
import os
import sys

_STDERR = 2  # its file descriptor


class _Stderr(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return _STDERR

    def write(self, data) -> int:  # type: ignore[no-untyped-def]  # any buffer of bytes
        try:
            return os.write(_STDERR, data)
        except OSError:  # there is no other place to say it in
            return len(data)


def forgive() -> None:
    """From now on no ``print`` to stderr raises because its file cannot be written."""
    log = io.TextIOWrapper(_Stderr(), encoding="utf-8", errors="backslashreplace", write_through=True)  # type: ignore[type-var]
    sys.stderr = log
