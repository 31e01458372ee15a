"""The command ``fetch``: locked wheels into a folder, for the installation of the backend's environment.

uv could download them too, but it starts a file again when the connection breaks, and reports no progress. torch's
wheels are up to a gigabyte, so they come through ``transfer``. The locks are the extension's ``packages.json``, written
by ``scripts/build_extension.py``. Indexes use the simple API as HTML (PEP 503) or JSON (PEP 691).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urldefrag, urljoin

from ..errors import StoreError, describe
from ..protocol import Done, Transfer, Wheel
from . import transfer
from .amounts import require_space
from .reports import Reports
from .transfer import RESUMED, Expected, Fault, OnBytes, Origin, asked_wait, complete, copy, download, may_pass

if TYPE_CHECKING:
    import httpx2

PYPI = "https://pypi.org/simple"
TORCH = "https://download.pytorch.org/whl"

OnProgress = Callable[[Transfer], None]

_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"


@dataclass(frozen=True)
class Listed:
    """A file that an index offers. What the index does not state is None."""

    file: str
    url: str
    sha256: str | None = None
    size: int | None = None


def fetch(options: argparse.Namespace) -> int:
    """Fetch all wheels of a build into a folder, and print progress as lines of JSON. Returns the exit code."""
    reports = Reports(as_json=True)
    try:
        wheels = locked_wheels(options.packages, options.build)
        fetch_wheels(wheels, options.to, options.index_url, options.source, reports.progress)
    except Exception as error:  # the command ends here, and tells the installer what went wrong
        reports.failed(*describe(error))
        return 1
    reports.tell(Done())
    return 0


def locked_wheels(packages: Path, build: str) -> list[Wheel]:
    """The wheels for one build of torch, from the extension's ``packages.json``. Raises StoreError."""
    try:
        return [Wheel(**wheel) for wheel in json.loads(packages.read_text("utf-8"))["torch"][build]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{packages} does not list the packages of the build {build}."
        raise StoreError("locks_unreadable", message, "Install the extension again.") from error


def fetch_wheels(wheels: list[Wheel], folder: Path, index: str, source: Path | None, on_progress: OnProgress) -> None:
    """Put verified wheels into ``folder``: from the folder ``source`` if it is given, else from the index.

    Raises StoreError, and OSError if the disk is full or fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    total, done = sum(wheel.size for wheel in wheels), 0
    there = sum(path.stat().st_size for wheel in wheels for path in folder.glob(f"{wheel.file}*") if path.is_file())
    require_space(folder, total - there, "Free some space and try again.")
    for wheel in wheels:
        report = _reporter(on_progress, wheel, "copy" if source else "download", done, total)
        complete(expected(wheel), folder / wheel.file, partial(_bring, wheel, index, source, report))
        report(wheel.size)
        done += wheel.size


def _reporter(on_progress: OnProgress, wheel: Wheel, action: str, before: int, total: int) -> OnBytes:
    return lambda arrived: on_progress(Transfer(wheel.name, action, wheel.file, before + arrived, total))


def expected(wheel: Wheel) -> Expected:
    """The size and hash that a wheel's file must have."""
    return Expected(wheel.file, wheel.size, wheel.sha256)


def _bring(wheel: Wheel, index: str, source: Path | None, on_bytes: OnBytes, part: Path) -> None:
    """Complete ``part``, which may hold the first bytes of a wheel."""
    if source is None:
        with connect() as client:
            download(origin(client), lambda: find(client, wheel, index).url, expected(wheel), part, on_bytes)
    elif (source / wheel.file).is_file():
        copy(source / wheel.file, part, on_bytes)
    else:
        hint = "Put it there, or clear the folder in the preferences to download it."
        raise StoreError("wheel_missing", f"{source} does not contain {wheel.file}.", hint)


def connect() -> httpx2.Client:
    """A client for package indexes. The caller closes it."""
    import httpx2

    return httpx2.Client(timeout=transfer.TIMEOUT, follow_redirects=True)


def origin(client: httpx2.Client) -> Origin:
    """A package index as an origin for ``transfer``."""
    return Origin(client, _explain)


def _explain(error: Exception) -> Fault | None:
    import httpx2

    if isinstance(error, httpx2.HTTPStatusError):
        response = error.response
        words = f"{response.url.host} answered with status {response.status_code}."
        hint = f"Try again later, or use another package index. {RESUMED}"
        fault = StoreError("index_failed", words, hint)
        return Fault(fault, may_pass(response.status_code), asked_wait(response.headers))
    if isinstance(error, (httpx2.RequestError, ConnectionError)):
        words = f"The connection to the package index failed ({error})."
        return Fault(StoreError("no_network", words, f"Check the network and the proxy settings. {RESUMED}"), True)
    return None


def indexes(version: str, chosen: str) -> list[str]:
    """Where to look for a wheel: builds of torch such as 2.13.0+cpu are only on torch's own index, or on a mirror."""
    local = version.partition("+")[2]
    return [chosen, f"{TORCH}/{local}"] if local else [chosen]


def find(client: httpx2.Client, wheel: Wheel, index: str) -> Listed:
    """The wheel on the first index that has it. Raises StoreError if none does, and httpx2's errors."""
    import httpx2

    for address in indexes(wheel.version, index):
        try:
            listed = list_files(client, address, wheel.name)
        except httpx2.HTTPStatusError as error:
            if error.response.status_code != 404:
                raise
            continue
        for offered in listed:
            if offered.file == wheel.file and offered.sha256 in (None, wheel.sha256):
                return offered
    where = " or ".join(indexes(wheel.version, index))
    hint = "Correct the package index in the preferences. A mirror may lack the file."
    raise StoreError("wheel_missing", f"The locked {wheel.file} is not on {where}.", hint)


def list_files(client: httpx2.Client, index: str, name: str) -> list[Listed]:
    """The files that an index offers for a package. Raises httpx2's errors."""
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
