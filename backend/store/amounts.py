"""Amounts of bytes: in words, in a folder, and free on a disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import StoreError


def in_words(count: int) -> str:
    """A number of bytes as people write it: 12 MB, 3.0 GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def bytes_in(folder: Path) -> int:
    """The size of all files in a folder, in bytes. The folder need not exist."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def free_bytes(folder: Path) -> int:
    """Free bytes on a folder's disk. The folder need not exist yet."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free


def require_space(folder: Path, needed: int, hint: str) -> None:
    """Raise StoreError if a folder's disk has less than ``needed`` bytes free. ``hint`` says what to do then."""
    free = free_bytes(folder)
    if needed > free:
        message = f"{needed / 1e9:.2f} GB are needed in {folder}, {free / 1e9:.2f} GB are free."
        raise StoreError("disk_full", message, hint)
