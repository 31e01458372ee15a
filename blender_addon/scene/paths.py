"""How a .blend names the files that objects were made from, so that a shared file does not tell its maker's folders.

A path is kept relative to the .blend, as Blender keeps its own. Where that is impossible (the .blend was never saved,
lies on another drive, or has no folder in common with the file) only the file's name is kept, below a number drawn by
chance: ``~0123abcd/mug.png``. A list among the user's own files says which path that is, on this computer alone.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from pathlib import Path

import bpy

from ...backend.files import write_whole

#: How a path begins that is relative to the .blend, as in Blender's own.
RELATIVE = "//"
_NUMBERED = re.compile(r"~([0-9a-f]{8})/([^/\\]+)")
#: How many paths are remembered: then the oldest are forgotten.
MOST = 5000

_paths: dict[str, str] = {}  # by number, the oldest first
_numbers: dict[str, str] = {}  # the same the other way round
_list: Path | None = None  # where they are kept
_is_written = True


def absolute(named: str) -> str:
    """The absolute path of a source as a .blend keeps it. Sources that are no paths stay as they are.

    Of a file that another computer made only the name may be known. Then it is looked for beside the .blend.
    """
    if named.startswith(RELATIVE):
        return bpy.path.abspath(named) if bpy.data.filepath else named
    numbered = _NUMBERED.fullmatch(named)
    if numbered is None:
        return named
    number, name = numbered.groups()
    path = _paths.get(number, "")
    return path if os.path.basename(path.rstrip(os.sep)) == name else os.path.join(folder_of(bpy.data.filepath), name)


def relative(named: str, folder: str) -> str:
    """A source as a .blend in ``folder`` keeps it; "" is the folder of one that was never saved."""
    numbered = _NUMBERED.fullmatch(named)
    if numbered is not None and numbered[1] not in _paths:
        return named  # its maker's computer knows what it is
    path = absolute(named)
    if path.startswith(RELATIVE) or not os.path.isabs(path):
        return path
    if folder:
        try:
            common = os.path.commonpath([path, folder])
        except ValueError:  # on another drive
            common = ""
        if common and common != os.path.dirname(common):
            return RELATIVE + os.path.relpath(path, folder).replace(os.sep, "/")
    return f"~{_number(path)}/{os.path.basename(path.rstrip(os.sep))}"


def kept(named: str) -> str:
    """A source as the open .blend keeps it."""
    return relative(named, folder_of(bpy.data.filepath))


def folder_of(path: str) -> str:
    """The folder of a .blend; "" if it has none yet."""
    return os.path.dirname(os.path.abspath(path)) if path else ""


def _number(path: str) -> str:
    """The number that stands for a path."""
    global _is_written
    if path not in _numbers:
        _learn({secrets.token_hex(4): path})
        _is_written = False
    return _numbers[path]


def _learn(paths: dict[str, str]) -> None:
    _paths.update(paths)
    for oldest in list(_paths)[:-MOST]:
        del _paths[oldest]
    _numbers.clear()
    _numbers.update({path: number for number, path in _paths.items()})


def write() -> None:
    """Write the list, if it has changed, for later sessions. A disk that is full is said."""
    global _is_written
    if _list is None or _is_written:
        return
    _is_written = True
    try:
        write_whole(_list, json.dumps(_read(_list) | _paths))  # another Blender may have written meanwhile
    except OSError as error:  # this session knows the paths
        print(f"Espalier: {_list} cannot be written, so that the next session will not know these images: {error}")


def remember_in(file: Path) -> None:
    """Keep the list in this file from now on, and take in what it holds."""
    global _list
    _list = file
    _learn(_read(file))


def _read(file: Path) -> dict[str, str]:
    """What a list holds; nothing if it cannot be read, which is said."""
    try:
        found = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        print(f"Espalier: {file} cannot be read: {error}")
        return {}
    return {key: path for key, path in found.items() if isinstance(path, str)} if isinstance(found, dict) else {}
