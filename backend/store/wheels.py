"""The command ``fetch``: the wheels of a build of torch into a folder, for the installation of the backend.

uv could download them too, but it starts a file again when the connection breaks, and reports no progress. torch's
wheels are up to a gigabyte and more, so they come through ``transfer``. The locks are the extension's
``packages.json``, written by ``scripts/build_extension.py``; what it does not lock, ``unlocked`` finds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import StoreError, describe
from ..protocol import Done, Transfer, Unlocked, Wheel, Wheels
from . import index, unlocked
from .amounts import require_space
from .reports import Reports
from .transfer import Expected, OnBytes, complete, copy, download

OnProgress = Callable[[Transfer], None]


def fetch(options: argparse.Namespace) -> int:
    """Fetch all wheels of a build into a folder, and print progress as lines of JSON. Returns the exit code."""
    reports = Reports(as_json=True)
    try:
        found = find_wheels(options)
        reports.tell(found)
        fetch_wheels(list(found.wheels), options, reports.progress)
    except Exception as error:  # the command ends here, and tells the installer what went wrong
        reports.failed(*describe(error, options.to))
        return 1
    reports.tell(Done())
    return 0


def find_wheels(options: argparse.Namespace) -> Wheels:
    """The wheels for one build of torch: those of the locks, else those that torch's own index publishes hashes for.

    Raises StoreError.
    """
    packages = _read(options.packages)
    try:
        if options.build in packages["torch"]:
            return Wheels(tuple(Wheel(**wheel) for wheel in packages["torch"][options.build]))
        version = Unlocked(**packages["unlocked"][options.build]).version
    except (KeyError, TypeError) as error:
        message = f"{options.packages} does not list the packages of the build {options.build}."
        raise StoreError("locks_unreadable", message, "Install the extension again.") from error
    recorded = _read(options.recorded) if options.recorded and options.recorded.exists() else {}
    if options.source:
        place: unlocked.Place = unlocked.FolderPlace(options.source)
        found = unlocked.resolve(version, place, recorded)
        return Wheels(tuple(found), place.title)
    with index.connect(options.timeout) as client:
        place = unlocked.IndexPlace(client, index.indexes(version, options.index_url, options.torch_index)[::-1])
        found = unlocked.resolve(version, place, recorded)
        return Wheels(tuple(found), place.title)


def _read(path: Path) -> dict[str, Any]:
    """The JSON object in a file of the extension or of its installer. Raises StoreError."""
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        message = f"{path} cannot be read ({error})."
        raise StoreError("locks_unreadable", message, "Install the extension again.") from error


def fetch_wheels(wheels: list[Wheel], options: argparse.Namespace, on_progress: OnProgress) -> None:
    """Put verified wheels into the folder ``options.to``: from the folder ``source`` if it is given, else from indexes.

    Raises StoreError, and OSError if the disk is full or fails.
    """
    folder, source = options.to, options.source
    folder.mkdir(parents=True, exist_ok=True)
    total, done = sum(wheel.size for wheel in wheels), 0
    there = sum(path.stat().st_size for wheel in wheels for path in folder.glob(f"{wheel.file}*") if path.is_file())
    require_space(folder, total - there, "Free some space and try again.")
    torch = next((wheel.version for wheel in wheels if wheel.name == "torch"), "")
    addresses = index.indexes(torch, options.index_url, options.torch_index)
    for wheel in wheels:
        report = _reporter(on_progress, wheel, "copy" if source else "download", done, total)
        complete(expected(wheel), folder / wheel.file, partial(_bring, wheel, addresses, options, report))
        report(wheel.size)
        done += wheel.size


def _reporter(on_progress: OnProgress, wheel: Wheel, action: str, before: int, total: int) -> OnBytes:
    return lambda arrived: on_progress(Transfer(wheel.name, action, wheel.file, before + arrived, total))


def expected(wheel: Wheel) -> Expected:
    """The size and hash that a wheel's file must have."""
    return Expected(wheel.file, wheel.size, wheel.sha256)


def _bring(wheel: Wheel, addresses: list[str], options: argparse.Namespace, on_bytes: OnBytes, part: Path) -> None:
    """Complete ``part``, which may hold the first bytes of a wheel."""
    source: Path | None = options.source
    if source is None:
        with index.connect(options.timeout) as client:
            found = partial(index.find, client, wheel, addresses)
            download(index.origin(client), lambda: found().url, expected(wheel), part, on_bytes)
    elif (source / wheel.file).is_file():
        copy(source / wheel.file, part, on_bytes)
    else:
        hint = "Put it there, or clear the folder in the preferences to download it."
        raise StoreError("wheel_missing", f"{source} does not contain {wheel.file}.", hint)
