"""Files that are written whole or not at all, and their hashes.

Standard library only: with ``protocol``, this is what both sides import.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A path beside ``path``, with the same suffix, to write to. It replaces ``path`` if the block ends without error.

    Whatever happens, ``path`` holds what it held before or all of the new content, and nothing else is left behind;
    only a killed process leaves its part. With ``durable`` the content is on the disk before it gets its name, so that
    a power cut cannot leave the name without the content.
    """
    part = path.with_name(f"{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        put_in_place(part, path, durable=durable)
    finally:
        part.unlink(missing_ok=True)


def put_in_place(part: Path, path: Path, *, durable: bool = False) -> None:
    """Give a file that is complete its name, in one step. ``durable`` as in ``written_whole``. Raises OSError."""
    if durable:
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())
    os.replace(part, path)


def write_whole(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Write a file (text as UTF-8, with the line ends it has) whole or not at all. Raises OSError."""
    with written_whole(path, durable=durable) as part:
        part.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def sha256(file: Path) -> str:
    """The SHA-256 of a file's content, as 64 hexadecimal digits. Raises OSError."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
