"""Wheels of a build of torch that no lock of the extension names: which they are, and what their hashes must be.

``torch`` itself has a known version, and only its hash is missing: torch's own index publishes it beside the file, and
it is believed if it came over TLS. What a build needs besides (CUDA's libraries on Linux) is read from the wheels, as
pip would. A hash that was recorded by an earlier installation must still be the same. A file without a hash is refused.

Files are looked for on torch's own index first, because anybody could register its package names on another one. From
a folder of wheels they are taken as they are; whoever filled it vouches for them.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.parser import BytesParser
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast
from urllib.parse import urlsplit

from ..errors import StoreError
from ..files import sha256
from ..protocol import Wheel
from . import bounds
from .index import Listed, explain, list_files, normal
from .transfer import patiently

if TYPE_CHECKING:
    import httpx2
    from packaging.requirements import Requirement

#: More packages than any build of torch needs: a circle of them must end.
MOST_PACKAGES = 64
#: The list of a wheel's files is within so many bytes of its end, and its description is no longer than that.
TAIL = 8 << 20

ELSEWHERE = "Install the next best build, or put its wheels into a folder and choose that in the preferences."


class Place(Protocol):
    """Where wheels come from."""

    @property
    def title(self) -> str:
        """Who states their hashes."""
        ...

    @property
    def problem(self) -> StoreError | None:
        """Why not everything could be looked for."""
        ...

    def files(self, name: str) -> list[Listed]:
        """The files of a package."""
        ...

    def hash_of(self, listed: Listed) -> str:
        """The SHA-256 that a file must have. Raises StoreError if nobody states it."""
        ...

    def open(self, listed: Listed) -> tuple[BinaryIO, int]:
        """The end of a file, to look into the wheel, and the length of the whole."""
        ...


class IndexPlace:
    """torch's own index, and another one for what it does not have."""

    def __init__(self, client: httpx2.Client, addresses: list[str]) -> None:
        self._client, self._addresses = client, addresses
        self._failed: dict[str, StoreError] = {}
        self._answered: dict[str, None] = {}  # the hosts whose listings were used, in order

    @property
    def title(self) -> str:
        """The hosts whose listings were used; before the first one, the one that is asked first."""
        return ", ".join(self._answered) or str(urlsplit(self._addresses[0]).hostname)

    @property
    def problem(self) -> StoreError | None:
        """Why one of the indexes could not be asked; None if all could."""
        return next(iter(self._failed.values()), None)

    def files(self, name: str) -> list[Listed]:
        """The files that the first of the indexes has that answers and knows the package."""
        for address in self._addresses:
            if address in self._failed:
                continue
            try:
                found = patiently(partial(list_files, self._client, address, name), explain)
            except StoreError as error:
                self._failed[address] = error  # a mirror may be reached where torch's own index is not
                continue
            if found:
                self._answered[str(urlsplit(address).hostname)] = None
                return found
        return []

    def hash_of(self, listed: Listed) -> str:
        """The hash in the file's own link, if the page that has it could not be changed on the way."""
        if listed.sha256 is None or not listed.private:
            where = f"The package index publishes no SHA-256 for {listed.file}"
            words = f"{where}." if listed.sha256 is None else f"{where} over a secure connection."
            raise StoreError("hash_missing", f"{words} It is not used.", ELSEWHERE)
        return listed.sha256

    def open(self, listed: Listed) -> tuple[BinaryIO, int]:
        """The last bytes of a file on a server, which must be able to send parts."""
        return patiently(lambda: tail(self._client, listed.url), explain)


class FolderPlace:
    """A folder of wheels."""

    problem = None

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def title(self) -> str:
        """The folder."""
        return f"the folder {self._folder}"

    def files(self, name: str) -> list[Listed]:
        """The wheels of a package in the folder."""
        paths = sorted(self._folder.glob("*.whl"))
        return [Listed(path.name, str(path)) for path in paths if normal(path.name.partition("-")[0]) == normal(name)]

    def hash_of(self, listed: Listed) -> str:
        """The hash of the file that is there."""
        return sha256(Path(listed.url))

    def open(self, listed: Listed) -> tuple[BinaryIO, int]:
        """The file."""
        path = Path(listed.url)
        return path.open("rb"), path.stat().st_size


def tail(client: httpx2.Client, url: str) -> tuple[BinaryIO, int]:
    """The last bytes of a file on a server, and the length of the whole. Raises StoreError and httpx2's errors."""
    headers = {"Range": f"bytes=-{TAIL}", "Accept-Encoding": "identity"}
    with client.stream("GET", url, headers=headers, extensions=bounds.at_most(TAIL)) as response:
        response.raise_for_status()
        total = re.fullmatch(r"bytes \d+-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if response.status_code != 206 or total is None:
            words = f"{response.url.host} cannot send parts of files."
            raise StoreError("index_failed", words, "Use another package index.")
        return io.BytesIO(response.read()), int(total.group(1))


def resolve(
    version: str, place: Place, recorded: Mapping[str, str], installed: Callable[[str], str | None] | None = None
) -> list[Wheel]:
    """The wheels of a version of torch and of what it needs, beyond what is ``installed`` (name -> version).

    ``recorded`` has the hashes of earlier installations, by file. Raises StoreError.
    """
    from packaging.requirements import Requirement

    has = installed or _installed
    wheels: dict[str, Wheel] = {}
    extras: dict[str, set[str]] = {}
    waiting = [Requirement(f"torch=={version}")]
    while waiting:
        requirement = waiting.pop()
        name = normal(requirement.name)
        chosen, there = wheels.get(name), None if name == "torch" else has(name)
        if chosen is not None and not requirement.specifier.contains(chosen.version, prereleases=True):
            words = f"torch {version} needs {requirement}, but also {name} {chosen.version}."
            raise StoreError("wheel_missing", words, ELSEWHERE)
        if chosen is None and there is not None and not requirement.extras and requirement.specifier.contains(there):
            continue
        if chosen is None or requirement.extras - extras[name]:
            if len(wheels) == MOST_PACKAGES:
                raise StoreError("wheel_missing", f"torch {version} needs too many packages.", ELSEWHERE)
            extras.setdefault(name, set()).update(requirement.extras)
            wheels[name], needed = _wheel(requirement, place, recorded)
            waiting += needed
    return list(wheels.values())


def _wheel(requirement: Requirement, place: Place, recorded: Mapping[str, str]) -> tuple[Wheel, list[Requirement]]:
    """The best wheel for a requirement, and what that needs in turn."""
    listed, version = _best(requirement, place)
    digest = place.hash_of(listed)
    before = recorded.get(listed.file)
    if before is not None and before != digest:
        words = f"{listed.file} is another file than the one that was installed before: {place.title} states {digest}."
        raise StoreError("hash_missing", f"{words} It is not used.", f"{ELSEWHERE} Remove forgets the earlier one.")
    with _archive(place, listed) as (archive, size):
        unpacked = sum(info.file_size for info in archive.infolist())
        wheel = Wheel(normal(requirement.name), version, listed.file, digest, size, unpacked)
        return wheel, list(_requirements(archive, requirement.extras))


def _best(requirement: Requirement, place: Place) -> tuple[Listed, str]:
    """The newest wheel that suits a requirement and this Python, and its version."""
    from packaging.tags import sys_tags
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename
    from packaging.version import Version

    rank = {tag: -number for number, tag in enumerate(sys_tags())}
    best: tuple[Version, int, str, Listed] | None = None
    for listed in place.files(requirement.name):
        try:
            _, version, _, tags = parse_wheel_filename(listed.file)
        except InvalidWheelFilename:  # a source distribution, or no wheel at all
            continue
        ranks = [rank[tag] for tag in tags if tag in rank]
        if ranks and requirement.specifier.contains(version):
            candidate = (version, max(ranks), listed.file, listed)
            best = candidate if best is None or candidate[:3] > best[:3] else best
    if best is None:
        raise place.problem or StoreError(
            "wheel_missing", f"{place.title} has no {requirement} for this system.", ELSEWHERE
        )
    return best[3], str(best[0])


@contextmanager
def _archive(place: Place, listed: Listed) -> Iterator[tuple[zipfile.ZipFile, int]]:
    """A wheel to look into; only its end may be there. Raises StoreError if it is no wheel."""
    stream, size = place.open(listed)
    try:
        with stream, zipfile.ZipFile(stream) as archive:
            yield archive, size
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, ValueError, KeyError, OSError) as error:
        raise StoreError("wheel_invalid", f"{listed.file} is not a wheel ({error}).", ELSEWHERE) from error


def _requirements(archive: zipfile.ZipFile, extras: set[str]) -> Iterator[Requirement]:
    """What a wheel needs on this system, by its description. ``extras`` are those that it was asked for with."""
    from packaging.requirements import Requirement

    infos = [info for info in archive.infolist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", info.filename)]
    if len(infos) != 1 or infos[0].file_size > TAIL:
        raise ValueError("it has no usable description")
    described = BytesParser().parsebytes(archive.read(infos[0]))
    for line in cast("list[str]", described.get_all("Requires-Dist") or []):
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in (*sorted(extras), "")):
            yield requirement


def _installed(name: str) -> str | None:
    """The version of a package in this environment."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
