"""Files that are written whole or not at all, and their hashes.

Standard library only: both sides import this module, like ``protocol``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Give a path beside ``path``, with the same suffix, to write to. It replaces ``path`` if the block succeeds.

    Whatever happens, ``path`` holds either its old content or all of the new, and nothing else is left behind. Only a
    killed process leaves its partial file. With ``durable`` the content is on the disk before it gets its name, so that
    a power cut cannot leave the name without the content.
    """
    part = path.with_name(f"{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        put_in_place(part, path, durable=durable)
    finally:
        part.unlink(missing_ok=True)


def put_in_place(part: Path, path: Path, *, durable: bool = False) -> None:
    """Give a complete file its name, in one step. ``durable`` is as in ``written_whole``. Raises OSError."""
    if durable:
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())
    os.replace(part, path)


def write_whole(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Write a file whole or not at all; text as UTF-8, with its line ends unchanged. Raises OSError."""
    with written_whole(path, durable=durable) as part:
        part.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def sha256(file: Path) -> str:
    """The SHA-256 of a file's content, as 64 hexadecimal digits. Raises OSError."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
