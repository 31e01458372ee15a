"""Names of files that every system accepts. Standard library only: both sides use this module."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

#: The longest name of a file where the system does not say, in bytes.
USUAL = 255
#: Bytes that are kept for what is added to an asset's name: a number and the longest ending, ``.normal_map.1001.png``.
ADDED = 24

#: The longest name of a copied file in bytes, without its ending: a private folder comes before it, and Windows allows
#: 260 in all.
MOST_OF_A_COPY = 80

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
_SURROGATES = re.compile("[\ud800-\udfff]")
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,10}")
#: Windows takes these for devices, whatever their ending.
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE | re.DOTALL)


def printable(text: str) -> str:
    """A text as valid Unicode. What Python makes of names that are not UTF-8 becomes the replacement character."""
    return _SURROGATES.sub("\ufffd", text)


def asset_name(text: str, most: int = USUAL) -> str:
    """An asset's name, from any text such as that of its image: valid UTF-8, and accepted by every system.

    With ``ADDED`` bytes more it has at most ``most`` bytes, the longest name that the file system takes.
    """
    name = _FORBIDDEN.sub("_", printable(text)).strip(" .")
    name = f"_{name}" if _DEVICES.fullmatch(name) else name
    return name.encode()[: most - ADDED].decode(errors="ignore").strip(" .") or "object"


def copy_name(of: Path) -> str:
    """The name of a file's copy: as people know it, but accepted by every system. An odd ending is left out."""
    ending = of.suffix if _ENDING.fullmatch(of.suffix) else ""
    return asset_name(of.stem, MOST_OF_A_COPY + ADDED) + ending


def longest_in(folder: Path) -> int:
    """How many bytes the name of a file in an existing folder may have."""
    try:
        return min(os.pathconf(folder, "PC_NAME_MAX"), USUAL) if hasattr(os, "pathconf") else USUAL
    except (OSError, ValueError):  # the file system does not say
        return USUAL


def key(name: str) -> str:
    """The same for all names that some file system takes for one: it may ignore case and how accents are composed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def numbered(name: str, is_free: Callable[[str], bool]) -> str:
    """The first of NAME, NAME-2, NAME-3, ... that is free."""
    found, number = name, 2
    while not is_free(found):
        found, number = f"{name}-{number}", number + 1
    return found


def seen_from(folder: Path, path: str) -> str:
    """An absolute path as a file in ``folder`` has it: one that is shared or moved tells nobody's folders.

    Names that are no absolute paths stay. Of a path on another drive, only the last part is told.
    """
    if not os.path.isabs(path):
        return printable(path)
    try:
        return printable(os.path.relpath(path, folder).replace(os.sep, "/"))
    except ValueError:  # on another drive
        return printable(re.split(r"[/\\]", path.rstrip("/\\"))[-1])
