"""The command ``fetch``: locked wheels into a folder, for the installation of the backend's environment.

uv would download them too, but begins a file anew when its connection breaks, and says nothing on the way; torch's
wheels are up to a gigabyte. Here a file goes on from the byte where it stopped, in this process or a later one, and is
given its name only when its SHA-256 is the locked one. The locks are the extension's ``packages.json``, written by
``scripts/build_extension.py``. Indexes speak the simple API as HTML (PEP 503) or JSON (PEP 691).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urldefrag, urljoin

from ..errors import PackageError, describe
from .integrity import sha256

if TYPE_CHECKING:
    import httpx2

PYPI = "https://pypi.org/simple"
TORCH = "https://download.pytorch.org/whl"

#: Seconds before each new try after a fault that may pass. A try that brings bytes starts the series again.
WAITS = (1.0, 2.0, 4.0, 8.0)

#: Seconds without a byte after which a connection counts as broken.
TIMEOUT = 30.0

#: Seconds between two reports of progress.
INTERVAL = 0.2

_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
_KEPT = "What has arrived is kept: the same again goes on from there."

OnBytes = Callable[[int], None]  # how many bytes of the file at hand there are


@dataclass(frozen=True)
class LockedWheel:
    """A wheel as it must be. ``unpacked`` is what it takes when installed; both sizes are in bytes."""

    name: str
    version: str
    file: str
    sha256: str
    size: int
    unpacked: int

    def indexes(self, chosen: str) -> list[str]:
        """Where to look for it: builds of torch such as 2.13.0+cpu are on torch's own index only, or on a mirror."""
        local = self.version.partition("+")[2]
        return [chosen, f"{TORCH}/{local}"] if local else [chosen]


@dataclass(frozen=True)
class Listed:
    """A file that an index offers. What it does not say of it is None."""

    file: str
    url: str
    sha256: str | None = None
    size: int | None = None


def fetch(options: argparse.Namespace) -> int:
    """Have all wheels of a build in a folder, with progress as lines of JSON. Returns the exit code."""
    try:
        locked = json.loads(options.packages.read_text("utf-8"))["torch"][options.build]
        wheels = [LockedWheel(**wheel) for wheel in locked]
        fetch_wheels(wheels, options.to, options.index_url, options.source, _Report().progress)
    except Exception as error:  # the command ends here: whatever went wrong is said to the installer
        code, message, hint = describe(error)
        print(json.dumps({"type": "error", "code": code, "message": message, "hint": hint}), flush=True)
        return 1
    print(json.dumps({"type": "done"}), flush=True)
    return 0


class _Report:
    def __init__(self) -> None:
        self._last = 0.0

    def progress(self, file: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last >= INTERVAL or done == total:
            self._last = now
            print(json.dumps({"type": "progress", "file": file, "done": done, "total": total}), flush=True)


def fetch_wheels(
    wheels: list[LockedWheel],
    folder: Path,
    index: str,
    source: Path | None,
    on_progress: Callable[[str, int, int], None],
) -> None:
    """Have verified wheels in ``folder``: those of ``source`` where that is given, else from the index.

    ``on_progress`` gets a file name, and the bytes that are there of all. Raises PackageError, and OSError if the disk
    is full or fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    total, done = sum(wheel.size for wheel in wheels), 0
    _require_space(wheels, folder)
    for wheel in wheels:
        before = done

        def on_bytes(arrived: int, wheel: LockedWheel = wheel, before: int = before) -> None:
            on_progress(wheel.file, before + arrived, total)

        target = folder / wheel.file
        if not (target.is_file() and sha256(target) == wheel.sha256):
            _bring(wheel, target, index, source, on_bytes)
        done += wheel.size
        on_progress(wheel.file, done, total)


def _require_space(wheels: list[LockedWheel], folder: Path) -> None:
    there = sum(path.stat().st_size for wheel in wheels for path in folder.glob(f"{wheel.file}*") if path.is_file())
    needed, free = sum(wheel.size for wheel in wheels) - there, shutil.disk_usage(folder).free
    if needed > free:
        message = f"{needed / 1e9:.2f} GB are needed in {folder}, {free / 1e9:.2f} GB are free."
        raise PackageError("disk_full", message, "Free some space and try again.")


def _bring(wheel: LockedWheel, target: Path, index: str, source: Path | None, on_bytes: OnBytes) -> None:
    part = target.with_name(f"{wheel.file}.part")
    if source is None:
        _download(wheel, part, index, on_bytes)
    elif (source / wheel.file).is_file():
        shutil.copyfile(source / wheel.file, part)
    else:
        hint = "Put it there, or leave the folder empty in the preferences to download it."
        raise PackageError("wheel_missing", f"{source} does not hold {wheel.file}.", hint)
    if sha256(part) != wheel.sha256:
        part.unlink()
        hint = "It was deleted and is not used. Try again; if it happens again, use another network or package index."
        raise PackageError("hash_wrong", f"{wheel.file} is not the file that was locked: its hash is another.", hint)
    with part.open("rb+") as stream:
        os.fsync(stream.fileno())  # or a power cut could leave the name without the bytes
    os.replace(part, target)


def _download(wheel: LockedWheel, part: Path, index: str, on_bytes: OnBytes) -> None:
    """Complete ``part``, patiently."""
    import httpx2

    def arrived() -> int:
        return part.stat().st_size if part.exists() else 0

    failures = 0
    with httpx2.Client(timeout=TIMEOUT, follow_redirects=True) as client:
        while True:
            before = arrived()
            try:
                _stream(client, find(client, wheel, index).url, wheel, part, on_bytes)
                return
            except httpx2.HTTPStatusError as error:
                status = error.response.status_code
                hint = f"Try again later, or use another package index. {_KEPT}"
                fault = PackageError("index_failed", f"{error.request.url.host} answered with status {status}.", hint)
                cause: Exception = error
                passing = status in (408, 429) or status >= 500
            except (httpx2.RequestError, ConnectionError) as error:
                words = f"The connection to the package index broke or could not be made ({error})."
                fault = PackageError("no_network", words, f"Check the network and the proxy settings. {_KEPT}")
                cause, passing = error, True
            failures = 0 if arrived() > before else failures
            if not passing or failures == len(WAITS):
                raise fault from cause
            time.sleep(WAITS[failures])
            failures += 1


def _stream(client: httpx2.Client, url: str, wheel: LockedWheel, part: Path, on_bytes: OnBytes) -> None:
    """One connection's worth of a file, appended to ``part``."""
    arrived = part.stat().st_size if part.exists() else 0
    if arrived > wheel.size:
        part.unlink()
        arrived = 0
    if arrived == wheel.size:
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={arrived}-"} if arrived else {})
    with client.stream("GET", url, headers=headers) as response:
        response.raise_for_status()
        if response.status_code != 206:
            arrived = 0  # the whole file, asked for or not
        with part.open("ab" if arrived else "wb") as stream:
            for chunk in response.iter_bytes():
                arrived += stream.write(chunk)
                on_bytes(min(arrived, wheel.size))
                if arrived > wheel.size:
                    break
    if arrived < wheel.size:
        raise ConnectionError(f"{wheel.file} ended after {arrived} of {wheel.size} bytes")


def find(client: httpx2.Client, wheel: LockedWheel, index: str) -> Listed:
    """The wheel on the first index that has it. Raises PackageError if none does, and httpx2's errors."""
    import httpx2

    for address in wheel.indexes(index):
        try:
            listed = list_files(client, address, wheel.name)
        except httpx2.HTTPStatusError as error:
            if error.response.status_code != 404:
                raise
            continue
        for offered in listed:
            if offered.file == wheel.file and offered.sha256 in (None, wheel.sha256):
                return offered
    where = " nor ".join(wheel.indexes(index))
    hint = "Correct the package index in the preferences; a mirror may lack it."
    raise PackageError("wheel_missing", f"Neither {where} has {wheel.file} as it was locked.", hint)


def list_files(client: httpx2.Client, index: str, name: str) -> list[Listed]:
    """What an index offers of a package. Raises httpx2's errors."""
    response = client.get(f"{index.rstrip('/')}/{name}/", headers={"Accept": _ACCEPT})
    response.raise_for_status()
    base = str(response.url)
    if "json" in response.headers.get("Content-Type", ""):
        return [
            Listed(file["filename"], urljoin(base, file["url"]), file["hashes"].get("sha256"), file.get("size"))
            for file in response.json()["files"]
        ]
    page = _Page()
    page.feed(response.text)
    return [_listed(urljoin(base, link)) for link in page.links]


class _Page(HTMLParser):
    """Collects the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attributes if tag == "a" and name == "href" and value]


def _listed(link: str) -> Listed:
    url, fragment = urldefrag(link)
    kind, _, digest = fragment.partition("=")
    return Listed(unquote(url.rpartition("/")[2]), url, digest if kind == "sha256" else None)
