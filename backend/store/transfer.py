"""The one download: a file is fetched, verified, and only then given its name.

Until then a file is kept beside its final place. The expected hash is part of its temporary name, so that it is never
completed with the bytes of another version. A later try, in this process or another one, resumes at the byte where the
last one stopped. Temporary faults are waited out, a bounded number of times in a row. Anything else ends the download
and keeps what has arrived. Models (``hub``, ``snapshot``), the wheels of an installation (``wheels``) and those inside
a zip (``scripts/build_extension.py``) differ only in where a file comes from and in how a fault is worded.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..errors import BackendError, StoreError
from ..files import put_in_place, sha256
from . import bounds

if TYPE_CHECKING:
    import httpx2

Result = TypeVar("Result")
OnBytes = Callable[[int], object]  # how many bytes of the current file there are

#: Seconds before each new try after a temporary fault. A try that receives bytes starts the series again.
WAITS = (1.0, 2.0, 4.0, 8.0)

#: The longest wait that a server can ask for, in seconds, before the download gives up and tells the person.
LONGEST_WAIT = 60.0

#: Seconds without a byte after which a connection counts as broken.
TIMEOUT = 30.0

#: What an error's hint says if the next try resumes.
RESUMED = "What has arrived is kept, and the next try resumes from there."

#: Bytes to copy at a time.
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Expected:
    """What a file must be: its name for people, its size in bytes, and its SHA-256 or git's own hash of it, which the
    hub publishes for small files. If neither hash is known, only the size can be compared."""

    name: str
    size: int
    sha256: str | None = None
    git_sha1: str | None = None


@dataclass(frozen=True)
class Fault:
    """What went wrong with a try: the error to report, whether it may pass, and the seconds the server asks to wait."""

    error: BackendError
    passing: bool
    wait: float | None = None


#: What an exception means for a try; None if it is not about the transfer.
Explain = Callable[[Exception], Fault | None]


@dataclass(frozen=True)
class Origin:
    """A server that has files. ``check`` raises for an answer whose status is not a success.

    ``timeout`` is how many seconds it may be silent; None is ``TIMEOUT``.
    """

    client: httpx2.Client
    explain: Explain
    headers: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[httpx2.Response], object] = lambda response: response.raise_for_status()
    timeout: float | None = None


def complete(file: Expected, target: Path, bring: Callable[[Path], None]) -> str:
    """Make sure that a verified file is at ``target``, and return its SHA-256.

    ``bring`` is called only if the file is not there yet. It completes the file that it is given, which may hold the
    first bytes. If the result is the wrong file, it is deleted. Raises StoreError, what ``bring`` raises, and OSError.
    """
    if target.is_file():
        try:
            return _verified(file, target)
        except StoreError:  # another version, or damaged: it has been deleted, and is fetched again
            pass
    part = target.with_name(f"{target.name}.{(file.sha256 or file.git_sha1 or 'unverified')[:16]}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.touch()
    bring(part)
    digest = _verified(file, part)
    put_in_place(part, target, durable=True)  # otherwise a power cut could leave the name without the bytes
    return digest


def download(
    origin: Origin, address: Callable[[], str], file: Expected, part: Path, on_bytes: OnBytes = lambda count: None
) -> None:
    """Complete ``part``, which may hold the first bytes of a file. ``on_bytes`` gets how many bytes there are.

    ``address`` gives the file's URL for each try, because such addresses expire. Raises the origin's error for a fault
    that does not pass, StoreError if the file has another size, and OSError if the disk is full or fails.
    """

    def attempt() -> None:
        arrived = _size(part)
        if arrived > file.size:  # this cannot be the beginning of the file
            part.unlink()
            arrived = 0
        if arrived < file.size:
            _stream(origin, address(), file, part, arrived, on_bytes)

    patiently(attempt, origin.explain, lambda: _size(part))


def patiently(attempt: Callable[[], Result], explain: Explain, arrived: Callable[[], int] = lambda: 0) -> Result:
    """What ``attempt`` returns. Tries again after temporary faults; raises the error of a fault that does not pass.

    ``arrived`` says how many bytes there are: a try that receives some starts the series of ``WAITS`` again.
    """
    failures, before = 0, arrived()
    while True:
        try:
            return attempt()
        except Exception as error:  # each source has errors of its own; what it cannot explain is raised again
            fault = explain(error)
            if fault is None:
                raise
            failures, before = (0 if arrived() > before else failures), arrived()
            if not fault.passing or failures == len(WAITS) or (fault.wait or 0.0) > LONGEST_WAIT:
                raise fault.error from error
        time.sleep(WAITS[failures] if fault.wait is None else fault.wait)
        failures += 1


def copy(source: Path, part: Path, on_bytes: OnBytes = lambda count: None) -> None:
    """Copy a local file to ``part``, always from the beginning, because that is fast. Raises OSError."""
    with source.open("rb") as there, part.open("wb") as here:
        copied = 0
        while chunk := there.read(_CHUNK):
            copied += here.write(chunk)
            on_bytes(copied)


def may_pass(status: int) -> bool:
    """Whether the same request may succeed later, judged by the HTTP status of the answer."""
    return status in (408, 429) or status >= 500


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """How many seconds an answer asks to wait (``Retry-After``); None if it does not say."""
    asked = headers.get("Retry-After", "")
    return float(asked) if asked.isdecimal() else None


def wrong_size(name: str) -> StoreError:
    """The error for a file that is longer or shorter than it should be."""
    return StoreError("size_wrong", f"{name} does not have the published size.", "Try again, or use another source.")


def wrong_hash(name: str) -> StoreError:
    """The error for a file that has the right size but other bytes."""
    hint = "It was deleted and is not used. Try again. If it happens again, use another network or source."
    return StoreError("hash_wrong", f"{name} is not the published file: its hash differs.", hint)


def _stream(origin: Origin, url: str, file: Expected, part: Path, arrived: int, on_bytes: OnBytes) -> None:
    """Append what one connection delivers of a file to ``part``."""
    headers = {"Accept-Encoding": "identity", **origin.headers}
    if arrived:
        headers["Range"] = f"bytes={arrived}-"
    bound = bounds.at_most(file.size + _CHUNK)  # what is too long is said below
    silence = TIMEOUT if origin.timeout is None else origin.timeout
    with origin.client.stream("GET", url, headers=headers, extensions=bound, timeout=silence) as response:
        if response.status_code == 416:  # the file is shorter than what has arrived
            part.unlink()
            raise wrong_size(file.name)
        origin.check(response)
        if response.status_code != 206:
            arrived = 0  # the server sends the whole file, requested or not
        with part.open("ab" if arrived else "wb") as stream:
            for chunk in response.iter_bytes():
                arrived += stream.write(chunk[: file.size + 1 - arrived])  # one extra byte shows that it is too long
                if arrived > file.size:
                    break
                on_bytes(arrived)
    if arrived > file.size:
        part.unlink()
        raise wrong_size(file.name)
    if arrived < file.size:
        raise ConnectionError(f"{file.name} ended after {arrived} of {file.size} bytes")


def _verified(file: Expected, path: Path) -> str:
    """The SHA-256 of a file, if it is the expected one. Otherwise deletes it and raises StoreError."""
    if _size(path) != file.size:
        path.unlink(missing_ok=True)
        raise wrong_size(file.name)
    digest = sha256(path)
    if file.sha256 not in (None, digest) or file.git_sha1 not in (None, _git_sha1(path)):
        path.unlink()
        raise wrong_hash(file.name)
    return digest


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _git_sha1(path: Path) -> str:
    """Git's hash of a (small) file: the SHA-1 of ``blob SIZE``, a zero byte and the content."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
